"""MLA: kernel model, fit, fallback, and choice of the fitted rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, kernel_table, op_time
from scylla_sim.calibration.benchmark import benchmark_seconds
from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.checks import InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.mla import FALLBACK_HEAD_DIM, MLA_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.registry import roofline_seconds
from scylla_sim.ops.op import Op
from scylla_sim.specs import catalog

H100 = catalog.hardware("h100-sxm")
DEEPSEEK = {"q_len": 1.0, "kv_rank": 512.0, "rope_dim": 64.0}


def columns(**given):
    return {name: np.asarray(value, dtype=float) for name, value in {**DEEPSEEK, **given}.items()}


def seconds(kv_dtype="bfloat16", changed=None, hardware=H100, **given):
    """Seconds of one shape by the form's prior, some parameters changed."""
    p = replace(MLA_TILES.prior, **(changed or {}))
    return float(evaluate(MLA_TILES, p, columns(**given), rates(hardware, "bfloat16", kv_dtype)))


def table(count=160, *, planted=None, **labels):
    """Rows of a file made from the form itself, and the seconds behind them."""
    rng = np.random.default_rng(7)
    shape = {
        "batch": rng.choice(2.0 ** np.arange(0, 10), count),
        "kv_len": rng.choice(2.0 ** np.arange(4, 17), count),
        "num_heads": rng.choice([2.0, 8.0, 32.0, 64.0, 128.0], count),
    }
    p = replace(MLA_TILES.prior, **(planted or {}))
    latency = evaluate(MLA_TILES, p, columns(**shape), rates(H100, "bfloat16", "bfloat16"))
    latency = latency * np.exp(0.02 * rng.standard_normal(count))
    named = {"op": "latent_attention", "device": "h100-sxm", "dtype": "bf16", "kv_dtype": "bf16", **labels}
    text = {name: [f"{value:.0f}" for value in column] for name, column in shape.items()}
    fixed = {name: [value] * count for name, value in {**named, "kv_rank": "512", "rope_dim": "64"}.items()}
    return {**fixed, **text, "latency_ms": [repr(1e3 * value) for value in latency.tolist()]}


def test_heads_of_one_tile_share_one_read_of_the_cache():
    shape = {"batch": 128, "kv_len": 65536}
    one, tile, two = (seconds(num_heads=heads, **shape) for heads in (1, 64, 128))
    read = 2 * 128 * 65536 * 576 / (MLA_TILES.prior.bandwidth_fraction * H100.memory_bytes_per_s)
    assert one == pytest.approx(read, rel=0.02)
    assert tile == pytest.approx(one, rel=0.02)
    assert 1.05 * tile < two < 2 * tile  # arithmetic of two tiles


def test_few_heads_use_the_narrow_tile():
    tiles = {"narrow_rows": 16.0, "wide_rows": 128.0, "reread_fraction": 0.5}
    some, more, wide = (seconds(changed=tiles, batch=128, kv_len=65536, num_heads=heads) for heads in (16, 32, 64))
    assert more / some == pytest.approx(1.5, rel=0.02)
    assert some < wide < 1.1 * some  # one read again, but the arithmetic of a whole wide tile


def test_merging_a_long_context_takes_extra_time():
    chain = {"chain_s": 3e-5, "chain_tokens": 4096.0}
    alone = seconds(changed=chain, batch=1, kv_len=65536, num_heads=16)
    assert alone - seconds(changed={"chain_s": 1e-12}, batch=1, kv_len=65536, num_heads=16) > 2.5e-5
    assert seconds(changed=chain, batch=1, kv_len=2, num_heads=16) == pytest.approx(
        MLA_TILES.prior.launch_s, rel=0.02
    )


def test_roofline_is_the_larger_of_bytes_and_flops():
    c, r = columns(batch=[1, 1], kv_len=[1e5, 1e5], num_heads=[1, 1024]), rates(H100, "bfloat16", "fp8")
    by_hand = [1e5 * 576 / H100.memory_bytes_per_s, 2 * 1024 * 1e5 * 1088 / H100.peak_flop_per_s["bf16"]]
    assert roofline_seconds("latent_attention", c, r) == pytest.approx(by_hand, rel=1e-3)


def test_planted_tiles_and_bandwidth_are_recovered():
    planted = {"bandwidth_fraction": 0.8, "narrow_rows": 16.0, "wide_rows": 128.0, "reread_fraction": 0.5}
    rows = kernel_table.from_columns(table(planted=planted), "rows.csv", measured=True)
    blackwell = replace(H100, family="blackwell")  # where tiles are found out, not known
    fit = calibrate(rows, blackwell, evidence="silicon")
    (group,) = fit.groups
    assert not fit.refused
    assert (group.op, group.name) == ("latent_attention", "bfloat16")
    assert group.median_error < 0.03
    found = fit.calibration.kernels["latent_attention"]["bfloat16"].parameters
    assert (round(found.narrow_rows), round(found.wide_rows)) == (16, 128)
    assert found.bandwidth_fraction == pytest.approx(0.8, rel=0.05)
    assert found.reread_fraction == pytest.approx(0.5, rel=0.2)


def test_tiles_of_hopper_are_known():
    rows = kernel_table.from_columns(table(planted={"narrow_rows": 16.0}), "rows.csv", measured=True)
    found = calibrate(rows, H100, evidence="silicon").calibration.kernels["latent_attention"]["bfloat16"].parameters
    assert (found.narrow_rows, found.wide_rows) == pytest.approx((64, 64), rel=0.01)


def test_a_cpu_has_no_kernel_model():
    rows = kernel_table.from_columns(table(), "rows.csv", measured=True)
    with pytest.raises(InputError, match="latent_attention bfloat16: no kernel model for a CPU"):
        calibrate(rows, replace(H100, sm_count=0), evidence="live")


def test_step_uses_the_fit_or_the_attention_fallback():
    op = Op("attention", "latent_attention", 1, columns(batch=64, kv_len=4096, num_heads=16))
    options = {"dtype": "bfloat16", "kv_dtype": "bfloat16"}
    h100 = device_calibration.shipped("h100-sxm")
    fitted, fallback = (op_time.op_seconds(op, c, **options) for c in (h100, h100.without("latent_attention")))
    assert (fitted.evidence, fallback.evidence) == ("silicon", "theory")
    assert float(fitted.seconds.value) != float(fallback.seconds.value)
    assert float(fitted.seconds.upper / fitted.seconds.lower) < 0.6 * float(
        fallback.seconds.upper / fallback.seconds.lower
    )
    dense = {"num_heads": 16 * 1088 / 576, "num_kv_heads": 1, "head_dim": 288, "window": 0}
    by_hand = h100.kernel(
        "decode_attention", kv_dtype="bfloat16", head_dim=FALLBACK_HEAD_DIM
    ).without_l2_reuse.in_cuda_graph
    same = by_hand.seconds({**op.columns, **dense}, rates(H100, "bfloat16", "bfloat16"))
    assert float(fallback.seconds.value) == pytest.approx(float(same))


def test_unfitted_kv_dtype_uses_the_fallback():
    op = Op("attention", "latent_attention", 1, columns(batch=64, kv_len=4096, num_heads=16))
    l40s = device_calibration.shipped("l40s")  # its Triton kernels were measured with a cache in 16 bits only
    levels = [op_time.op_seconds(op, l40s, dtype="fp8", kv_dtype=kv).evidence for kv in ("bfloat16", "fp8")]
    assert levels == ["silicon", "theory"]


def test_evidence_of_gpus_without_rows_is_transferred_or_theory():
    op = Op("attention", "latent_attention", 1, columns(batch=64, kv_len=4096, num_heads=16))
    options = {"dtype": "bfloat16", "kv_dtype": "bfloat16"}
    for name, evidence in (("h800-sxm", "transferred"), ("h100-pcie", "transferred"), ("a100-sxm", "theory")):
        assert op_time.op_seconds(op, device_calibration.shipped(name), **options).evidence == evidence


def test_benchmark_and_step_agree_beyond_l2():
    rows = kernel_table.from_columns(table(1) | {"batch": ["256"], "kv_len": ["8192"]}, "rows.csv")
    out = benchmark_seconds(rows, {"h100-sxm": device_calibration.shipped("h100-sxm")})
    op = Op(
        "attention", "latent_attention", 1, columns(batch=256, kv_len=8192, num_heads=rows.numbers["num_heads"])
    )
    step = op_time.op_seconds(op, device_calibration.shipped("h100-sxm"), dtype="bfloat16", kv_dtype="bfloat16")
    assert out["predicted_s"] == pytest.approx(step.seconds.value, rel=1e-6)
    assert out["lower_s"] <= out["predicted_s"] <= out["upper_s"]


def test_alternate_head_counts_are_held_out():
    pytest.importorskip("pandas")
    pytest.importorskip("aiconfigurator_core")
    from gpu_validate.silicon import sampling

    train, test = (sampling.export("h200-sxm", "latent_attention", part=part) for part in ("train", "test"))
    assert sorted(train["num_heads"].unique()) == [2, 8, 32, 128]
    assert sorted(test["num_heads"].unique()) == [1, 4, 16, 64]
    assert set(train["framework"]) == {"trtllm"}
    again = sampling.export("h200-sxm", "latent_attention", part="repeat")
    assert set(again["kv_dtype"]) == {"bfloat16"}  # SGLang's rows of 8 bits time a conversion
    assert set(sampling.export("l40s", "latent_attention")["kernel_source"]) == {"triton"}
    with pytest.raises(InputError, match="no two frameworks measured one kind of latent_attention on l40s"):
        sampling.export("l40s", "latent_attention", part="repeat")
