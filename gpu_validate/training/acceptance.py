"""Exact number of drafted tokens that a target accepts, for thousands of cycles in one pass.

Every cycle begins at an anchor in held-out text. Human text avoids the repetitions in which the greedy text of a
small target ends. The target's continuation does not depend on the draft and is generated once per anchor.

Up to the first mismatch, a draft's tokens are the target's. The draft can therefore read the target's tokens,
together with its own features. The rank of the target's next token among the draft's choices says which nodes of a
static tree are accepted.

At temperature 1 the same ranks apply to trees whose nodes are the draft's best choices. A chain of sampled tokens
is accepted with a probability that is the product of min(1, q/p) along the target's text, averaged over that text.
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
"""Share of a window before its first anchor, which the model reads as context."""

PROFILE_WIDTH = 8
"""Number of a draft's choices in rank profiles and trees."""

FloatArray = NDArray[np.float64]
RankArray = NDArray[np.int16]


@dataclass(frozen=True)
class Anchors:
    """Cycles to measure, with the target's continuations.

    Attributes
    ----------
    texts, features
        Tokens ``(windows, n)`` and their target features ``(windows, n, width)``.
    domains
        Index of each window's domain in `gpu_validate.training.corpus.DOMAINS`, ``(windows,)``.
    positions
        Position of the last token before each cycle, ``(windows, anchors)``.
    written
        Temperature (0, 1) -> tokens that the target generates, ``(windows, anchors, draft_len)``.
    log_probs
        The target's log-probabilities at temperature 1, ``(windows, anchors, draft_len, vocab)``.
    """

    texts: Tensor
    features: Tensor
    domains: NDArray[np.int64]
    positions: Tensor
    written: tuple[Tensor, Tensor]
    log_probs: Tensor


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
    """Return evenly spaced anchors in each window, and the target's text after them.

    Parameters
    ----------
    target
        Trained target.
    windows
        Held-out tokens, ``(windows, n)``.
    domains
        Index of each window's domain, ``(windows,)``.
    count
        Anchors per window.
    draft_len
        Tokens after each anchor.
    seed
        Seed of the sampling at temperature 1.
    """
    texts = torch.as_tensor(windows, device=target.norm.device)
    length = texts.shape[1]
    spaced = np.linspace(_FIRST_ANCHOR * length, length - 1, count).round().astype(np.int64)
    positions = torch.as_tensor(spaced, device=texts.device).expand(len(texts), -1).contiguous()
    draws = torch.rand((*positions.shape, draft_len), generator=torch.Generator().manual_seed(seed))
    greedy, _ = rollout(target, texts, positions, draft_len)
    sampled, log_probs = rollout(target, texts, positions, draft_len, draws.to(texts.device))
    features, _ = target_features(target, texts)
    return Anchors(texts, features, domains, positions, (greedy, sampled), log_probs)


@dataclass(frozen=True)
class Outcome:
    """Acceptance of one draft in the cycles of `Anchors`.

    Attributes
    ----------
    ranks
        Temperature (0, 1) -> rank of the target's token among the draft's choices, if all earlier tokens were the
        target's. Rank 0 is the best choice. Shape ``(windows, anchors, draft_len)``.
    passed
        Probability at temperature 1 that the first 1, 2, ... tokens of a sampled chain are accepted,
        ``(windows, anchors, draft_len)``.
    """

    ranks: tuple[RankArray, RankArray]
    passed: FloatArray


@torch.inference_mode()
def measure(draft: EagleDraft, anchors: Anchors) -> Outcome:
    """Measure the acceptance of a draft in all cycles."""
    greedy = _ranks(draft, anchors, anchors.written[0])
    ranks, passed = [], []
    through = torch.ones_like(anchors.positions, dtype=anchors.features.dtype)
    written = anchors.written[1]
    for index, logits in enumerate(
        draft_logits(draft, anchors.texts, anchors.features, anchors.positions, written)
    ):
        token = written[..., index, None]
        ranks.append(_rank(logits, token))
        p = anchors.log_probs[..., index, :]
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
    """Return the accepted drafted tokens of a static tree in every cycle.

    Parameters
    ----------
    tree
        Tree whose nodes are ranks of the draft's choices.
    ranks
        Ranks of `Outcome`, ``(..., draft_len)``.

    Returns
    -------
    numpy.ndarray
        Accepted tokens, shape of ``ranks`` without its last axis.

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
    active: NDArray[np.bool_] = np.ones(row.shape, dtype=bool)
    count: NDArray[np.int64] = np.zeros_like(row)
    for depth in range(min(tree.draft_len, ranks.shape[-1])):
        node = child[row, np.minimum(ranks[..., depth], width - 1)]
        active = active & (node != ROOT)
        count = count + active
        row = np.where(active, node + 1, row)
    return count


def rank_profile(ranks: RankArray, width: int) -> FloatArray:
    """Return how often the target's token is the draft's choice of each rank, ``(draft_len, width)``.

    Each depth counts only the cycles in which all earlier tokens were first choices. The product over depths is
    then exact for a chain. Over all cycles it would be about 3 % too low, because easy text tends to stay easy.

    Examples
    --------
    >>> rank_profile(np.array([[0, 0], [0, 1], [1, 0], [2, 2]]), 2).tolist()
    [[0.5, 0.25], [0.5, 0.5]]
    """
    flat = ranks.reshape(-1, ranks.shape[-1])
    active = np.pad(np.cumprod(flat[:, :-1] == 0, axis=1, dtype=bool), ((0, 0), (1, 0)), constant_values=True)
    counts = np.stack([((flat == rank) & active).sum(0) for rank in range(width)], axis=1)
    return np.asarray(counts / np.maximum(first_choices(ranks), 1)[:, None])


def first_choices(ranks: RankArray) -> NDArray[np.int64]:
    """Return the cycles in which all tokens before a depth were first choices, ``(draft_len,)``."""
    flat = ranks.reshape(-1, ranks.shape[-1])
    through = np.cumprod(flat == 0, axis=1, dtype=bool).sum(0)
    return np.concatenate([[len(flat)], through[:-1]])


@dataclass(frozen=True)
class Mean:
    """A mean over windows and its standard error.

    Windows are independent observations. The cycles of one window are not.
    """

    value: float
    stderr: float
    windows: int


def mean_over_windows(values: NDArray[np.generic], domains: NDArray[np.int64]) -> Mean:
    """Return the mean of ``(windows, ...)`` values.

    The standard error is clustered by window and stratified by domain.

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
