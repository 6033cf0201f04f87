"""Context attention: pairs under a causal mask, tiles, and what a fit must not change."""

from __future__ import annotations

import numpy as np
import pytest

from scylla_sim.calibration import kernel_table
from scylla_sim.calibration.device_calibration import shipped, shipped_devices
from scylla_sim.checks import InputError
from scylla_sim.kernels.context_attention import CONTEXT_PACKED, CONTEXT_TILES, ContextTiles
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import evaluate
from scylla_sim.ops.op import attended_pairs, context_flops, context_kv_bytes
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import element_bytes

H100 = rates(catalog.hardware("h100-sxm"), "bfloat16", "bfloat16")


def columns(q_len: float, cached: float = 0.0, *, batch: float = 1.0, window: float = 0.0, heads: float = 32.0):
    given = {"batch": batch, "q_len": q_len, "kv_len": q_len + cached, "num_heads": heads, "num_kv_heads": 8.0}
    return {name: np.asarray(value) for name, value in {**given, "head_dim": 128.0, "window": window}.items()}


@pytest.mark.parametrize(
    "q_len, cached, window", [(1, 0, 0), (7, 0, 0), (5, 9, 0), (8, 0, 3), (8, 2, 5), (4, 9, 6)]
)
def test_pairs_are_those_of_the_mask(q_len, cached, window):
    query = cached + 1 + np.arange(q_len)
    keys = np.minimum(query, window) if window else query
    assert float(attended_pairs(columns(q_len, cached, window=window))) == keys.sum()


def test_flops_and_bytes_by_hand():
    c = columns(1000, 200, batch=2)
    assert float(context_flops(c)) == 4 * 2 * 32 * 128 * (1000 * 200 + 1000 * 1001 / 2)
    size = element_bytes("bfloat16", "fp8")
    assert float(context_kv_bytes(c, size)) == 2 * 2 * 8 * 128 * (200 * 1 + 1000 * 2)


@pytest.mark.parametrize("model", [CONTEXT_TILES, CONTEXT_PACKED])
def test_tiles_of_a_long_prompt_are_half_of_its_square(model):
    # without fixed costs, the time of a long prompt is that of its FLOPs, plus the diagonal
    p = ContextTiles(1e-12, 1.0, 1e3, 1e-9, 1e-30, 1e-30, 1e-9, 8.0)
    c = columns(16384.0)
    seconds, least = float(evaluate(model, p, c, H100)), float(context_flops(c)) / H100.flop_per_s
    assert 1.0 <= seconds / least < 1.01


def test_a_window_longer_than_the_prompt_changes_nothing():
    for q_len, cached in ((1000.0, 0.0), (512.0, 4096.0)):
        full, wide = (
            evaluate(CONTEXT_TILES, ContextTiles(), columns(q_len, cached, window=window), H100)
            for window in (0.0, 1e5)
        )
        assert float(wide) == pytest.approx(float(full))


@pytest.mark.parametrize("model", [CONTEXT_TILES, CONTEXT_PACKED])
def test_more_work_never_takes_less_time(model):
    def seconds(**more):
        return float(evaluate(model, ContextTiles(), columns(**{"q_len": 700.0, **more}), H100))

    assert seconds(q_len=701.0) >= seconds() and seconds(cached=64.0) > seconds() and seconds(batch=2.0) > seconds()
    assert seconds(cached=4096.0, window=256.0) < seconds(cached=4096.0)


def test_packing_saves_tiles_of_short_prompts_only():
    for q_len, saves in ((32.0, True), (8192.0, False)):
        one, packed = (
            float(evaluate(model, ContextTiles(), columns(q_len, batch=64.0), H100))
            for model in (CONTEXT_TILES, CONTEXT_PACKED)
        )
        assert (packed < 0.8 * one) == saves


def test_every_measured_gpu_has_fits():
    for device in shipped_devices():
        kernel = shipped(device).kernel("context_attention", kv_dtype="bfloat16", head_dim=128)
        assert kernel.evidence == "silicon" and kernel.band.upper_ratio < 1.8, device


def test_tables_need_the_length_of_a_prompt_and_refuse_impossible_ones():
    text = {
        "op": ["decode_attention", "context_attention"],
        **{name: ["1", "1"] for name in ("batch", "num_heads", "num_kv_heads")},
        **{"dtype": ["bf16"] * 2, "kv_len": ["64", "64"], "head_dim": ["128", "128"], "q_len": ["", "64"]},
    }
    read = kernel_table.from_columns(text, "rows.csv", device="h100-sxm")
    assert read.numbers["q_len"].tolist() == [1.0, 64.0]
    with pytest.raises(InputError, match="q_len"):
        kernel_table.from_columns({**text, "q_len": ["1", ""]}, "rows.csv", device="h100-sxm")
    with pytest.raises(InputError, match="kv_len=64 must be at least q_len=65"):
        kernel_table.from_columns({**text, "q_len": ["1", "65"]}, "rows.csv", device="h100-sxm")
