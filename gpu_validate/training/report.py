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
from scylla_sim.acceptance.tree_search import best_tree
from scylla_sim.acceptance.trees import DraftTree, chain

TREE_NODES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
FIXED_NODES = (4, 8, 16, 24, 32, 48, 60)
Result = tuple[dict[str, Any], dict[str, Any]]


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


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    """Return the columns that identify a draft and its training."""
    arm = snapshot.task.arms[snapshot.arm]
    return {
        "arm": arm.name,
        "target": snapshot.task.target,
        "seed": snapshot.task.seed,
        "decoder_layers": arm.layers,
        "parameters": snapshot.parameters,
        "train_tokens": snapshot.tokens,
        "learning_rate": arm.draft.lr,
    }


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
                **_facts(snapshot),
                "temperature": method.temperature,
                "drafting": method.drafting,
                "draft_len": snapshot.outcome.passed.shape[-1],
                "nodes": snapshot.outcome.passed.shape[-1],
            }
            gain: dict[str, Any] = {"gain": None, "gain_stderr": None}
            if other is not None and _facts(snapshot)["arm"] == MAIN:
                paired = mean_over_windows(method.accepted - other.accepted, domains)
                gain = {"gain": paired.value, "gain_stderr": paired.stderr}
            mean = mean_over_windows(method.accepted, domains)
            yield _result({**row, "domain": "all", **gain}, mean, method.accepted.size)
            for index, name in enumerate(DOMAINS if _facts(snapshot)["arm"] == MAIN else ()):
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
        **_facts(snapshot),
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


def fixed_tree(nodes: int, draft_len: int) -> DraftTree:
    """Return the tree of a number of nodes that every draft of ``--axis joint`` is measured with.

    It is the best tree of a given profile: the choice of rank r is right with probability 0.55 * 0.35^r at every
    depth. The same tree at every point shows how its tokens move with the training.

    Examples
    --------
    >>> fixed_tree(16, 6).draft_len
    5
    """
    return best_tree(np.tile(0.55 * 0.35 ** np.arange(PROFILE_WIDTH), (draft_len, 1)), nodes)


def fixed_tree_results(snapshots: Iterable[Snapshot], domains: NDArray[np.int64]) -> Iterator[Result]:
    """Yield tokens per cycle of `fixed_tree` with `FIXED_NODES` nodes, for the main drafts at every point."""
    for snapshot in snapshots:
        for temperature, ranks in enumerate(snapshot.outcome.ranks):
            for nodes in FIXED_NODES:
                count = accepted(fixed_tree(nodes, ranks.shape[-1]), ranks)
                mean = mean_over_windows(count, domains)
                yield _tree_result(snapshot, temperature, "fixed-tree", nodes, mean)


def profile_tables(snapshots: Iterable[Snapshot], domains: NDArray[np.int64]) -> Iterator[Result]:
    """Yield the rank profile of every draft at every point, by temperature and, at temperature 0, by domain.

    A row holds the whole profile, shape (draft_len, ranks), and the cycles that reached each depth.
    """
    for snapshot in snapshots:
        for temperature, ranks in enumerate(snapshot.outcome.ranks):
            for domain in ("all", *DOMAINS) if temperature == 0 else ("all",):
                inside = ranks if domain == "all" else ranks[domains == DOMAINS.index(domain)]
                facts = _facts(snapshot)
                named = [str(facts[name]) for name in ("decoder_layers", "train_tokens", "seed")]
                reached = first_choices(inside)
                row = {
                    "case": "-".join(["profile", *named, str(temperature), domain]),
                    "op": "profile",
                    **facts,
                    "temperature": temperature,
                    "domain": domain,
                    "profile": rank_profile(inside, PROFILE_WIDTH).round(6).tolist(),
                    "reached": reached.tolist(),
                }
                rate = float((inside[..., 0] == 0).mean())
                stderr = float(np.sqrt(rate * (1 - rate) / reached[0]))
                yield row, {"count": int(reached[0]), "stderr": stderr, "stopping_reason": "max_samples"}


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
        return [*found, *fixed_tree_results(snapshots, domains[split]), *profile_tables(snapshots, domains[split])]
    return [*found, *tree_results(snapshots, domains[split]), *profile_results(snapshots)]
