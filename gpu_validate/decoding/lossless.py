"""Whether speculative decoding gave what the target alone would have given.

Greedy output must equal plain decoding token for token. Two passes of different shapes round differently, so in low
precision the target's two best tokens can change places where they nearly tie. What is allowed then is stated:
every token must, given those before it, be the target's best or within `NEAR_TIE` units of rounding of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_validate.decoding.tree_layout import causal_placement
from gpu_validate.models.decoder import Decoder, KVCache, linear

NEAR_TIE = 4.0
"""Units of rounding, of the largest logit, by which two logits may differ and still count as a tie."""

VERDICTS = ("exact", "near ties", "different")


@dataclass(frozen=True)
class Losslessness:
    """Outcome of a comparison.

    Attributes
    ----------
    verdict
        One of `VERDICTS`.
    differing
        Sequences that are not plain decoding's token for token.
    worst
        Largest shortfall of an emitted token behind the target's best, in units of rounding.
    """

    verdict: str
    differing: int
    worst: float


@torch.inference_mode()
def logit_shortfall(target: Decoder, prompts: Tensor, new: Tensor) -> Tensor:
    """How far each new token ``(batch, n)`` is behind the target's best one there, in units of rounding.

    The target reads prompt and output once more, in one pass. A unit is the spacing of numbers of its precision at
    the largest logit.
    """
    tokens = torch.cat((prompts, new[:, :-1]), dim=1)
    cache = KVCache.empty(target.spec, len(tokens), tokens.shape[1], target.norm)
    starts = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
    features = target.features(tokens, cache, causal_placement(starts, tokens.shape[1], target.spec))
    logits = linear(features[:, prompts.shape[1] - 1 :], target.head.weight)
    unit = torch.finfo(logits.dtype).eps * logits.abs().amax(-1).double()
    chosen = logits.gather(-1, new[..., None])[..., 0].double()
    behind: Tensor = (logits.amax(-1).double() - chosen) / unit
    return behind


def compare_outputs(target: Decoder, prompts: Tensor, fast: Tensor, plain: Tensor) -> Losslessness:
    """Compare the greedy outputs ``(batch, n)`` of speculative and of plain decoding after ``prompts``."""
    differing = int((fast != plain).any(1).sum())
    worst = float(logit_shortfall(target, prompts, fast).max())
    if not differing:
        return Losslessness("exact", 0, worst)
    return Losslessness("near ties" if worst <= NEAR_TIE else "different", differing, worst)
