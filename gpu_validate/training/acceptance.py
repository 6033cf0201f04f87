"""How many drafted tokens a target accepts: exact, for thousands of cycles in one pass.

Every cycle begins at an anchor in held-out text, so a small target cannot fall into the loops that its own greedy
text ends in. What the target writes there does not depend on the draft, so it is written once. Until the first
mismatch a draft's tokens are the target's, so the draft is given the target's tokens with its own features, and the
rank of the target's next token among its choices says what any static tree of ranks would have accepted.

At temperature 1 the same ranks serve trees whose nodes are the draft's best choices. For a chain whose tokens are
sampled, the probability of getting through is a product of min(1, q/p) along the target's own text, averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.training.unroll import draft_logits, rollout, target_features
from scylla_sim.acceptance.trees import ROOT, DraftTree

_FIRST_ANCHOR = 0.25
"""Anchors lie in the rest of a window: before, the model has read too little."""

PROFILE_WIDTH = 8
"""Ranks of a draft's choices that trees and profiles know."""

FloatArray = NDArray[np.float64]
RankArray = NDArray[np.int16]


@dataclass(frozen=True)
class Anchors:
    """Cycles to measure, and what the target writes in them.

    Attributes
    ----------
    texts, features
        ``(windows, n)`` tokens and the target's features of them.
    domains
        ``(windows,)``: place of each window's domain in `gpu_validate.training.corpus.DOMAINS`.
    positions
        ``(windows, anchors)``: last token read before a cycle.
    written
        Temperature (0, 1) -> ``(windows, anchors, draft_len)`` tokens of the target.
    chances
        ``(windows, anchors, draft_len, vocab)``: the target's log-probabilities of what it wrote at temperature 1.
    """

    texts: Tensor
    features: Tensor
    domains: NDArray[np.int64]
    positions: Tensor
    written: tuple[Tensor, Tensor]
    chances: Tensor


@torch.inference_mode()
def place_anchors(
    target: Decoder,
    windows: NDArray[np.int64],
    domains: NDArray[np.int64],
    *,
    count: int,
    draft_len: int,
    seed: int,
) -> Anchors:
    """``count`` anchors in each window, evenly spaced, and the target's text after them."""
    texts = torch.as_tensor(windows, device=target.norm.device)
    length = texts.shape[1]
    spaced = np.linspace(_FIRST_ANCHOR * length, length - 1, count).round().astype(np.int64)
    positions = torch.as_tensor(spaced, device=texts.device).expand(len(texts), -1).contiguous()
    draws = torch.rand((*positions.shape, draft_len), generator=torch.Generator().manual_seed(seed))
    greedy, _ = rollout(target, texts, positions, draft_len)
    sampled, chances = rollout(target, texts, positions, draft_len, draws.to(texts.device))
    features, _ = target_features(target, texts)
    return Anchors(texts, features, domains, positions, (greedy, sampled), chances)


@dataclass(frozen=True)
class Outcome:
    """What one draft is worth in the cycles of `Anchors`.

    Attributes
    ----------
    ranks
        For temperatures 0 and 1, ``(windows, anchors, draft_len)``: rank of the target's token among the draft's
        choices, 0 the best, given that all tokens before were the target's.
    passed
        ``(windows, anchors, draft_len)``: probability that a chain of sampled tokens gets through its first 1, 2,
        ... tokens at temperature 1.
    """

    ranks: tuple[RankArray, RankArray]
    passed: FloatArray


@torch.inference_mode()
def measure(draft: EagleDraft, anchors: Anchors) -> Outcome:
    """Ranks and acceptance of a draft in all cycles."""
    greedy = _ranks(draft, anchors, anchors.written[0])
    ranks, passed = [], []
    through = torch.ones_like(anchors.positions, dtype=anchors.features.dtype)
    written = anchors.written[1]
    for index, logits in enumerate(
        draft_logits(draft, anchors.texts, anchors.features, anchors.positions, written)
    ):
        token = written[..., index, None]
        ranks.append(_rank(logits, token))
        p = anchors.chances[..., index, :]
        q = functional.log_softmax(logits, dim=-1)
        passed.append(through * torch.minimum(p, q).exp().sum(-1))
        through = through * (q.gather(-1, token) - p.gather(-1, token)).clamp(max=0.0).exp()[..., 0]
    return Outcome((greedy, _stacked(ranks).astype(np.int16)), _stacked(passed).astype(np.float64))


def _ranks(draft: EagleDraft, anchors: Anchors, written: Tensor) -> RankArray:
    steps = draft_logits(draft, anchors.texts, anchors.features, anchors.positions, written)
    found = [_rank(logits, written[..., index, None]) for index, logits in enumerate(steps)]
    return _stacked(found).astype(np.int16)


def _rank(logits: Tensor, token: Tensor) -> Tensor:
    return (logits > logits.gather(-1, token)).sum(-1)


def _stacked(steps: list[Tensor]) -> NDArray[np.generic]:
    return torch.stack(steps, 2).cpu().numpy()


def accepted(tree: DraftTree, ranks: RankArray) -> NDArray[np.int64]:
    """Drafted tokens that a static tree gets accepted in every cycle, shape of ``ranks`` without its last axis.

    Examples
    --------
    >>> from scylla_sim.acceptance.trees import chain
    >>> accepted(chain(2), np.array([[0, 0, 5], [0, 1, 0], [3, 0, 0]])).tolist()
    [2, 1, 0]
    """
    width = max(tree.ranks) + 2
    child = np.full((tree.num_nodes + 1, width), ROOT)
    child[np.array(tree.parents) + 1, np.array(tree.ranks)] = np.arange(tree.num_nodes)
    row: NDArray[np.int64] = np.zeros(ranks.shape[:-1], dtype=np.int64)
    going: NDArray[np.bool_] = np.ones(row.shape, dtype=bool)
    count: NDArray[np.int64] = np.zeros_like(row)
    for depth in range(min(tree.draft_len, ranks.shape[-1])):
        node = child[row, np.minimum(ranks[..., depth], width - 1)]
        going = going & (node != ROOT)
        count = count + going
        row = np.where(going, node + 1, row)
    return count


def rank_profile(ranks: RankArray, width: int) -> FloatArray:
    """``(draft_len, width)``: how often the target's token is the draft's choice of a rank.

    At each depth of the cycles in which all tokens before were first choices. That makes a chain exact; taken over
    all cycles instead, the product over depths would be some 3 % low, for easy text stays easy.

    Examples
    --------
    >>> rank_profile(np.array([[0, 0], [0, 1], [1, 0], [2, 2]]), 2).tolist()
    [[0.5, 0.25], [0.5, 0.5]]
    """
    flat = ranks.reshape(-1, ranks.shape[-1])
    going = np.pad(np.cumprod(flat[:, :-1] == 0, axis=1, dtype=bool), ((0, 0), (1, 0)), constant_values=True)
    chances = np.stack([((flat == rank) & going).sum(0) for rank in range(width)], axis=1)
    return np.asarray(chances / np.maximum(first_choices(ranks), 1)[:, None])


def first_choices(ranks: RankArray) -> NDArray[np.int64]:
    """``(draft_len,)``: cycles in which all tokens before a depth were first choices."""
    flat = ranks.reshape(-1, ranks.shape[-1])
    through = np.cumprod(flat == 0, axis=1, dtype=bool).sum(0)
    return np.concatenate([[len(flat)], through[:-1]])


@dataclass(frozen=True)
class Mean:
    """A mean over windows, which are independent where the cycles of one are not, and its standard error."""

    value: float
    stderr: float
    windows: int


def mean_over_windows(values: NDArray[np.generic], domains: NDArray[np.int64]) -> Mean:
    """Mean of ``(windows, ...)`` values; the error is clustered by window and stratified by domain.

    Examples
    --------
    >>> mean_over_windows(np.array([[1.0, 3.0], [2.0, 4.0]]), np.array([0, 0]))
    Mean(value=2.5, stderr=0.5, windows=2)
    """
    each = values.reshape(len(values), -1).mean(1)
    variance = 0.0
    for domain in np.unique(domains):
        inside = each[domains == domain]
        variance += float(inside.var(ddof=1)) * inside.size / len(each) ** 2
    return Mean(float(each.mean()), variance**0.5, len(each))
