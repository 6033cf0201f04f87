"""Parts of GEMM models by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.kernels import gemm_parts
from scylla_sim.kernels.device_rates import rates
from scylla_sim.specs import catalog

RATES = replace(rates(catalog.hardware("h100-sxm"), "bfloat16"), l2_bytes=5e7)


def shape(m: float, n: float, k: float) -> dict[str, np.ndarray]:
    return {"m": np.asarray(m), "n": np.asarray(n), "k": np.asarray(k)}


def test_weights_in_l2_count_less_and_weights_beyond_it_in_full():
    small, large = shape(1.0, 100.0, 100.0), shape(1.0, 1e5, 1e5)
    whole = 2.0 * (1e4 + 100.0 + 100.0)
    assert gemm_parts.gemm_moved_bytes(small, RATES, 4.0, 4.0) == pytest.approx(whole - 2e4 * 3 / 4)
    assert gemm_parts.gemm_moved_bytes(large, RATES, 4.0, 2.0) == pytest.approx(2.0 * (1e10 + 2e5))


def test_all_sms_together_compute_at_the_sustained_rate_and_long_gemms_slower():
    peak_s = 1e-3
    c = shape(1.0, 1.0, peak_s * RATES.flop_per_s / 2.0)
    found = gemm_parts.throttled_math_seconds(c, RATES, sustained_fraction=0.8, throttle=0.1)
    assert found == pytest.approx(peak_s / 0.8 * (1.0 + 0.1 / 2.0))


def test_a_partial_wave_is_charged_by_its_weight():
    assert gemm_parts.tile_waves(1.0, np.array(1.2)) == 2.0
    assert gemm_parts.tile_waves(0.25, np.array(1.2)) == pytest.approx(0.25 * 2.0 + 0.75 * 1.2)
    assert gemm_parts.tile_waves(0.0, np.array(0.3)) == 1.0
