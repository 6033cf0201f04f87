"""Trained target and drafts, read from the folder that ``gpu-validate train`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.training.files import load
from scylla_sim.checks import FloatArray, fail
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class TrainedHead:
    """A trained draft.

    Attributes
    ----------
    draft
        Model.
    layers
        Number of decoder layers.
    ranks
        ``(depth, ranks)`` probability that the target's token is the draft's r-th choice at depth d.
    """

    draft: EagleDraft
    layers: int
    ranks: FloatArray


@dataclass(frozen=True)
class Trained:
    """Models that ``train`` wrote.

    Attributes
    ----------
    target
        Target model.
    heads
        Drafts in the order of their layers.
    prompts
        ``(n, tokens)`` of held-out text.
    """

    target: Decoder
    heads: tuple[TrainedHead, ...]
    prompts: Tensor

    def specs(self) -> list[dict[str, Any]]:
        """Return the shapes of all models for the record, since no catalog contains them."""
        return [asdict(spec) for spec in (self.target.spec, *(head.draft.spec for head in self.heads))]

    @staticmethod
    def read(folder: Path, device: str) -> Trained:
        """Read the folder of weights.

        Raises
        ------
        InputError
            When the folder lacks a file, or a file does not match its shapes.
        """
        if not (folder / "target.pt").is_file():
            raise fail("weights", str(folder), "holds no target.pt", "gpu-validate train leaves it in OUT/weights")
        target, prompts = _target(folder / "target.pt", device)
        heads = [_head(path, target, device) for path in folder.glob("draft-*.pt")]
        if not heads:
            raise fail(
                "weights", str(folder), "holds no draft-*.pt", "gpu-validate train leaves them in OUT/weights"
            )
        return Trained(target, tuple(sorted(heads, key=lambda head: head.layers)), prompts)


def _spec(content: Mapping[str, Any]) -> Model:
    return Model(**{**content, "windows": tuple(content["windows"])})


@contextmanager
def _belonging(path: Path) -> Iterator[None]:
    """Turn errors of a damaged file into one that names the file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise fail("weights", str(path), "holds no model of train that fits its shapes", "train again") from None


def _target(path: Path, device: str) -> tuple[Decoder, Tensor]:
    content = load(path, device)
    with _belonging(path):
        target = Decoder(_spec(content["spec"]), device=device)
        target.load_state_dict(content["weights"])
        return target, content["prompts"].to(device)


def _head(path: Path, target: Decoder, device: str) -> TrainedHead:
    content = load(path, device)
    with _belonging(path):
        draft = EagleDraft(_spec(content["spec"]), target, fed=bool(content["fed"])).requires_grad_(False)
        held, wanted = content["weights"].numel(), sum(part.numel() for part in draft.parameters())
        if held != wanted:
            raise fail("weights", str(path), f"holds {held} weights, and its shapes take {wanted}", "train again")
        torch.nn.utils.vector_to_parameters(content["weights"], draft.parameters())
        return TrainedHead(draft, draft.spec.num_layers, content["ranks"].double().cpu().numpy())
