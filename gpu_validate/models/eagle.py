"""A draft that reads the target's features: the head of EAGLE, with any number of decoder layers.

With token t the draft is fed what the target made of token t - 1, and predicts what it will make of t: a feature,
from which the target's own vocabulary projection gives the next token, and which is fed back when nothing better is
known. Fed with nothing but tokens it is an ordinary small model of the same size, the control of experiments.

Source: Li et al. (EAGLE), arXiv 2401.15077, section 4.1; several decoder layers as in arXiv 2505.07858 (Scylla).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_validate.models.attention import Placement
from gpu_validate.models.decoder import Decoder, DecoderOptions, KVCache, Layer, linear, rotary
from scylla_sim.checks import fail
from scylla_sim.specs.model import Model


class EagleDraft(nn.Module):
    """Draft of ``spec.num_layers`` layers for one target, whose embedding and vocabulary projection it borrows.

    Attributes
    ----------
    spec
        Shape of its layers; may be narrower than the target.
    fed
        Whether it reads features; without them it is a token-only draft.
    """

    embedding: Tensor
    head: Tensor

    def __init__(self, spec: Model, target: Decoder, *, fed: bool = True, seed: int = 0) -> None:
        super().__init__()
        if spec.vocab_size != target.spec.vocab_size:
            raise fail("vocab_size", spec.vocab_size, f"must be the target's {target.spec.vocab_size}")
        self.spec = spec
        self.fed = fed
        width = target.spec.hidden_size
        with torch.device("meta"):
            self.join = nn.Linear(width * (1 + fed), spec.hidden_size, bias=False)
            self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.num_layers))
            self.norm = nn.Parameter(torch.ones(spec.hidden_size))
            self.widen = nn.Linear(spec.hidden_size, width, bias=False)
        like = target.head.weight
        self.to(like.dtype).to_empty(device=like.device)
        self.register_buffer("embedding", target.embedding.weight.detach(), persistent=False)
        self.register_buffer("head", target.head.weight.detach(), persistent=False)
        initialize_weights(self, seed)

    @property
    def feature_width(self) -> int:
        """Elements of a feature."""
        return int(self.head.shape[1])

    def enter(self, tokens: Tensor, fed: Tensor) -> Tensor:
        """Inputs ``(..., spec.hidden_size)`` of the layers from tokens and features ``(..., feature_width)``."""
        embedded = functional.embedding(tokens, self.embedding)
        if not self.fed:
            return linear(embedded, self.join.weight)
        return linear(torch.cat((fed, embedded), dim=-1), self.join.weight)

    def leave(self, x: Tensor) -> Tensor:
        """Predicted features from the last layer's outputs."""
        return linear(functional.rms_norm(x, (x.shape[-1],), self.norm, DecoderOptions.norm_eps), self.widen.weight)

    def logits(self, features: Tensor) -> Tensor:
        """``(..., vocab)`` of the target's vocabulary projection."""
        return linear(features, self.head)

    def forward(self, tokens: Tensor, fed: Tensor, cache: KVCache, place: Placement) -> Tensor:
        """Predicted features ``(batch, n, feature_width)``; the cache keeps the tokens' keys and values."""
        x = self.enter(tokens, fed)
        turn = rotary(place.positions, self.spec.head_dim, x.dtype)
        for index, layer in enumerate(self.layers):
            x = layer(x, (cache.keys[index], cache.values[index]), place, turn)
        return self.leave(x)


def initialize_weights(module: nn.Module, seed: int) -> None:
    """Weights to train from: matrices with a variance of one over their inputs, the outputs of layers smaller.

    The last matrices of a layer shrink with the root of the number of layers (Radford et al., GPT-2, section 2.3).
    """
    depth = max(1, sum(isinstance(part, Layer) for part in module.modules()))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() < 2:
                weight.fill_(1.0)
                continue
            gain = (2 * depth) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            weight.copy_(drawn * gain * weight.shape[1] ** -0.5)
