"""Throughput and speed-up of speculative decoding over grids of batch and context.

A cycle drafts, verifies and does host work; it yields ``tokens_per_cycle`` tokens a sequence. Plain decoding pays
its own step and host work per token. Every quantity is an array over the broadcast grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.costs import resident_bytes
from scylla_sim.specs import Draft, Engine, Model
from scylla_sim.steps import Setting, Step, bound, draft_step, host_terms, paid, step_terms, target_step

MEMORY_SHARE = 0.9
"""Share of device memory for weights and KV cache; the rest is activations and buffers. Source: vLLM's default
``gpu_memory_utilization``."""


@dataclass(frozen=True)
class Drafting:
    """What is drafted each cycle, and what the target accepts of it.

    Attributes
    ----------
    draft_len
        Sequential draft passes (gamma); 0 without a draft.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens the target scores per sequence and cycle, root included.
    tokens_per_cycle, tau_lower, tau_upper
        Mean tokens emitted per cycle, bonus token included, with its interval.
    """

    draft: Draft
    draft_len: int
    top_k: int
    verify_tokens: int
    tokens_per_cycle: float
    tau_lower: float
    tau_upper: float

    def __post_init__(self) -> None:
        none = self.draft.kind == "none"
        whole("draft_len", self.draft_len, 0 if none else 1)
        whole("top_k", self.top_k, 1)
        whole("verify_tokens", self.verify_tokens, 1 if none else 2)
        most = min(self.draft_len, self.verify_tokens - 1) + 1
        in_range(
            "tokens_per_cycle", self.tokens_per_cycle, 1, most, hint="draft_len + 1 at most, bonus token included"
        )
        if not self.tau_lower <= self.tokens_per_cycle <= self.tau_upper:
            raise fail("tokens_per_cycle", self.tokens_per_cycle, "must lie in its own interval")


def no_drafting(draft: Draft) -> Drafting:
    """Plain decoding: one token a step."""
    return Drafting(draft, 0, 1, 1, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Prediction:
    """Arrays over the grid: seconds, tokens per second and speed-up, with the 90 % intervals of the last two."""

    batch: FloatArray
    context: FloatArray
    drafting: Drafting
    draft: Step
    verify: Step
    plain: Step
    overhead_s: FloatArray
    plain_overhead_s: FloatArray
    fits_memory: np.ndarray
    speedup_lower: FloatArray
    speedup_upper: FloatArray
    tokens_per_s_lower: FloatArray
    tokens_per_s_upper: FloatArray

    @property
    def cycle_s(self) -> FloatArray:
        """Draft, verify and overhead."""
        return self.draft.seconds + self.verify.seconds + self.overhead_s

    @property
    def tpot_s(self) -> FloatArray:
        """Seconds per output token of one sequence."""
        return self.cycle_s / self.drafting.tokens_per_cycle

    @property
    def tokens_per_s(self) -> FloatArray:
        """All sequences together."""
        return self.batch / self.tpot_s

    @property
    def plain_tokens_per_s(self) -> FloatArray:
        """The same batch without a draft."""
        return self.batch / (self.plain.seconds + self.plain_overhead_s)

    @property
    def speedup(self) -> FloatArray:
        """Throughput over plain throughput, same batch and context."""
        return self.tokens_per_s / self.plain_tokens_per_s

    def bound(self) -> list[str]:
        """What takes most of a cycle, over the flattened grid."""
        return bound([self.draft, self.verify], np.asarray(self.overhead_s))


def cycle_terms(drafting: Drafting, batch: FloatArray) -> dict[str, FloatArray]:
    """How often one cycle of a batch pays each overhead of an engine."""
    tokens = batch * drafting.verify_tokens
    return host_terms(drafting.draft, tokens=tokens, draft_len=drafting.draft_len, top_k=drafting.top_k)


def _engine_ratios(
    engine: Engine,
    cycle: FloatArray,
    cycle_terms: Mapping[str, FloatArray],
    base: FloatArray,
    base_terms: Mapping[str, FloatArray],
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Speed-up with one overhead at either end of its interval, over the speed-up with its value.

    Cycle and plain step pay the same overhead, so what they share cancels in part; without ``base_terms`` the plain
    step stays as it is, and the ratio is that of throughputs.
    """
    nothing = np.asarray(0.0)
    for name, ends in engine.intervals.items():
        if ends[0] == ends[1]:
            continue
        changes = [end - getattr(engine, name) for end in ends]
        low, high = (
            (1.0 + change * base_terms.get(name, nothing) / base)
            / (1.0 + change * cycle_terms.get(name, nothing) / cycle)
            for change in changes
        )
        yield low, high


def _interval(
    value: FloatArray,
    down: Sequence[FloatArray],
    up: Sequence[FloatArray],
    ratios: Iterable[tuple[FloatArray, FloatArray]],
) -> tuple[FloatArray, FloatArray]:
    """Interval of a rate: relative deviations that lower it, that raise it, and its engine's, in quadrature."""
    below = sum((part**2 for part in down), np.zeros_like(value))
    above = sum((part**2 for part in up), np.zeros_like(value))
    for low, high in ratios:
        below = below + np.maximum(1.0 / np.minimum(low, high) - 1.0, 0.0) ** 2
        above = above + np.maximum(np.maximum(low, high) - 1.0, 0.0) ** 2
    return value / (1.0 + np.sqrt(below)), value * (1.0 + np.sqrt(above))


def predict(
    target: Model,
    drafting: Drafting,
    setting: Setting,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_setting: Setting | None = None,
) -> Prediction:
    """Predict one drafting configuration over a grid.

    Parameters
    ----------
    batch, context
        Broadcasting arrays: sequences decoded together, tokens in each one's KV cache.
    draft_setting
        Where the draft runs, when its precision differs from the target's.

    Examples
    --------
    >>> from scylla_sim import catalog, kernels
    >>> setting = Setting(kernels.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> drafting = Drafting(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
    >>> out = predict(catalog.model("llama-3.1-8b"), drafting, setting, batch=[1, 256], context=1024)
    >>> bool(out.speedup[0] > out.speedup[1])
    True
    """
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    draft = drafting.draft
    plain = target_step(target, setting, batch=b, context=s)
    if draft.kind == "none":
        verify, drafted = plain, Step((), np.zeros(b.shape), np.zeros(b.shape), np.zeros(b.shape))
    else:
        verify = target_step(target, setting, batch=b, context=s, tokens=drafting.verify_tokens)
        drafted = draft_step(
            draft,
            target,
            draft_setting or setting,
            batch=b,
            context=s,
            draft_len=drafting.draft_len,
            width=drafting.top_k,
        )
    return combine(target, drafting, setting, plain=plain, verify=verify, drafted=drafted, batch=b, context=s)


def combine(
    target: Model,
    drafting: Drafting,
    setting: Setting,
    *,
    plain: Step,
    verify: Step,
    drafted: Step,
    batch: FloatArray,
    context: FloatArray,
) -> Prediction:
    """A prediction from steps that are known: what `predict` does once it has them.

    A search prices each step once, for plain steps do not depend on the drafting, verify steps only on the tokens
    verified, and drafting not on them. ``batch`` and ``context`` have one shape, that of the steps.
    """
    b, draft, engine, tau = batch, drafting.draft, setting.engine, drafting.tokens_per_cycle
    plain_terms = step_terms(b)
    terms = cycle_terms(drafting, b)
    overhead, plain_overhead = paid(engine, terms), paid(engine, plain_terms)
    held = resident_bytes(
        target, draft, batch=b, context=context, tp=setting.tp, dtype=setting.dtype, kv_dtype=setting.kv_dtype
    )
    cycle = drafted.seconds + verify.seconds + overhead
    base = plain.seconds + plain_overhead
    slower = [
        np.asarray(1.0 - drafting.tau_lower / tau),
        *((step.upper - step.seconds) / cycle for step in (drafted, verify)),
    ]
    faster = [
        np.asarray(drafting.tau_upper / tau - 1.0),
        *((step.seconds - step.lower) / cycle for step in (drafted, verify)),
    ]
    rates = _interval(b * tau / cycle, slower, faster, _engine_ratios(engine, cycle, terms, base, {}))
    if draft.kind == "none":
        gains = np.ones(b.shape), np.ones(b.shape)
    else:
        # Verify and plain steps run the same kernels and so err together in part; taking them as independent makes
        # the interval wider than it need be, never narrower.
        slower.append((plain.seconds - plain.lower) / base)
        faster.append((plain.upper - plain.seconds) / base)
        shared = _engine_ratios(engine, cycle, terms, base, plain_terms)
        gains = _interval(tau * base / cycle, slower, faster, shared)
    return Prediction(
        batch=b,
        context=context,
        drafting=drafting,
        draft=drafted,
        verify=verify,
        plain=plain,
        overhead_s=np.broadcast_to(overhead, b.shape),
        plain_overhead_s=np.broadcast_to(plain_overhead, b.shape),
        fits_memory=held <= MEMORY_SHARE * setting.calibration.hardware.memory_bytes,
        speedup_lower=gains[0],
        speedup_upper=gains[1],
        tokens_per_s_lower=rates[0],
        tokens_per_s_upper=rates[1],
    )
