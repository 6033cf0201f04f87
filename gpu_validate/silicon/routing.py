"""Loads of experts in the package's MoE benchmark.

Balanced rows are dealt out evenly. A power law draws the load of each expert from a density x^-alpha between 1 and
0.8 of the tokens. With fewer rows than experts, the range is 0.01 to 2. The loads are scaled to the number of rows
and rounded. No expert takes more rows than there are tokens. Missing rows go to the least loaded experts, surplus
rows are taken from the most loaded. The benchmark averages five draws that it does not record, so this module
returns expected values.

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
"""Prefix of the name of a distribution, before its exponent."""
DRAWS = 64
"""Number of averaged routings.

The expected number of tiles is then known within 1 %. Averages of five draws, as in the benchmark, scatter by 4 %.
"""

Counts = NDArray[np.int64]


def _raise_least(counts: Counts, rows: int) -> Counts:
    """Give ``rows`` more rows, one by one, to the expert with the fewest rows at that time."""
    order = np.argsort(counts, kind="stable")
    level = counts[order]
    # rows that raise all less loaded experts to the level of each expert
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
    """Draw the rows of each expert under a power law.

    Parameters
    ----------
    tokens
        Number of tokens.
    experts
        Number of experts.
    chosen
        Experts per token.
    alpha
        Exponent of the density of loads.
    rng
        Source of the draws.
    draws
        Number of independent routings.

    Returns
    -------
    numpy.ndarray
        Rows, shape ``(draws, experts)``. Each routing sums to ``tokens * chosen``. No value exceeds ``tokens``.

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
    """Return the columns `LOADS` of one MoE layer, in their order."""
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
    active = (counts > 0).sum(axis=1)
    tiles = [-(-counts // rows).sum(axis=1) for rows in TILE_ROWS]
    ragged = (counts % LAST_ROWS > 0).sum(axis=1)
    return tuple(float(value.mean()) for value in (active, *tiles, ragged))


def expected_loads(rows: Iterable[tuple[int, int, int, str]]) -> dict[str, FloatArray]:
    """Return the expected loads of measured MoE layers.

    Parameters
    ----------
    rows
        Tokens, experts, experts per token and distribution of each layer.

    Returns
    -------
    dict
        Column of `LOADS` -> one value per row.

    Raises
    ------
    InputError
        For a distribution that is neither balanced nor a power law.
    """
    table = np.array([_expected(*row) for row in rows], dtype=np.float64).reshape(-1, len(LOADS))
    return dict(zip(LOADS, table.T))
