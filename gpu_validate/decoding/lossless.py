"""Check that speculative decoding gives the output of the target alone.

Greedy output must equal autoregressive decoding token for token. Two passes of different shapes round differently.
In low precision the two best tokens can therefore swap where they nearly tie. The check allows this within limits:
given the tokens before it, every token must be the target's best, or within `NEAR_TIE` units of rounding of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_validate.decoding.tree_layout import causal_placement
from gpu_validate.models.decoder import Decoder, KVCache, linear

NEAR_TIE = 4.0
"""Largest difference of two logits that counts as a tie, in units of rounding of the largest logit."""


@dataclass(frozen=True)
class Losslessness:
    """Result of a comparison.

    Attributes
    ----------
    verdict
        ``exact``, ``near ties`` or ``different``.
    differing
        Number of sequences that differ from autoregressive decoding.
    worst
        Largest distance of an emitted token from the target's best, in units of rounding.
    """

    verdict: str
    differing: int
    worst: float


@torch.inference_mode()
def logit_shortfall(target: Decoder, prompts: Tensor, new: Tensor) -> Tensor:
    """Return the distance of each new token from the target's best token, in units of rounding.

    The target reads prompt and output again in one pass. A unit is the spacing of numbers of its precision at the
    largest logit.

    Parameters
    ----------
    target
        Model that decoded.
    prompts
        ``(batch, longest)`` tokens.
    new
        ``(batch, n)`` tokens that followed.

    Returns
    -------
    Tensor
        ``(batch, n)``, 0 for the best token.
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
    """Compare the greedy outputs ``(batch, n)`` of speculative and autoregressive decoding after ``prompts``."""
    differing = int((fast != plain).any(1).sum())
    worst = float(logit_shortfall(target, prompts, fast).max())
    if not differing:
        return Losslessness("exact", 0, worst)
    return Losslessness("near ties" if worst <= NEAR_TIE else "different", differing, worst)
