"""Rows of every point of a joint plan: the rank profile of a draft, and the tokens of trees that drafts share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.records.fixed_trees import FIXED_NODES, fixed_tree
from gpu_validate.training.acceptance import (
    PROFILE_WIDTH,
    FloatArray,
    RankArray,
    accepted,
    first_choices,
    mean_over_windows,
    rank_profile,
)
from gpu_validate.training.corpus import DOMAINS
from gpu_validate.training.outcomes import Snapshot

_DIGITS = 5
"""Digits of a probability; its standard error is at least ten times as large as the rounding."""
Result = tuple[dict[str, Any], dict[str, Any]]
"""Row of a case, and the summary of its samples."""


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
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


def branch_profile(ranks: RankArray, width: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the rank profile of side branches, ``(draft_len, width)``, and the cycles behind each depth.

    A cycle is in a side branch if all earlier tokens were among the first ``width`` choices, and not all of them
    were first choices. The first depth has no side branch.

    Examples
    --------
    >>> profile, cycles = branch_profile(np.array([[0, 0], [1, 0], [1, 1], [2, 9]]), 2)
    >>> profile.tolist(), cycles.tolist()
    ([[0.0, 0.0], [0.5, 0.5]], [0, 2])
    """
    flat = ranks.reshape(-1, ranks.shape[-1])
    before = np.pad(flat[:, :-1], ((0, 0), (1, 0)))
    visible = np.cumprod(before < width, axis=1, dtype=bool)
    active = visible & ~np.cumprod(before == 0, axis=1, dtype=bool)
    cycles = active.sum(0)
    counts = np.stack([((flat == rank) & active).sum(0) for rank in range(width)], axis=1)
    return np.asarray(counts / np.maximum(cycles, 1)[:, None]), cycles


def point_results(snapshots: Iterable[Snapshot], domains: NDArray[np.int64]) -> Iterator[Result]:
    """Yield two rows for every draft, point, temperature and, at temperature 0, domain.

    Row ``profile`` holds the rank profile after first choices and that of side branches, shape (draft_len, ranks),
    with the cycles that reached each depth. Row ``fixed-tree`` holds the tokens per cycle of `fixed_tree` by nodes.
    """
    for snapshot in snapshots:
        for temperature, ranks in enumerate(snapshot.outcome.ranks):
            for domain in ("all", *DOMAINS) if temperature == 0 else ("all",):
                chosen = np.full(domains.shape, True) if domain == "all" else domains == DOMAINS.index(domain)
                facts = {**facts_of(snapshot), "temperature": temperature, "domain": domain}
                yield _profile(facts, ranks[chosen])
                yield _trees(facts, ranks[chosen], domains[chosen])


def _case(op: str, facts: dict[str, Any]) -> str:
    """Return the name of a case."""
    names = ("decoder_layers", "train_tokens", "seed", "temperature", "domain")
    return "-".join([op, *(str(facts[name]) for name in names)])


def _profile(facts: dict[str, Any], ranks: RankArray) -> Result:
    """Return row and summary of the rank profiles."""
    reached = first_choices(ranks)
    branches, cycles = branch_profile(ranks, PROFILE_WIDTH)
    row = {
        "case": _case("profile", facts),
        "op": "profile",
        **facts,
        "profile": _rounded_down(rank_profile(ranks, PROFILE_WIDTH)),
        "reached": reached.tolist(),
        "branch_profile": _rounded_down(branches),
        "branch_reached": cycles.tolist(),
    }
    rate = float((ranks[..., 0] == 0).mean())
    stderr = float(np.sqrt(rate * (1 - rate) / reached[0]))
    return row, {"count": int(reached[0]), "stderr": stderr, "stopping_reason": "max_samples"}


def _rounded_down(profile: FloatArray) -> list[list[float]]:
    """Return a profile with few digits; the ranks of a depth still sum to at most 1."""
    kept: list[list[float]] = (np.floor(profile * 10**_DIGITS) / 10**_DIGITS).tolist()
    return kept


def _trees(facts: dict[str, Any], ranks: RankArray, domains: NDArray[np.int64]) -> Result:
    """Return row and summary of the trees; the summary has the largest standard error of them."""
    draft_len = ranks.shape[-1]
    trees = [fixed_tree(nodes, draft_len) for nodes in FIXED_NODES]
    means = [mean_over_windows(accepted(tree, ranks), domains) for tree in trees]
    row = {
        "case": _case("fixed-tree", facts),
        "op": "fixed-tree",
        **facts,
        "draft_len": draft_len,
        "tree_nodes": list(FIXED_NODES),
        "tree_tokens": [round(1.0 + mean.value, _DIGITS) for mean in means],
        "tree_stderr": [round(mean.stderr, _DIGITS) for mean in means],
    }
    stderr = max(mean.stderr for mean in means)
    return row, {"count": ranks[..., 0].size, "stderr": stderr, "stopping_reason": "max_samples"}
