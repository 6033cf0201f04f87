"""Properties of the number of cycles of a generation, over random profiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.acceptance import generation
from scylla_sim.acceptance import profiles as acceptance_profiles
from scylla_sim.testing.strategies import profiles


@given(profiles(max_len=6), st.integers(1, 200))
def test_cycles_are_a_distribution_with_the_right_ends(alpha, tokens):
    p = generation.cycles_distribution(alpha, tokens)
    assert p.sum() == pytest.approx(1)
    assert (p >= 0).all()
    assert p.size <= tokens + 1
    assert p[: -(-tokens // (len(alpha) + 1))].sum() < 1e-12, "not even all accepted gets there sooner"


@given(profiles(max_len=6), st.integers(1, 200))
def test_the_mean_satisfies_the_renewal_equation(alpha, tokens):
    """m(n) = 1 + sum over j of P(a cycle emits j) m(n - j)."""
    step = acceptance_profiles.cycle_distribution(alpha)
    mean = np.zeros(tokens + 1)
    for n in range(1, tokens + 1):
        mean[n] = 1 + sum(step[j - 1] * mean[max(n - j, 0)] for j in range(1, step.size + 1))
    p = generation.cycles_distribution(alpha, tokens)
    assert p @ np.arange(p.size) == pytest.approx(mean[tokens], rel=1e-9)


@given(profiles(max_len=6), st.integers(1, 300))
def test_a_generation_has_at_most_tau_tokens_per_cycle(alpha, tokens):
    worth = generation.generation_tokens_per_cycle(alpha, tokens)
    tau = float(acceptance_profiles.tokens_per_cycle(alpha))
    assert 1 - 1e-12 <= worth <= tau + 1e-9
    # Wald: what the last cycle throws away is less than draft_len tokens.
    assert worth >= tau * tokens / (tokens + len(alpha)) - 1e-9


@given(st.integers(1, 6), st.integers(1, 100))
def test_certain_acceptance_gives_a_certain_number_of_cycles(gamma, tokens):
    assert generation.cycles_quantile(np.ones(gamma), tokens, 0.5) == -(-tokens // (gamma + 1))
    assert generation.cycles_quantile(np.zeros(gamma), tokens, 0.5) == tokens


@settings(max_examples=10, deadline=None)
@given(profiles(max_len=6), st.integers(5, 60), st.integers(0, 2**32 - 1))
def test_a_simulation_agrees(alpha, tokens, seed):
    """The mean of 4,000 generations agrees within 5 standard errors.

    Their distribution function agrees within 0.04, the Dvoretzky-Kiefer-Wolfowitz bound for probability 5e-6.
    """
    rng = np.random.default_rng(seed)
    runs = 4000
    accepted = rng.random((runs, tokens, len(alpha))) < alpha
    emitted = 1 + np.cumprod(accepted, axis=2).sum(axis=2)
    cycles = 1 + (np.cumsum(emitted, axis=1) < tokens).sum(axis=1)
    p = generation.cycles_distribution(alpha, tokens)
    mean = p @ np.arange(p.size)
    assert abs(cycles.mean() - mean) <= 5 * cycles.std() / np.sqrt(runs) + 0.01
    seen = np.bincount(cycles, minlength=p.size)[: p.size] / runs
    assert np.abs(np.cumsum(seen) - np.cumsum(p)).max() <= 0.04
