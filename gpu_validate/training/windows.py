"""Held-out windows that share no long run of bytes with the training text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.training.tokenizer import Encoder

Bytes = NDArray[np.uint8]
Tokens = NDArray[np.unsignedinteger[Any]]

SHARED_BYTES = {"code": 48, "documentation": 48, "prose": 48, "structured": 96}
"""Domain -> length of a run of equal bytes that counts as a leak.

The length exceeds that of idioms and is below that of a copied paragraph. A generated grammar repeats its phrases,
so structured text is allowed longer runs.
"""
_WINDOWS_PER_DOCUMENT = 4
_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)


def run_hashes(text: Bytes, size: int) -> NDArray[np.uint64]:
    """Return a hash of every run of ``size`` bytes; equal runs have equal hashes.

    The hashes of runs of doubling length are combined. The cost is a few passes over the text.

    Returns
    -------
    numpy.ndarray
        Hashes, shape ``(text.size - size + 1,)``, or empty for a shorter text.
    """
    if text.size < size:
        return np.zeros(0, dtype=np.uint64)
    runs, length = text.astype(np.uint64) + np.uint64(1), 1
    total, done = np.zeros(text.size - size + 1, dtype=np.uint64), 0
    with np.errstate(over="ignore"):
        while True:
            if size & length:
                total = total * _power(length) + runs[done : done + total.size]
                done += length
            if 2 * length > size:
                return total
            runs = runs[:-length] * _power(length) + runs[length:]
            length *= 2


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_HASH_BASE), exponent, 2**64))


def clean_windows(
    documents: Sequence[bytes],
    trained: NDArray[np.uint64],
    shared: int,
    *,
    length: int,
    count: int,
    encoder: Encoder | None = None,
) -> list[Tokens]:
    """Return the first windows of documents that share no run of bytes with the training text.

    Parameters
    ----------
    documents
        Held-out ASCII texts. At most four windows come from each.
    trained
        Sorted `run_hashes` of the training text.
    shared
        Length of the run, in bytes.
    length
        Tokens of a window.
    count
        Maximum number of windows.
    encoder
        Vocabulary; by default each byte is a token. Documents are encoded before they are cut.
    """
    chosen: list[Tokens] = []
    for text in documents:
        taken = 0
        for window, spelled in _cut(text, length, encoder):
            hashes = run_hashes(spelled, shared)
            place = np.minimum(np.searchsorted(trained, hashes), trained.size - 1)
            if (trained[place] == hashes).any():
                continue
            chosen.append(window)
            taken += 1
            if len(chosen) == count:
                return chosen
            if taken == _WINDOWS_PER_DOCUMENT:
                break
    return chosen


def _cut(text: bytes, length: int, encoder: Encoder | None) -> Iterator[tuple[Tokens, Bytes]]:
    """Yield consecutive windows of ``length`` tokens of a document, with the bytes of each."""
    array = np.frombuffer(text, dtype=np.uint8)
    if encoder is None:
        yield from ((array[at : at + length],) * 2 for at in range(0, array.size - length + 1, length))
        return
    tokens = encoder.encode(text)
    ends = np.cumsum(encoder.sizes[tokens])
    for at in range(0, tokens.size - length + 1, length):
        begin = ends[at - 1] if at else 0
        yield tokens[at : at + length], array[begin : ends[at + length - 1]]
