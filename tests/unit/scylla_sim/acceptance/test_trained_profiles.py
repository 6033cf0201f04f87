"""Rank profiles that move with training tokens and layers, and trees with side branches."""

from __future__ import annotations

import numpy as np
import pytest

from scylla_sim.acceptance.profile_scores import HELD_OUT, iid_profiles, splits, tree_scores
from scylla_sim.acceptance.side_branches import branch_tokens_per_cycle, from_log_odds, to_log_odds
from scylla_sim.acceptance.trained_profiles import (
    SHIFTS,
    TrainedProfiles,
    fit_branch_shift,
    fit_shift,
    nearest,
)
from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import DraftTree, chain, from_paths, full_tree, tokens_per_cycle
from scylla_sim.checks import InputError

RANKS, DEPTH, BRANCH = 4, 3, 0.5
BASE = np.array([[-0.5, 0.3, 0.8, 1.2], [0.0, 0.8, 1.3, 1.6], [0.1, 0.9, 1.3, 1.7]])
SLOPES = np.array([[1.8, 0.1, 0.4, 0.1], [1.6, 0.1, 0.3, 0.1], [1.5, 0.0, 0.2, 0.1]])
EXPONENT = 0.4


def grid(form: str = "power-interaction") -> TrainedProfiles:
    """Drafts of 6 x 4 trainings whose log-odds follow a law without noise."""
    tokens, layers = (one.ravel() for one in np.meshgrid(2.0 ** np.arange(6), [1.0, 2, 4, 8]))
    t, d = np.log(tokens), np.log(layers)
    terms = np.stack(SHIFTS[form].terms(t, d, np.exp(-EXPONENT * t)), axis=-1)
    size = 1.0 if SHIFTS[form].exponents[1:] else 0.2
    odds = BASE + size * (terms @ SLOPES[:, : terms.shape[-1]].T)[..., None]
    return TrainedProfiles(tokens, layers, from_log_odds(odds), np.full((24, DEPTH), 1e5))


def trees() -> list[DraftTree]:
    profile = np.tile(0.5 * 0.4 ** np.arange(RANKS), (DEPTH, 1))
    return [best_tree(profile, nodes) for nodes in (8, 16, 24)]


def taus(drafts: TrainedProfiles) -> np.ndarray:
    return np.stack([branch_tokens_per_cycle(tree, drafts.profile, BRANCH) for tree in trees()], axis=-1)


def test_log_odds_and_profiles_are_inverse() -> None:
    profile = np.array([[0.5, 0.2, 0.1], [0.7, 0.1, 0.05]])
    assert from_log_odds(to_log_odds(profile)) == pytest.approx(profile)
    assert np.isfinite(to_log_odds([[0.0, 1.0]], 100.0)).all()


def test_a_chain_has_no_side_branch() -> None:
    profile = np.array([[0.6, 0.2], [0.5, 0.1]])
    assert branch_tokens_per_cycle(chain(2), profile, 3.0) == pytest.approx(tokens_per_cycle(chain(2), profile))


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_node_behind_a_second_choice_has_lower_odds(shift: float) -> None:
    """Two choices at each of two depths; 0.4 after a second choice has the odds 2/3."""
    profile = np.array([[0.6, 0.2], [0.4, 0.3]])
    within = np.array([0.4, 0.7])
    side = float((within / (1 - within) * np.exp(-shift) / (1 + within / (1 - within) * np.exp(-shift)))[1])
    found = branch_tokens_per_cycle(full_tree([2, 2]), profile, shift)
    assert found == pytest.approx(1 + 0.8 + 0.6 * 0.7 + 0.2 * side)


def test_a_larger_fall_never_helps_a_tree() -> None:
    profile = grid().profile
    found = branch_tokens_per_cycle(trees()[1], profile[None], np.array([0.0, 0.5, 1.0])[:, None])
    assert (np.diff(found, axis=0) < 0).all()


@pytest.mark.parametrize("form", SHIFTS)
def test_a_law_is_found_again_at_drafts_that_it_was_not_fitted_to(form: str) -> None:
    drafts = grid(form)
    out = (drafts.tokens == 8) | (drafts.layers == 4)
    law = fit_shift(drafts.part(~out), form)
    assert law.profile(drafts.tokens[out], drafts.layers[out]) == pytest.approx(drafts.profile[out], abs=2e-4)
    if SHIFTS[form].exponents[1:]:
        assert law.exponent == EXPONENT


def test_only_a_law_by_rank_follows_ranks_that_move_apart() -> None:
    drafts = grid()
    ranks = np.arange(RANKS) * 0.3 * np.log(drafts.tokens)[:, None]
    apart = from_log_odds(to_log_odds(drafts.profile) + ranks[:, None, :])
    moved = TrainedProfiles(drafts.tokens, drafts.layers, apart, drafts.cycles)
    errors = {
        form: np.abs(fit_shift(moved, form).profile(moved.tokens, moved.layers) - apart).max()
        for form in ("power-interaction", "by-rank")
    }
    assert errors["by-rank"] < 0.03 < errors["power-interaction"]


def test_powers_saturate_and_logarithms_do_not() -> None:
    drafts = grid()
    power, line = (fit_shift(drafts, form).log_odds([1e6, 1e12], 1.0) for form in ("power", "sum"))
    assert np.abs(power[1] - power[0]).max() < 0.01 < np.abs(line[1] - line[0]).min()


def test_the_fall_in_side_branches_is_found_again() -> None:
    drafts = grid()
    assert fit_branch_shift(trees(), taus(drafts), drafts.profile) == pytest.approx(BRANCH)


def test_the_nearest_draft_is_the_one_at_the_smallest_ratio() -> None:
    drafts = grid()
    index = nearest(drafts, 9.0, 4.4)
    assert (drafts.tokens[index], drafts.layers[index]) == (8.0, 4.0)


def test_no_fit_sees_what_it_predicts() -> None:
    drafts = grid()
    for name in HELD_OUT:
        for kept, out in splits(drafts, name, (8.0, 2.0)):
            assert not (kept & out).any()
            if name == "tokens and layers":
                assert not np.isin(drafts.tokens[kept], drafts.tokens[out]).any()
                assert not np.isin(drafts.layers[kept], drafts.layers[out]).any()
            if name == "corner":
                assert drafts.tokens[out].min() > drafts.tokens[kept].max()
                assert drafts.layers[out].min() > drafts.layers[kept].max()


def test_moved_profiles_predict_trees_where_the_law_holds_and_neighbours_do_not() -> None:
    drafts = grid()
    scores = {
        (score.held_out, score.prediction, score.side_branches): score
        for score in tree_scores(drafts, trees(), taus(drafts), corner=(8.0, 2.0), forms=("power-interaction",))
    }
    for name in HELD_OUT:
        assert scores[name, "own", True].median < 1e-6
        assert scores[name, "power-interaction", True].p90 < 2e-3
        assert scores[name, "nearest", True].median > 0.01 < scores[name, "iid", False].median
        assert scores[name, "own", False].bias > 0.005


def test_iid_keeps_the_tokens_of_the_longest_chain() -> None:
    drafts = grid()
    rate = iid_profiles(drafts).profile[:, 0, 0]
    assert 1 + rate + rate**2 + rate**3 == pytest.approx(tokens_per_cycle(chain(3), drafts.profile))


def test_what_cannot_be_fitted_is_refused() -> None:
    drafts = grid()
    with pytest.raises(InputError, match="drafts=4 must be at least 5"):
        fit_shift(drafts.part(np.arange(24) < 4), "interaction")
    with pytest.raises(InputError, match="form='line'"):
        fit_shift(drafts, "line")
    with pytest.raises(InputError, match="leaves no draft"):
        splits(drafts, "corner", (1e9, 2.0))
    with pytest.raises(InputError, match="cycles"):
        TrainedProfiles(drafts.tokens, drafts.layers, drafts.profile, drafts.cycles[:, :2])


def test_everything_behind_a_side_branch_is_in_it() -> None:
    tree = from_paths([(0,), (1,), (1, 0), (1, 0, 0)])
    found = branch_tokens_per_cycle(tree, [[0.5, 0.25]] * 3, np.log(3.0))
    assert float(found) == pytest.approx(1.0 + 0.5 + 0.25 + 0.25**2 + 0.25**3)


def test_log_odds_are_weighted_by_their_binomial_variance() -> None:
    tokens, layers = np.array([1.0, 2, 4, 1, 2, 4]), np.array([1.0, 1, 1, 2, 2, 2])
    rate = np.array([0.3, 0.55, 0.6, 0.5, 0.85, 0.97])
    fitted = fit_shift(TrainedProfiles(tokens, layers, rate[:, None, None], np.full((6, 1), 1e6)), "sum")
    root = np.sqrt(rate * (1.0 - rate))
    terms = np.stack([np.ones(6), np.log(tokens), np.log(layers)], axis=1)
    best = np.linalg.lstsq(terms * root[:, None], np.log(rate / (1.0 - rate)) * root, rcond=None)[0]
    np.testing.assert_allclose([fitted.base[0, 0], *fitted.slopes[0, 0]], best, rtol=1e-9)
