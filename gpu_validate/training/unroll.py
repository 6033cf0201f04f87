"""Many drafts off one text in one pass, for training and for exact measurement.

A text is read once, causally, with the features that the target made of it. From every anchor position a branch
goes on: at each further step it reads one given token and what the model predicted itself, and sees the text up to
its anchor and its own branch, nothing else. That is what a draft sees while it drafts, so what it predicts here is
what it predicts in the loop, as long as the given tokens are those that the loop would have drafted.

Source: the attention of training-time test, Li et al. (EAGLE-3), arXiv 2503.01840, section 3.2; Zhang et al.
(HASS), arXiv 2408.15766, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_validate.models.decoder import Decoder, Layer, Rope, rotary
from gpu_validate.models.eagle import EagleDraft


def shifted(features: Tensor) -> Tensor:
    """Features ``(batch, n, width)`` as they are fed: with each token that of the one before, zeros at first."""
    return functional.pad(features[:, :-1], (0, 0, 1, 0))


@dataclass
class Branches:
    """Keys and values of a text and of branches off it, by layer.

    ``text`` holds ``(batch, heads, n, head_dim)``, each step of ``grown`` ``(batch, heads, anchors, head_dim)``.
    """

    rope: Rope | None
    text: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    grown: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)

    def cut(self, anchors: int) -> None:
        """Keep the first anchors only, where the later ones have no further token."""
        self.grown = [[(k[:, :, :anchors], v[:, :, :anchors]) for k, v in layer] for layer in self.grown]


def read(layers: nn.ModuleList, x: Tensor, rope: Rope | None = None) -> tuple[Tensor, Branches]:
    """Read a text ``(batch, n, width)`` causally; returns the last layer's outputs and what branches need of it."""
    spec = next(_each(layers)).spec
    branches = Branches(rope)
    turn = rotary(torch.arange(x.shape[1], device=x.device)[None], spec.head_dim, x.dtype, rope)
    for layer in _each(layers):
        q, k, v = layer.heads(x, turn)
        branches.text.append((k, v))
        branches.grown.append([])
        x = layer.finish(x, functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    return x, branches


def step(layers: nn.ModuleList, x: Tensor, branches: Branches, positions: Tensor, hidden: Tensor) -> Tensor:
    """One token further on every branch.

    Parameters
    ----------
    x
        ``(batch, anchors, width)``.
    positions
        ``(batch or 1, anchors)`` of the tokens read now.
    hidden
        ``(batch or 1, anchors, n)``: 0 where a branch sees the text, minus infinity where it does not.
    """
    spec = next(_each(layers)).spec
    turn = rotary(positions, spec.head_dim, x.dtype, branches.rope)
    for index, layer in enumerate(_each(layers)):
        q, k, v = layer.heads(x, turn)
        branches.grown[index].append((k, v))
        x = layer.finish(x, _attend(q, branches.text[index], branches.grown[index], hidden))
    return x


def _attend(q: Tensor, text: tuple[Tensor, Tensor], grown: list[tuple[Tensor, Tensor]], hidden: Tensor) -> Tensor:
    """Attention of one query a branch over the visible text and the branch's own steps."""
    batch, heads, anchors, size = q.shape
    kv_heads = text[0].shape[1]
    q = q.reshape(batch, kv_heads, heads // kv_heads, anchors, size) * size**-0.5
    seen = q @ text[0][:, :, None].transpose(-1, -2) + hidden[:, None, None]
    own = [(q * k[:, :, None]).sum(-1, keepdim=True) for k, _ in grown]
    weights = torch.softmax(torch.cat((seen, *own), dim=-1), dim=-1)
    length = text[0].shape[2]
    mixed = weights[..., :length] @ text[1][:, :, None]
    for index, (_, v) in enumerate(grown):
        mixed = mixed + weights[..., length + index, None] * v[:, :, None]
    return mixed.reshape(batch, heads, anchors, size)


def _each(layers: nn.ModuleList) -> Iterator[Layer]:
    yield from (layer for layer in layers if isinstance(layer, Layer))


def mask(anchors: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """``hidden`` of `step` for branches off positions ``(batch or 1, anchors)``: text up to the anchor shows."""
    later = torch.arange(length, device=anchors.device) > anchors[..., None]
    return torch.zeros(later.shape, dtype=dtype, device=anchors.device).masked_fill(later, -torch.inf)


def target_features(target: Decoder, tokens: Tensor) -> tuple[Tensor, Branches]:
    """Normed features of a text, as a draft is fed them, and what branches of the target need."""
    x, branches = read(target.layers, target.embedding(tokens), target.traits.rope)
    return target.normed(x), branches


def rollout(
    target: Decoder, tokens: Tensor, anchors: Tensor, length: int, draws: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What the target itself writes after every anchor.

    Parameters
    ----------
    tokens
        ``(batch, n)`` texts.
    anchors
        ``(batch, anchors)`` positions of the last token read.
    draws
        ``(batch, anchors, length)`` uniform numbers to sample at temperature 1; greedy without.

    Returns
    -------
    tokens, log-probabilities
        ``(batch, anchors, length)`` and ``(batch, anchors, length, vocab)``.
    """
    features, branches = target_features(target, tokens)
    at = anchors[..., None].expand(-1, -1, features.shape[-1])
    logits = functional.linear(features.gather(1, at), target.head.weight)
    hidden = mask(anchors, tokens.shape[1], features.dtype)
    written, chances = [], []
    for index in range(length):
        chances.append(functional.log_softmax(logits, dim=-1))
        written.append(_next(chances[-1], None if draws is None else draws[..., index]))
        if index + 1 < length:
            x = step(target.layers, target.embedding(written[-1]), branches, anchors + 1 + index, hidden)
            logits = functional.linear(target.normed(x), target.head.weight)
    return torch.stack(written, 2), torch.stack(chances, 2)


def _next(chances: Tensor, draw: Tensor | None) -> Tensor:
    """The most probable token, or the one at a uniform number's place in the distribution."""
    if draw is None:
        return chances.argmax(-1)
    upper = chances.exp().cumsum(-1)
    return (upper < (draw[..., None] * upper[..., -1:])).sum(-1).clamp(max=chances.shape[-1] - 1)


def draft_logits(
    draft: EagleDraft, tokens: Tensor, features: Tensor, anchors: Tensor, continuation: Tensor
) -> Iterator[Tensor]:
    """The draft's logits ``(batch, anchors, vocab)`` at each step of drafting after every anchor.

    Step 0 follows the anchor's token, step j the first j tokens of ``continuation`` ``(batch, anchors, length)``.
    """
    x, branches = read(draft.layers, draft.enter(tokens, shifted(features)))
    predicted = draft.leave(x)
    predicted = predicted.gather(1, anchors[..., None].expand(-1, -1, predicted.shape[-1]))
    hidden = mask(anchors, tokens.shape[1], features.dtype)
    yield draft.logits(predicted)
    for index in range(continuation.shape[2] - 1):
        x = draft.enter(continuation[..., index], predicted)
        predicted = draft.leave(step(draft.layers, x, branches, anchors + 1 + index, hidden))
        yield draft.logits(predicted)


def training_loss(
    draft: EagleDraft, tokens: Tensor, features: Tensor, chances: Tensor, steps: Sequence[float]
) -> Tensor:
    """Cross-entropy of the draft to the target's distribution at every position and unrolled step.

    Parameters
    ----------
    tokens, features, chances
        ``(batch, n)`` text, the target's features ``(batch, n, width)`` and probabilities ``(batch, n, vocab)``.
    steps
        Weight of each step; one step is EAGLE's own training, several are EAGLE-3's.
    """
    length = tokens.shape[1]
    x, branches = read(draft.layers, draft.enter(tokens, shifted(features)))
    predicted = draft.leave(x)
    loss = steps[0] * _cross_entropy(draft.logits(predicted), chances)
    positions = torch.arange(length, device=tokens.device)[None]
    hidden = mask(positions, length, features.dtype)
    for index, weight in enumerate(steps[1:], 1):
        branches.cut(length - index)
        x = draft.enter(tokens[:, index:], predicted[:, : length - index])
        here = slice(0, length - index)
        x = step(draft.layers, x, branches, positions[:, index:], hidden[:, here])
        predicted = draft.leave(x)
        loss = loss + weight * _cross_entropy(draft.logits(predicted), chances[:, index:])
    return loss / sum(steps)


def _cross_entropy(logits: Tensor, chances: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), chances.flatten(0, 1))
