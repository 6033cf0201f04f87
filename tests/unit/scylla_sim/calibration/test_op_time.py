"""Seconds of operations of a forward pass."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, op_time
from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.calibration.fitted_kernel import PRIOR_RATIO, Band, FittedKernel
from scylla_sim.calibration.op_time import choose, estimate
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.moe import MOE_TILES
from scylla_sim.kernels.operation import KernelQuery
from scylla_sim.kernels.registry import op_kind
from scylla_sim.ops.expert_routing import even_loads
from scylla_sim.ops.op import Op
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs import catalog

MIXTRAL = catalog.model("mixtral-8x7b")


@pytest.mark.parametrize("level", ["silicon", "theory"])
def test_evidence_of_an_moe_step(level):
    a100 = device_calibration.shipped("a100-sxm")
    if level == "theory":
        a100 = replace(a100, kernels={op: part for op, part in a100.kernels.items() if op != "experts"})
    deployment = Deployment(a100, catalog.engine("ideal"))
    step = target_step(MIXTRAL, deployment, batch=[1, 64], context=1024)
    parts = {part.name: part for part in step.parts}
    assert parts["expert_down"].evidence == level
    if level == "theory":
        wide, fitted = (parts[name].time.upper / parts[name].seconds for name in ("expert_down", "o_proj"))
        assert (wide > fitted).all()


def test_grouped_gemm_of_one_group_equals_a_gemm():
    shape = {name: np.array(value) for name, value in (("m", 64.0), ("n", 4096.0), ("k", 4096.0), ("groups", 1.0))}
    h100 = device_calibration.shipped("h100-sxm")
    one, grouped = (
        op_time.op_seconds(Op("x", kind, 1, shape), h100, dtype="bfloat16", kv_dtype="bfloat16")
        for kind in ("gemm", "grouped_gemm")
    )
    assert float(one.seconds.value) == float(grouped.seconds.value)


def moe_columns():
    loads = even_loads(512.0, 8.0)
    return {name: np.asarray(value) for name, value in {"m": 512.0, "n": 1024.0, "k": 1024.0, **loads}.items()}


def test_one_gemm_of_a_layer_has_the_interval_of_the_whole_layer():
    """Half of a layer is short, and the layer is long: the band is that of long executions."""
    execution = op_kind("expert_gemm").executions[0]
    r, columns = rates(catalog.hardware("h100-sxm"), "bfloat16"), moe_columns()
    value = float(execution.seconds(MOE_TILES, MOE_TILES.prior, columns, r))
    kernel = FittedKernel(MOE_TILES, MOE_TILES.prior, Band(0.9, 1.1), Band(0.1, 10.0), split_s=value)
    found = estimate(execution, kernel, columns, r).seconds
    assert float(found.value) == pytest.approx(value)
    assert float(found.upper) == pytest.approx(1.1 * value)


def test_an_execution_without_a_fit_gives_way_to_the_next():
    executions, query = op_kind("expert_gemm").executions, KernelQuery("bfloat16")
    fitted = shipped("h100-sxm")
    assert choose(executions, fitted, moe_columns(), query)[0] is executions[0]
    execution, kernel = choose(executions, fitted.without("experts"), moe_columns(), query)
    assert execution is executions[1]
    assert kernel.evidence == "theory"
    gemm = fitted.kernel("gemm")
    assert kernel.band.upper_ratio == pytest.approx(gemm.band.upper_ratio * PRIOR_RATIO)
