"""Training of the target, and of many drafts on the target's features of the same text.

All parameters of a model are in one vector. An optimizer step and an average of weights then take a few calls for
any number of layers. Drafts keep a constant learning rate and an average over the last tenth of their steps. One
run gives the whole curve over training tokens: each point is as good as after a run that lowers the rate there.

Source of the average: Karras et al., arXiv 2312.02696, section 3.1 (power-function EMA).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft, initialize_weights
from gpu_validate.training.corpus import Corpus
from gpu_validate.training.unroll import target_features, training_loss
from scylla_sim.specs.model import Model

_BETAS = (0.9, 0.95)
_CLIP = 1.0
_WARM_UP = 30
_EMA_POWER = 9.0
"""Exponent of the average, which weights step t by t^9 and so covers about the last tenth of the run."""
_DECAY_SHARE = 0.2
"""Last part of the target's training, in which the learning rate falls to zero."""


class FlatWeights:
    """All weights of a model as one vector, with optimizer and average.

    Parameters
    ----------
    model
        Model whose parameters become views of the vector.
    lr
        Learning rate.

    Attributes
    ----------
    weights, average
        Vectors of all parameters: as trained, and averaged.
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        parts = list(model.parameters())
        self.weights = nn.Parameter(torch.cat([part.detach().flatten() for part in parts]))
        gradient = torch.zeros_like(self.weights)
        at = 0
        for part in parts:
            size = part.numel()
            part.requires_grad_(True)
            part.data = self.weights.data[at : at + size].view_as(part)
            part.grad = gradient[at : at + size].view_as(part)
            at += size
        self.weights.grad = gradient
        self.average = self.weights.detach().clone()
        self.lr = lr
        self.steps = 0
        self.optimizer = torch.optim.AdamW([self.weights], lr=lr, betas=_BETAS, weight_decay=0.0, fused=True)

    def update(self, scale: float = 1.0) -> None:
        """Apply the present gradients in one step, at ``scale`` times the learning rate."""
        self.steps += 1
        warm = min(1.0, self.steps / _WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * scale * warm
        nn.utils.clip_grad_norm_(self.weights, _CLIP)
        self.optimizer.step()
        assert self.weights.grad is not None
        self.weights.grad.zero_()
        self.average.lerp_(self.weights.detach(), 1.0 - (1.0 - 1.0 / self.steps) ** (_EMA_POWER + 1.0))

    def swap(self) -> None:
        """Exchange weights and average, to measure the averaged model or to go back to training."""
        kept = self.weights.detach().clone()
        self.weights.data.copy_(self.average)
        self.average.copy_(kept)

    def state(self) -> dict[str, Any]:
        """Return the state that `load` resumes from."""
        return {
            "weights": self.weights.detach(),
            "average": self.average,
            "optimiser": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Resume from `state`."""
        self.weights.data.copy_(state["weights"])
        self.average.copy_(state["average"])
        self.optimizer.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])


@dataclass(frozen=True)
class Training:
    """Batches and learning rate of a training.

    Attributes
    ----------
    per_domain
        Windows of each domain in a step.
    length
        Tokens of a window.
    tokens
        Tokens of the whole training.
    lr
        Learning rate.
    tf32
        Whether a GPU may round the inputs of GEMMs to TF32.
    """

    per_domain: int
    length: int
    tokens: int
    lr: float
    tf32: bool = False

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return 4 * self.per_domain * self.length

    @property
    def steps(self) -> int:
        """Number of steps."""
        return math.ceil(self.tokens / self.step_tokens)


@contextmanager
def gemm_precision(*, tf32: bool) -> Iterator[None]:
    """Set whether float32 GEMMs run in TF32, and restore the earlier setting afterwards.

    A CPU ignores the setting.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def _text(corpus: Corpus, seed: int, index: int, how: Training, device: str, extra: int = 0) -> Tensor:
    """Return the tokens of one step, which depend only on the seed and the step."""
    rng = np.random.default_rng([seed, index])
    return torch.as_tensor(corpus.batch(rng, how.per_domain, how.length + extra), device=device)


def train_target(
    spec: Model, corpus: Corpus, how: Training, *, seed: int, device: str = "cpu"
) -> Iterator[tuple[int, Decoder]]:
    """Train a target on next-token prediction.

    The learning rate is constant, and falls linearly to zero in the last fifth.

    Yields
    ------
    tokens, model
        Tokens so far and the model, after every step.
    """
    model = Decoder(spec, device=device)
    initialize_weights(model, seed)
    flat = FlatWeights(model, how.lr)
    for index in range(how.steps):
        text = _text(corpus, seed, index, how, device, extra=1)
        with gemm_precision(tf32=how.tf32):
            features, _ = target_features(model, text[:, :-1])
            logits = functional.linear(features, model.head.weight)
            loss = functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
            loss.backward()  # type: ignore[no-untyped-call]
        flat.update(min(1.0, (how.steps - index) / (_DECAY_SHARE * how.steps)))
        yield (index + 1) * how.step_tokens, model
    model.requires_grad_(False)


@dataclass(frozen=True)
class DraftTraining:
    """Shape and training of one draft.

    Attributes
    ----------
    spec
        Shape of the decoder layers.
    lr
        Learning rate.
    steps
        Weights of the unrolled steps in the loss.
    fed
        Whether the draft is fed the target's features.
    """

    spec: Model
    lr: float
    steps: tuple[float, ...]
    fed: bool


class DraftRun:
    """Drafts that are trained together, so that one forward pass of the target per step serves them all.

    Parameters
    ----------
    target
        Trained target.
    corpus
        Text.
    how
        Batches; the drafts have their own learning rates.
    arms
        Drafts.
    seed
        Seed of the weights and of the order of the text.
    """

    def __init__(
        self, target: Decoder, corpus: Corpus, how: Training, arms: Sequence[DraftTraining], *, seed: int
    ) -> None:
        self.target, self.corpus, self.how, self.arms, self.seed = target, corpus, how, arms, seed
        self.device = target.norm.device.type
        self.drafts = [EagleDraft(arm.spec, target, fed=arm.fed, seed=seed) for arm in arms]
        self.flats = [FlatWeights(draft, arm.lr) for draft, arm in zip(self.drafts, arms)]
        self.index = 0

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.index * self.how.step_tokens

    def advance(self) -> None:
        """Train all drafts for one step."""
        text = _text(self.corpus, self.seed, self.index, self.how, self.device)
        with gemm_precision(tf32=self.how.tf32):
            with torch.no_grad():
                features, _ = target_features(self.target, text)
                probabilities = functional.softmax(functional.linear(features, self.target.head.weight), dim=-1)
            for draft, flat, arm in zip(self.drafts, self.flats, self.arms):
                training_loss(draft, text, features, probabilities, arm.steps).backward()  # type: ignore[no-untyped-call]
                flat.update()
        self.index += 1

    def state(self) -> dict[str, Any]:
        """Return the state that `load` resumes from."""
        return {"index": self.index, "flats": [flat.state() for flat in self.flats]}

    def load(self, state: dict[str, Any]) -> None:
        """Resume from `state`."""
        self.index = int(state["index"])
        for flat, part in zip(self.flats, state["flats"]):
            flat.load(part)
