"""Throughput and speed-up of speculative decoding over grids of batch and context.

A cycle drafts, verifies and does host work. It yields `SpeculativeConfig.tokens_per_cycle` tokens per sequence.
The autoregressive baseline takes one step and its host work per token. Quantities are arrays over the grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, positive
from scylla_sim.prediction import evidence
from scylla_sim.prediction.cycle import NO_LOAD, Cycle, bound
from scylla_sim.prediction.memory_limits import Ends, MemoryLimits
from scylla_sim.prediction.overheads import cycle_overhead_counts, overhead_seconds, step_overhead_counts
from scylla_sim.prediction.served_load import ServedLoad, draft_prompt_of, prefill_per_token, prompt_of
from scylla_sim.prediction.stacked_steps import TargetSteps, draft_passes, target_steps
from scylla_sim.prediction.step_time import EMPTY, Step, step_of
from scylla_sim.prediction.steps import Deployment, draft_step
from scylla_sim.prediction.uncertainty import speedup_interval, with_interval
from scylla_sim.prediction.verdict import FASTER_BELOW, probability_below
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate, exact


@dataclass(frozen=True)
class Prediction:
    """Prediction of one configuration over a grid of batch and context.

    Attributes
    ----------
    batch, context
        Sequences decoded together, and tokens in the KV cache of each; arrays of one shape.
    config
        The draft, its shape, and the tokens per cycle.
    deployment
        Device, engine and precisions of the target.
    draft_tp
        TP ranks of the draft.
    draft, verify, plain
        Steps of drafting, of verification and of the autoregressive baseline.
    limits
        Memory of the deployment, and of the draft's.
    measured_plain_s
        Measured seconds per output token of plain decoding; ``None`` predicts them.
    load
        Lengths of the served requests; ``None`` predicts decoding only.
    prompt, draft_prompt
        Prefill of one request of the load by the target, and by the draft.
    each_tau
        Tokens per cycle of each point of the grid, without an interval; ``None`` for those of ``config``.
    wait
        Wait for the slowest sequence of a batch without refill; ``None`` if it is refilled. See `Cycle`.
    """

    batch: FloatArray
    context: FloatArray
    config: SpeculativeConfig
    deployment: Deployment
    draft_tp: int
    draft: Step
    verify: Step
    plain: Step
    limits: MemoryLimits
    measured_plain_s: FloatArray | None = None
    load: ServedLoad | None = None
    prompt: Step = EMPTY
    draft_prompt: Step = EMPTY
    each_tau: FloatArray | None = None
    wait: Estimate | None = None

    @cached_property
    def max_sequences(self) -> Ends:
        """Sequences whose KV caches fit in memory beside the draft: lower and upper end of a range.

        The range is over versions and default settings of the engine.
        """
        return self.limits.max_sequences(self.config)

    @cached_property
    def plain_max_sequences(self) -> Ends:
        """Sequences whose KV caches fit in memory without a draft, as `max_sequences`."""
        return self.limits.max_sequences()

    @property
    def fits_memory(self) -> NDArray[np.bool_]:
        """Whether the batch fits in memory over the whole range of `max_sequences`."""
        return np.asarray(self.batch <= self.max_sequences[0])

    @property
    def engine(self) -> Engine:
        """The serving engine."""
        return self.deployment.engine

    @cached_property
    def cycle(self) -> Cycle:
        """The draft-verify cycle, which takes at least as long as a step of the baseline.

        The kernels of all-reduce on some devices are estimated to be faster with more tokens.
        """
        config, backend = self.config, self.verify.attention_backend
        counts = cycle_overhead_counts(
            config.draft,
            tokens=self.batch * config.verify_tokens,
            draft_len=config.draft_len,
            top_k=config.top_k,
            tp=self.deployment.tp,
            draft_tp=self.draft_tp,
            step_s=self.plain_cycle.decoding.seconds,
            piecewise=backend is not None and backend.piecewise,
        )
        tau = config.tau if self.each_tau is None else exact(self.each_tau)
        load = self._load(tau.value, self.draft_prompt)
        return Cycle(
            tokens_per_cycle=tau,
            verify=self.verify,
            verify_tokens=config.verify_tokens,
            draft=self.draft,
            draft_width=config.draft.pass_width(config.draft_len, config.top_k),
            overhead_counts=counts,
            seconds=np.maximum(
                self.draft.seconds + self.verify.seconds + overhead_seconds(self.engine, counts),
                self.plain_cycle.seconds - self.plain_cycle.load.value,
            )
            + load.value,
            load=load,
            wait=self.wait,
        )

    @cached_property
    def plain_cycle(self) -> Cycle:
        """The cycle of the autoregressive baseline: one step, one token."""
        counts, load = step_overhead_counts(self.deployment.tp), self._load(1.0)
        return Cycle(
            tokens_per_cycle=exact(1.0),
            verify=self.plain,
            verify_tokens=1,
            draft=EMPTY,
            draft_width=1,
            overhead_counts=counts,
            seconds=self.plain.seconds + overhead_seconds(self.engine, counts) + load.value,
            load=load,
        )

    @property
    def overhead_s(self) -> FloatArray:
        """Seconds that the engine adds to a cycle."""
        return np.broadcast_to(overhead_seconds(self.engine, self.cycle.overhead_counts), self.batch.shape)

    @property
    def plain_overhead_s(self) -> FloatArray:
        """Seconds that the engine adds to a step of the baseline."""
        return np.broadcast_to(overhead_seconds(self.engine, self.plain_cycle.overhead_counts), self.batch.shape)

    def _load(self, tokens: ArrayLike, draft_prompt: Step = EMPTY) -> Estimate:
        """Return the prefill seconds of the load while each sequence gains some tokens."""
        if self.load is None:
            return NO_LOAD
        whole = step_of((*self.prompt.parts, *draft_prompt.parts)) if draft_prompt.parts else self.prompt
        return prefill_per_token(whole, self.load, batch=self.batch).scaled(tokens)

    @property
    def cycle_s(self) -> FloatArray:
        """Seconds of a cycle: draft, verification and overhead."""
        return self.cycle.seconds - self.cycle.load.value

    @property
    def tpot_s(self) -> FloatArray:
        """Seconds per output token of one sequence."""
        predicted = self.cycle.lasting_s / self.cycle.tokens_per_cycle.value
        measured = self.measured_plain_s
        return predicted if measured is None else predicted * (measured / self.plain_cycle.seconds)

    @property
    def plain_tpot_s(self) -> FloatArray:
        """Seconds per output token of the autoregressive baseline, measured or predicted."""
        return self.plain_cycle.seconds if self.measured_plain_s is None else self.measured_plain_s

    @property
    def predicted_plain_tpot_estimate(self) -> Estimate:
        """Predicted seconds per output token of the autoregressive baseline, with their 90 % interval."""
        seconds = self.plain_cycle.seconds
        rate = with_interval(1.0 / seconds, self.plain_cycle, self.engine)
        return Estimate(seconds, 1.0 / rate.upper, 1.0 / rate.lower)

    @property
    def tokens_per_s(self) -> FloatArray:
        """Output tokens per second of all sequences together."""
        return self.batch / self.tpot_s

    @property
    def plain_tokens_per_s(self) -> FloatArray:
        """Output tokens per second of the autoregressive baseline at the same batch."""
        return self.batch / self.plain_tpot_s

    @property
    def speedup(self) -> FloatArray:
        """Throughput divided by that of the autoregressive baseline at the same batch and context."""
        return self.tokens_per_s / self.plain_tokens_per_s

    @cached_property
    def speedup_estimate(self) -> Estimate:
        """`speedup` with its 90 % interval; errors that cycle and baseline share cancel."""
        return speedup_interval(self.speedup, self.cycle, self.engine, self.plain_cycle)

    @cached_property
    def p_slower(self) -> FloatArray:
        """Probability that the speed-up is below 1.

        No deployment is called faster if no published row describes the attention that verifies.
        """
        found = probability_below(1.0, self.speedup_estimate)
        backend = self.verify.attention_backend
        return np.maximum(found, FASTER_BELOW) if backend is not None and backend.undecided else found

    @cached_property
    def tokens_per_s_estimate(self) -> Estimate:
        """`tokens_per_s` with its 90 % interval; that of the speed-up where plain decoding was measured."""
        if self.measured_plain_s is not None:
            return self.speedup_estimate.scaled(self.plain_tokens_per_s)
        return with_interval(self.tokens_per_s, self.cycle, self.engine)

    @cached_property
    def plain_tokens_per_s_estimate(self) -> Estimate:
        """`plain_tokens_per_s` with its 90 % interval; a measured one is exact."""
        if self.measured_plain_s is not None:
            return exact(self.plain_tokens_per_s)
        return with_interval(self.plain_tokens_per_s, self.plain_cycle, self.engine)

    @cached_property
    def _shares(self) -> dict[str, FloatArray]:
        return evidence.shares(self.cycle, self.engine)

    @property
    def evidence(self) -> list[str]:
        """Level of evidence of the weakest large part of a cycle, over the flattened grid."""
        return evidence.weakest(self._shares, self.batch.shape)

    @property
    def evidence_shares(self) -> list[dict[str, float]]:
        """Share of a cycle at each level of evidence, over the flattened grid."""
        columns = [np.broadcast_to(one, self.batch.shape).reshape(-1).tolist() for one in self._shares.values()]
        return [dict(zip(self._shares, values)) for values in zip(*columns)]

    @property
    def evidence_in_words(self) -> list[str]:
        """`evidence_shares` as text, over the flattened grid."""
        return evidence.words_of_each(self._shares, self.batch.shape)

    def over(self, other: Prediction) -> Estimate:
        """Return the throughput divided by that of another configuration on the same grid."""
        interval = speedup_interval if other.config.draft.kind == "none" else with_interval
        return interval(self.tokens_per_s / other.tokens_per_s, self.cycle, self.engine, other.cycle)

    def bound(self) -> list[str]:
        """Return the resource that takes most of a cycle, over the flattened grid."""
        return bound([self.draft, self.verify], np.asarray(self.overhead_s))


def predict(
    target: Model,
    config: SpeculativeConfig,
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_deployment: Deployment | None = None,
    load: ServedLoad | None = None,
) -> Prediction:
    """Predict one configuration over a grid.

    Parameters
    ----------
    batch, context
        Sequences decoded together, and tokens in the KV cache of each; they broadcast.
    draft_deployment
        Deployment of the draft, if its precision or its TP ranks differ from the target's.
    load
        Lengths of the served requests, whose prefills take a share of the time; default: decoding only.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
    >>> out = predict(catalog.model("llama-3.1-8b"), config, deployment, batch=[1, 256], context=1024)
    >>> bool(out.speedup[0] > out.speedup[1])
    True
    """
    (out,) = predict_each(
        target, [config], deployment, batch=batch, context=context, draft_deployment=draft_deployment, load=load
    )
    return out


def predict_each(
    target: Model,
    configs: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_deployment: Deployment | None = None,
    measured_plain_s: ArrayLike | None = None,
    load: ServedLoad | None = None,
    steps: TargetSteps | None = None,
) -> Iterator[Prediction]:
    """Yield the predictions of several configurations over one grid, in their order.

    Each step is estimated once: one baseline step, one verification per number of verified tokens, one draft pass
    per draft and width. Arguments are as in `predict`; ``measured_plain_s`` is that of `Prediction`, and ``steps``
    are the steps of the target on this grid, if they are known. Verified tokens of one sequence share experts
    (`scylla_sim.prediction.expert_overlap`).
    """
    b_alone, s_alone = positive("batch", batch), positive("context", context)
    b, s = np.broadcast_arrays(b_alone, s_alone)
    measured = None if measured_plain_s is None else np.broadcast_to(measured_plain_s, b.shape)
    configs, grid = list(configs), {"batch": b_alone, "context": s_alone}
    of_target = steps or target_steps(target, configs, deployment, **grid)
    one_pass = draft_passes(target, configs, draft_deployment or deployment, **grid)
    drafting = draft_deployment or deployment
    limits = MemoryLimits(target, deployment, drafting, s)
    prompt = EMPTY if load is None else prompt_of(target, deployment, load)
    read_by = cache(partial(draft_prompt_of, target=target, deployment=drafting, load=load))
    for config in configs:
        passes = partial(one_pass, config.draft)
        yield Prediction(
            batch=b,
            context=s,
            config=config,
            deployment=deployment,
            draft_tp=drafting.tp,
            draft=draft_step(config.draft, passes, draft_len=config.draft_len, width=config.top_k),
            verify=of_target.plain if config.verify_tokens == 1 else of_target.verified(config),
            plain=of_target.plain,
            limits=limits,
            measured_plain_s=measured,
            load=load,
            prompt=prompt,
            draft_prompt=read_by(config.draft),
        )
