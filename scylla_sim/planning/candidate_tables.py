"""Step tables of many candidates at once, with the entries that the closed form reads.

`scylla_sim.serving.replica.replica` reads an iteration model at some batches, at one context, and at few numbers of
prompt tokens. Only these are estimated: `target_tables` once for all drafts on a deployment, and `sparse_model` for
all lengths of one draft. Other entries are NaN, and a curve that meets one raises an error. The entries equal those
of `scylla_sim.serving.iteration.iteration_model` to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.overheads import overhead_seconds, step_overhead_counts
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.stacked_steps import TargetSteps, target_steps
from scylla_sim.prediction.step_time import LAUNCH
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.serving.iteration import IterationModel, context_grid, offset_grid
from scylla_sim.serving.iteration_parts import Decoding, Prompts, kv_pool_tokens, prompts, with_draft
from scylla_sim.serving.replica import prompts_together, table_rows, tokens_again
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

CONTEXTS = 3
"""Contexts between which decoding is interpolated, from an empty cache to the longest request."""

Configs = Mapping[int, SpeculativeConfig]
"""First batch of each range of batches -> configuration; one range for one draft length."""


@dataclass(frozen=True)
class Drafting:
    """Configurations of one draft on a deployment.

    Attributes
    ----------
    configs
        Configurations of one draft.
    where
        Deployment of the target and of the draft.
    seats
        Requests that run together.
    """

    configs: Sequence[SpeculativeConfig]
    where: tuple[Deployment, Deployment]
    seats: int

    @property
    def widths(self) -> list[int]:
        """Tokens that each configuration verifies for a request."""
        return [config.verify_tokens for config in self.configs]


@dataclass(frozen=True)
class TargetTables:
    """Entries that all drafts on one deployment share.

    Attributes
    ----------
    load, budget
        Mean lengths of the requests, and tokens of an iteration.
    contexts, columns
        Contexts of a table, and the places of those that are estimated.
    batch
        Decodes that are estimated, rising.
    grid
        These batches and contexts by name, as arrays that broadcast.
    steps
        Steps of the target over the grid.
    prompts
        Operations of prompts without those of a draft.
    """

    load: ServedLoad
    budget: int
    contexts: FloatArray
    columns: slice
    batch: NDArray[np.intp]
    grid: Mapping[str, FloatArray]
    steps: TargetSteps
    prompts: Prompts


def target_tables(
    model: Model, drafts: Sequence[Drafting], *, load: ServedLoad, longest: int, budget: int, prefill_first: bool
) -> TargetTables:
    """Return the entries of a deployment for several drafts.

    Parameters
    ----------
    drafts
        Drafts, whose target runs on one deployment.
    load
        Mean lengths of the requests.
    longest
        Largest number of tokens of a request.
    budget
        Tokens of an iteration.
    prefill_first
        Whether prompts run in iterations of their own.
    """
    where, grid = replace(drafts[0].where[0], intervals=False), context_grid(longest, CONTEXTS)
    batch = np.unique(np.concatenate([table_rows(one.seats) for one in drafts])).astype(np.intp)
    # decoding is read beside the context of the load, and drafting in the middle of the table
    first = min(int(load.context / grid[1]), CONTEXTS // 2)
    columns = slice(first, first + 2)
    configs = [config for one in drafts for config in one.configs]
    points = {"batch": batch[:, None].astype(np.float64), "context": np.maximum(grid, 1.0)[None, columns]}
    widths = dict.fromkeys(width for one in drafts for width in one.widths)
    before = np.zeros((1, 1)) if prefill_first else np.multiply.outer(list(widths), batch)
    count = _prompts_read(before, batch, list(widths), load=load, budget=budget)
    tokens, chunks = _tokens_read(before, count, load=load, budget=budget)
    sampled = np.unique(np.append(np.stack([before, before + 1.0, before + count]), [0.0, 1.0, 2.0]))
    total = budget + max(one.seats * max(one.widths) for one in drafts)
    last = min(total, MAX_STEP_TOKENS)
    within = np.unique(np.append(tokens[tokens <= last], last)).astype(np.float64)
    read = prompts(
        model,
        where,
        max_tokens=total,
        max_rows=max(one.seats * (max(one.widths) + 1) for one in drafts),
        offsets=offset_grid(longest),
        only=None if chunks[-1] > last else (within, chunks.astype(np.float64), sampled[sampled > 0.0]),
    )
    steps = target_steps(model, configs, where, **points)
    return TargetTables(load, budget, grid, columns, batch, points, steps, read)


def sparse_model(model: Model, draft: Drafting, tables: TargetTables) -> IterationModel:
    """Return the iteration model of the configurations of a draft, along a first axis, for the closed form only."""
    target, of_draft = (replace(one, intervals=False) for one in draft.where)
    found = list(
        predict_each(
            model,
            draft.configs,
            target,
            batch=tables.grid["batch"],
            context=tables.grid["context"],
            draft_deployment=of_draft,
            steps=tables.steps,
        )
    )
    context = float(tables.load.context)
    pools = [kv_pool_tokens(model, [config], target, of_draft, context=context) for config in draft.configs]
    return IterationModel(
        decoding=_decoding(found, tables, draft.seats),
        contexts=tables.contexts,
        prompts=with_draft(tables.prompts, draft.configs[0].draft, model, of_draft),
        host_s=float(overhead_seconds(target.engine, step_overhead_counts(target.tp))),
        max_num_seqs=draft.seats,
        max_num_batched_tokens=tables.budget,
        kv_tokens=Estimate(
            *(np.array([getattr(one, end) for one in pools]) for end in ("value", "lower", "upper"))
        ),
    )


def _prompts_read(
    before: FloatArray, batch: NDArray[np.intp], widths: Sequence[int], *, load: ServedLoad, budget: int
) -> NDArray[np.int64]:
    """Return the prompts that a replica reads together, in the shape of ``before``; see `_tokens_read`."""
    each = np.array(widths, dtype=np.float64)[:, None]
    alone = not before.any()  # prompts in iterations of their own have no decodes beside them
    decodes = np.zeros(1) if alone else batch.astype(np.float64)
    room = np.maximum(budget - before, 1.0)
    most = room // np.minimum(load.new_tokens, room)
    found = prompts_together(decodes, each, output_len=load.output_len, most=most)
    return found[:1] if alone else np.broadcast_to(found, before.shape)


def _tokens_read(
    before: FloatArray, count: NDArray[np.int64], *, load: ServedLoad, budget: int
) -> tuple[FloatArray, FloatArray]:
    """Return the tokens of steps and of chunks that a replica reads, ascending.

    Parameters
    ----------
    before
        Tokens that decodes verify in an iteration, one row per configuration.
    count
        Prompts that are read together, in the shape of ``before``.
    """
    new = load.new_tokens
    chunk = np.minimum(new, np.maximum(budget - before, 1))
    pieces = [end - start for start, end in pairwise([*range(0, new, budget), new])]
    both, several = (np.minimum(many * chunk, budget) for many in (2, count))
    again = tokens_again(load, budget)
    longer = before[both < again] + again  # read only where it exceeds two chunks
    steps = np.concatenate(
        [one.ravel() for one in (before, before + chunk, before + several, longer, np.array(pieces))]
    )
    chunks = np.unique(np.concatenate([chunk.ravel(), pieces, [again] if longer.size else []]))
    return np.unique(steps[steps > 0]), chunks


def _decoding(found: Sequence[Prediction], tables: TargetTables, seats: int) -> Decoding:
    """Return the iterations without prompts at the batches of a replica, one configuration after the other."""
    rows, contexts = table_rows(seats).astype(np.intp), tables.contexts.size
    at_rows, middle = np.searchsorted(tables.batch, rows), contexts // 2 - tables.columns.start
    value, waiting = (np.full((len(found), seats + 1, contexts), np.nan) for _ in range(2))
    beside = np.full((len(found), seats + 1), np.nan)
    value[:, 0], waiting[:, 0], beside[:, 0] = 0.0, 0.0, 0.0
    for at, out in enumerate(found):
        cycle_s = out.cycle_s
        waits = sum((part.seconds for part in out.verify.parts if part.kind == LAUNCH), np.zeros_like(cycle_s))
        value[at, rows, tables.columns] = cycle_s[at_rows]
        waiting[at, rows, tables.columns] = waits[at_rows]
        beside[at, rows] = (cycle_s - out.verify.seconds)[at_rows, middle]
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
