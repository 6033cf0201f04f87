"""What is trained at each scale: windows of tokens, learning rates and sizes, fixed before anything is measured.

The learning rate was chosen on tuning windows, apart from the test windows that all results come from, by
``gpu-validate train --axis rates``; its record is kept beside the others. Drafts are narrower than their target and
the target is deeper than the middle of them: otherwise a draft catches up with it and depth buys nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_validate.training import AXES, SCALES
from gpu_validate.training.corpus import VOCAB_SIZE, Sources
from gpu_validate.training.trainer import DraftTraining, Training
from scylla_sim.checks import one_of
from scylla_sim.specs.model import Model

MAIN = "main"
"""The arm that the laws are fitted to; the others show what breaks them."""

_UNROLLED = (1.0, 0.8)
"""Weights of the steps that drafts are trained on: two, as each further one cost half as much again for little."""

LEARNING_RATE = 1.5e-2
"""Of all drafts: over depths it has the highest mean of the rates swept, and no depth has a clearly better one. A
rate that suits some depths only would put its own slope into the law of layers."""
_SLOW_RATE = 1e-3
SWEEP = (3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2)
"""Learning rates that ``--axis rates`` tries."""


@dataclass(frozen=True)
class Target:
    """A target, by name, and its training."""

    name: str
    spec: Model
    training: Training
    seed: int = 0


@dataclass(frozen=True)
class Arm:
    """One draft: which law or counter-example it serves, and how it is trained."""

    name: str
    layers: int
    draft: DraftTraining


@dataclass(frozen=True)
class Task:
    """Drafts that are trained together in one process on one order of the text."""

    name: str
    target: str
    training: Training
    arms: tuple[Arm, ...]
    seed: int
    grid: tuple[int, ...]
    split: str = "test"

    @property
    def cost(self) -> float:
        """Relative work: layers and vocabulary of all arms, times tokens."""
        return self.grid[-1] * sum(arm.layers + 0.7 for arm in self.arms)

    def point(self, tokens: int) -> str:
        """Name of one point of the grid."""
        return f"{self.name}-{tokens}"


@dataclass(frozen=True)
class Plan:
    """Everything of one scale."""

    scale: str
    sources: Sources
    targets: tuple[Target, ...]
    tasks: tuple[Task, ...]
    anchors: int
    draft_len: int

    def with_seed(self, seed: int) -> Plan:
        """The same with one seed for targets and drafts."""
        first = min(task.seed for task in self.tasks)
        tasks = tuple(
            replace(task, seed=seed, name=task.name.replace(f"seed{first}", f"seed{seed}"))
            for task in self.tasks
            if task.seed == first
        )
        return replace(self, targets=tuple(replace(target, seed=seed) for target in self.targets), tasks=tasks)


def model(name: str, layers: int, width: int, *, head_dim: int = 32, vocab_size: int = VOCAB_SIZE) -> Model:
    """A small Llama-type shape: gated MLP of 2.5 times the width, heads of a fixed size, nothing shared."""
    heads = max(1, width // head_dim)
    return Model(name, layers, width, 5 * width // 2, heads, heads, width // heads, vocab_size)


@dataclass(frozen=True)
class _Size:
    """Numbers that differ between scales."""

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
"""Scale ``gpu`` fits nine minutes of one H100, also if its steps take a quarter longer than estimated by
`gpu_validate.training.estimate`. The learning rate of its drafts is that of scale ``small`` over the ratio of
widths; it has not been swept yet."""


def plan_of(scale: str, axis: str = "all") -> Plan:
    """The plan of a scale.

    ``axis`` leaves out what the other law needs: ``tokens`` trains the shallowest and the deepest draft, ``layers``
    all depths but no counter-examples, ``rates`` sweeps learning rates on the tuning windows instead.
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
    head_dim, vocab_size = size.target.head_dim, size.target.vocab_size
    spec = model(f"small-draft-{layers}l", layers, size.draft_width, head_dim=head_dim, vocab_size=vocab_size)
    draft = DraftTraining(spec, size.learning_rate, _UNROLLED, fed=True)
    return Arm(name, layers, replace(draft, **changed))  # type: ignore[arg-type]


def _weak(size: _Size) -> Target:
    """A target that a draft can catch up with: two layers, trained on little."""
    spec = replace(size.target, name="weak-target-2l", num_layers=2)
    return Target("weak", spec, replace(size.target_training, tokens=size.weak_tokens))


def _counter_examples(size: _Size, training: Training) -> list[Task]:
    """Drafts that break a law: one unrolled step, a slow rate, no features, the target's width, a weak target."""
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
    """Every depth at every learning rate, to the middle of the window of tokens, on the tuning windows."""
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
