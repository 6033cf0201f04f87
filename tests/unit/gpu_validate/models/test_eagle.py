"""EAGLE heads: what they read, and the weights that training starts from."""

from __future__ import annotations

import pytest
import torch

from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from scylla_sim.specs.model import Model

TARGET = Decoder(Model("t", 1, 16, 24, 4, 2, 4, 9), dtype=torch.float64)


def head(*, fed: bool, layers: int = 2) -> EagleDraft:
    return EagleDraft(Model("d", layers, 64, 96, 4, 4, 16, 9), TARGET, fed=fed, seed=1)


def test_a_head_reads_features_and_tokens() -> None:
    tokens = torch.tensor([[1, 2]])
    some, others = torch.zeros(1, 2, 16, dtype=torch.float64), torch.ones(1, 2, 16, dtype=torch.float64)
    for fed in (True, False):
        draft = head(fed=fed)
        assert torch.equal(draft.enter(tokens, some), draft.enter(tokens, others)) != fed
        assert not torch.equal(draft.enter(tokens, some), draft.enter(tokens + 1, some))


@pytest.mark.parametrize("layers", [2, 8])
def test_the_last_matrices_of_a_layer_begin_smaller_with_more_layers(layers: int) -> None:
    """A matrix with n inputs has the deviation n^-0.5, and the last ones of a layer (2 layers)^-0.5 of it."""
    for name, weight in head(fed=True, layers=layers).named_parameters():
        if weight.dim() > 1 and weight.numel() > 1000:
            gain = (2 * layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
            assert float(weight.detach().std()) == pytest.approx(gain * weight.shape[1] ** -0.5, rel=0.1), name
