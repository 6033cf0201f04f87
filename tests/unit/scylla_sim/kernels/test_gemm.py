"""Library GEMM models against hand-computed times."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_seconds import prior_seconds

from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import AS_ONE_GEMM, GEMM_ROOFLINE, GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.specs import catalog
from scylla_sim.specs.hardware import Hardware

H100 = catalog.hardware("h100-sxm")


def test_split_k_is_chosen_for_few_tiles():
    shape = {"m": 16, "n": 1024, "k": 16384}
    never = prior_seconds(GEMM_TILES, H100, {"split_s": 1.0}, **shape)
    assert prior_seconds(GEMM_TILES, H100, **shape) < 0.6 * never


def test_a_large_gemm_runs_at_the_sustained_rate_by_hand():
    """Half the peak, where tiles and memory are much faster: twice the datasheet's seconds, or more in a long one.

    At the peak the GEMM takes 1.11 ms; a throttle of 0.2 then adds 0.2 * 1.11 / 2.11 = 10.5 %.
    """
    fast = {"compute_fraction": 50.0, "intensity": 1e-3, "stage_s": 1e-12, "bandwidth_fraction": 50.0}
    shape = {"m": 8192, "n": 8192, "k": 8192}
    expected = 2.0 * 8192**3 / (0.5 * H100.peak("bf16"))
    half = fast | {"sustained_fraction": 0.5, "launch_s": 1e-12}
    for throttle, longer in ((1e-9, 1.0), (0.2, 1.1053)):
        given = prior_seconds(GEMM_TILES, H100, half | {"throttle": throttle}, **shape)
        assert given == pytest.approx(longer * expected, rel=1e-3)


def test_streams_overlap_by_their_own_norm_by_hand():
    """Tiles and memory of equal length add up at a norm of 1 and hide each other at a large norm."""
    equal = {"launch_s": 1e-12, "intensity": 1e-9, "compute_fraction": 1e9, "fill_depth": 1e-9, "split_s": 1.0}
    equal |= {"overlap_norm": 8.0, "crowding": 1e-9, "bandwidth_fraction": 1.0, "l2_ratio": 1.0}
    shape = {"m": 1, "n": 8192, "k": 8192}
    memory_s = 2.0 * (8192**2 + 2 * 8192) / H100.memory_bytes_per_s
    equal["stage_s"] = memory_s / 128.0  # 128 stages of 64 units of k, in one wave of 128-wide tiles
    for norm, times in ((1.0, 2.0), (40.0, 2.0 ** (1 / 40))):
        given = prior_seconds(GEMM_TILES, H100, equal | {"stream_norm": norm}, **shape)
        assert given == pytest.approx(times * memory_s, rel=1e-3)


def test_weights_stream_slower_past_many_rows_by_hand():
    """Half of the slowing with 16 rows, nearly all of it with 512, where nothing but memory takes time."""
    stream = {
        "compute_fraction": 1e3,
        "intensity": 1e-6,
        "stage_s": 1e-15,
        "sustained_fraction": 1e3,
        "launch_s": 1e-12,
    }
    for m, share in ((16, 1 / 2), (512, 512 / 528)):
        shape = {"m": m, "n": 8192, "k": 8192}
        crowded, free = (prior_seconds(GEMM_TILES, H100, stream | {"crowding": c}, **shape) for c in (0.2, 1e-12))
        assert crowded / free == pytest.approx(1 + 0.2 * share, rel=1e-4)


def test_fill_depth_equals_extra_k():
    tiles = {"fill_depth": 1024.0, "stage_s": 1e-6, "split_s": 1.0, "bandwidth_fraction": 1e3, "launch_s": 1e-12}
    filled = prior_seconds(GEMM_TILES, H100, tiles, m=64, n=8192, k=3072)
    longer = prior_seconds(GEMM_TILES, H100, tiles | {"fill_depth": 1e-9}, m=64, n=8192, k=4096)
    assert filled == pytest.approx(longer, rel=1e-3)


def test_partial_sums_are_moved_for_every_split():
    """64 x 64 outputs with a long k split in eight; nothing else takes time but tiles that wait for operands."""
    r = rates(H100, "bfloat16")
    none = {"launch_s": 1e-15, "stage_s": 1e-15, "split_s": 1e-15, "crowding": 1e-9, "wave_weight": 1e-9}
    wide = {"bandwidth_fraction": 1e9, "sustained_fraction": 1e9, "compute_fraction": 1e9, "fill_depth": 1e-3}
    p = replace(GEMM_TILES.prior, intensity=1000.0, overlap_norm=50.0, stream_norm=50.0, **none, **wide)
    shape = {name: np.asarray(value) for name, value in (("m", 64.0), ("n", 64.0), ("k", 2.0**15))}
    tiles = 1000.0 * (64 + 64) * (2.0**15 / 8) * r.sm_count / r.flop_per_s
    partial = 4.0 * 8 * 64 * 64 * 1000.0 / (2.0 * r.flop_per_s)
    assert float(evaluate(GEMM_TILES, p, shape, r)) == pytest.approx(tiles + partial, rel=1e-5)
    assert partial > 1e-4 * tiles


def test_a_cpu_multiplies_four_rows_at_a_time_and_one_row_waits_for_memory():
    cpu = Hardware("cpu", "cpu", 1e11, 1e11, {"fp32": 1e12})
    slow = {"bandwidth_fraction": 1e6, "half_rows": 1e-9, "launch_s": 1e-15}
    five, eight, one = (
        prior_seconds(GEMM_ROOFLINE, cpu, slow, "float32", m=m, n=1000.0, k=1000.0) for m in (5.0, 8.0, 1.0)
    )
    assert five == pytest.approx(eight, rel=1e-6)
    assert one < 1e-3 * five


def test_a_grouped_gemm_has_the_weights_of_all_its_groups():
    c = {name: np.asarray(value) for name, value in (("m", 60.0), ("n", 10.0), ("k", 4.0), ("groups", 3.0))}
    found = {name: float(value) for name, value in AS_ONE_GEMM.columns(c).items()}
    assert found == {"m": 20.0, "n": 30.0, "k": 4.0}
