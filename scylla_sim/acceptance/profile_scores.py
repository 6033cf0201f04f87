"""Errors of trees that are predicted from moved profiles, at drafts that no fit used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance import profiles, trees
from scylla_sim.acceptance.side_branches import branch_tokens_of_trees
from scylla_sim.acceptance.trained_profiles import TrainedProfiles, fit_branch_shift, fit_shift, nearest
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.checks import FloatArray, fail

Mask = NDArray[np.bool_]

HELD_OUT = {
    "draft": "one draft",
    "tokens and layers": "one draft, and all drafts with its tokens or its layers",
    "corner": "drafts with more tokens and more layers than all others",
    "more tokens": "drafts with more tokens than all others",
}
"""Name of a test -> the drafts that it predicts, or for the second one, that no fit uses."""


@dataclass(frozen=True)
class TreeScore:
    """Relative errors of predicted tokens per cycle.

    Attributes
    ----------
    held_out
        Name of the test in `HELD_OUT`.
    prediction
        ``own``, a law of `scylla_sim.acceptance.trained_profiles.SHIFTS`, ``nearest`` or ``iid``.
    side_branches
        Whether side branches have lower log-odds.
    n
        Number of predicted trees.
    median, p90, bias
        Median and 90th percentile of the absolute relative error, and mean of the signed one.
    """

    held_out: str
    prediction: str
    side_branches: bool
    n: int
    median: float
    p90: float
    bias: float


def splits(drafts: TrainedProfiles, held_out: str, corner: tuple[float, float]) -> list[tuple[Mask, Mask]]:
    """Return (drafts of the fit, predicted drafts) of a test.

    Parameters
    ----------
    drafts
        Measured drafts.
    held_out
        Name of the test in `HELD_OUT`.
    corner
        Largest tokens and layers of the fit, for the last two tests.

    Examples
    --------
    >>> drafts = TrainedProfiles(np.ones(2), np.array([1.0, 2]), np.full((2, 1, 1), 0.5), np.ones((2, 1)))
    >>> [mask.tolist() for mask in splits(drafts, "draft", (1, 1))[0]]
    [[False, True], [True, False]]
    """
    t, d = drafts.tokens, drafts.layers
    each = [np.arange(t.size) == index for index in range(t.size)]
    if held_out == "draft":
        return [(~one, one) for one in each]
    if held_out == "tokens and layers":
        return [((t != t[one]) & (d != d[one]), one) for one in each]
    many, deep = t > corner[0], d > corner[1]
    found = (~many & ~deep, many & deep) if held_out == "corner" else (~many, many)
    if not (found[0].any() and found[1].any()):
        raise fail("corner", f"{corner[0]:g},{corner[1]:g}", "leaves no draft on one side")
    return [found]


def iid_profiles(drafts: TrainedProfiles) -> TrainedProfiles:
    """Return the drafts with one acceptance rate, which gives the tokens per cycle of their longest chain."""
    length = drafts.profile.shape[1]
    rate = profiles.iid_rate(profiles.tokens_per_cycle(drafts.profile[..., 0]), length)
    return TrainedProfiles(drafts.tokens, drafts.layers, rate[:, None, None], drafts.cycles[:, :1])


def tree_scores(
    drafts: TrainedProfiles,
    measured: Sequence[DraftTree],
    tau: FloatArray,
    *,
    corner: tuple[float, float],
    forms: Sequence[str],
) -> Iterator[TreeScore]:
    """Yield the errors of every prediction in every test.

    Parameters
    ----------
    drafts
        Measured drafts with at least two numbers of tokens and of layers.
    measured
        Trees with which all drafts were measured.
    tau
        Their tokens per cycle, shape (n, trees).
    corner
        Largest tokens and layers of a fit in the tests of extrapolation.
    forms
        Laws of the shift.
    """
    for held_out in HELD_OUT:
        errors: dict[tuple[str, bool], list[FloatArray]] = {}
        for kept, out in splits(drafts, held_out, corner):
            for key, found in _predicted(drafts, measured, tau, kept, out, forms).items():
                errors.setdefault(key, []).append((found / tau[out] - 1.0).ravel())
        for (prediction, side), parts in errors.items():
            every = np.concatenate(parts)
            size = np.abs(every)
            yield TreeScore(
                held_out,
                prediction,
                side,
                every.size,
                float(np.median(size)),
                float(np.quantile(size, 0.9)),
                float(every.mean()),
            )


def _predicted(
    drafts: TrainedProfiles,
    measured: Sequence[DraftTree],
    tau: FloatArray,
    kept: Mask,
    out: Mask,
    forms: Sequence[str],
) -> dict[tuple[str, bool], FloatArray]:
    """Return the predicted tau of the drafts of a mask, shape (drafts, trees), by prediction."""
    fitted, tokens, layers = drafts.part(kept), drafts.tokens[out], drafts.layers[out]
    shift = fit_branch_shift(measured, tau[kept], fitted.profile)
    moved = {form: fit_shift(fitted, form).profile(tokens, layers) for form in forms}
    beside = [nearest(fitted, float(t), float(d)) for t, d in zip(tokens, layers)]
    every = {"own": drafts.profile[out], **moved, "nearest": fitted.profile[beside]}
    found = {(name, True): branch_tokens_of_trees(measured, profile, shift) for name, profile in every.items()}
    found |= {(name, False): branch_tokens_of_trees(measured, profile, 0.0) for name, profile in every.items()}
    rate = fit_shift(iid_profiles(fitted), forms[-1]).profile(tokens, layers)[:, 0, 0]
    depth, ranks = drafts.profile.shape[1:]
    iid = np.repeat(profiles.rank_profile(rate, ranks)[:, None, :], depth, axis=1)
    found["iid", False] = np.stack([trees.tokens_per_cycle(tree, iid) for tree in measured], axis=-1)
    return found
