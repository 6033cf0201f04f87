"""Step tables of many candidates at once, with the entries that the closed form reads.

`scylla_sim.serving.replica.replica` reads an iteration model at some batches and at few numbers of prompt tokens.
Only these are estimated, for all draft lengths together. Other entries are NaN, and a curve that meets one raises
an error. The entries equal those of `scylla_sim.serving.iteration.iteration_model` to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.overheads import overhead_seconds, step_overhead_counts
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.step_time import LAUNCH
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.serving.iteration import IterationModel, context_grid, offset_grid
from scylla_sim.serving.iteration_parts import Decoding, kv_pool_tokens, prompts
from scylla_sim.serving.replica import table_rows
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

CONTEXTS = 3
"""Contexts between which decoding is interpolated, from an empty cache to the longest request."""

Configs = Mapping[int, SpeculativeConfig]
"""First batch of each range of batches -> configuration; one range for one draft length."""


def sparse_model(
    model: Model,
    configs: Sequence[SpeculativeConfig],
    where: tuple[Deployment, Deployment],
    *,
    load: ServedLoad,
    longest: int,
    seats: int,
    budget: int,
    prefill_first: bool,
) -> IterationModel:
    """Return the iteration model of configurations of one draft, along a first axis, for the closed form only.

    Parameters
    ----------
    where
        Deployment of the target and of the draft.
    load
        Mean lengths of the requests.
    longest
        Largest number of tokens of a request.
    seats, budget
        Requests that run together, and tokens of an iteration.
    prefill_first
        Whether prompts run in iterations of their own.
    """
    grid, batch = context_grid(longest, CONTEXTS), table_rows(seats)
    where = replace(where[0], intervals=False), replace(where[1], intervals=False)
    found = list(
        predict_each(
            model,
            configs,
            where[0],
            batch=batch[:, None].astype(np.float64),
            context=np.maximum(grid, 1.0)[None, :],
            draft_deployment=where[1],
        )
    )
    widths = [config.verify_tokens for config in configs]
    before = np.zeros((1, 1)) if prefill_first else np.multiply.outer(widths, batch)
    tokens, chunks = _tokens_read(before, load=load, budget=budget)
    sampled = np.unique(np.add.outer(np.append(before, 0.0), [0.0, 1.0, 2.0]))
    total = budget + seats * max(widths)
    last = min(total, MAX_STEP_TOKENS)
    within = np.unique(np.append(tokens[tokens <= last], last)).astype(np.float64)
    read = prompts(
        model,
        where[0],
        configs[0].draft,
        where[1],
        max_tokens=total,
        max_rows=seats * (max(widths) + 1),
        offsets=offset_grid(longest),
        only=None if chunks[-1] > last else (within, chunks.astype(np.float64), sampled[sampled > 0.0]),
    )
    pools = [kv_pool_tokens(model, [config], *where, context=float(load.context)) for config in configs]
    return IterationModel(
        decoding=_decoding(found, batch.astype(np.intp), seats),
        contexts=grid,
        prompts=read,
        host_s=float(overhead_seconds(where[0].engine, step_overhead_counts(where[0].tp))),
        max_num_seqs=seats,
        max_num_batched_tokens=budget,
        kv_tokens=Estimate(
            *(np.array([getattr(one, end) for one in pools]) for end in ("value", "lower", "upper"))
        ),
    )


def _tokens_read(before: FloatArray, *, load: ServedLoad, budget: int) -> tuple[FloatArray, FloatArray]:
    """Return the tokens of steps and of chunks that a replica reads, ascending.

    Parameters
    ----------
    before
        Tokens that decodes verify in an iteration, one row per configuration.
    """
    new = load.new_tokens
    chunk = np.minimum(new, np.maximum(budget - before, 1))
    pieces = [end - start for start, end in pairwise([*range(0, new, budget), new])]
    steps = np.concatenate(
        [one.ravel() for one in (before, before + chunk, before + np.minimum(2 * chunk, budget), np.array(pieces))]
    )
    chunks = np.unique(np.append(chunk, pieces))
    return np.unique(steps[steps > 0]), chunks


def _decoding(found: Sequence[Prediction], rows: NDArray[np.intp], seats: int) -> Decoding:
    """Return the iterations without prompts at some batches, one configuration after the other; others are NaN."""
    contexts = found[0].cycle_s.shape[1]
    value, waiting = (np.full((len(found), seats + 1, contexts), np.nan) for _ in range(2))
    beside = np.full((len(found), seats + 1), np.nan)
    value[:, 0], waiting[:, 0], beside[:, 0] = 0.0, 0.0, 0.0
    for at, out in enumerate(found):
        cycle_s = out.cycle_s
        value[at, rows] = cycle_s
        waiting[at, rows] = sum((part.seconds for part in out.verify.parts if part.kind == LAUNCH), np.zeros(()))
        beside[at, rows] = (cycle_s - out.verify.seconds)[:, contexts // 2]
    verified, gained, lengths = (
        np.repeat(np.array(values, dtype=np.float64)[:, None], seats + 1, axis=1)
        for values in zip(
            *((out.config.verify_tokens, out.config.tokens_per_cycle, out.config.draft_len) for out in found)
        )
    )
    gained[:, 0] = verified[:, 0] = 1.0
    lengths[:, 0] = 0.0
    times = Estimate(value, *[np.full(value.shape, np.nan)] * 2)
    return Decoding(times, waiting, beside, verified, gained, lengths, against_plain=times)
