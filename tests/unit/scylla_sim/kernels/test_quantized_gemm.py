"""GEMMs of 8 bits and fewer: tiles picked by tables, whole clusters, the sustained rate, the quantizer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.quantized_gemm import DISPATCH, GEMM_DISPATCHED, GEMM_QUANTIZED
from scylla_sim.kernels.registry import models_for
from scylla_sim.specs import catalog

DEVICES = {"hopper": "h100-sxm", "ada": "l40s", "blackwell": "b200-sxm"}


def seconds(device, m, n, k, **changed):
    """Return seconds by the prior with some parameters changed, without L2 reuse; arrays broadcast."""
    p = replace(GEMM_DISPATCHED.prior, **{"l2_ratio": 1.0, **changed})
    return evaluate(GEMM_DISPATCHED, p, {"m": m, "n": n, "k": k}, rates(catalog.hardware(device), "fp8"))


@pytest.mark.parametrize("family", DISPATCH)
def test_table_names_one_tile_for_every_gemm(family):
    m, n = np.meshgrid(
        [1, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 8192], [64, 1280, 1281, 4096, 4097, 8192, 8193, 10**5]
    )
    named = sum(
        (tile.m_above < m) & (m <= tile.m_to) & (tile.n_above < n) & (n <= tile.n_to) for tile in DISPATCH[family]
    )
    assert (named == 1).all()


def test_larger_tile_takes_longer_unless_memory_bound():
    m = np.array([128.0, 129.0])
    narrow = seconds("h100-sxm", m, 1024.0, 8192.0, quantiser_ratio=1e6)
    wide = seconds("h100-sxm", m, 16384.0, 8192.0, quantiser_ratio=1e6, overlap_norm=20.0)
    assert narrow[1] / narrow[0] > 1.3
    assert wide[1] / wide[0] < 1.02


def test_tiles_of_a_cluster_start_together():
    # 257 rows are three tiles of 128 and start as four, as 512 do; 256 are two
    alone = {"quantiser_ratio": 1e6, "bandwidth_fraction": 1e6, "sustained_fraction": 1e6}
    alone |= {"launch_s": 1e-9, "stage_s": 1e-15, "row_s": 1e-15}
    two, three, four = seconds("h100-sxm", np.array([256.0, 257.0, 512.0]), 16384.0, 2048.0, **alone)
    assert three == pytest.approx(four)
    assert three == pytest.approx(2 * two, rel=1e-3)


def test_sustained_fraction_slows_a_full_device_only():
    one, full = (
        seconds("l40s", m, n, 8192.0, sustained_fraction=0.3)
        / seconds("l40s", m, n, 8192.0, sustained_fraction=0.9)
        for m, n in ((16.0, 1024.0), (8192.0, 8192.0))
    )
    assert one < 1.01
    assert full > 1.8


def test_quantizer_time_is_proportional_to_rows():
    small, large = (
        seconds("b200-sxm", m, 4096.0, 4096.0) - seconds("b200-sxm", m, 4096.0, 4096.0, quantiser_ratio=1e9)
        for m in (8.0, 512.0)
    )
    assert large == pytest.approx(64 * small, rel=1e-3)


@pytest.mark.parametrize(("family", "device"), DEVICES.items())
def test_models_of_a_device_depend_on_its_family(family, device):
    assert catalog.hardware(device).family == family
    assert models_for("gemm", "fp8", catalog.hardware(device)) == (GEMM_DISPATCHED, GEMM_QUANTIZED)
    assert models_for("gemm", "sq", catalog.hardware("a100-sxm")) == (GEMM_QUANTIZED,)


def test_transferred_fit_uses_the_tile_table_of_the_new_family():
    shape = {"m": np.array([1.0, 100.0, 300.0]), "n": 4096.0, "k": 8192.0}
    kernel = device_calibration.shipped("h100-sxm").kernel("gemm", dtype="fp8").transferred(same_family=False)
    assert kernel.model == GEMM_DISPATCHED
    on = {name: kernel.seconds(shape, rates(catalog.hardware(name), "fp8")) for name in ("b200-sxm", "mi300x")}
    free = evaluate(GEMM_QUANTIZED, kernel.parameters, shape, rates(catalog.hardware("mi300x"), "fp8"))
    assert on["mi300x"] == pytest.approx(free)
    again = evaluate(GEMM_QUANTIZED, kernel.parameters, shape, rates(catalog.hardware("b200-sxm"), "fp8"))
    assert not np.allclose(on["b200-sxm"], again, rtol=0.01)


def test_quantizer_takes_a_minimum_per_row_by_hand():
    """4096 short rows of 10 ns each are 41 us, whatever their bytes; long rows take as long as their bytes."""
    free = {"bandwidth_fraction": 1e6, "compute_fraction": 1e6, "intensity": 1e-6, "sustained_fraction": 1e6}
    free |= {"launch_s": 1e-12, "stage_s": 1e-15, "quantiser_ratio": 1.0, "cold_ratio": 1e-9, "row_s": 1e-8}
    short = seconds("h100-sxm", 4096.0, 1024.0, 64.0, **free)
    assert short == pytest.approx(4096 * 1e-8, rel=1e-2)
    long = seconds("h100-sxm", 64.0, 1024.0, 65536.0, **free)
    assert long == pytest.approx(5 * 64 * 65536 / 3.35e12, rel=1e-2)


def test_quantizer_reads_inputs_beyond_l2_more_slowly():
    """50 MiB of L2: 1 MiB of input is inside, and 1 GiB is far outside."""
    free = {"bandwidth_fraction": 1e6, "compute_fraction": 1e6, "intensity": 1e-6, "sustained_fraction": 1e6}
    free |= {"launch_s": 1e-12, "stage_s": 1e-15, "quantiser_ratio": 1e-2, "row_s": 1e-15}
    for m, slower in ((64.0, 1.0), (65536.0, 1.5)):
        warm, cold = (seconds("h100-sxm", m, 1024.0, 8192.0, cold_ratio=ratio, **free) for ratio in (1e-9, 0.5))
        assert cold / warm == pytest.approx(slower, rel=1e-3)
