"""Throughput and speed-up of speculative decoding over grids of batch and context.

A cycle drafts, verifies and does host work; it yields ``tokens_per_cycle`` tokens a sequence. Plain decoding pays
its own step and host work per token. Every quantity is an array over the broadcast grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.costs import resident_bytes
from scylla_sim.specs import Draft, Model
from scylla_sim.steps import Setting, Step, bound, draft_step, host_seconds, target_step

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
    """Arrays over the grid; seconds, tokens per second, and the interval of the speed-up."""

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


def _speedup_interval(
    drafting: Drafting,
    draft: Step,
    verify: Step,
    plain: Step,
    cycle: FloatArray,
    base: FloatArray,
    speedup: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Interval of the speed-up: relative deviations of tau, draft, verify and plain steps in quadrature.

    Verify and plain steps run the same kernels and so err together in part; taking them as independent makes the
    interval wider than it need be, never narrower.
    """
    tau = drafting.tokens_per_cycle
    below = (
        ((tau - drafting.tau_lower) / tau) ** 2
        + ((draft.upper - draft.seconds) / cycle) ** 2
        + ((verify.upper - verify.seconds) / cycle) ** 2
        + ((plain.seconds - plain.lower) / base) ** 2
    )
    above = (
        ((drafting.tau_upper - tau) / tau) ** 2
        + ((draft.seconds - draft.lower) / cycle) ** 2
        + ((verify.seconds - verify.lower) / cycle) ** 2
        + ((plain.upper - plain.seconds) / base) ** 2
    )
    return speedup / (1.0 + np.sqrt(below)), speedup * (1.0 + np.sqrt(above))


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
    b, draft, engine = batch, drafting.draft, setting.engine
    plain_overhead = np.asarray(engine.host_s + engine.token_s * b)
    overhead = plain_overhead
    if draft.kind != "none":
        overhead = host_seconds(engine, draft, tokens=b * drafting.verify_tokens, draft_len=drafting.draft_len)
    held = resident_bytes(
        target, draft, batch=b, context=context, tp=setting.tp, dtype=setting.dtype, kv_dtype=setting.kv_dtype
    )
    cycle = drafted.seconds + verify.seconds + overhead
    base = plain.seconds + plain_overhead
    speedup = drafting.tokens_per_cycle * base / cycle
    if draft.kind == "none":
        lower = upper = np.ones(b.shape)
    else:
        lower, upper = _speedup_interval(drafting, drafted, verify, plain, cycle, base, speedup)
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
        speedup_lower=lower,
        speedup_upper=upper,
    )
