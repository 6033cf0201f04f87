"""Seconds that a plan takes, by arithmetic: the command says them before it trains anything.

A step takes the time of its arithmetic and of its memory traffic, or the time in which the host launches its
kernels, whichever is longer. Nothing is fused, so the traffic is every tensor that an operation reads or writes:
for models this narrow it takes longer than the arithmetic. A test counts FLOPs, elements and kernels again.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from gpu_validate.training.plans import Arm, Plan, Target, Task
from scylla_sim.checks import one_of
from scylla_sim.specs.model import Model

_ELEMENT_BYTES = 4.0
_UPDATED = 17.0
"""Elements moved per weight and step: 6 by gradients, 11 by clipping, AdamW and the average."""
_UPDATE_KERNELS = 14
_BACKWARD = 3.0
"""FLOPs of forward and backward pass over those of the forward pass."""


@dataclass(frozen=True)
class Cost:
    """FLOPs, bytes of memory traffic and kernels of a step."""

    flop: float
    bytes: float
    kernels: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flop + other.flop, self.bytes + other.bytes, self.kernels + other.kernels)


@dataclass(frozen=True)
class Rates:
    """Speed of a kind of device.

    Attributes
    ----------
    flop_per_s, tf32_flop_per_s
        Of matrix products in float32, and with inputs rounded to TF32.
    bytes_per_s
        Of elementwise operations.
    launch_s
        Of the host, per kernel, with the Python around it.
    start_s
        Until the first step: process, torch, text.
    point_s
        To measure and save the drafts at one point of the grid.
    """

    flop_per_s: float
    tf32_flop_per_s: float
    bytes_per_s: float
    launch_s: float
    start_s: float
    point_s: float


RATES = {
    "cuda": Rates(45e12, 150e12, 3.0e12, 22e-6, 40.0, 3.0),
    "cpu": Rates(50e9, 50e9, 10e9, 4e-6, 8.0, 2.0),
}
"""By kind of device; the CPU is one core, the GPU an H100 SXM.

Its datasheet says 67 TFLOP/s in float32, 495 in TF32, and 3.35 TB/s. Products of 256 to 512 columns are assumed to
reach about a third of TF32; traffic and launch follow from `MEASURED_STEPS`. The drafts' step waits for the host to
launch 3,969 kernels, 22 microseconds each with Python and autograd; a slower host takes longer. At that rate the
target's 790 kernels are launched before its step ends, so that 35 GB move in what products leave of it: 3.0 TB/s.
"""
MEASURED_STEPS = {"target": 20.8e-3, "drafts": 86.0e-3}
"""Seconds of a step of scale ``gpu`` on an H100 SXM with torch 2.11: the target's, and that of all four drafts.

Measured by ``tests/gpu/test_cuda_train.py`` on the day of the first campaign (2026-11-26), means of ten steps.
"""


def _inner(spec: Model) -> int:
    return spec.num_heads * spec.head_dim


def _reading(spec: Model, length: int) -> float:
    """FLOPs per token of one pass over a text, attention over all of it."""
    weights = spec.num_layers * spec.layer_parameters
    return 2.0 * weights + 4.0 * length * _inner(spec) * spec.num_layers


def target_step(target: Target) -> Cost:
    """Cost of one training step of a target."""
    spec, how = target.spec, target.training
    flop = _BACKWARD * (_reading(spec, how.length) + 2.0 * spec.head_parameters)
    elements = spec.hidden_size * (230 * spec.num_layers + 36) + 11 * spec.vocab_size
    moved = how.step_tokens * elements + _UPDATED * spec.parameters
    return Cost(how.step_tokens * flop, _ELEMENT_BYTES * moved, 92 * spec.num_layers + 40 + _UPDATE_KERNELS)


def features_step(spec: Model, task: Task) -> Cost:
    """Cost of the target's pass that serves all drafts of a step."""
    how = task.training
    flop = _reading(spec, how.length) + 2.0 * spec.head_parameters
    elements = spec.hidden_size * (72 * spec.num_layers + 9) + 3 * spec.vocab_size
    return Cost(how.step_tokens * flop, _ELEMENT_BYTES * how.step_tokens * elements, 31 * spec.num_layers + 15)


def draft_parameters(arm: Arm, target: Model) -> int:
    """Trained weights of a draft in products: layers, and the two matrices from and to the target's width."""
    spec = arm.draft.spec
    joined = (2 + arm.draft.fed) * spec.hidden_size * target.hidden_size
    return spec.num_layers * spec.layer_parameters + joined


def draft_step(arm: Arm, target: Model, task: Task) -> Cost:
    """Cost of one training step of a draft; the vocabulary projection needs no gradient of its weights."""
    spec, how, unrolled = arm.draft.spec, task.training, len(arm.draft.steps)
    weights = draft_parameters(arm, target)
    attention = 4.0 * how.length * _inner(spec) * spec.num_layers
    flop = _BACKWARD * (2.0 * weights + attention) + 4.0 * target.head_parameters
    elements = unrolled * (249 * spec.hidden_size * spec.num_layers + 36 * target.hidden_size)
    elements += unrolled * 15 * target.vocab_size
    elements += (unrolled - 1) * 23 * spec.num_heads * how.length * spec.num_layers
    moved = how.step_tokens * elements + _UPDATED * weights
    kernels = unrolled * (107 * spec.num_layers + 55) + _UPDATE_KERNELS
    return Cost(how.step_tokens * unrolled * flop, _ELEMENT_BYTES * moved, kernels)


def task_step(task: Task, target: Model) -> Cost:
    """Cost of one step of all drafts of a task."""
    total = features_step(target, task)
    for arm in task.arms:
        total = total + draft_step(arm, target, task)
    return total


def seconds(cost: Cost, rates: Rates, *, tf32: bool) -> float:
    """Seconds of one step."""
    flop_per_s = rates.tf32_flop_per_s if tf32 else rates.flop_per_s
    return max(cost.flop / flop_per_s + cost.bytes / rates.bytes_per_s, cost.kernels * rates.launch_s)


@dataclass(frozen=True)
class Stage:
    """A target, or one point of the drafts of a task, and the seconds after the start at which it is done."""

    name: str
    tokens: int
    end_s: float


def stages(plan: Plan, kind: str, jobs: int = 1) -> list[Stage]:
    """All targets and points of a plan, as ``jobs`` processes come to them on a kind of device."""
    rates = RATES[one_of("device", kind, RATES)]
    free = [rates.start_s] * jobs
    found, trained = [], {}
    for target in plan.targets:
        step_s = seconds(target_step(target), rates, tf32=target.training.tf32)
        end_s = heapq.heappop(free) + target.training.steps * step_s
        heapq.heappush(free, end_s)
        trained[target.name] = (target.spec, end_s)
        found.append(Stage(f"target {target.name}", target.training.tokens, end_s))
    for task in sorted(plan.tasks, key=lambda task: -task.cost):
        spec, ready_s = trained[task.target]
        step_s = seconds(task_step(task, spec), rates, tf32=task.training.tf32)
        end_s, before = max(heapq.heappop(free), ready_s), 0
        for tokens in task.grid:
            end_s += (tokens - before) / task.training.step_tokens * step_s + rates.point_s
            before = tokens
            found.append(Stage(task.name, tokens, end_s))
        heapq.heappush(free, end_s)
    return found


def described(found: Sequence[Stage], limit_s: float | None = None) -> list[str]:
    """Lines that say when each stage is done, and which ones a limit leaves out.

    Examples
    --------
    >>> described([Stage("target main", 4000, 10.0), Stage("a", 1000, 14.0), Stage("a", 2000, 18.0)], 15.0)
    ['target main: 4k tokens by 10 s', 'a: 1k tokens by 14 s, 2k by 18 s', '15 s leave out a from 2k tokens on']
    """
    lines = []
    for name in dict.fromkeys(stage.name for stage in found):
        some = [stage for stage in found if stage.name == name]
        lines.append(f"{name}: " + ", ".join(f"{_count(s.tokens)} by {s.end_s:.0f} s" for s in some))
        lines[-1] = lines[-1].replace(" by", " tokens by", 1)
    if limit_s is not None:
        late: dict[str, int] = {}
        for stage in found:
            if stage.end_s > limit_s:
                late.setdefault(stage.name, stage.tokens)
        out = ", ".join(f"{name} from {_count(tokens)} tokens on" for name, tokens in late.items())
        lines.append(f"{limit_s:.0f} s leave out {out}" if out else f"{limit_s:.0f} s hold all of it")
    return lines


def _count(tokens: int) -> str:
    """A number of tokens in three digits.

    Examples
    --------
    >>> _count(196608), _count(25165824)
    ('197k', '25.2M')
    """
    return f"{tokens / 1e6:.3g}M" if tokens >= 1e6 else f"{tokens / 1e3:.3g}k"
