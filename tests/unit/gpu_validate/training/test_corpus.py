"""Text for training: the same on every run, and held-out text that was never trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_validate.training import corpus as module
from gpu_validate.training.bpe import learn
from gpu_validate.training.corpus import (
    DOMAINS,
    SHARED_BYTES,
    SPLITS,
    VOCAB_SIZE,
    Sources,
    clean_windows,
    encode,
    prepare,
    shingles,
    side,
)
from scylla_sim.checks import InputError

SOURCES = Sources((), bible=False, train_bytes=30_000, window=64, windows=2)


@pytest.fixture(scope="module")
def corpus() -> module.Corpus:
    return prepare(SOURCES)


def test_the_text_is_the_same_every_time_and_its_hash_says_so(corpus: module.Corpus) -> None:
    again = prepare(SOURCES)
    assert again.sha256 == corpus.sha256
    other = prepare(replace(SOURCES, train_bytes=40_000))
    assert other.sha256 != corpus.sha256


def test_every_domain_has_text_of_the_alphabet_and_windows_of_one_length(corpus: module.Corpus) -> None:
    for domain in DOMAINS:
        assert corpus.train[domain].size >= SOURCES.train_bytes
        assert corpus.train[domain].max() < VOCAB_SIZE
        for split in SPLITS[1:]:
            assert corpus.held_out[split][domain].shape == (2, 64)


def test_no_held_out_window_shares_a_long_run_with_the_training_text(corpus: module.Corpus) -> None:
    """Looked for as Python looks for a string in a string, not by hashes."""
    every = b"\0".join(text.tobytes() for text in corpus.train.values())
    for split in SPLITS[1:]:
        for domain, windows in corpus.held_out[split].items():
            size = min(SHARED_BYTES[domain], windows.shape[1])
            for window in windows:
                text = window.tobytes()
                assert all(text[at : at + size] not in every for at in range(len(text) - size + 1))


def test_a_planted_leak_is_thrown_away() -> None:
    rng = np.random.default_rng(0)
    trained = rng.integers(32, 127, 5000, dtype=np.uint8)
    clean = rng.integers(32, 127, 128, dtype=np.uint8)
    leaky = clean.copy()
    leaky[10:58] = trained[1000:1048]
    hashes = np.unique(shingles(trained, 48))
    windows = clean_windows([leaky.tobytes(), clean.tobytes()], hashes, 48, 64, 9)
    assert [window.tobytes() for window in windows] == [
        leaky.tobytes()[64:],
        clean.tobytes()[:64],
        clean.tobytes()[64:],
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 48])
def test_shingles_are_equal_exactly_where_the_bytes_are(size: int) -> None:
    text = np.frombuffer(b"abcabcabdabcabcabd" * 5, dtype=np.uint8)
    hashes = shingles(text, size)
    runs = [text[at : at + size].tobytes() for at in range(text.size - size + 1)]
    assert len(hashes) == len(runs)
    assert len(set(hashes.tolist())) == len(set(runs))
    assert all((hashes[i] == hashes[0]) == (run == runs[0]) for i, run in enumerate(runs))


def test_splits_hold_about_the_share_they_should() -> None:
    sides = [side(str(number).encode()) for number in range(4000)]
    assert sides.count("tune") / 4000 == pytest.approx(0.10, abs=0.02)
    assert sides.count("test") / 4000 == pytest.approx(0.10, abs=0.02)


def test_text_is_ascii_with_one_byte_an_indentation() -> None:
    assert encode("        return 'ä\0'") == b"\t\treturn '??'"


def test_too_much_asked_of_the_held_out_text_is_one_line() -> None:
    with pytest.raises(InputError, match=r"windows=\d+ are all that held-out .* yields, 400 are needed"):
        prepare(replace(SOURCES, windows=400))


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="package='no_such_package' is not installed"):
        prepare(replace(SOURCES, packages=("no_such_package",)))


def test_a_larger_vocabulary_encodes_the_same_text_in_fewer_tokens(corpus: module.Corpus) -> None:
    pairs = prepare(replace(SOURCES, vocab_size=300, window=16))
    assert pairs.facts["vocab_size"] == 300
    for domain in DOMAINS:
        assert pairs.train[domain].size < 0.8 * corpus.train[domain].size
        assert pairs.train[domain].max() < 300
        assert pairs.held_out["test"][domain].shape == (2, 16)


def test_windows_cut_after_encoding_suffice_where_windows_of_bytes_would_not() -> None:
    """A piece of prose has 2000 bytes: one window, were it cut to 8 bytes a token before it is encoded."""
    pieces = [document.text for document in module._prose_documents(bible=False)]
    encoder = learn(pieces, 400)
    nothing = np.zeros(1, dtype=np.uint64)
    windows = clean_windows(pieces[:50], nothing, 48, 160, 1000, encoder)
    assert len(windows) >= 3 * 48
    assert all(window.size == 160 for window in windows)
    assert len(clean_windows(pieces[:50], nothing, 48, 8 * 160, 1000)) <= 50


def test_a_leak_is_found_in_the_bytes_that_a_window_of_pairs_spells() -> None:
    rng = np.random.default_rng(0)
    words = [bytes(rng.integers(97, 123, 6, dtype=np.uint8)) for _ in range(40)]
    text = b" ".join(words[index] for index in rng.integers(0, 40, 600))
    encoder = learn([text], 200)
    tokens = encoder.encode(text)
    third = encoder.decode(tokens[100:150])
    trained = np.unique(shingles(np.frombuffer(third[:48], dtype=np.uint8), 48))
    windows = clean_windows([text], trained, 48, 50, 3, encoder)
    assert [window.tolist() for window in windows] == [tokens[at : at + 50].tolist() for at in (0, 50, 150)]


def test_no_held_out_window_of_pairs_shares_a_long_run_with_the_training_text(corpus: module.Corpus) -> None:
    pairs = prepare(replace(SOURCES, vocab_size=300, window=48))
    encoder = learn([text.tobytes() for text in corpus.train.values()], 300)
    every = b"\0".join(encoder.decode(text.astype(np.uint16)) for text in pairs.train.values())
    for domain, windows in pairs.held_out["test"].items():
        for window in windows:
            text, size = encoder.decode(window.astype(np.uint16)), SHARED_BYTES[domain]
            assert all(text[at : at + size] not in every for at in range(len(text) - size + 1))
