"""The closed form of a deployment: an iteration model at given lengths, and where the formulas do not hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.profiles import cycle_distribution, iid_rate
from scylla_sim.checks import FloatArray, in_range, whole
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import Curve
from scylla_sim.serving.iteration import MAX_SEATS, IterationModel
from scylla_sim.serving.loop_state import Replica


@dataclass(frozen=True)
class FullPool:
    """Constants of a replica whose KV pool is full.

    Attributes
    ----------
    nearly_full
        KV pool over the tokens that all seats hold, from which no request gives its place up; at 1 all of them do.
    unused
        Tokens of a full pool that are free on average, over the shorter of prompt and answer.
    smoothing
        Decay of the tokens that are computed again, by the answers that end in an iteration: many ends are even.
    """

    nearly_full: float = 1.08
    unused: float = 0.75
    smoothing: float = 0.5


FULL_POOL = FullPool()
"""Constants of all replicas.

Source: chosen on simulated pools of 3 to 100 requests, 8B on H100. ``workflow/fit_full_pool.py`` chooses them on
half of 40 such cases and scores the other half.
"""
HIGHEST_VALID_LOAD = 0.9
"""Share of saturation up to which the closed form is used: means are 5 to 10 % too low there, and worse above."""
SHORT_WAIT = 0.03
"""Share of the mean TTFT up to which the wait for a seat is a detail: its formula errs by about a third."""
BUDGET, SEATS, POOL, LOAD = "token budget", "seats", "KV pool", "load above 90 %"
"""Reasons for which the closed form does not hold."""
_GRID = np.unique(np.round(np.exp(np.arange(0.0, np.log(MAX_SEATS), np.log(1.04))))).astype(np.int64)
"""Numbers of decodes in tables: all small ones, and every 4 % above. One grid, so that replicas share entries."""


@lru_cache(maxsize=4096)
def cycles_of(tokens_per_cycle: float, draft_len: int, *, tokens: float) -> tuple[float, float]:
    """Return mean and relative standard deviation of the cycles that a request needs for some tokens.

    All positions of the draft have the same acceptance, and cycles are independent. The last cycle discards tokens,
    so the mean exceeds ``tokens / tokens_per_cycle`` (renewal theory).

    Examples
    --------
    >>> [round(one, 2) for one in cycles_of(2.4, 3, tokens=199.0)], cycles_of(1.0, 0, tokens=199.0)
    ([83.34, 0.06], (199.0, 0.0))
    """
    if draft_len == 0 or tokens_per_cycle == 1.0:
        return tokens, 0.0
    emitted = cycle_distribution(np.full(draft_len, float(iid_rate(tokens_per_cycle, draft_len))))
    count = np.arange(1.0, emitted.size + 1.0)
    first, second = float(emitted @ count), float(emitted @ count**2)
    mean = (tokens + 0.5 * (second / first - 1.0)) / first
    return mean, float(np.sqrt(tokens * max(second - first**2, 0.0) / first**3)) / mean


def table_rows(seats: int) -> NDArray[np.int64]:
    """Return the numbers of decodes at which a replica is tabulated: those of the grid, and that of its seats.

    Examples
    --------
    >>> table_rows(4).tolist(), table_rows(50)[-9:].tolist()
    ([1, 2, 3, 4], [37, 38, 40, 42, 43, 45, 47, 49, 50])
    """
    return np.append(_GRID[seats / 1.02 > _GRID], seats)  # lines are prolonged beyond the last two


def replica(
    model: IterationModel,
    load: ServedLoad,
    *,
    kv_tokens: float | None = None,
    prefill_first: bool = False,
    full_pool: FullPool = FULL_POOL,
) -> Replica:
    """Return the seconds of a deployment's iterations at the lengths of a load.

    Decodes have the mean context of a request. A prompt that exceeds what the budget leaves takes several
    iterations. Seats are limited by ``max_num_seqs``, by the KV pool, and by the budget, which ``n`` decoding
    requests fill with ``n / K`` prompts an iteration.

    Parameters
    ----------
    model
        Iterations of one configuration, or of several along a first axis, which the replicas then have too.
    load
        Lengths of the requests; answers have at least 2 tokens.
    kv_tokens
        Tokens that the KV pool holds; default: the middle of the model's range.
    prefill_first
        Whether prompts run in iterations of their own, without decodes beside them.
    full_pool
        Constants of a full KV pool.
    """
    whole("output_len", load.output_len, 2, hint="one token has no time per output token")
    rows = table_rows(model.max_num_seqs)
    n, new, context = rows.astype(np.float64), load.new_tokens, float(load.context)
    decoding = model.decoding
    width = decoding.verify_tokens[..., rows]
    cycles, relative = _cycles(decoding.tokens_per_cycle[..., rows], decoding.draft_lens[..., rows], load)
    beside = np.zeros_like(n) if prefill_first else n
    room = np.maximum(model.max_num_batched_tokens - width * beside, 1.0)
    chunk = np.minimum(new, np.floor(room)).astype(np.int64)
    chunks = new / chunk
    offset = load.cached_tokens + 0.5 * (new - chunk)
    attention = model.attention_s(chunk, offset)
    without = model.decode_s(beside, context)
    one = model.seconds(beside, context, tokens=chunk, attention_s=attention)
    fits = 2 * chunk <= room
    count = prompts_together(beside, width, output_len=load.output_len, most=room // chunk)
    tokens = np.minimum(count * chunk, model.max_num_batched_tokens)
    several = model.seconds(beside, context, tokens=tokens, attention_s=count * attention, sampled=count)
    both = np.where(count > 2, one + (several - one) / (count - 1), several)  # tiles make each prompt cost another
    size = np.minimum(2 * chunk, model.max_num_batched_tokens)
    again, further = tokens_again(load, model.max_num_batched_tokens), (both - without) / size
    if (again > size).any():  # few tokens of a prompt cost far more each than the whole answer that is read again
        whole_s = model.seconds(beside, context, tokens=again, attention_s=model.attention_s(again, offset))
        further = np.where(again > size, (whole_s - without) / again, further)
    pool = np.asarray(model.kv_tokens.value if kv_tokens is None else kv_tokens, dtype=np.float64)[..., None]
    held = load.context + width
    full = _full(model, load, pool, nearly_full=full_pool.nearly_full)
    unused = full_pool.unused * min(new, load.output_len)  # room that is too small for the next prompt
    usable = pool - full * unused
    within = np.minimum(usable / held, model.max_num_batched_tokens / (new / cycles + width))
    seats = np.apply_along_axis(lambda room: np.interp(0.0, n - room, n), -1, within)
    return Replica(
        rows=n,
        cycle_s=model.decode_s(n, context) if prefill_first else without,
        cycles=cycles,
        prompt_s=chunks * (one - without),
        next_prompt_s=np.where(fits, both - one, chunks * (one - without)),
        alone_s=np.array(model.prefill_s(new, load.cached_tokens)),
        output_len=np.array(float(load.output_len)),
        max_rows=np.maximum(seats, 1.0),
        cycles_cv=relative.max(axis=-1),
        prompt_iterations=np.where(fits, 0.0, chunks),
        again_s=full * np.exp(-full_pool.smoothing * n / cycles) * load.output_len * further,
    )


def prompts_together(n: FloatArray, width: FloatArray, *, output_len: int, most: FloatArray) -> NDArray[np.int64]:
    """Return the prompts of an iteration from which the seconds of a further one are taken, at least 2.

    They are those that end in an iteration of ``n`` decodes near saturation, if half of the drafted tokens are
    kept.

    Parameters
    ----------
    n, width
        Decodes, and the tokens that each of them verifies.
    output_len
        Tokens of each answer.
    most
        Prompts that the budget holds.

    Examples
    --------
    >>> prompts_together(np.array([64.0, 1024.0]), np.array(1.0), output_len=201, most=np.array(40.0)).tolist()
    [2, 5]
    """
    ends = np.floor(n * 0.5 * (1.0 + width) / (output_len - 1.0) + 0.5)
    return np.asarray(np.clip(ends, 2, np.maximum(np.minimum(n, most), 2)), dtype=np.int64)


def tokens_again(load: ServedLoad, budget: int) -> int:
    """Return the tokens of an iteration in which a request computes its answer again, after a full pool took it.

    Examples
    --------
    >>> tokens_again(ServedLoad(1000, 300), 8192), tokens_again(ServedLoad(1000, 300), 256)
    (300, 256)
    """
    return min(load.output_len, budget)


def _cycles(tau: FloatArray, draft_len: FloatArray, load: ServedLoad) -> tuple[FloatArray, FloatArray]:
    """Return mean and relative deviation of the cycles of a request, where configurations differ by batch."""
    known = {
        each: cycles_of(each[0], int(each[1]), tokens=load.output_len - 1.0)
        for each in set(zip(tau.ravel().tolist(), draft_len.ravel().tolist()))
    }
    found = np.empty((2, *tau.shape))
    for (tokens, length), (mean, relative) in known.items():
        here = (tau == tokens) & (draft_len == length)
        found[0, here], found[1, here] = mean, relative
    return found[0], found[1]


def _full(model: IterationModel, load: ServedLoad, pool: FloatArray, *, nearly_full: float) -> FloatArray:
    """Return how much a full KV pool limits a replica at saturation: 0 if it holds all seats, and at most 1.

    A request starts as soon as the pool holds its prompt. An answer that ends frees its own tokens too, further
    prompts take this room, and the growing answers push the newest requests out again. Per request, the pool takes
    as many tokens as its answer has, which are computed again.
    """
    width = model.decoding.verify_tokens[..., -1:]
    spare = pool / ((load.context + width) * model.max_num_seqs)
    return np.clip((nearly_full - spare) / (nearly_full - 1.0), 0.0, 1.0)


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
    waits = found.queue * found.queue_s > SHORT_WAIT * found.ttft_s
    small = float(model.kv_tokens.value) < model.max_num_seqs * (load.context + model.decoding.verify_tokens[-1])
    most = np.maximum(found.tail_rows, found.running)  # the approximate quantile fails where the spread is huge
    rows = np.minimum(most, model.max_num_seqs)
    width = model.decoding.verify_tokens[np.round(rows).astype(np.int64)]
    return {
        BUDGET: load.new_tokens + width * rows > model.max_num_batched_tokens,
        POOL: (rows * (load.context + width) > float(model.kv_tokens.value)) | (waits & small),
        SEATS: (most > model.max_num_seqs) | (waits & (not small)),
        LOAD: share > HIGHEST_VALID_LOAD,
    }
