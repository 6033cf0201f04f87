"""EAGLE draft: a head that reads the target's features, with any number of decoder layers.

For token t the draft reads the target's feature of token t - 1 and predicts the target's feature of t. The target's
vocabulary projection turns that feature into the next token. Where no target feature is known, the draft reads its
own prediction. Without features it is an ordinary small model of the same size, the control in experiments.

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
    """Draft of ``spec.num_layers`` layers that uses the embedding and the vocabulary projection of a target.

    Parameters
    ----------
    spec
        Shape of the layers. It may be narrower than the target.
    target
        Target model with the same vocabulary.
    fed
        Whether the draft reads features. Without them it reads tokens only.
    seed
        Seed of the initial weights.
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

    def enter(self, tokens: Tensor, fed: Tensor) -> Tensor:
        """Return the inputs of the layers, ``(..., spec.hidden_size)``, from tokens and features."""
        embedded = functional.embedding(tokens, self.embedding)
        if not self.fed:
            return linear(embedded, self.join.weight)
        return linear(torch.cat((fed, embedded), dim=-1), self.join.weight)

    def leave(self, x: Tensor) -> Tensor:
        """Return the predicted features from the outputs of the last layer."""
        return linear(functional.rms_norm(x, (x.shape[-1],), self.norm, DecoderOptions.norm_eps), self.widen.weight)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits ``(..., vocab)`` of the target's vocabulary projection."""
        return linear(features, self.head)

    def forward(self, tokens: Tensor, fed: Tensor, cache: KVCache, place: Placement) -> Tensor:
        """Return the predicted features ``(batch, n, hidden size of the target)`` and fill the cache."""
        x = self.enter(tokens, fed)
        turn = rotary(place.positions, self.spec.head_dim, x.dtype)
        for index, layer in enumerate(self.layers):
            x = layer(x, (cache.keys[index], cache.values[index]), place, turn)
        return self.leave(x)


def initialize_weights(module: nn.Module, seed: int) -> None:
    """Set the weights that training starts from.

    Matrices have a variance of one over their inputs. The last matrices of a layer are scaled down by the root of
    twice the number of layers. Source: Radford et al., GPT-2, section 2.3.
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
