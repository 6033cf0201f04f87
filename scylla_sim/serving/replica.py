"""The closed form of a deployment: an iteration model at given lengths, and where the formulas do not hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, in_range, whole
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import Curve, Replica
from scylla_sim.serving.iteration import IterationModel

HIGHEST_VALID_LOAD = 0.9
"""Share of saturation up to which the closed form is used: means are 5 to 10 % too low there, and worse above."""
BUDGET, SEATS, POOL, LOAD = "token budget", "seats", "KV pool", "load above 90 %"
"""Reasons for which the closed form does not hold."""
_BISECTIONS = 50


def cycles_of(tokens_per_cycle: ArrayLike, draft_len: ArrayLike, *, tokens: float) -> tuple[FloatArray, FloatArray]:
    """Return mean and relative standard deviation of the cycles that a request needs for some tokens.

    All positions of the draft have the same acceptance, which gives ``tokens_per_cycle``; cycles are independent.
    The last cycle discards tokens, so the mean exceeds ``tokens / tokens_per_cycle`` (renewal theory).

    Parameters
    ----------
    tokens_per_cycle, draft_len
        Mean tokens of a cycle, and drafted tokens; they broadcast.
    tokens
        Tokens to emit, at least 1.

    Examples
    --------
    >>> mean, spread = cycles_of([1.0, 2.4], [0, 3], tokens=199)
    >>> mean.round(1).tolist(), spread.round(3).tolist()
    ([199.0, 83.3], [0.0, 0.056])
    """
    tau, length = np.broadcast_arrays(np.asarray(tokens_per_cycle, float), np.asarray(draft_len, float))
    position = np.arange(max(float(length.max()), 0.0) + 1.0)
    reached = position <= length[..., None]
    low, high = np.zeros(tau.shape), np.ones(tau.shape)
    for _ in range(_BISECTIONS):
        rate = 0.5 * (low + high)
        below = np.where(reached, rate[..., None] ** position, 0.0).sum(axis=-1) < tau
        low, high = np.where(below, rate, low), np.where(below, high, rate)
    survival = np.where(reached, high[..., None] ** position, 0.0)
    squared = ((2.0 * position + 1.0) * survival).sum(axis=-1)
    mean = np.where(tau > 1.0, (tokens + 0.5 * (squared / tau - 1.0)) / tau, tokens)
    variance = np.where(tau > 1.0, tokens * np.maximum(squared - tau**2, 0.0) / tau**3, 0.0)
    return mean, np.sqrt(variance) / mean


def _rows(model: IterationModel) -> NDArray[np.int64]:
    """Return the numbers of decodes at which a replica is tabulated: all small ones, and every 4 % above."""
    return np.unique(np.round(np.geomspace(1.0, model.max_num_seqs, 160))).astype(np.int64)


def replica(model: IterationModel, load: ServedLoad, *, kv_tokens: float | None = None) -> Replica:
    """Return the seconds of a deployment's iterations at the lengths of a load.

    Decodes have the mean context of a request. A prompt that exceeds what the budget leaves takes several
    iterations. Seats are limited by ``max_num_seqs``, by the KV pool, and by the budget, which ``n`` decoding
    requests fill with ``n / K`` prompts an iteration.

    Parameters
    ----------
    load
        Lengths of the requests; answers have at least 2 tokens.
    kv_tokens
        Tokens that the KV pool holds; default: the middle of the model's range.
    """
    whole("output_len", load.output_len, 2, hint="one token has no time per output token")
    rows = _rows(model)
    n, new, context = rows.astype(np.float64), load.new_tokens, float(load.context)
    decoding = model.decoding
    width = decoding.verify_tokens[rows]
    cycles, relative = cycles_of(
        decoding.tokens_per_cycle[rows], decoding.draft_lens[rows], tokens=load.output_len - 1.0
    )
    room = np.maximum(model.max_num_batched_tokens - width * n, 1.0)
    chunk = np.minimum(new, np.floor(room)).astype(np.int64)
    chunks = new / chunk
    offset = load.cached_tokens + 0.5 * (new - chunk)
    attention = model.attention_s(chunk, offset)
    alone = model.decode_s(n, context)
    one = model.seconds(n, context, tokens=chunk, attention_s=attention)
    both = model.seconds(n, context, tokens=2 * chunk, attention_s=2.0 * attention, sampled=2)
    fits = 2 * chunk <= room
    pool = float(model.kv_tokens.value) if kv_tokens is None else kv_tokens
    held = load.context + width
    within = np.minimum(pool / held, model.max_num_batched_tokens / (new / cycles + width))
    return Replica(
        rows=n,
        cycle_s=alone,
        cycles=cycles,
        prompt_s=chunks * (one - alone),
        next_prompt_s=np.where(fits, both - one, chunks * (one - alone)),
        alone_s=np.array(model.prefill_s(new, load.cached_tokens)),
        output_len=np.array(float(load.output_len)),
        max_rows=np.asarray(np.max(np.where(n <= within, n, 1.0))),
        cycles_cv=np.array(float(relative.max())),
    )


def doubtful(
    found: Curve, model: IterationModel, load: ServedLoad, *, share: FloatArray
) -> dict[str, NDArray[np.bool_]]:
    """Return the reasons for which the closed form does not hold, and where, in the shape of the curve.

    Parameters
    ----------
    share
        Rate over the saturation rate.
    """
    in_range("share", share, 0)
    rows = np.minimum(found.tail_rows, model.max_num_seqs)
    width = model.decoding.verify_tokens[np.round(rows).astype(np.int64)]
    return {
        BUDGET: load.new_tokens + width * rows > model.max_num_batched_tokens,
        POOL: rows * (load.context + width) > float(model.kv_tokens.value),
        SEATS: found.tail_rows > model.max_num_seqs,
        LOAD: share > HIGHEST_VALID_LOAD,
    }
