"""MoE kernel models against measured rows and hand-computed times."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.moe import MoeTiles, expert_gemm_seconds, tiled_expert_gemm_seconds
from scylla_sim.ops.expert_routing import (
    even_loads,
)
from scylla_sim.specs import catalog


@pytest.mark.parametrize(("dtype", "form"), [("bfloat16", "experts_layer"), ("fp8", "experts_padded")])
def test_layer_is_two_expert_gemms_and_the_moving_kernels(dtype, form):
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype=dtype),
        rates(catalog.hardware("h100-sxm"), dtype),
    )
    assert kernel.model.name == form
    names = ("num_tokens", "experts_per_token", "hidden_size", "inter_size")
    loads = even_loads(128.0, 8.0)
    layer = {name: np.array(value) for name, value in zip(names, (64.0, 2.0, 4096.0, 14336.0))} | loads
    products = sum(
        expert_gemm_seconds(kernel.model, kernel.parameters, {"m": np.array(128.0), "n": n, "k": k, **loads}, r)
        for n, k in ((2 * layer["inter_size"], layer["hidden_size"]), (layer["hidden_size"], layer["inter_size"]))
    )
    rest = float(kernel.seconds(layer, r)) - float(products)
    assert 3 * 1.5e-6 < rest < 0.05 * float(products)


def test_benchmark_reads_experts_that_fit_in_l2_from_there():
    kernel, r = device_calibration.shipped("l40s").kernel("experts"), rates(catalog.hardware("l40s"), "bfloat16")
    cold = []
    for inter in (1792.0, 3584.0):  # 84 and 168 MiB of weights are touched; the L2 holds 96
        loads = even_loads(2.0, 2.0)
        layer = {"num_tokens": 1.0, "experts_per_token": 2.0, "hidden_size": 4096.0, "inter_size": inter, **loads}
        products = sum(
            float(expert_gemm_seconds(kernel.model, kernel.parameters, {"m": 2.0, "n": n, "k": k, **loads}, r))
            for n, k in ((2 * inter, 4096.0), (4096.0, inter))
        )
        cold.append(float(kernel.seconds(layer, r)) > products)
    assert cold == [False, True]


@pytest.mark.parametrize("dtype", ["bfloat16", "fp8"])
def test_more_experts_in_use_take_longer(dtype):
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype=dtype),
        rates(catalog.hardware("h100-sxm"), dtype),
    )
    shape = {"m": np.array(256.0), "n": np.array(4096.0), "k": np.array(4096.0)}
    t = [
        float(expert_gemm_seconds(kernel.model, kernel.parameters, {**shape, **even_loads(256.0, g)}, r))
        for g in (8.0, 32.0, 128.0)
    ]
    assert t[0] < t[1] < t[2]


def test_partly_filled_tiles_take_longer_in_fp8_on_hopper():
    # aiconfigurator-core, H100, Mixtral-8x7B whole: 2245 us with 8 rows an expert, 1139 with 128, 3289 with 192
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype="fp8"),
        rates(catalog.hardware("h100-sxm"), "fp8"),
    )
    columns = {"experts_per_token": 2.0, "hidden_size": 4096.0, "inter_size": 14336.0}
    few, full, more = (
        float(kernel.seconds({**columns, "num_tokens": 4.0 * rows, **even_loads(8.0 * rows, 8.0)}, r))
        for rows in (8, 128, 192)
    )
    assert few > 1.5 * full
    assert more == pytest.approx(few + full, rel=0.05)


def test_rows_of_an_8_bit_layer_are_quantized_first():
    """Five bytes for each input value at a tenth of the bandwidth; none in 16 bits."""
    shape = {name: np.asarray(value) for name, value in (("m", 64.0), ("n", 512.0), ("k", 1024.0), ("groups", 4.0))}
    shape |= {name: np.asarray(4.0) for name in ("tiles_16", "tiles_64", "tiles_128", "ragged")}
    slow, fast = (replace(MoeTiles(), quantiser_ratio=ratio) for ratio in (0.1, 1e12))
    for dtype, values in (("fp8", 5.0), ("bfloat16", 0.0)):
        r = rates(catalog.hardware("h100-sxm"), dtype)
        added = tiled_expert_gemm_seconds(slow, shape, r) - tiled_expert_gemm_seconds(fast, shape, r)
        assert float(added) == pytest.approx(values * 64 * 1024 / (0.1 * r.bytes_per_s), rel=1e-6, abs=1e-15)
