"""Held-out windows: leaks are found, clean windows are kept."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_validate.training.documents import prose_documents
from gpu_validate.training.tokenizer import learn
from gpu_validate.training.windows import clean_windows, run_hashes


def test_planted_leak_is_dropped() -> None:
    rng = np.random.default_rng(0)
    trained = rng.integers(32, 127, 5000, dtype=np.uint8)
    clean = rng.integers(32, 127, 128, dtype=np.uint8)
    leaky = clean.copy()
    leaky[10:58] = trained[1000:1048]
    hashes = np.unique(run_hashes(trained, 48))
    windows = clean_windows([leaky.tobytes(), clean.tobytes()], hashes, 48, length=64, count=9)
    assert [window.tobytes() for window in windows] == [
        leaky.tobytes()[64:],
        clean.tobytes()[:64],
        clean.tobytes()[64:],
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 48])
def test_hashes_are_equal_exactly_where_the_bytes_are(size: int) -> None:
    text = np.frombuffer(b"abcabcabdabcabcabd" * 5, dtype=np.uint8)
    hashes = run_hashes(text, size)
    runs = [text[at : at + size].tobytes() for at in range(text.size - size + 1)]
    assert len(hashes) == len(runs)
    assert len(set(hashes.tolist())) == len(set(runs))
    assert all((hashes[i] == hashes[0]) == (run == runs[0]) for i, run in enumerate(runs))


def test_documents_are_encoded_before_they_are_cut() -> None:
    """A piece of prose has 2000 bytes: it holds one window of 8 bytes a token, but several of 160 tokens."""
    pieces = [document.text for document in prose_documents(bible=False)]
    encoder = learn(pieces, 400)
    nothing = np.zeros(1, dtype=np.uint64)
    windows = clean_windows(pieces[:50], nothing, 48, length=160, count=1000, encoder=encoder)
    assert len(windows) >= 3 * 48
    assert all(window.size == 160 for window in windows)
    assert len(clean_windows(pieces[:50], nothing, 48, length=8 * 160, count=1000)) <= 50


def test_leak_is_found_in_the_bytes_of_a_window_of_byte_pairs() -> None:
    rng = np.random.default_rng(0)
    words = [bytes(rng.integers(97, 123, 6, dtype=np.uint8)) for _ in range(40)]
    text = b" ".join(words[index] for index in rng.integers(0, 40, 600))
    encoder = learn([text], 200)
    tokens = encoder.encode(text)
    third = encoder.decode(tokens[100:150])
    trained = np.unique(run_hashes(np.frombuffer(third[:48], dtype=np.uint8), 48))
    windows = clean_windows([text], trained, 48, length=50, count=3, encoder=encoder)
    assert [window.tolist() for window in windows] == [tokens[at : at + 50].tolist() for at in (0, 50, 150)]
