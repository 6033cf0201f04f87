"""Sizes of the models, amount of text and learning rates at each scale, fixed before any measurement.

The learning rate was chosen on tuning windows by ``gpu-validate train --axis rates``. All results come from test
windows. The record of that sweep is kept with the others. Drafts are narrower than their target, and the target has
more layers than the median draft. Otherwise a draft catches up with its target, and more layers do not help.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_validate.training.corpus import VOCAB_SIZE, Sources
from gpu_validate.training.trainer import Training
from scylla_sim.specs.model import Model

UNROLLED = (1.0, 0.8)
"""Weights of the unrolled steps that drafts are trained on.

A third step lengthens training by half and improves acceptance little.
"""

LEARNING_RATE = 1.5e-2
"""Learning rate of all drafts.

Averaged over depths, it gives the most accepted tokens of all rates in `SWEEP`. No depth has a clearly better rate.
A rate that suits only some depths would bias the law of decoder layers.
"""
SLOW_RATE = 1e-3
"""Learning rate of a counter-example."""
SWEEP = (3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2)
"""Learning rates of ``--axis rates``."""


def model(name: str, layers: int, width: int, *, head_dim: int = 32, vocab_size: int = VOCAB_SIZE) -> Model:
    """Return a small Llama-type shape.

    The gated MLP is 2.5 times as wide as the model. There are no grouped KV heads and no tied embeddings.
    """
    heads = max(1, width // head_dim)
    return Model(name, layers, width, 5 * width // 2, heads, heads, width // heads, vocab_size)


@dataclass(frozen=True)
class Size:
    """Parameters of a scale.

    Attributes
    ----------
    sources
        Text.
    target, target_training
        Shape and training of the main target.
    weak_tokens
        Training tokens of the weak target of a counter-example.
    draft_width
        Hidden size of the drafts.
    layers
        Decoder layers of the drafts; each group is trained together.
    per_domain
        Windows of each domain in a step of the drafts.
    grid
        Training tokens after which the drafts are measured.
    broken_grid, broken_layers
        The same for the counter-examples.
    seeds
        Seeds of the main drafts.
    anchors
        Measured cycles per window.
    draft_len
        Drafted tokens of a cycle.
    learning_rate
        Learning rate of the drafts.
    joint_grid
        Training tokens of ``--axis joint``; empty if the scale has no such plan.
    sweep
        Learning rates of ``--axis rates``.
    """

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
    joint_grid: tuple[int, ...] = ()
    sweep: tuple[float, ...] = SWEEP


def _doublings(first: int, count: int) -> tuple[int, ...]:
    """Return ``count`` numbers, each twice the one before."""
    return tuple(first << step for step in range(count))


SIZES = {
    "ci": Size(
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
        joint_grid=_doublings(1 << 14, 5),
    ),
    "small": Size(
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
        joint_grid=(*_doublings(1 << 15, 9), 10 << 20),
    ),
    "full": Size(
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
    "gpu": Size(
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
ratio of the widths. No sweep has tested it yet.
"""
