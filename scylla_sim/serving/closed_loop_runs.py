"""Closed loops of many deployments: their costs at the ends of all errors, and their latencies with intervals.

`run_costs` gives the parts of the loops of one deployment, and `joined` puts those of several deployments into
one table of runs. `estimates` gives TPOT, TTFT, E2E and requests per second with 90 % intervals. The parts do not
depend on the scalars of an engine, so `scylla_sim.serving.scalar_fit` tries many scalars at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS, prefill_step
from scylla_sim.prediction.step_time import Step
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.serving.closed_load import ClosedLoad
from scylla_sim.serving.closed_loop import LoopCosts, LoopTimes, closed_loop, loop_costs
from scylla_sim.serving.iteration import IterationModel, iteration_model
from scylla_sim.serving.serving_scalars import ServingScalars
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate, with_deviations

QUANTITIES = ("tpot_s", "ttft_s", "e2e_s", "requests_per_s")
"""Fields of `LoopTimes`."""
VALUE, ROOFLINE, ALONE = "value", "roofline", "alone"
ERRORS = ("decoding", "prompts", "pool")
"""Independent errors of the parts: of decoding, of prompts, and of the size of the KV pool."""
_CONTEXTS = 3
"""Contexts between which decoding is interpolated; its seconds are nearly linear in the context."""


@dataclass(frozen=True)
class RunCosts:
    """Parts of closed loops, and what the datasheet allows at best; arrays of one shape, one element a run.

    Attributes
    ----------
    ends
        `VALUE`, `ROOFLINE`, `ALONE`, and (error, ``lower`` or ``upper``) -> parts. `ALONE` is one request in flight
        with all iterations at their fast end.
    memory_s, compute_s
        Datasheet seconds per output token: of the bytes of a decode step, and of the FLOPs of decoding and of the
        other requests' prompts.
    """

    ends: Mapping[str | tuple[str, str], LoopCosts]
    memory_s: FloatArray
    compute_s: FloatArray

    @property
    def least_s(self) -> FloatArray:
        """Lower bound of the seconds per output token, with perfect overlap."""
        return np.maximum(self.memory_s, self.compute_s)

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> RunCosts:
        """Return the costs of some runs."""
        ends = {name: _picked(one, rows) for name, one in self.ends.items()}
        return RunCosts(ends, self.memory_s[rows], self.compute_s[rows])


def _picked(costs: LoopCosts, rows: NDArray[np.intp] | NDArray[np.bool_]) -> LoopCosts:
    return LoopCosts(*(getattr(costs, item.name)[rows] for item in fields(LoopCosts)))


def joined(parts: Sequence[tuple[NDArray[np.intp], RunCosts]], size: int) -> RunCosts:
    """Return the costs of a table of ``size`` runs from those of its groups and the rows of each group."""

    def scattered(values: Sequence[FloatArray]) -> FloatArray:
        out = np.full(size, np.nan)
        for (rows, _), value in zip(parts, values):
            out[rows] = value
        return out

    ends = {
        name: LoopCosts(
            *(scattered([getattr(part.ends[name], item.name) for _, part in parts]) for item in fields(LoopCosts))
        )
        for name in parts[0][1].ends
    }
    return RunCosts(
        ends, scattered([part.memory_s for _, part in parts]), scattered([part.compute_s for _, part in parts])
    )


def run_costs(
    model: Model,
    deployment: Deployment,
    load: ClosedLoad,
    *,
    config: SpeculativeConfig | None = None,
    draft_deployment: Deployment | None = None,
    max_num_batched_tokens: int = MAX_STEP_TOKENS,
) -> RunCosts:
    """Return the costs of the closed loops of one deployment.

    Parameters
    ----------
    load
        One closed loop per element.
    config, draft_deployment
        Speculative configuration, ``None`` for plain decoding, and where the draft runs.
    max_num_batched_tokens
        Largest number of tokens of an iteration.
    """
    one = iteration_model(
        model,
        config,
        deployment,
        draft_deployment,
        max_context=int(np.ceil(np.max(load.input_len + load.output_len))),
        mean_context=float(np.mean(load.context)),
        max_num_seqs=int(np.max(np.minimum(load.concurrency, load.max_num_seqs))),
        max_num_batched_tokens=max_num_batched_tokens,
        contexts=_CONTEXTS,
    )
    value = loop_costs(one, load)
    ends: dict[str | tuple[str, str], LoopCosts] = {VALUE: value}
    for end in ("lower", "upper"):
        for error, other in _at_ends(one, end).items():
            ends[error, end] = loop_costs(other, load)
    ends[ALONE] = loop_costs(one.at_end("lower"), _alone(load))
    plain = target_step(model, deployment, batch=value.running, context=load.context)
    prompt_s, prompt_compute_s = _datasheet_prompt(model, deployment, load)
    ends[ROOFLINE] = _roofline(model, deployment, load, value, prompt=prompt_s)
    memory, compute = _datasheet_sums(plain)
    return RunCosts(ends, memory, compute + (value.running - 1.0) / load.output_len * prompt_compute_s)


def _at_ends(model: IterationModel, end: str) -> dict[str, IterationModel]:
    """Return the model of iterations with one of its errors at one end."""
    times, pool = model.decoding.seconds, model.kv_tokens
    ratio = np.ones_like(times.value)
    np.divide(getattr(times, end), times.value, out=ratio, where=times.value > 0.0)
    size = getattr(pool, end)
    return {
        "decoding": model.scaled(ratio),
        "prompts": model.scaled(prompt=getattr(model.prompts, end)),
        "pool": replace(model, kv_tokens=Estimate(size, pool.lower, pool.upper)),
    }


def _alone(load: ClosedLoad) -> ClosedLoad:
    """Return the loops with one request in flight."""
    ones = np.ones_like(load.concurrency)
    return replace(load, concurrency=ones, start_share=0.0 * ones, poll_iterations=ones, hold_iterations=0.0 * ones)


def _datasheet_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Return the datasheet's memory and compute seconds, each summed over the operations."""
    zero = np.zeros_like(step.seconds)
    return sum((part.memory_s for part in step.parts), zero), sum((part.compute_s for part in step.parts), zero)


def _datasheet_prompt(model: Model, deployment: Deployment, load: ClosedLoad) -> tuple[FloatArray, FloatArray]:
    """Return the roofline seconds and the compute seconds of prompts; long ones are priced in equal parts."""
    parts = np.ceil(load.new_len / MAX_STEP_TOKENS)
    step = prefill_step(model, deployment, tokens=load.new_len / parts, cached=load.cached_len)
    return parts * step.datasheet_s, parts * _datasheet_sums(step)[1]


def _roofline(
    model: Model, deployment: Deployment, load: ClosedLoad, costs: LoopCosts, *, prompt: FloatArray
) -> LoopCosts:
    """Return the parts of plain decoding by the datasheet."""
    half = np.maximum(0.5 * costs.running, 1.0)
    whole, halved = (
        target_step(model, deployment, batch=batch, context=load.context).datasheet_s
        for batch in (costs.running, half)
    )
    return replace(
        costs,
        decode_s=whole,
        half_decode_s=halved,
        prompt_s=prompt,
        wave_prompt_s=prompt,
        alone_s=prompt + 0.0 * whole,
    )


def times(costs: LoopCosts, load: ClosedLoad, scalars: ServingScalars) -> LoopTimes:
    """Return the means of closed loops with the values of some scalars, whose arrays broadcast with the runs."""
    return closed_loop(
        costs,
        load,
        host_s=scalars.host_s.value,
        slow=scalars.slow.value,
        first_token_s=scalars.first_token_s.value,
    )


def estimates(costs: RunCosts, load: ClosedLoad, scalars: ServingScalars) -> dict[str, Estimate]:
    """Return TPOT, TTFT, E2E and requests per second, with their 90 % intervals.

    The errors of decoding, of prompts, of the KV pool and of the three scalars are independent. Each goes through
    the loop at both of its ends, because the loop amplifies errors. No latency is below that of one request in
    flight with everything at its fast end.
    """
    value = times(costs.ends[VALUE], load, scalars)
    moved = [[times(costs.ends[error, end], load, scalars) for end in ("lower", "upper")] for error in ERRORS]
    for name in ("host_s", "slow", "first_token_s"):
        one = getattr(scalars, name)
        moved.append(
            [
                times(costs.ends[VALUE], load, scalars.with_scalar(name, Estimate(end, one.lower, one.upper)))
                for end in (one.lower, one.upper)
            ]
        )
    found = {name: _with_interval(name, value, moved) for name in QUANTITIES}
    fastest = scalars
    for name in ("host_s", "slow", "first_token_s"):
        one = getattr(scalars, name)
        fastest = fastest.with_scalar(name, Estimate(one.lower, one.lower, one.upper))
    alone = times(costs.ends[ALONE], _alone(load), fastest)
    for name in ("tpot_s", "ttft_s", "e2e_s"):
        one = found[name]
        least = np.minimum(getattr(alone, name), one.value)
        found[name] = Estimate(one.value, np.maximum(one.lower, least), one.upper)
    return found


def _with_interval(name: str, value: LoopTimes, moved: Sequence[Sequence[LoopTimes]]) -> Estimate:
    """Return one quantity with the deviations of all errors added in quadrature."""
    middle: FloatArray = getattr(value, name)
    down, up = [], []
    for pair in moved:
        ends = [getattr(one, name) for one in pair]
        down.append(np.maximum(middle - np.minimum(*ends), 0.0))
        up.append(np.maximum(np.maximum(*ends) - middle, 0.0))
    return with_deviations(middle, down, up)


MAX_PEAK_SHARE = 0.75
"""Largest share of the datasheet peak that the FLOPs of a possible run may need.

Source: the best tenth of Hopper's fp8 GEMMs in aiconfigurator-core reaches 0.67 to 0.72.
"""
SUSPECT_SHARE = 0.2
"""Share of impossible runs from which all runs of a group are left out: they did less work than stated."""
NO_ROOM, TOO_FAST, TOO_MUCH, SUSPECT = (
    "weights leave no room for a KV pool",
    "faster than the datasheet allows",
    f"more than {MAX_PEAK_SHARE:.0%} of the datasheet peak",
    f"a group with {SUSPECT_SHARE:.0%} or more such runs",
)


def excluded(costs: RunCosts, tpot_s: FloatArray, groups: Sequence[NDArray[np.intp]] = ()) -> NDArray[np.str_]:
    """Return why a measured run cannot have done the stated work on the stated GPUs; empty for a possible run.

    Parameters
    ----------
    tpot_s
        Measured seconds per output token; NaN where there is none.
    groups
        Rows of each group of runs that `SUSPECT_SHARE` is applied to.
    """
    with np.errstate(invalid="ignore"):
        found = np.where(costs.compute_s > MAX_PEAK_SHARE * tpot_s, TOO_MUCH, "")
        found = np.where(costs.least_s > tpot_s, TOO_FAST, found)
    impossible = found != ""
    found = np.where(costs.ends[VALUE].seats < 1.0, NO_ROOM, found).astype(np.str_)
    for rows in groups:
        if impossible[rows].mean() >= SUSPECT_SHARE:
            found = np.where(np.isin(np.arange(found.size), rows) & (found == ""), SUSPECT, found)
    return found
