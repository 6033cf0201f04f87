"""Overheads of an engine, fitted to made-up observations."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.overhead_fit import MIN_FIT_ROWS, Observation, fit_engine

BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def test_overheads_are_recovered():
    observed = [
        Observation(
            1e-3, {"host_s": 1.0, "token_s": b, "launch_s": 10.0 * (i % 2)}, 3e-3 + 2e-5 * b + 1e-4 * (i % 2)
        )
        for i, b in enumerate(BATCHES)
    ]
    engine = fit_engine("mine", observed)
    assert (engine.host_s, engine.token_s) == (pytest.approx(2e-3), pytest.approx(2e-5))
    assert engine.launch_s == pytest.approx(1e-5)
    assert engine.eager


def test_overheads_are_never_negative():
    observed = [Observation(2e-3, {"host_s": 1.0}, 1e-3) for _ in BATCHES]
    assert fit_engine("mine", observed).host_s == 0.0


def test_a_fit_needs_enough_times():
    with pytest.raises(InputError, match=f"must be at least {MIN_FIT_ROWS}"):
        fit_engine("mine", [Observation(1e-3, {"host_s": 1.0}, 2e-3)] * (MIN_FIT_ROWS - 1))
    assert np.isfinite(fit_engine("mine", [Observation(1e-3, {"host_s": 1.0}, 2e-3)] * MIN_FIT_ROWS).host_s)
