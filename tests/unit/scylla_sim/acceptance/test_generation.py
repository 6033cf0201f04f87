"""Cycles of a whole generation, by hand and against a simulation."""

import numpy as np
import pytest

from scylla_sim.acceptance import generation
from scylla_sim.checks import InputError


def test_two_tokens_by_hand():
    """The first cycle emits two tokens with probability 0.5; otherwise a second cycle is needed."""
    assert generation.cycles_distribution([0.5], 2).tolist() == [0.0, 0.5, 0.5]
    assert generation.generation_tokens_per_cycle([0.5], 2) == pytest.approx(2 / 1.5)


def test_distribution_agrees_with_a_simulation():
    rng, rates, tokens, runs = np.random.default_rng(3), np.array([0.8, 0.6]), 40, 4000
    emitted = 1 + np.cumprod(rng.random((runs, tokens, 2)) < rates, axis=2).sum(axis=2)
    cycles = 1 + (np.cumsum(emitted, axis=1) < tokens).sum(axis=1)
    distribution = generation.cycles_distribution(rates, tokens)
    mean = float(distribution @ np.arange(distribution.size))
    assert cycles.mean() == pytest.approx(mean, abs=4 * cycles.std() / runs**0.5)
    assert generation.cycles_quantile(rates, tokens, 0.5) == int(np.median(cycles))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="acceptance_rate=.* must be one profile"):
        generation.cycles_distribution([[0.5], [0.6]], 4)
    with pytest.raises(InputError, match="num_tokens=0 must be at least 1"):
        generation.cycles_distribution([0.5], 0)
