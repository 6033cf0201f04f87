"""Estimated seconds of a plan; the command prints them before it trains.

A step takes the longer of two times: arithmetic and memory traffic on the device, or kernel launches by the host.
Nothing is fused, so the traffic is every tensor that an operation reads or writes. For models this narrow the
traffic takes longer than the arithmetic. A test compares FLOPs, elements and kernels with those that torch counts.
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
"""Ratio of the FLOPs of forward and backward pass to those of the forward pass."""


@dataclass(frozen=True)
class Cost:
    """FLOPs, bytes of memory traffic and kernels of a step."""

    flop: float
    bytes: float
    kernels: int

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(self.flop + other.flop, self.bytes + other.bytes, self.kernels + other.kernels)


@dataclass(frozen=True)
class Rates:
    """Speed of a kind of device.

    Attributes
    ----------
    flop_per_s, tf32_flop_per_s
        Rate of GEMMs in float32, and with inputs rounded to TF32.
    bytes_per_s
        Memory rate of elementwise operations.
    launch_s
        Host seconds per kernel, Python included.
    start_s
        Seconds until the first step: process, torch, text.
    point_s
        Seconds to measure and save the drafts at one point of the grid.
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
"""Kind of device -> its speed; the CPU is one core, the GPU an H100 SXM.

Notes
-----
The H100's datasheet says 67 TFLOP/s in float32, 495 TFLOP/s in TF32 and 3.35 TB/s. GEMMs of 256 to 512 columns are
assumed to reach about a third of the TF32 rate. The other rates follow from `MEASURED_STEPS`:

* The drafts' step waits for the host. It launches 3,969 kernels in 22 microseconds each, with Python and autograd.
  A slower host takes longer.
* The target's 790 kernels are launched before its step ends. The GEMMs leave enough time for its 35 GB of traffic
  at 3.0 TB/s.
"""
MEASURED_STEPS = {"target": 20.8e-3, "drafts": 86.0e-3}
"""Seconds of a step of scale ``gpu``: the target's, and that of all four drafts together.

Source: ``tests/gpu/test_cuda_train.py`` on an H100 SXM with torch 2.11 on 2026-11-26, means of ten steps.
"""


def _inner(spec: Model) -> int:
    return spec.num_heads * spec.head_dim


def _forward_flop(spec: Model, length: int) -> float:
    """Return the FLOPs per token of a forward pass in which every token attends to the whole text."""
    weights = spec.num_layers * spec.layer_parameters
    return 2.0 * weights + 4.0 * length * _inner(spec) * spec.num_layers


def target_step(target: Target) -> Cost:
    """Return the cost of one training step of a target."""
    spec, how = target.spec, target.training
    flop = _BACKWARD * (_forward_flop(spec, how.length) + 2.0 * spec.head_parameters)
    elements = spec.hidden_size * (230 * spec.num_layers + 36) + 11 * spec.vocab_size
    moved = how.step_tokens * elements + _UPDATED * spec.parameters
    return Cost(how.step_tokens * flop, _ELEMENT_BYTES * moved, 92 * spec.num_layers + 40 + _UPDATE_KERNELS)


def features_step(spec: Model, task: Task) -> Cost:
    """Return the cost of the target's forward pass that serves all drafts of a step."""
    how = task.training
    flop = _forward_flop(spec, how.length) + 2.0 * spec.head_parameters
    elements = spec.hidden_size * (72 * spec.num_layers + 9) + 3 * spec.vocab_size
    return Cost(how.step_tokens * flop, _ELEMENT_BYTES * how.step_tokens * elements, 31 * spec.num_layers + 15)


def draft_parameters(arm: Arm, target: Model) -> int:
    """Return the trained GEMM weights of a draft: layers, and projections from and to the target's width."""
    spec = arm.draft.spec
    joined = (2 + arm.draft.fed) * spec.hidden_size * target.hidden_size
    return spec.num_layers * spec.layer_parameters + joined


def draft_step(arm: Arm, target: Model, task: Task) -> Cost:
    """Return the cost of one training step of a draft.

    The vocabulary projection belongs to the target, so its weights get no gradient.
    """
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
    """Return the cost of one step of all drafts of a task."""
    total = features_step(target, task)
    for arm in task.arms:
        total = total + draft_step(arm, target, task)
    return total


def seconds(cost: Cost, rates: Rates, *, tf32: bool) -> float:
    """Return the seconds of one step."""
    flop_per_s = rates.tf32_flop_per_s if tf32 else rates.flop_per_s
    return max(cost.flop / flop_per_s + cost.bytes / rates.bytes_per_s, cost.kernels * rates.launch_s)


@dataclass(frozen=True)
class Stage:
    """A target, or one training point of a task.

    Attributes
    ----------
    name
        Target or task.
    tokens
        Training tokens.
    end_s
        Seconds from the start until it is finished.
    """

    name: str
    tokens: int
    end_s: float


def stages(plan: Plan, kind: str, jobs: int = 1) -> list[Stage]:
    """Return all targets and training points of a plan, with their estimated end.

    Parameters
    ----------
    plan
        Targets and drafts.
    kind
        Kind of device, ``cpu`` or ``cuda``.
    jobs
        Number of processes.
    """
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


def describe(found: Sequence[Stage], limit_s: float | None = None) -> list[str]:
    """Return lines that say when each stage ends, and which stages exceed a limit.

    Examples
    --------
    >>> describe([Stage("main", 4000, 10.0), Stage("a", 1000, 14.0), Stage("a", 2000, 18.0)], 15.0)
    ['main: 4k tokens by 10 s', 'a: 1k tokens by 14 s, 2k by 18 s', '15 s are too short for a from 2k tokens on']
    """
    lines = []
    for name in dict.fromkeys(stage.name for stage in found):
        some = [stage for stage in found if stage.name == name]
        lines.append(f"{name}: " + ", ".join(f"{_tokens_text(s.tokens)} by {s.end_s:.0f} s" for s in some))
        lines[-1] = lines[-1].replace(" by", " tokens by", 1)
    if limit_s is not None:
        late: dict[str, int] = {}
        for stage in found:
            if stage.end_s > limit_s:
                late.setdefault(stage.name, stage.tokens)
        out = ", ".join(f"{name} from {_tokens_text(tokens)} tokens on" for name, tokens in late.items())
        lines.append(f"{limit_s:.0f} s are too short for {out}" if out else f"{limit_s:.0f} s are enough")
    return lines


def _tokens_text(tokens: int) -> str:
    """Return a number of tokens with three digits.

    Examples
    --------
    >>> _tokens_text(196608), _tokens_text(25165824)
    ('197k', '25.2M')
    """
    return f"{tokens / 1e6:.3g}M" if tokens >= 1e6 else f"{tokens / 1e3:.3g}k"
