"""Rows of the record: tokens per cycle by draft, training tokens, domain, temperature and tree.

Each value has the standard error of its sampling, clustered by window. The gain over the one-layer draft of the
same run is paired by window. The standard errors do not include the spread over training seeds; each row has its
seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.training.acceptance import (
    PROFILE_WIDTH,
    FloatArray,
    Mean,
    accepted,
    first_choices,
    mean_over_windows,
    rank_profile,
)
from gpu_validate.training.corpus import DOMAINS
from gpu_validate.training.outcomes import Snapshot
from gpu_validate.training.plans import MAIN
from gpu_validate.training.points import Result, facts_of, point_results
from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import chain

TREE_NODES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


@dataclass(frozen=True)
class _Method:
    """Accepted drafted tokens of every cycle under one drafting method and temperature."""

    temperature: int
    drafting: str
    accepted: FloatArray


def _chains(snapshot: Snapshot) -> list[_Method]:
    """Return the longest chain, greedy at temperature 0 and sampled at temperature 1."""
    outcome = snapshot.outcome
    longest = chain(outcome.passed.shape[-1])
    greedy = accepted(longest, outcome.ranks[0]).astype(np.float64)
    return [_Method(0, "chain", greedy), _Method(1, "sampled-chain", outcome.passed.sum(-1))]


def _result(row: dict[str, Any], mean: Mean, cycles: int) -> Result:
    """Return row and summary of one mean; tokens per cycle include the target's own token."""
    named = [str(row[name]) for name in ("op", "arm", "decoder_layers", "train_tokens", "seed", "temperature")]
    named += [str(row[name]) for name in ("drafting", "nodes", "domain")]
    case = "-".join(named)
    summary = {
        "count": cycles,
        "windows": mean.windows,
        "stderr": mean.stderr,
        "stopping_reason": "max_samples",
    }
    return {"case": case, **row, "tokens_per_cycle": 1.0 + mean.value, "stderr": mean.stderr}, summary


def curve_results(snapshots: Sequence[Snapshot], domains: NDArray[np.int64]) -> Iterator[Result]:
    """Yield tokens per cycle of chains for every draft and training point, over all domains and by domain.

    Parameters
    ----------
    snapshots
        Measured drafts.
    domains
        Index of each window's domain, ``(windows,)``.
    """
    base = {(s.task.seed, s.tokens): s for s in snapshots if s.task.arms[s.arm].name == MAIN and _layers(s) == 1}
    for snapshot in snapshots:
        reference = base.get((snapshot.task.seed, snapshot.tokens))
        for method, other in zip(_chains(snapshot), _chains(reference) if reference else [None, None]):
            row = {
                "op": "acceptance",
                **facts_of(snapshot),
                "temperature": method.temperature,
                "drafting": method.drafting,
                "draft_len": snapshot.outcome.passed.shape[-1],
                "nodes": snapshot.outcome.passed.shape[-1],
            }
            gain: dict[str, Any] = {"gain": None, "gain_stderr": None}
            if other is not None and facts_of(snapshot)["arm"] == MAIN:
                paired = mean_over_windows(method.accepted - other.accepted, domains)
                gain = {"gain": paired.value, "gain_stderr": paired.stderr}
            mean = mean_over_windows(method.accepted, domains)
            yield _result({**row, "domain": "all", **gain}, mean, method.accepted.size)
            for index, name in enumerate(DOMAINS if facts_of(snapshot)["arm"] == MAIN else ()):
                inside = domains == index
                mean = mean_over_windows(method.accepted[inside], domains[inside])
                yield _result({**row, "domain": name}, mean, method.accepted[inside].size)


def _layers(snapshot: Snapshot) -> int:
    return snapshot.task.arms[snapshot.arm].layers


def tree_tokens(ranks: NDArray[np.int16], nodes: int) -> FloatArray:
    """Return the accepted drafted tokens of the best static tree.

    The tree is chosen on every second window and scored on the others, and vice versa.

    Parameters
    ----------
    ranks
        Ranks of the target's tokens, ``(windows, anchors, draft_len)``.
    nodes
        Nodes of the tree.

    Returns
    -------
    numpy.ndarray
        Accepted tokens, ``(windows, anchors)``.
    """
    count = np.zeros(ranks.shape[:2])
    for half in (0, 1):
        tree = best_tree(rank_profile(ranks[1 - half :: 2], PROFILE_WIDTH), nodes)
        count[half::2] = accepted(tree, ranks[half::2])
    return count


def tree_results(snapshots: Iterable[Snapshot], domains: NDArray[np.int64]) -> Iterator[Result]:
    """Yield tokens per cycle of static trees with `TREE_NODES` nodes, for the main drafts at their last point."""
    for snapshot in _last_of_main(snapshots):
        for temperature, ranks in enumerate(snapshot.outcome.ranks):
            for nodes in TREE_NODES:
                mean = mean_over_windows(tree_tokens(ranks, nodes), domains)
                yield _tree_result(snapshot, temperature, "tree", nodes, mean)


def _tree_result(snapshot: Snapshot, temperature: int, drafting: str, nodes: int, mean: Mean) -> Result:
    """Return row and summary of a static tree over all domains."""
    windows, anchors, draft_len = snapshot.outcome.ranks[temperature].shape
    row = {
        "op": "acceptance",
        **facts_of(snapshot),
        "temperature": temperature,
        "drafting": drafting,
        "draft_len": draft_len,
        "nodes": nodes,
        "domain": "all",
    }
    return _result(row, mean, windows * anchors)


def _last_of_main(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Return the main drafts of every seed at its last measured point."""
    every = [s for s in snapshots if s.task.arms[s.arm].name == MAIN]
    last = {s.task.name: s.tokens for s in sorted(every, key=lambda s: s.tokens)}
    return [s for s in every if s.tokens == last[s.task.name]]


def profile_results(snapshots: Iterable[Snapshot]) -> Iterator[Result]:
    """Yield rank profiles of the main drafts at their last point, pooled over the seeds that reached it."""
    by_layers: dict[int, list[Snapshot]] = {}
    for snapshot in _last_of_main(snapshots):
        by_layers.setdefault(_layers(snapshot), []).append(snapshot)
    for layers, found in sorted(by_layers.items()):
        most = max(member.tokens for member in found)
        members = [member for member in found if member.tokens == most]
        for temperature in (0, 1):
            ranks = np.concatenate([member.outcome.ranks[temperature] for member in members])
            profile = rank_profile(ranks, PROFILE_WIDTH)
            reached = first_choices(ranks)
            for depth, rank in np.ndindex(profile.shape):
                probability = float(profile[depth, rank])
                row = {
                    "case": f"rank-{layers}-{members[0].tokens}-{temperature}-{depth + 1}-{rank}",
                    "op": "rank",
                    "arm": MAIN,
                    "decoder_layers": layers,
                    "train_tokens": members[0].tokens,
                    "temperature": temperature,
                    "depth": depth + 1,
                    "rank": rank,
                    "probability": probability,
                }
                cycles = int(reached[depth])
                stderr = float(np.sqrt(probability * (1 - probability) / max(cycles, 1)))
                yield row, {"count": cycles, "stderr": stderr, "stopping_reason": "max_samples"}


def results(
    snapshots: Sequence[Snapshot], domains: Mapping[str, NDArray[np.int64]], *, every_point: bool = False
) -> list[Result]:
    """Return all rows of a plan.

    Parameters
    ----------
    snapshots
        Measured drafts, at least one.
    domains
        Split -> index of each window's domain, ``(windows,)``.
    every_point
        Whether trees and rank profiles are those of every point, as ``--axis joint`` wants, or of the last one.
    """
    split = snapshots[0].task.split
    found = list(curve_results(snapshots, domains[split]))
    if every_point:
        return [*found, *point_results(snapshots, domains[split])]
    return [*found, *tree_results(snapshots, domains[split]), *profile_results(snapshots)]
