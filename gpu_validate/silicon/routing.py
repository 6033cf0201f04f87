"""How the benchmark behind the package's layers of experts spreads rows over experts.

Balanced rows are dealt out evenly. A power law draws the load of every expert from a density x^-alpha between 1 and
0.8 of the tokens (between 0.01 and 2 where there are fewer rows than experts), scales the loads to the rows there
are, and rounds them. No expert takes more rows than there are tokens; rows that are then missing go to the least
loaded experts, rows too many are taken from the most loaded. The benchmark averages five draws it does not record,
so a row of it is described by expectations.

Source: NVIDIA's aiconfigurator (Apache-2.0), collector/helper.py, `balanced_logits` and `power_law_logits_v3`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.ops.expert_routing import LAST_ROWS, LOADS, TILE_ROWS, even_loads

BALANCED = "balanced"
POWER_LAW = "power_law_"
DRAWS = 64
"""Routings averaged: the tiles they fill are then known within 1 %; those of five measured draws scatter by 4 %."""

Counts = NDArray[np.int64]


def _raise_least(counts: Counts, rows: int) -> Counts:
    """Give ``rows`` more rows, one after the other, to the expert that has fewest at the time."""
    order = np.argsort(counts, kind="stable")
    level = counts[order]
    # rows that raise all experts before one to its own level
    needed = np.arange(1, level.size + 1) * level - np.cumsum(level)
    raised = int(np.searchsorted(needed, rows, side="right"))
    each, rest = divmod(rows - int(needed[raised - 1]), raised)
    level[:raised] = level[raised - 1] + each
    level[:rest] += 1
    found = np.empty_like(counts)
    found[order] = level
    return found


def power_law_counts(
    tokens: int, experts: int, chosen: int, alpha: float, rng: np.random.Generator, draws: int = DRAWS
) -> Counts:
    """Rows of every expert in ``draws`` routings of ``tokens`` tokens, each to ``chosen`` of ``experts``.

    Returns
    -------
    Shape (draws, experts); every line sums to ``tokens`` times ``chosen`` and holds at most ``tokens``.

    Examples
    --------
    >>> counts = power_law_counts(64, 8, 2, 1.2, np.random.default_rng(0), draws=3)
    >>> counts.sum(axis=1).tolist(), bool(counts.max() <= 64)
    ([128, 128, 128], True)
    """
    routed = tokens * chosen
    low, high = (1.0, 0.8 * tokens) if routed > experts else (0.01, 2.0)
    flat = 1.0 - alpha
    loads = (low**flat + rng.random((draws, experts)) * (high**flat - low**flat)) ** (1.0 / flat)
    counts: Counts = np.rint(loads / loads.sum(axis=1, keepdims=True) * routed).astype(np.int64).clip(max=tokens)
    for at, missing in enumerate((routed - counts.sum(axis=1)).tolist()):
        if missing > 0:
            counts[at] = _raise_least(counts[at], missing)
        elif missing < 0:
            counts[at] = -_raise_least(-counts[at], -missing)
    return counts


@cache
def _expected(tokens: int, experts: int, chosen: int, distribution: str) -> tuple[float, ...]:
    """Columns `LOADS` of one row, in their order."""
    routed = tokens * chosen
    if distribution == BALANCED:
        loads = even_loads(routed, min(routed, experts))
        return tuple(float(loads[name]) for name in LOADS)
    try:
        alpha = float(distribution.removeprefix(POWER_LAW))
    except ValueError:
        raise fail("distribution", distribution, f"must be {BALANCED} or {POWER_LAW}ALPHA") from None
    rng = np.random.default_rng([tokens, experts, chosen])
    counts = power_law_counts(tokens, experts, chosen, alpha, rng)
    met = (counts > 0).sum(axis=1)
    tiles = [-(-counts // rows).sum(axis=1) for rows in TILE_ROWS]
    ragged = (counts % LAST_ROWS > 0).sum(axis=1)
    return tuple(float(value.mean()) for value in (met, *tiles, ragged))


def expected_loads(rows: Iterable[tuple[int, int, int, str]]) -> dict[str, FloatArray]:
    """Columns `LOADS` of measured rows, each given by its tokens, experts, experts per token and distribution."""
    table = np.array([_expected(*row) for row in rows], dtype=np.float64).reshape(-1, len(LOADS))
    return dict(zip(LOADS, table.T))
