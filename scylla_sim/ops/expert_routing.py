"""Experts that a pass uses and tiles that its rows fill, for a uniform or skewed router.

Notes
-----
A pass over T tokens reads the weights of every expert that at least one token is routed to. Tokens of different
sequences are independent; `independent_tokens` describes those of one sequence.
Expert i is among the k experts of a token with probability p_i, and these probabilities sum to k. The expert is
read with probability 1 - (1 - p_i)^T. For a uniform router p_i = k / E and the expected number of experts is E (1 -
(1 - k / E)^T). This is the coupon collector's problem with k coupons per draw.

The rows of expert i are binomial. A kernel with tiles of h rows of one expert works on ceil(rows / h) of them. A
popular expert fills many tiles; every other expert wastes most of its last tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, in_range, positive
from scylla_sim.specs.layers import MoE

ComplexArray = NDArray[np.complex128]

TILE_ROWS = (16, 64, 128)
"""Heights of the tiles of grouped kernels; `scylla_sim.kernels.moe` uses them."""
LAST_ROWS = TILE_ROWS[-1]
"""Tile height for which the column ``ragged`` counts partly filled last tiles."""
LOADS = ("groups", *(f"tiles_{rows}" for rows in TILE_ROWS), "ragged")
"""Columns of a grouped GEMM that describe how its rows spread over experts.

``groups`` counts the experts in use, ``tiles_h`` the tiles of h rows that the rows fill, and ``ragged`` the experts
whose last tile is partly filled.
"""
_BLOCK = 1 << 18
"""Complex numbers in memory at once while tiles are counted."""
_FEW = 1 << 17
"""Complex exponentials that take less time than the table of `_remainder_table`."""
_EXACT = 1 << 20
"""Complex numbers up to which tiles are counted for each number of tokens; above, they are interpolated."""
_NEGLIGIBLE = 45.0
"""Waves below exp(-45) of the largest are left out. They are beyond the digits of a double."""
_PER_OCTAVE = 64
"""Numbers of tokens in each octave between which tiles are interpolated.

The error is below 0.05 % for a skew up to 1, and at most 0.7 % for a skew of 1.2, whose most popular experts take
every token.
"""
_USUAL_TOKENS = 16384
"""Least number of tokens up to which the table goes, so that most calls share one."""


Routing = tuple[int, int, float]
"""Experts, experts of a token, and skew of the router: all that the tables below depend on."""


def _routing_of(experts: MoE) -> Routing:
    return experts.num_experts, experts.experts_per_token, experts.router_skew


@cache
def _probabilities(count: int, chosen: int, skew: float) -> FloatArray:
    """Return routing probabilities; see `routing_probabilities`."""
    popularity = np.arange(1.0, count + 1.0) ** -skew
    certain = 0
    while certain < chosen:
        scale = (chosen - certain) / popularity[certain:].sum()
        if scale * popularity[certain] <= 1.0:
            break
        certain += 1
    shared = popularity[certain:] * (chosen - certain) / popularity[certain:].sum()
    found = np.concatenate([np.ones(certain), np.minimum(shared, 1.0)])
    found.setflags(write=False)
    return found


def routing_probabilities(experts: MoE) -> FloatArray:
    """Return the probability that a token is routed to each expert, the most popular expert first.

    The probabilities sum to ``experts_per_token``.

    Notes
    -----
    They are proportional to rank^-skew (Zipf). Experts that would exceed 1 take every token, and the others share
    the rest. A larger skew majorizes a smaller one, and the expected number of distinct experts is Schur-concave in
    p. More skew therefore never uses more experts.

    Examples
    --------
    >>> routing_probabilities(MoE(4, 2, 64)).tolist()
    [0.5, 0.5, 0.5, 0.5]
    >>> routing_probabilities(MoE(4, 2, 64, router_skew=1.0)).round(2).tolist()
    [0.96, 0.48, 0.32, 0.24]
    """
    return _probabilities(*_routing_of(experts))


def distinct_experts(experts: MoE, tokens: ArrayLike) -> FloatArray:
    """Return the expected number of experts in use: those that at least one of ``tokens`` tokens is routed to.

    Parameters
    ----------
    tokens
        Tokens of a pass, over all sequences; any shape. The result has the same shape.

    Examples
    --------
    >>> qwen = MoE(num_experts=128, experts_per_token=8, intermediate_size=768)
    >>> distinct_experts(qwen, [1, 16, 256]).round(1).tolist()
    [8.0, 82.4, 128.0]
    """
    total = positive("tokens", tokens)
    share, times = np.unique(routing_probabilities(experts), return_counts=True)
    with np.errstate(divide="ignore"):
        missed = np.log1p(-share)  # -inf for an expert that takes every token
    # a grid of batches and lengths has few distinct numbers of tokens
    distinct, place = np.unique(total, return_inverse=True)
    touched: FloatArray = (-np.expm1(np.multiply.outer(distinct, missed)) * times).sum(axis=-1)
    return touched[place].reshape(total.shape)


@cache
def _transforms(routing: Routing, rows: int) -> tuple[ComplexArray, ComplexArray]:
    """Return log(1 - p + p w^n) for all distinct p and n up to rows / 2, and the weights 2 / (w^n - 1).

    The logarithms are in falling order of their real part.
    """
    share, times = np.unique(_probabilities(*routing), return_counts=True)
    root = np.exp(2j * np.pi / rows * np.arange(1, rows // 2 + 1))
    # the middle frequency is its own complex conjugate
    doubled = np.where(np.arange(1, rows // 2 + 1) * 2 == rows, 1.0, 2.0)
    with np.errstate(divide="ignore"):
        logs = np.log(1.0 + np.multiply.outer(share, root - 1.0)).reshape(-1)
    order = np.argsort(-logs.real, kind="stable")
    return logs[order], np.multiply.outer(times, doubled / (root - 1.0)).reshape(-1)[order]


@cache
def _remainder_table(routing: Routing, rows: int, octaves: int) -> tuple[FloatArray, FloatArray]:
    """Return numbers of tokens, and the sum over roots of unity in the notes of `filled_tiles` at each of them.

    They are all numbers below 2 * `_PER_OCTAVE`, and `_PER_OCTAVE` numbers in each further octave. The waves of
    an octave are the squares of those of the octave before, which is much faster than their exponentials.
    """
    logs, weights = _transforms(routing, rows)
    waves = np.multiply.accumulate(np.broadcast_to(np.exp(logs), (2 * _PER_OCTAVE - 1, logs.size)), axis=0)
    tokens, sums = [np.arange(1.0, 2.0 * _PER_OCTAVE)], [(waves @ weights).real]
    waves = waves[_PER_OCTAVE - 1 :]
    for octave in range(1, octaves + 1):
        tokens.append(2.0**octave * np.arange(_PER_OCTAVE, 2 * _PER_OCTAVE))
        kept = int(np.searchsorted(-logs.real, _NEGLIGIBLE / tokens[-1][0], side="right"))
        waves = waves[:, :kept] ** 2
        sums.append((waves @ weights[:kept]).real)
    return np.concatenate(tokens), np.concatenate(sums)


def _sums_over_roots(routing: Routing, tokens: FloatArray, rows: int) -> FloatArray:
    """Return the sum over roots of unity in the notes of `filled_tiles` for rising numbers of tokens."""
    logs, weights = _transforms(routing, rows)
    numbers = tokens.size * logs.size
    found = np.full(tokens.shape, np.nan)
    if numbers > _FEW:
        octaves = int(np.ceil(np.log2(max(tokens[-1], _USUAL_TOKENS) / _PER_OCTAVE)))
        nodes, sums = _remainder_table(routing, rows, octaves)
        known = (tokens >= 1.0) & ((numbers > _EXACT) | ((tokens < 2 * _PER_OCTAVE) & (tokens % 1.0 == 0.0)))
        found[known] = np.interp(np.log(tokens[known]), np.log(nodes), sums)
    others = np.flatnonzero(np.isnan(found))
    step = max(1, _BLOCK // logs.size)
    for at in (others[start : start + step] for start in range(0, others.size, step)):
        kept = int(np.searchsorted(-logs.real, _NEGLIGIBLE / tokens[at[0]], side="right"))
        waves = np.exp(np.multiply.outer(tokens[at], logs[:kept]))
        found[at] = (waves @ weights[:kept]).real
    return found


def filled_tiles(experts: MoE, tokens: ArrayLike, rows: int) -> FloatArray:
    """Return the expected number of tiles of ``rows`` rows in use, over all experts.

    Parameters
    ----------
    tokens
        Tokens of a pass, over all sequences; any shape. The result has the same shape.
    rows
        Height of a tile, at least 2.

    Notes
    -----
    ceil(c / h) = (c + (-c mod h)) / h. The remainder is a sum over the roots of unity w^n, n = 1 .. h - 1:
    (h - 1) / 2 + sum w^(n c) / (w^n - 1). A binomial c has E[w^(n c)] = (1 - p + p w^n)^T. The expectation is
    therefore exact without a sum over all counts.

    Examples
    --------
    >>> mixtral = MoE(num_experts=8, experts_per_token=2, intermediate_size=14336)
    >>> filled_tiles(mixtral, [1, 64, 256, 512], 64).round(2).tolist()
    [2.0, 8.0, 11.73, 19.81]
    """
    distinct, place = np.unique(positive("tokens", tokens), return_inverse=True)
    remainder = _sums_over_roots(_routing_of(experts), distinct, rows)
    routed = experts.experts_per_token * distinct
    tiles: FloatArray = (routed + 0.5 * (rows - 1.0) * experts.num_experts + remainder) / rows
    return tiles[place].reshape(np.shape(tokens))


def independent_tokens(sequences: ArrayLike, tokens: ArrayLike, overlap: float) -> FloatArray:
    """Return the independent tokens that use as many experts as sequences of related tokens.

    Parameters
    ----------
    sequences, tokens
        Sequences of a pass, and tokens of each; they broadcast.
    overlap
        Share of the expert draws of a token that it has in common with the token before it, in [0, 1].

    Notes
    -----
    B sequences with V tokens count as B (1 + (V - 1)(1 - overlap)) tokens. One token per sequence is not affected.

    Examples
    --------
    >>> independent_tokens(8, [1, 4], 0.4).round(1).tolist()
    [8.0, 22.4]
    """
    share = float(in_range("expert_overlap", overlap, 0, 1))
    return np.asarray(positive("sequences", sequences) * (1.0 + (positive("tokens", tokens) - 1.0) * (1.0 - share)))


def routed_loads(experts: MoE, tokens: ArrayLike, independent: ArrayLike | None = None) -> dict[str, FloatArray]:
    """Return the expected columns `LOADS` of a pass over ``tokens`` tokens.

    Every expert in use counts as ``ragged``. Its number of rows is random and rarely a multiple of the tile height.
    Counting all experts also keeps a step from becoming cheaper with more rows.

    Parameters
    ----------
    tokens
        Tokens of the pass, over all sequences; any shape.
    independent
        Independent tokens that use as many experts, at most ``tokens``; default: ``tokens``. The rows stay those of
        ``tokens``. An expert that is not used saves its partly filled tile.
    """
    touched = distinct_experts(experts, tokens)
    tiles = {f"tiles_{rows}": filled_tiles(experts, tokens, rows) for rows in TILE_ROWS}
    loads = {"groups": touched, **tiles, "ragged": touched}
    return loads if independent is None else related_loads(experts, loads, tokens, independent)


def related_loads(
    experts: MoE, loads: Mapping[str, FloatArray], tokens: ArrayLike, independent: ArrayLike
) -> dict[str, FloatArray]:
    """Return the columns `LOADS` of a pass whose tokens use as many experts as ``independent`` tokens.

    Parameters
    ----------
    loads
        Columns of ``tokens`` independent tokens, as `routed_loads` returns them.
    tokens, independent
        As in `routed_loads`.
    """
    touched, routed = loads["groups"], experts.experts_per_token * positive("tokens", tokens)
    used = np.minimum(distinct_experts(experts, independent), touched)
    fewer = {
        f"tiles_{rows}": np.maximum(np.maximum(loads[f"tiles_{rows}"] - (touched - used), used), routed / rows)
        for rows in TILE_ROWS
    }
    return {"groups": used, **fewer, "ragged": used}


def even_loads(routed: ArrayLike, groups: ArrayLike) -> dict[str, FloatArray]:
    """Return the columns `LOADS` of ``routed`` rows that are spread evenly over ``groups`` experts.

    Benchmarks spread their rows in this way.

    Examples
    --------
    >>> {name: float(value) for name, value in even_loads(512.0, 4.0).items()}
    {'groups': 4.0, 'tiles_16': 32.0, 'tiles_64': 8.0, 'tiles_128': 4.0, 'ragged': 0.0}
    """
    weights = positive("groups", groups)
    each = positive("routed", routed) / weights
    tiles = {f"tiles_{rows}": weights * np.ceil(each / rows) for rows in TILE_ROWS}
    return {"groups": weights, **tiles, "ragged": np.where(each % LAST_ROWS == 0.0, 0.0, weights)}
