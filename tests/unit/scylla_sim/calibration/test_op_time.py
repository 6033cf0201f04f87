"""Seconds of operations of a forward pass."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, op_time
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
