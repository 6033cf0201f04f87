"""Shape of a draft: its length, its width, and the tokens that the target verifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import fail, whole
from scylla_sim.laws import theorems
from scylla_sim.specs.draft import Draft

MAX_DRAFT_LEN = 1000
"""Largest accepted draft length, far above the draft lengths of serving engines."""

MAX_TOP_K = 256
"""Largest accepted width of a tree; the number of candidates grows with its square."""

DEFAULT_DRAFT_LEN = 3
"""Draft length of a chain if none is given."""


@dataclass(frozen=True)
class DraftShape:
    """Shape of a draft.

    Attributes
    ----------
    draft_len
        Sequential draft passes per cycle.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens that the target verifies per cycle, root included.
    """

    draft_len: int
    top_k: int
    verify_tokens: int


def reference() -> DraftShape:
    """Return the shape at which the laws give tau: the published tree of EAGLE-2, which Scylla also uses.

    Examples
    --------
    >>> reference()
    DraftShape(draft_len=6, top_k=10, verify_tokens=61)
    """
    return DraftShape(**theorems.reference())


def theorem_verify_tokens(batch: Sequence[int]) -> list[int]:
    """Return the tokens to verify at each batch by Theorem 1.3, root included, up to the `reference` tree.

    Examples
    --------
    >>> theorem_verify_tokens([1, 64])
    [61, 15]
    """
    tokens = np.minimum(np.round(theorems.optimal_paths(batch)) + 1, reference().verify_tokens)
    return [int(n) for n in tokens]


def shape(draft: Draft, draft_len: int | None, top_k: int | None, verify_tokens: int | None) -> DraftShape:
    """Return the shape of a draft, with defaults for the arguments that are ``None``.

    The default is the `reference` tree for EAGLE-2 and Scylla heads. It is the longest chain for drafts that
    propose all tokens in one pass, and a chain of `DEFAULT_DRAFT_LEN` for other drafts. A draft length of 0 is a
    loaded draft that drafts nothing.

    Raises
    ------
    InputError
        For a count out of range, for a ``draft_len`` that the draft cannot reach, and for a chain with
        ``verify_tokens`` other than ``draft_len + 1``.

    Examples
    --------
    >>> shape(Draft("eagle3", "head", num_layers=1), 5, None, None)
    DraftShape(draft_len=5, top_k=1, verify_tokens=6)
    """
    known = reference()
    tree = draft.method_name in ("eagle2", "scylla")
    chain_len = draft.max_len or DEFAULT_DRAFT_LEN
    length = draft_len if draft_len is not None else known.draft_len if tree else chain_len
    width = top_k if top_k is not None else known.top_k if tree else 1
    whole("draft_len", length, 0, MAX_DRAFT_LEN)
    if length == 0 and draft.kind != "none":
        return _nothing(top_k, verify_tokens)
    if draft.max_len and length > draft.max_len:
        raise fail("draft_len", length, f"must be at most {draft.max_len} for draft {draft.name!r}")
    whole("top_k", width, 1, MAX_TOP_K)
    if verify_tokens is None:
        candidates = 1 + width + (length - 1) * width**2
        verify_tokens = min(known.verify_tokens, candidates) if tree and width > 1 else length * width + 1
    if width > 1 and draft.kind in ("block", "mlp"):
        raise fail(
            "top_k", width, f"must be 1 for draft {draft.name!r}", "trees of block drafters are not modelled"
        )
    if width == 1 and verify_tokens != length + 1:
        rule = f"must be draft_len + 1 = {length + 1} for a chain"
        raise fail("verify_tokens", verify_tokens, rule, "or give top_k above 1")
    return DraftShape(length, width, verify_tokens)


def _nothing(top_k: int | None, verify_tokens: int | None) -> DraftShape:
    """Return the shape of a loaded draft that drafts nothing; one token is verified."""
    for name, value in (("top_k", top_k), ("verify_tokens", verify_tokens)):
        if value not in (None, 1):
            raise fail(name, value, "must be 1 with draft_len=0")
    return DraftShape(0, 1, 1)


def chain_shape(draft_len: int) -> DraftShape:
    """Return the shape of a chain."""
    return DraftShape(draft_len, 1, draft_len + 1)
