"""Training plans of each scale: tokens, learning rates and sizes, fixed before any measurement.

The learning rate was chosen on tuning windows by ``gpu-validate train --axis rates``. All results come from test
windows. The record of that sweep is kept with the others. Drafts are narrower than their target, and the target has
more layers than the median draft. Otherwise a draft catches up with its target, and more layers do not help.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_validate.training import AXES, SCALES
from gpu_validate.training.corpus import VOCAB_SIZE, Sources
from gpu_validate.training.trainer import DraftTraining, Training
from scylla_sim.checks import one_of
from scylla_sim.specs.model import Model

MAIN = "main"
"""Name of the arm that the laws are fitted to; the other arms are counter-examples."""

_UNROLLED = (1.0, 0.8)
"""Weights of the unrolled steps that drafts are trained on.

A third step lengthens training by half and improves acceptance little.
"""

LEARNING_RATE = 1.5e-2
"""Learning rate of all drafts.

Averaged over depths it gives the most accepted tokens of the rates in `SWEEP`, and no depth has a clearly better
one. A rate that suits only some depths would bias the law of layers.
"""
_SLOW_RATE = 1e-3
SWEEP = (3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2)
"""Learning rates of ``--axis rates``."""


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


def model(name: str, layers: int, width: int, *, head_dim: int = 32, vocab_size: int = VOCAB_SIZE) -> Model:
    """Return a small Llama-type shape.

    The gated MLP is 2.5 times as wide as the model. There are no grouped KV heads and no tied embeddings.
    """
    heads = max(1, width // head_dim)
    return Model(name, layers, width, 5 * width // 2, heads, heads, width // heads, vocab_size)


@dataclass(frozen=True)
class _Size:
    """Parameters of a scale."""

    sources: Sources
    target: Model
    target_training: Training
    weak_tokens: int
    draft_width: int
    layers: tuple[tuple[int, ...], ...]
    per_domain: int
    grid: tuple[int, ...]
    broken_grid: tuple[int, ...]
    broken_layers: tuple[int, ...]
    seeds: tuple[int, ...]
    anchors: int
    draft_len: int
    learning_rate: float = LEARNING_RATE
    sweep: tuple[float, ...] = SWEEP


def _doublings(first: int, count: int) -> tuple[int, ...]:
    """Return ``count`` numbers, each twice the one before."""
    return tuple(first << step for step in range(count))


_SIZES = {
    "ci": _Size(
        sources=Sources((), bible=False, train_bytes=1_000_000, window=128, windows=40),
        target=model("small-target-3l", 3, 64),
        target_training=Training(per_domain=2, length=128, tokens=450_000, lr=4e-3),
        weak_tokens=150_000,
        draft_width=32,
        layers=((1, 2, 3, 4), (8,)),
        per_domain=1,
        grid=_doublings(1 << 14, 5),
        broken_grid=_doublings(1 << 14, 4),
        broken_layers=(1,),
        seeds=(0,),
        anchors=16,
        draft_len=6,
    ),
    "small": _Size(
        sources=Sources(("networkx", "numpy", "sympy"), bible=True, train_bytes=4_000_000, window=160, windows=60),
        target=model("small-target-6l", 6, 64),
        target_training=Training(per_domain=2, length=128, tokens=3_200_000, lr=4e-3),
        weak_tokens=500_000,
        draft_width=32,
        layers=((1, 2, 8), (3, 4, 6)),
        per_domain=1,
        grid=_doublings(1 << 15, 6),
        broken_grid=_doublings(1 << 15, 5),
        broken_layers=(1, 4),
        seeds=(0, 1, 2),
        anchors=16,
        draft_len=6,
    ),
    "full": _Size(
        sources=Sources(
            ("networkx", "numpy", "scipy", "sympy", "torch"),
            bible=True,
            train_bytes=16_000_000,
            window=160,
            windows=80,
        ),
        target=model("small-target-8l", 8, 96),
        target_training=Training(per_domain=2, length=128, tokens=8_000_000, lr=3e-3),
        weak_tokens=1_000_000,
        draft_width=48,
        layers=((1, 2, 10), (3, 4, 8), (6,)),
        per_domain=1,
        grid=_doublings(1 << 16, 7),
        broken_grid=_doublings(1 << 16, 6),
        broken_layers=(1, 4),
        seeds=(0, 1, 2),
        anchors=16,
        draft_len=8,
    ),
    "gpu": _Size(
        sources=Sources(
            ("networkx", "numpy", "scipy", "sympy", "torch"),
            bible=True,
            train_bytes=12_000_000,
            window=160,
            windows=60,
            vocab_size=4096,
        ),
        target=model("target-8l", 8, 512, head_dim=64, vocab_size=4096),
        target_training=Training(per_domain=8, length=256, tokens=33_554_432, lr=1e-3, tf32=True),
        weak_tokens=0,
        draft_width=256,
        layers=((1, 2, 4, 8),),
        per_domain=4,
        grid=_doublings(3 << 15, 8),
        broken_grid=(),
        broken_layers=(),
        seeds=(0,),
        anchors=16,
        draft_len=6,
        learning_rate=2e-3,
        sweep=(5e-4, 1e-3, 2e-3, 4e-3),
    ),
}
"""Parameters by scale.

Scale ``gpu`` fits nine minutes of one H100, even if its steps take a quarter longer than
`gpu_validate.training.estimate` says. The learning rate of its drafts is that of scale ``small``, divided by the
ratio of the widths. It has not been swept yet.
"""


def plan_of(scale: str, axis: str = "all") -> Plan:
    """Return the plan of a scale.

    Parameters
    ----------
    scale
        One of `gpu_validate.training.SCALES`.
    axis
        Drafts to train. ``tokens``: the fewest and the most layers. ``layers``: all numbers of layers. ``all``:
        also the counter-examples. ``rates``: all numbers of layers at every learning rate, on the tuning windows.
    """
    size = _SIZES[one_of("scale", scale, SCALES)]
    one_of("axis", axis, AXES)
    target = Target("main", size.target, size.target_training)
    training = replace(size.target_training, per_domain=size.per_domain, tokens=size.grid[-1], lr=0.0)
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
                size.grid,
            )
            for seed in size.seeds
            for group in groups
        ]
        if axis == "all" and size.broken_grid:
            targets.append(_weak(size))
            tasks += _counter_examples(size, training)
    return Plan(scale, size.sources, tuple(targets), tuple(tasks), size.anchors, size.draft_len)


def _arm(size: _Size, name: str, layers: int, **changed: object) -> Arm:
    """Return a draft of a scale; ``changed`` replaces fields of its training."""
    head_dim, vocab_size = size.target.head_dim, size.target.vocab_size
    spec = model(f"small-draft-{layers}l", layers, size.draft_width, head_dim=head_dim, vocab_size=vocab_size)
    draft = DraftTraining(spec, size.learning_rate, _UNROLLED, fed=True)
    return Arm(name, layers, replace(draft, **changed))  # type: ignore[arg-type]


def _weak(size: _Size) -> Target:
    """Return a target that a draft can catch up with: two layers and little training."""
    spec = replace(size.target, name="weak-target-2l", num_layers=2)
    return Target("weak", spec, replace(size.target_training, tokens=size.weak_tokens))


def _counter_examples(size: _Size, training: Training) -> list[Task]:
    """Return drafts that break a law.

    They are trained on one unrolled step, at a low rate, without features, at the target's width, or for a weak
    target.
    """
    broken: list[Arm] = []
    for layers in size.broken_layers:
        broken += [
            _arm(size, "one-step", layers, steps=_UNROLLED[:1]),
            _arm(size, "slow", layers, lr=_SLOW_RATE),
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


def _sweep(size: _Size, training: Training) -> list[Task]:
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
