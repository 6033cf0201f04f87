"""Dynamic trees, against EAGLE-2's published gain, a full simulation and static trees."""

import numpy as np
import pytest

from scylla_sim.acceptance import dynamic_trees, positions, profiles, tree_search, trees
from scylla_sim.checks import InputError

# EAGLE's fixed tree. Source: SafeAILab/EAGLE, eagle/model/choices.py (mc_sim_7b_63).
EAGLE_TREE = trees.from_paths(
    [tuple(int(rank) for rank in path) for path in "0 1 2 3 00 01 02 10 11 20 21 30".split()]
    + [tuple(int(rank) for rank in path) for path in "000 001 002 010 011 020 021 100".split()]
    + [tuple(int(rank) for rank in path) for path in "0000 0001 0002 00000 00001".split()]
)
# Mean accepted tokens over all tasks, T = 0, A100. Source: hemingkx/Spec-Bench, Leaderboard.md.
SPEC_BENCH = {"vicuna-7b": (3.58, 4.34), "vicuna-13b": (3.64, 4.43)}


def decaying_mixture(first_rate, draft_len, top_k, **options):
    """Mixture with the default law over positions."""
    return dynamic_trees.mixture_of(
        positions.position_profile(first_rate, draft_len, exponent=0.66), top_k, **options
    )


def mixture_of(eagle_tau, confidence):
    """Return the mixture, with EAGLE-2's depth and width, under which EAGLE's fixed tree has a given tau."""

    def tau_of(rates):
        mixed = [decaying_mixture(rate, 6, 10, confidence=confidence) for rate in rates.ravel()]
        return np.array([trees.tokens_per_cycle(EAGLE_TREE, m.mean_profile) for m in mixed]).reshape(rates.shape)

    low, high = 0.5, 0.95
    for _ in range(15):
        middle = (low + high) / 2
        low, high = (middle, high) if tau_of(np.array(middle)) < eagle_tau else (low, middle)
    return decaying_mixture(low, 6, 10, confidence=confidence)


@pytest.mark.parametrize("target", SPEC_BENCH)
def test_eagle_2_from_eagle(target):
    """The confidence was fitted to Vicuna-7B; Vicuna-13B is a prediction. The error of 1,000 trees is 0.025."""
    fixed, dynamic = SPEC_BENCH[target]
    mixed = mixture_of(fixed, dynamic_trees.CONFIDENCE)
    tau, error = dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=10, verify_tokens=61, samples=1000, seed=1)
    assert error < 0.028
    assert tau == pytest.approx(dynamic, abs=0.05)
    best_static = trees.tokens_per_cycle(tree_search.best_tree(mixed.mean_profile, 60), mixed.mean_profile)
    assert tau / best_static == pytest.approx(1.06, abs=0.015), "what the dynamics are worth"


def test_without_confidence_the_dynamic_tree_is_the_static_one():
    mixed = decaying_mixture(0.7, 5, 4, confidence=0.0)
    tau, error = dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=4, verify_tokens=20, samples=5)
    tree = tree_search.beam_tree(mixed.mean_profile, top_k=4, verify_tokens=20)
    assert tau == pytest.approx(float(trees.tokens_per_cycle(tree, mixed.mean_profile)))
    assert error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.1, 0.3])
def test_the_average_context_keeps_the_default_laws(confidence):
    mixed = decaying_mixture(0.75, 4, 10, confidence=confidence).mean_profile
    plain = decaying_mixture(0.75, 4, 10, confidence=0.0).mean_profile
    assert mixed[:, 0] == pytest.approx(plain[:, 0], abs=1e-9)
    assert np.cumsum(mixed, axis=1) == pytest.approx(np.cumsum(plain, axis=1), abs=0.02)


def test_tau_rises_with_the_confidence():
    taus = []
    for confidence in (0.0, 0.1, 0.2, 0.3):
        mixed = decaying_mixture(0.75, 5, 6, confidence=confidence)
        taus.append(dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=6, verify_tokens=30, samples=4000, seed=2))
    gains = np.diff([tau for tau, _ in taus])
    assert (gains > 3 * max(error for _, error in taus)).all()


def test_a_full_simulation_of_drafting_and_acceptance_agrees():
    """Simulate 4,000 cycles with sampled contexts and target tokens; tau agrees within 4 standard errors."""
    mixed = decaying_mixture(0.7, 3, 3, confidence=0.4)
    p, rng, cycles = mixed.rank_probability, np.random.default_rng(9), 4000
    tokens = np.ones(cycles)
    for cycle in range(cycles):
        known = {}  # path -> (confidence, class of the context after it)
        beam = [()]
        known[()] = (1.0, rng.integers(len(p)))
        for depth in range(3):
            grown = []
            for path in beam:
                value, kind = known[path]
                for rank in range(3):
                    known[(*path, rank)] = (value * p[kind, depth, rank], rng.integers(len(p)))
                    grown.append((*path, rank))
            beam = sorted(grown, key=lambda path: -known[path][0])[:3]
        chosen = sorted((path for path in known if path), key=lambda path: -known[path][0])[:8]
        path = ()
        while len(path) < 3:
            ranks = p[known[path][1], len(path)]
            rank = int(np.searchsorted(np.cumsum(ranks), rng.random(), side="right"))
            if (*path, rank) not in chosen:
                break
            path = (*path, rank)
            tokens[cycle] += 1
    tau, error = dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=3, verify_tokens=9, samples=4000, seed=3)
    assert tau == pytest.approx(tokens.mean(), abs=4 * np.hypot(error, tokens.std() / np.sqrt(cycles)))


def test_the_same_seed_gives_the_same_tau():
    mixed = decaying_mixture(0.7, 3, 3)
    one, same, other = (
        dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=3, verify_tokens=9, samples=50, seed=s)
        for s in (4, 4, 5)
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decaying_mixture(0.7, 3, 3, confidence=1.0), r"confidence=1 must lie in \[0, 0.999\]"),
        (lambda: dynamic_trees.Mixture(np.array([[0.5, 0.2]])), "must have the shape"),
        (lambda: dynamic_trees.Mixture(np.array([[[0.2, 0.5]]])), "must fall with the rank"),
        (
            lambda: dynamic_trees.dynamic_tokens_per_cycle(decaying_mixture(0.7, 2, 2), top_k=3, verify_tokens=4),
            "top_k=3 exceeds the 2 ranks",
        ),
        (
            lambda: dynamic_trees.dynamic_tokens_per_cycle(decaying_mixture(0.7, 2, 2), top_k=2, verify_tokens=9),
            "verify_tokens=9 exceeds the 7 tokens",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_rates_zero_and_one():
    for rate in (0.0, 1.0):
        mixed = decaying_mixture(rate, 3, 2)
        tau, _ = dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=2, verify_tokens=5, samples=4)
        assert tau == pytest.approx(1 + 3 * rate)
        assert profiles.check_rank_profile(mixed.mean_profile).shape == (3, 2)
