"""Posterior mode: intervals of parameters, and finite differences that are computed in one call."""

import numpy as np
import pytest
from kernel_rows import H100

from scylla_sim.calibration import posterior_mode
from scylla_sim.calibration.posterior_mode import PosteriorMode, parameter_intervals
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate


def test_intervals_of_parameters_hold_90_percent():
    sd = 0.1
    mode = PosteriorMode(np.log(GEMM_TILES.starting_points()[0]), sd**2 * np.eye(len(GEMM_TILES.parameters)), 0.0)
    for name, item in parameter_intervals(GEMM_TILES, mode).items():
        value = getattr(GEMM_TILES.prior, name)
        ends = [item["lower"], item["value"], item["upper"]]
        assert ends == pytest.approx([value * np.exp(-1.645 * sd), value, value * np.exp(1.645 * sd)])


def test_many_sets_of_parameters_are_evaluated_as_one_by_one(monkeypatch):
    columns = {name: np.array([64.0, 1024.0, 4096.0]) for name in ("m", "n", "k")}
    thetas = np.log(GEMM_TILES.starting_points()[0]) + 0.3 * np.eye(len(GEMM_TILES.parameters))
    r = rates(H100, "bfloat16")
    alone = [
        evaluate(GEMM_TILES, GEMM_TILES.with_values(np.exp(theta).tolist()), columns, r).tolist()
        for theta in thetas
    ]
    assert np.ptp(alone, axis=0).min() > 0.0
    for block in (1, 7, 10_000):
        monkeypatch.setattr(posterior_mode, "BLOCK", block)
        found = posterior_mode._seconds_of(GEMM_TILES, thetas, columns, r)
        assert found == pytest.approx(np.array(alone), rel=1e-12)


def test_finite_differences_are_those_of_scipy():
    from scipy.optimize._numdiff import approx_derivative

    def function(points):
        x, y = points[..., 0], points[..., 1]
        return np.stack([np.exp(x) * y, x**3, y - 2.0 * x], axis=-1)

    at = np.array([-12.5, 0.7])
    assert (
        posterior_mode._forward_differences(function, at).tolist()
        == approx_derivative(function, at, method="2-point").tolist()
    )
