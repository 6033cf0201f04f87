"""Deterministic splits by hash: a row is on the same side on every machine and in every file.

Rows that share a key (a weight shape, a model, a context) are never on both sides of a split. A test row then shows
how well a fit extrapolates to new shapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRAIN = "train"
"""Part that a calibration is fitted to."""
TEST = "test"
"""Part that a calibration is scored on."""
ALL = "all"
"""Both parts."""
REPEAT = "repeat"
"""Second measurement of the shapes of the test part, by another framework."""
FIT = "fit"
"""Half of the runs that overheads are fitted to."""
HELD_OUT = "held out"
"""Half of the runs that overheads are scored on."""

_MULTIPLIER = np.uint64(2654435761)
"""Multiplicative hash constant. Source: Knuth, The Art of Computer Programming, vol. 3, section 6.4."""
_SHIFT = np.uint64(29)
_BUCKETS = 1000
"""Resolution of a share in `hashed_share`."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def lowest_hashed(keys: Iterable[str], count: int) -> set[str]:
    """Return the ``count`` keys with the lowest SHA-256 hashes.

    A fixed count fills both sides of a split, also when there are few keys. A threshold on the hash may leave one
    side empty.

    Parameters
    ----------
    keys
        Keys, in any order; duplicates count once.
    count
        Number of keys to return, at most the number of distinct keys.

    Examples
    --------
    >>> sorted(lowest_hashed(["gemm,4096,4096", "gemm,6144,4096", "gemm,4096,14336"], 1))
    ['gemm,6144,4096']
    """
    return set(sorted(set(keys), key=_digest)[:count])


def half_of(key: str) -> str:
    """Return `FIT` or `HELD_OUT` by the parity of the first byte of the key's SHA-256 hash.

    Examples
    --------
    >>> [half_of(f"draft-1l,chain,{batch}") for batch in (1, 2, 4, 8)]
    ['fit', 'fit', 'held out', 'fit']
    """
    return (FIT, HELD_OUT)[_digest(key)[0] % 2]


def column_hash(columns: Sequence[ArrayLike]) -> NDArray[np.uint64]:
    """Return one 64-bit hash per row of numeric columns.

    Parameters
    ----------
    columns
        Columns of non-negative whole numbers, whose shapes broadcast against each other. Their order matters.

    Returns
    -------
    numpy.ndarray
        Hashes, in the broadcast shape of the columns.

    Examples
    --------
    >>> (column_hash([[4096, 6144, 4096], 4096]) % np.uint64(1000)).tolist()
    [832, 889, 832]
    """
    arrays = [np.asarray(column).astype(np.uint64) for column in columns]
    code = np.zeros(np.broadcast_shapes(*(array.shape for array in arrays)), dtype=np.uint64)
    with np.errstate(over="ignore"):  # the hash is taken modulo 2**64
        for array in arrays:
            code = (code * np.uint64(31) + array) * _MULTIPLIER
            code ^= code >> _SHIFT
    return code


def hashed_share(columns: Sequence[ArrayLike], share: float) -> NDArray[np.bool_]:
    """Return which rows fall into a share of all keys, by `column_hash`.

    Parameters
    ----------
    columns
        Columns of non-negative whole numbers that make the key of a row.
    share
        Expected share of the keys, between 0 and 1, in steps of 0.001.
    """
    chosen: NDArray[np.bool_] = (column_hash(columns) % np.uint64(_BUCKETS)) < _BUCKETS * share
    return chosen
