"""Seconds of one iteration of a serving engine: decodes and chunks of prompts that run together.

An iteration runs ``batch`` decodes of ``v`` tokens each and up to a budget of prompt tokens. GEMMs run once over
all tokens, attention once for the decodes and once for each chunk, and the output head for sampled tokens only::

    seconds = D[b, context] + R[v b + p] - R[v b] + H[v b + n] - H[v b] + sum of A(chunk, offset)

D is the cycle of `scylla_sim.prediction.throughput.predict`, with drafting and the overheads of the engine. R, H
and A come from the operations of `scylla_sim.prediction.prefill`. An iteration without prompts therefore takes
exactly the predicted cycle, and a prompt alone its predicted prefill and the host's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.prediction.overheads import overhead_seconds, step_overhead_counts
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.iteration_parts import Decoding, Prompts, decoding, kv_pool_tokens, prompts, with_draft
from scylla_sim.serving.step_lists import StepLists, step_lists
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.specs.scheduler import scheduler_defaults
from scylla_sim.stats.estimate import Estimate

CONTEXTS = 33
"""Default number of contexts between which decoding is interpolated."""
OFFSETS = 9
"""Number of earlier prompt tokens between which the attention of a chunk is interpolated."""
MAX_SEATS = 4096
"""Largest accepted ``max_num_seqs``."""
MAX_BUDGET = 65_536
"""Largest accepted ``max_num_batched_tokens``."""


@dataclass(frozen=True)
class IterationModel:
    """Seconds of iterations, and the limits of the scheduler.

    Attributes
    ----------
    decoding
        Iterations without prompts, over the batch from 0 to ``max_num_seqs`` and the mean context. The model of a
        search has several configurations along a first axis; only the closed form reads it.
    contexts
        Mean contexts of the columns of ``decoding``: multiples of one step, from 0.
    prompts
        Operations of prompts.
    host_s
        Seconds of the engine in an iteration without decodes.
    max_num_seqs
        Largest number of requests that run together.
    max_num_batched_tokens
        Largest number of tokens of an iteration, with those of the decodes.
    kv_tokens
        Tokens that the KV pool holds beside the draft's share; the interval is the range of the engine's defaults.
    """

    decoding: Decoding
    contexts: FloatArray
    prompts: Prompts
    host_s: float
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: Estimate

    @property
    def context_step(self) -> float:
        """Distance between two contexts of the table."""
        return float(self.contexts[1])

    @cached_property
    def lists(self) -> StepLists:
        """The tables as plain lists, for the simulation."""
        return step_lists(self.decoding, self.prompts, host_s=self.host_s, context_step=self.context_step)

    def decode_s(self, batch: ArrayLike, context: ArrayLike) -> FloatArray:
        """Return the seconds of an iteration of decodes only.

        Parameters
        ----------
        batch
            Sequences, in [0, max_num_seqs]; fractions are interpolated.
        context
            Mean tokens in the KV cache of each; beyond the table the last value holds. Both broadcast.
        """
        return self._between(self.decoding.seconds.value, batch, context)

    def _between(self, table: FloatArray, batch: ArrayLike, context: ArrayLike) -> FloatArray:
        """Return values of a table over batch and context by bilinear interpolation."""
        b, c = np.broadcast_arrays(
            in_range("batch", batch, 0, self.max_num_seqs), np.asarray(context, dtype=np.float64)
        )
        low, high, weight = _place(b, table.shape[-2])
        column, next_column, share = _place(c / self.context_step, table.shape[-1])
        left, right = (
            _mixed(_entries(table, low, at), _entries(table, high, at), weight) for at in (column, next_column)
        )
        return _mixed(left, right, share)

    def attention_s(self, tokens: ArrayLike, offset: ArrayLike = 0) -> FloatArray:
        """Return the seconds of the operations of one prompt's chunk alone, such as its attention.

        Parameters
        ----------
        tokens, offset
            Whole numbers: tokens of the chunk, and earlier tokens of the prompt. Both broadcast.
        """
        table, knots = self.prompts.attention_s, self.prompts.offsets
        q, old = np.broadcast_arrays(np.asarray(tokens, dtype=np.intp), np.asarray(offset, dtype=np.float64))
        at = np.clip(np.searchsorted(knots, old, side="right") - 1, 0, knots.size - 2)
        share = np.clip((old - knots[at]) / (knots[at + 1] - knots[at]), 0.0, 1.0)
        return _mixed(table[at, q], table[at + 1, q], share)

    def seconds(
        self,
        batch: ArrayLike,
        context: ArrayLike,
        *,
        tokens: ArrayLike = 0,
        attention_s: ArrayLike = 0.0,
        sampled: ArrayLike = 1,
    ) -> FloatArray:
        """Return the seconds of an iteration of decodes and prompts.

        Parameters
        ----------
        batch, context
            Decodes and their mean context, as in `decode_s`.
        tokens
            Prompt tokens of the iteration, whole numbers; 0 for decodes only.
        attention_s
            Sum of `attention_s` over the chunks.
        sampled
            Prompts whose last token is in the iteration, whole numbers. All broadcast.
        """
        b, c, p, extra, last = np.broadcast_arrays(
            np.asarray(batch, dtype=np.float64), context, np.asarray(tokens, dtype=np.intp), attention_s, sampled
        )
        decode = self.decode_s(b, c)
        before = _at(self.decoding.verify_tokens, b) * b
        added = np.maximum(_at(self.prompts.rows_s, before + p) - _at(self.prompts.rows_s, before), 0.0)
        added = added + _at(self.prompts.head_s, before + last) - _at(self.prompts.head_s, before)
        busy = decode - self._between(self.decoding.waiting_s, b, c) + added + extra
        beside = np.where(b > 0, _at(self.decoding.beside_s, b), self.host_s)
        busy = np.where(b > 0, busy, busy + self.host_s)
        both = np.maximum(busy, beside + _at(self.prompts.least_s, np.maximum(before + p, 0.0)))
        found: FloatArray = np.where(p > 0, both, decode)
        return found

    def prefill_s(self, tokens: int, offset: int = 0) -> float:
        """Return the seconds of a prompt alone, in chunks of ``max_num_batched_tokens``.

        Parameters
        ----------
        tokens, offset
            New tokens of the prompt, and earlier tokens in the KV cache.
        """
        size, total = self.max_num_batched_tokens, 0.0
        for start in range(0, tokens, size):
            chunk = min(size, tokens - start)
            attention = self.attention_s(chunk, offset + start)
            last = int(start + chunk == tokens)
            total += float(self.seconds(0, 1, tokens=chunk, attention_s=attention, sampled=last).flat[0])
        return total

    def scaled(self, decode: float | FloatArray = 1.0, prompt: float = 1.0) -> IterationModel:
        """Return the model with other seconds: factors of decoding, by batch and context, and of prompts."""
        d, p = self.decoding, self.prompts
        times = Estimate(*(decode * end for end in (d.seconds.value, d.seconds.lower, d.seconds.upper)))
        by_batch = np.broadcast_to(decode, d.seconds.value.shape)[:, d.seconds.value.shape[1] // 2]
        slower = replace(d, seconds=times, waiting_s=decode * d.waiting_s, beside_s=by_batch * d.beside_s)
        parts = {name: prompt * getattr(p, name) for name in ("rows_s", "head_s", "attention_s", "least_s")}
        return replace(self, decoding=slower, prompts=replace(p, **parts), host_s=prompt * self.host_s)

    def at_end(self, end: str) -> IterationModel:
        """Return the model at one end of its 90 % interval: ``lower`` is fast, ``upper`` is slow.

        All parts are at the same end, and so is the KV pool: a slow engine has the smaller one.
        """
        ratio = _ratio(self.decoding.seconds, end)
        pool = self.kv_tokens.upper if end == "lower" else self.kv_tokens.lower
        return replace(
            self.scaled(ratio, getattr(self.prompts, end)),
            kv_tokens=Estimate(pool, self.kv_tokens.lower, self.kv_tokens.upper),
        )

    def against_plain(self, end: str) -> IterationModel:
        """Return the model at one end for a comparison with plain decoding: prompts and pool stay as they are."""
        return self.scaled(_ratio(self.decoding.against_plain, end))

    def with_scalars(self, *, host_s: float = 0.0, slow: float = 0.0) -> IterationModel:
        """Return the model with more host seconds in every iteration, and prompts slower by a share."""
        slower, d = self.scaled(prompt=1.0 + slow), self.decoding
        added = np.where(np.arange(self.max_num_seqs + 1) > 0, host_s, 0.0)
        times = Estimate(*(end + added[:, None] for end in (d.seconds.value, d.seconds.lower, d.seconds.upper)))
        moved = replace(d, seconds=times, beside_s=d.beside_s + added)
        return replace(slower, decoding=moved, host_s=self.host_s + host_s)


def _ratio(times: Estimate, end: str) -> FloatArray:
    """Return one end of an estimate over its value; 1 where the value is 0."""
    ratio = np.ones_like(times.value)
    np.divide(getattr(times, end), times.value, out=ratio, where=times.value > 0.0)
    return ratio


def _place(x: FloatArray, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Return two neighbours in a table of ``size`` entries, and the weight of the upper one, 0 at an entry."""
    low = np.minimum(np.maximum(np.floor(x), 0.0), size - 1.0).astype(np.intp)  # np.clip takes twice as long
    high = np.minimum(low + 1, size - 1)
    return low, high, np.where(high > low, np.minimum(np.maximum(x - low, 0.0), 1.0), 0.0)


def _mixed(low: FloatArray, high: FloatArray, weight: FloatArray) -> FloatArray:
    """Return values between two others; with weight 0 the upper one may be NaN."""
    return np.asarray(np.where(weight > 0.0, (1.0 - weight) * low + weight * high, low))


def _entries(table: FloatArray, *at: NDArray[np.intp]) -> FloatArray:
    """Return the entries of a table at some places of its last axes; a first axis of configurations is kept."""
    if table.ndim == len(at):
        return np.asarray(table[at])
    every = np.arange(table.shape[0]).reshape(-1, *[1] * min(at[0].ndim, 1))
    return np.asarray(table[(every, *at)])


def _at(table: FloatArray, x: FloatArray) -> FloatArray:
    """Return entries of a table over whole numbers from 0, interpolated between them."""
    low, high, weight = _place(x, table.shape[-1])
    return _mixed(_entries(table, low), _entries(table, high), weight)


def context_grid(longest: int, count: int) -> FloatArray:
    """Return the mean contexts of a table: multiples of one step, from 0 to the longest request."""
    return np.arange(count, dtype=np.float64) * (longest / (count - 1.0))


def offset_grid(longest: int) -> FloatArray:
    """Return the earlier tokens of a prompt between which the attention of a chunk is interpolated."""
    ends = np.geomspace(min(256.0, longest), max(longest, 257.0), OFFSETS - 1)
    return np.concatenate([[0.0], ends])


def iteration_model(
    model: Model,
    configs: SpeculativeConfig | Mapping[int, SpeculativeConfig] | None,
    deployment: Deployment,
    draft_deployment: Deployment | None = None,
    *,
    max_context: int,
    mean_context: float | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    contexts: int = CONTEXTS,
) -> IterationModel:
    """Return the iteration model of a deployment.

    Parameters
    ----------
    configs
        Speculative configuration, ``None`` for plain decoding, or a schedule: the first batch of each range of
        batches -> its configuration. The first range starts at 1.
    draft_deployment
        Deployment of the draft, if it differs from the target's.
    max_context
        Largest number of tokens of a request, prompt and answer.
    mean_context
        Tokens of a sequence at which the KV pool is counted; default: ``max_context``.
    max_num_seqs, max_num_batched_tokens
        Limits of the scheduler; default: those of the engine on the GPU, see
        `scylla_sim.specs.scheduler.scheduler_defaults`.
    contexts
        Number of contexts between which decoding is interpolated.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> found = iteration_model(catalog.model("llama-3.1-8b"), None, deployment, max_context=2048, max_num_seqs=8)
    >>> alone, both = found.decode_s(8, 1024), found.seconds(8, 1024, tokens=512, attention_s=1e-3)
    >>> bool(alone < both < alone + found.prefill_s(512))
    True
    """
    default = scheduler_defaults(deployment.engine, deployment.calibration.hardware)
    seats = default.max_num_seqs if max_num_seqs is None else max_num_seqs
    budget = default.max_num_batched_tokens if max_num_batched_tokens is None else max_num_batched_tokens
    seats = int(whole("max_num_seqs", seats, 1, MAX_SEATS))
    budget = int(whole("max_num_batched_tokens", budget, 1, MAX_BUDGET))
    longest = int(whole("max_context", max_context, 1))
    if configs is None or isinstance(configs, SpeculativeConfig):
        configs = {1: no_drafting(Draft("none", "none")) if configs is None else configs}
    widest = max(config.verify_tokens for config in configs.values())
    if min(configs) != 1:
        raise fail("schedule", min(configs), "must start at batch 1")
    grid, draft = context_grid(longest, contexts), next(iter(configs.values())).draft
    read = prompts(
        model,
        deployment,
        max_tokens=budget + seats * widest,
        max_rows=seats * (widest + 1),
        offsets=offset_grid(longest),
    )
    return IterationModel(
        decoding=decoding(
            model, configs, deployment, draft_deployment, max_batch=seats, contexts=np.maximum(grid, 1.0)
        ),
        contexts=grid,
        prompts=with_draft(read, draft, model, draft_deployment or deployment),
        host_s=float(overhead_seconds(deployment.engine, step_overhead_counts(deployment.tp))),
        max_num_seqs=seats,
        max_num_batched_tokens=budget,
        kv_tokens=kv_pool_tokens(
            model,
            list(configs.values()),
            deployment,
            draft_deployment,
            context=float(longest if mean_context is None else mean_context),
        ),
    )
