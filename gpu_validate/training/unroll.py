"""Drafting from all positions of a text in one pass, for training and for exact measurement.

A text is read once with causal attention and the target's features. A branch starts at every anchor position. Each
step of a branch reads one given token and the model's own last prediction. It attends to the text up to its anchor
and to its own branch only. A draft in the decoding loop attends to the same tokens. If the given tokens are the
drafted ones, the logits here are those of the loop.

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
    """Shift features ``(batch, n, width)`` by one token: each token is fed the feature of the one before it.

    The first token is fed zeros.
    """
    return functional.pad(features[:, :-1], (0, 0, 1, 0))


@dataclass
class Branches:
    """Keys and values of a text and of its branches.

    Attributes
    ----------
    rope
        Rotary embedding of the model.
    text
        Layer -> keys and values of the text, ``(batch, heads, n, head_dim)``.
    own
        Layer -> step -> keys and values of the branches, ``(batch, heads, anchors, head_dim)``.
    """

    rope: Rope | None
    text: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    own: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)

    def cut(self, anchors: int) -> None:
        """Drop all but the first branches; the later ones have no further token."""
        self.own = [[(k[:, :, :anchors], v[:, :, :anchors]) for k, v in layer] for layer in self.own]


def read(layers: nn.ModuleList, x: Tensor, rope: Rope | None = None) -> tuple[Tensor, Branches]:
    """Run layers over a text with causal attention.

    Parameters
    ----------
    layers
        Decoder layers.
    x
        Inputs of the first layer, ``(batch, n, width)``.
    rope
        Rotary embedding; the default one if omitted.

    Returns
    -------
    outputs, branches
        Outputs of the last layer ``(batch, n, width)``, and the keys and values for `step`.
    """
    spec = next(_each(layers)).spec
    branches = Branches(rope)
    turn = rotary(torch.arange(x.shape[1], device=x.device)[None], spec.head_dim, x.dtype, rope)
    for layer in _each(layers):
        q, k, v = layer.heads(x, turn)
        branches.text.append((k, v))
        branches.own.append([])
        x = layer.finish(x, functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    return x, branches


def step(layers: nn.ModuleList, x: Tensor, branches: Branches, positions: Tensor, bias: Tensor) -> Tensor:
    """Run layers over the next token of every branch.

    Parameters
    ----------
    layers
        Decoder layers.
    x
        Inputs of the first layer, ``(batch, anchors, width)``.
    branches
        Keys and values so far; those of this step are appended.
    positions
        Positions of the tokens, ``(batch or 1, anchors)``.
    bias
        Attention bias of `visible_bias`, ``(batch or 1, anchors, n)``.

    Returns
    -------
    torch.Tensor
        Outputs of the last layer, ``(batch, anchors, width)``.
    """
    spec = next(_each(layers)).spec
    turn = rotary(positions, spec.head_dim, x.dtype, branches.rope)
    for index, layer in enumerate(_each(layers)):
        q, k, v = layer.heads(x, turn)
        branches.own[index].append((k, v))
        x = layer.finish(x, _attend(q, branches.text[index], branches.own[index], bias))
    return x


def _attend(q: Tensor, text: tuple[Tensor, Tensor], own: list[tuple[Tensor, Tensor]], bias: Tensor) -> Tensor:
    """Return the attention of one query per branch to the visible text and to its own branch."""
    batch, heads, anchors, size = q.shape
    kv_heads = text[0].shape[1]
    q = q.reshape(batch, kv_heads, heads // kv_heads, anchors, size) * size**-0.5
    scores = q @ text[0][:, :, None].transpose(-1, -2) + bias[:, None, None]
    own_scores = [(q * k[:, :, None]).sum(-1, keepdim=True) for k, _ in own]
    weights = torch.softmax(torch.cat((scores, *own_scores), dim=-1), dim=-1)
    length = text[0].shape[2]
    mixed = weights[..., :length] @ text[1][:, :, None]
    for index, (_, v) in enumerate(own):
        mixed = mixed + weights[..., length + index, None] * v[:, :, None]
    return mixed.reshape(batch, heads, anchors, size)


def _each(layers: nn.ModuleList) -> Iterator[Layer]:
    yield from (layer for layer in layers if isinstance(layer, Layer))


def visible_bias(anchors: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Return the attention bias of branches: 0 for text up to the anchor, minus infinity after it.

    Parameters
    ----------
    anchors
        Positions of the last text token that a branch attends to, ``(batch or 1, anchors)``.
    length
        Tokens n of the text.
    dtype
        Type of the bias.

    Returns
    -------
    torch.Tensor
        Bias, ``(batch or 1, anchors, n)``.
    """
    later = torch.arange(length, device=anchors.device) > anchors[..., None]
    return torch.zeros(later.shape, dtype=dtype, device=anchors.device).masked_fill(later, -torch.inf)


def target_features(target: Decoder, tokens: Tensor) -> tuple[Tensor, Branches]:
    """Return the normed features ``(batch, n, width)`` that a draft is fed, and the keys and values for `step`."""
    x, branches = read(target.layers, target.embedding(tokens), target.options.rope)
    return target.normed(x), branches


def rollout(
    target: Decoder, tokens: Tensor, anchors: Tensor, length: int, draws: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Generate text with the target after every anchor.

    Parameters
    ----------
    target
        Model.
    tokens
        Texts, ``(batch, n)``.
    anchors
        Positions of the last token read, ``(batch, anchors)``.
    length
        Tokens to generate.
    draws
        Uniform numbers for sampling at temperature 1, ``(batch, anchors, length)``. Without them decoding is
        greedy.

    Returns
    -------
    tokens, log_probs
        Generated tokens ``(batch, anchors, length)`` and log-probabilities ``(batch, anchors, length, vocab)``.
    """
    features, branches = target_features(target, tokens)
    at = anchors[..., None].expand(-1, -1, features.shape[-1])
    logits = functional.linear(features.gather(1, at), target.head.weight)
    bias = visible_bias(anchors, tokens.shape[1], features.dtype)
    written, log_probs = [], []
    for index in range(length):
        log_probs.append(functional.log_softmax(logits, dim=-1))
        written.append(_next(log_probs[-1], None if draws is None else draws[..., index]))
        if index + 1 < length:
            x = step(target.layers, target.embedding(written[-1]), branches, anchors + 1 + index, bias)
            logits = functional.linear(target.normed(x), target.head.weight)
    return torch.stack(written, 2), torch.stack(log_probs, 2)


def _next(log_probs: Tensor, draw: Tensor | None) -> Tensor:
    """Return the most probable token, or the one that a uniform number samples."""
    if draw is None:
        return log_probs.argmax(-1)
    upper = log_probs.exp().cumsum(-1)
    return (upper < (draw[..., None] * upper[..., -1:])).sum(-1).clamp(max=log_probs.shape[-1] - 1)


def draft_logits(
    draft: EagleDraft, tokens: Tensor, features: Tensor, anchors: Tensor, continuation: Tensor
) -> Iterator[Tensor]:
    """Yield the draft's logits at each step of drafting after every anchor.

    Parameters
    ----------
    draft
        Model.
    tokens
        Texts, ``(batch, n)``.
    features
        Target features of the texts, ``(batch, n, width)``.
    anchors
        Positions of the last token read, ``(batch, anchors)``.
    continuation
        Tokens that a branch reads, ``(batch, anchors, length)``.

    Yields
    ------
    torch.Tensor
        Logits ``(batch, anchors, vocab)`` after the anchor's token and the first 0, 1, ... tokens of the
        continuation; ``length`` steps in total.
    """
    x, branches = read(draft.layers, draft.enter(tokens, shifted(features)))
    predicted = draft.leave(x)
    predicted = predicted.gather(1, anchors[..., None].expand(-1, -1, predicted.shape[-1]))
    bias = visible_bias(anchors, tokens.shape[1], features.dtype)
    yield draft.logits(predicted)
    for index in range(continuation.shape[2] - 1):
        x = draft.enter(continuation[..., index], predicted)
        predicted = draft.leave(step(draft.layers, x, branches, anchors + 1 + index, bias))
        yield draft.logits(predicted)


def training_loss(
    draft: EagleDraft, tokens: Tensor, features: Tensor, probabilities: Tensor, steps: Sequence[float]
) -> Tensor:
    """Return the cross-entropy of the draft to the target's distribution, over positions and unrolled steps.

    Parameters
    ----------
    draft
        Model.
    tokens
        Texts, ``(batch, n)``.
    features
        Target features of the texts, ``(batch, n, width)``.
    probabilities
        Target probabilities of the next tokens, ``(batch, n, vocab)``.
    steps
        Weight of each unrolled step. One step is the training of EAGLE, several steps are that of EAGLE-3.

    Returns
    -------
    torch.Tensor
        Weighted mean in nats, a scalar.
    """
    length = tokens.shape[1]
    x, branches = read(draft.layers, draft.enter(tokens, shifted(features)))
    predicted = draft.leave(x)
    loss = steps[0] * _cross_entropy(draft.logits(predicted), probabilities)
    positions = torch.arange(length, device=tokens.device)[None]
    bias = visible_bias(positions, length, features.dtype)
    for index, weight in enumerate(steps[1:], 1):
        branches.cut(length - index)
        x = draft.enter(tokens[:, index:], predicted[:, : length - index])
        here = slice(0, length - index)
        x = step(draft.layers, x, branches, positions[:, index:], bias[:, here])
        predicted = draft.leave(x)
        loss = loss + weight * _cross_entropy(draft.logits(predicted), probabilities[:, index:])
    return loss / sum(steps)


def _cross_entropy(logits: Tensor, probabilities: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), probabilities.flatten(0, 1))
