"""Training plans: the targets and drafts of each scale, and the counter-examples of the laws."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_validate.training import AXES, SCALES
from gpu_validate.training.corpus import Sources
from gpu_validate.training.sizes import SIZES, SLOW_RATE, UNROLLED, Size, model
from gpu_validate.training.trainer import DraftTraining, Training
from scylla_sim.checks import fail, one_of
from scylla_sim.specs.model import Model

MAIN = "main"
"""Name of the arm that the laws are fitted to; the other arms are counter-examples."""


@dataclass(frozen=True)
class Target:
    """A target and its training."""

    name: str
    spec: Model
    training: Training
    seed: int = 0


@dataclass(frozen=True)
class Arm:
    """One draft of a task.

    Attributes
    ----------
    name
        `MAIN`, or the name of a counter-example.
    layers
        Decoder layers.
    draft
        Shape and training.
    """

    name: str
    layers: int
    draft: DraftTraining


@dataclass(frozen=True)
class Task:
    """Drafts that one process trains together on the same batches.

    Attributes
    ----------
    name
        Unique name in the plan.
    target
        Name of the target.
    training
        Batches of the training.
    arms
        Drafts.
    seed
        Seed of the weights and of the order of the text.
    grid
        Training tokens after which the drafts are measured, ascending.
    split
        Windows on which they are measured, ``test`` or ``tune``.
    """

    name: str
    target: str
    training: Training
    arms: tuple[Arm, ...]
    seed: int
    grid: tuple[int, ...]
    split: str = "test"

    @property
    def cost(self) -> float:
        """Relative cost: layers and vocabulary projection of all arms, times tokens."""
        return self.grid[-1] * sum(arm.layers + 0.7 for arm in self.arms)

    def point(self, tokens: int) -> str:
        """Return the name of one point of the grid."""
        return f"{self.name}-{tokens}"


@dataclass(frozen=True)
class Plan:
    """Targets, drafts and text of one scale.

    Attributes
    ----------
    scale
        Name of the scale.
    sources
        Text.
    targets, tasks
        Models to train.
    anchors
        Measured cycles per window.
    draft_len
        Drafted tokens of a cycle.
    """

    scale: str
    sources: Sources
    targets: tuple[Target, ...]
    tasks: tuple[Task, ...]
    anchors: int
    draft_len: int

    def with_seed(self, seed: int) -> Plan:
        """Return the plan with one seed for all targets and drafts."""
        first = min(task.seed for task in self.tasks)
        tasks = tuple(
            replace(task, seed=seed, name=task.name.replace(f"seed{first}", f"seed{seed}"))
            for task in self.tasks
            if task.seed == first
        )
        return replace(self, targets=tuple(replace(target, seed=seed) for target in self.targets), tasks=tasks)


def plan_of(scale: str, axis: str = "all") -> Plan:
    """Return the plan of a scale.

    Parameters
    ----------
    scale
        One of `gpu_validate.training.SCALES`.
    axis
        Drafts to train. ``tokens``: the smallest and the largest number of layers. ``layers``: all numbers of
        layers. ``all``: also the counter-examples. ``joint``: all numbers of layers with more tokens, without
        counter-examples. ``rates``: all numbers of layers at every learning rate, on the tuning windows.

    Raises
    ------
    InputError
        For an unknown scale or axis, or a scale without a plan of ``joint``.
    """
    size = SIZES[one_of("scale", scale, SCALES)]
    one_of("axis", axis, AXES)
    grid = size.joint_grid if axis == "joint" else size.grid
    if not grid:
        having = ", ".join(name for name, other in SIZES.items() if other.joint_grid)
        raise fail("axis", axis, f"has no plan at scale {scale}", f"scales that have one: {having}")
    target = Target("main", size.target, size.target_training)
    training = replace(size.target_training, per_domain=size.per_domain, tokens=grid[-1], lr=0.0)
    targets = [target]
    if axis == "rates":
        tasks = _sweep(size, training)
    else:
        groups = size.layers
        if axis == "tokens":
            every = sorted(layer for group in groups for layer in group)
            groups = ((every[0], every[-1]),)
        tasks = [
            Task(
                f"main-{'-'.join(map(str, group))}-seed{seed}",
                "main",
                training,
                tuple(_arm(size, MAIN, layers) for layers in group),
                seed,
                grid,
            )
            for seed in size.seeds
            for group in groups
        ]
        if axis == "all" and size.broken_grid:
            targets.append(_weak(size))
            tasks += _counter_examples(size, training)
    return Plan(scale, size.sources, tuple(targets), tuple(tasks), size.anchors, size.draft_len)


def _arm(size: Size, name: str, layers: int, **changed: object) -> Arm:
    """Return a draft of a scale; ``changed`` replaces fields of its training."""
    head_dim, vocab_size = size.target.head_dim, size.target.vocab_size
    spec = model(f"small-draft-{layers}l", layers, size.draft_width, head_dim=head_dim, vocab_size=vocab_size)
    draft = DraftTraining(spec, size.learning_rate, UNROLLED, fed=True)
    return Arm(name, layers, replace(draft, **changed))  # type: ignore[arg-type]


def _weak(size: Size) -> Target:
    """Return a target that a draft can catch up with: two layers and little training."""
    spec = replace(size.target, name="weak-target-2l", num_layers=2)
    return Target("weak", spec, replace(size.target_training, tokens=size.weak_tokens))


def _counter_examples(size: Size, training: Training) -> list[Task]:
    """Return drafts that break a law.

    They are trained on one unrolled step, at a low rate, without features, at the target's width, or for a weak
    target.
    """
    broken: list[Arm] = []
    for layers in size.broken_layers:
        broken += [
            _arm(size, "one-step", layers, steps=UNROLLED[:1]),
            _arm(size, "slow", layers, lr=SLOW_RATE),
            _arm(size, "tokens-only", layers, fed=False),
        ]
    spec = replace(size.target, name="wide-draft-1l", num_layers=1)
    wide = replace(_arm(size, "wide", 1).draft, spec=spec)
    broken.append(Arm("wide", 1, wide))
    grid = size.broken_grid
    training = replace(training, tokens=grid[-1])
    weak = tuple(_arm(size, "weak-target", layers) for layers in size.broken_layers)
    return [
        Task("broken", "main", training, tuple(broken), 0, grid),
        Task("weak", "weak", training, weak, 0, grid),
    ]


def _sweep(size: Size, training: Training) -> list[Task]:
    """Return tasks for every number of layers and learning rate, measured in the middle of the token grid."""
    tokens = size.grid[len(size.grid) // 2]
    training = replace(training, tokens=tokens)
    every = sorted(layer for group in size.layers for layer in group)
    return [
        Task(
            f"rates-{layers}",
            "main",
            training,
            tuple(_arm(size, f"lr={rate:g}", layers, lr=rate) for rate in size.sweep),
            seed,
            (tokens,),
            split="tune",
        )
        for seed in size.seeds[:1]
        for layers in every
    ]
