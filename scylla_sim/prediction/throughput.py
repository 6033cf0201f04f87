"""Throughput and speed-up of speculative decoding over grids of batch and context.

A cycle drafts, verifies and does host work; it yields ``tokens_per_cycle`` tokens a sequence. Plain decoding pays
its own step and host work per token. Every quantity is an array over the broadcast grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, positive
from scylla_sim.ops.memory import resident_bytes
from scylla_sim.prediction.overheads import host_terms, paid, step_terms
from scylla_sim.prediction.steps import EMPTY, Deployment, Step, bound, draft_pass, drafted_step, target_step
from scylla_sim.prediction.uncertainty import Cycle, interval
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model

MEMORY_SHARE = 0.9
"""Share of device memory for weights and KV cache; the rest is activations and buffers. Source: vLLM's default
``gpu_memory_utilization``."""


@dataclass(frozen=True)
class Prediction:
    """Arrays over the grid: seconds, tokens per second and speed-up, with the 90 % intervals of the last two."""

    batch: FloatArray
    context: FloatArray
    drafting: SpeculativeConfig
    deployment: Deployment
    draft: Step
    verify: Step
    plain: Step
    fits_memory: np.ndarray

    @property
    def engine(self) -> Engine:
        """What serves it."""
        return self.deployment.engine

    @cached_property
    def pace(self) -> Cycle:
        """Drafting and verifying, to be held against another way of decoding."""
        d = self.drafting
        tokens = self.batch * d.verify_tokens
        terms = host_terms(d.draft, tokens=tokens, draft_len=d.draft_len, top_k=d.top_k)
        return Cycle(
            tau=d.tokens_per_cycle,
            tau_lower=d.tau_lower,
            tau_upper=d.tau_upper,
            scored=self.verify,
            tokens=d.verify_tokens,
            drafted=self.draft,
            width=d.top_k,
            terms=terms,
            seconds=self.draft.seconds + self.verify.seconds + paid(self.engine, terms),
        )

    @cached_property
    def plain_pace(self) -> Cycle:
        """The same batch without a draft."""
        terms = step_terms(self.batch)
        return Cycle(
            tau=1.0,
            tau_lower=1.0,
            tau_upper=1.0,
            scored=self.plain,
            tokens=1,
            drafted=EMPTY,
            width=1,
            terms=terms,
            seconds=self.plain.seconds + paid(self.engine, terms),
        )

    @property
    def overhead_s(self) -> FloatArray:
        """What the engine adds to a cycle."""
        return np.broadcast_to(paid(self.engine, self.pace.terms), self.batch.shape)

    @property
    def plain_overhead_s(self) -> FloatArray:
        """What the engine adds to a plain step."""
        return np.broadcast_to(paid(self.engine, self.plain_pace.terms), self.batch.shape)

    @property
    def cycle_s(self) -> FloatArray:
        """Draft, verify and overhead."""
        return self.pace.seconds

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
        return self.batch / self.plain_pace.seconds

    @property
    def speedup(self) -> FloatArray:
        """Throughput over plain throughput, same batch and context."""
        return self.tokens_per_s / self.plain_tokens_per_s

    @cached_property
    def _speedup_ends(self) -> tuple[FloatArray, FloatArray]:
        return interval(self.speedup, self.pace, self.engine, self.plain_pace)

    @cached_property
    def _rate_ends(self) -> tuple[FloatArray, FloatArray]:
        return interval(self.tokens_per_s, self.pace, self.engine)

    @property
    def speedup_lower(self) -> FloatArray:
        """Lower end of `speedup`."""
        return self._speedup_ends[0]

    @property
    def speedup_upper(self) -> FloatArray:
        """Upper end of `speedup`."""
        return self._speedup_ends[1]

    @property
    def tokens_per_s_lower(self) -> FloatArray:
        """Lower end of `tokens_per_s`."""
        return self._rate_ends[0]

    @property
    def tokens_per_s_upper(self) -> FloatArray:
        """Upper end of `tokens_per_s`."""
        return self._rate_ends[1]

    def over(self, other: Prediction) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Our throughput over that of another drafting on the same grid, with lower and upper end."""
        ratio = self.tokens_per_s / other.tokens_per_s
        return ratio, *interval(ratio, self.pace, self.engine, other.pace)

    def bound(self) -> list[str]:
        """What takes most of a cycle, over the flattened grid."""
        return bound([self.draft, self.verify], np.asarray(self.overhead_s))


def predict(
    target: Model,
    drafting: SpeculativeConfig,
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_deployment: Deployment | None = None,
) -> Prediction:
    """Predict one drafting configuration over a grid.

    Parameters
    ----------
    batch, context
        Broadcasting arrays: sequences decoded together, tokens in each one's KV cache.
    draft_deployment
        Where the draft runs, when its precision differs from the target's.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> drafting = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
    >>> out = predict(catalog.model("llama-3.1-8b"), drafting, deployment, batch=[1, 256], context=1024)
    >>> bool(out.speedup[0] > out.speedup[1])
    True
    """
    (out,) = predict_each(
        target, [drafting], deployment, batch=batch, context=context, draft_deployment=draft_deployment
    )
    return out


def predict_each(
    target: Model,
    draftings: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_deployment: Deployment | None = None,
) -> Iterator[Prediction]:
    """Predict several drafting configurations over one grid, in their order; arguments as in `predict`.

    Each step is priced once: plain steps do not depend on the drafting, verify steps only on the tokens verified,
    and a pass of the draft on its width.
    """
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    plain = target_step(target, deployment, batch=b, context=s)

    @cache
    def verified(tokens: int) -> Step:
        return plain if tokens == 1 else target_step(target, deployment, batch=b, context=s, tokens=tokens)

    @cache
    def one_pass(draft: Draft, width: int) -> Step:
        return draft_pass(draft, target, draft_deployment or deployment, batch=b, context=s, width=width)

    for item in draftings:
        held = resident_bytes(
            target,
            item.draft,
            batch=b,
            context=s,
            tp=deployment.tp,
            dtype=deployment.dtype,
            kv_dtype=deployment.kv_dtype,
        )
        yield Prediction(
            batch=b,
            context=s,
            drafting=item,
            deployment=deployment,
            draft=drafted_step(item.draft, item.draft_len, item.top_k, partial(one_pass, item.draft)),
            verify=verified(item.verify_tokens),
            plain=plain,
            fits_memory=held <= MEMORY_SHARE * deployment.calibration.hardware.memory_bytes,
        )
