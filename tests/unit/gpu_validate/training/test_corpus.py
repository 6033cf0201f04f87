"""Text for training: the same on every run, and held-out text that was never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from gpu_validate.training import corpus as module
from gpu_validate.training.corpus import DOMAINS, VOCAB_SIZE, Corpus, Sources, prepare
from gpu_validate.training.documents import SPLITS
from gpu_validate.training.tokenizer import learn
from gpu_validate.training.windows import SHARED_BYTES
from scylla_sim.checks import InputError

READ = module._documents
SOURCES = Sources((), bible=False, train_bytes=30_000, window=64, windows=2)


@pytest.fixture(scope="module", autouse=True)
def documents_read_once() -> Iterator[None]:
    """Read the documents once for all sources that differ in windows or vocabulary only."""
    read = cache(lambda size: READ(replace(SOURCES, train_bytes=size)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_documents", lambda sources: read(sources.train_bytes))
        yield


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return prepare(SOURCES)


def test_text_and_hash_are_the_same_every_time(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_documents", READ)
        again = prepare(SOURCES)
    assert again.sha256 == corpus.sha256
    other = prepare(replace(SOURCES, train_bytes=40_000))
    assert other.sha256 != corpus.sha256


def test_every_domain_has_text_of_the_alphabet_and_windows_of_one_length(corpus: Corpus) -> None:
    for domain in DOMAINS:
        assert corpus.train[domain].size >= SOURCES.train_bytes
        assert corpus.train[domain].max() < VOCAB_SIZE
        for split in SPLITS[1:]:
            assert corpus.held_out[split][domain].shape == (2, 64)


def test_no_held_out_window_shares_a_long_run_with_the_training_text(corpus: Corpus) -> None:
    """The test searches substrings, not hashes."""
    every = b"\0".join(text.tobytes() for text in corpus.train.values())
    for split in SPLITS[1:]:
        for domain, windows in corpus.held_out[split].items():
            size = min(SHARED_BYTES[domain], windows.shape[1])
            for window in windows:
                text = window.tobytes()
                assert all(text[at : at + size] not in every for at in range(len(text) - size + 1))


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(InputError, match=r"windows=\d+ are all that held-out .* yields, 400 are needed"):
        prepare(replace(SOURCES, windows=400))


def test_larger_vocabulary_encodes_the_same_text_in_fewer_tokens(corpus: Corpus) -> None:
    pairs = prepare(replace(SOURCES, vocab_size=300, window=16))
    assert pairs.facts["vocab_size"] == 300
    assert prepare(replace(SOURCES, vocab_size=300, window=16)).sha256 == pairs.sha256
    for domain in DOMAINS:
        assert pairs.train[domain].size < 0.8 * corpus.train[domain].size
        assert pairs.train[domain].max() < 300
        assert pairs.held_out["test"][domain].shape == (2, 16)


def test_no_held_out_window_of_byte_pairs_shares_a_long_run_with_the_training_text(corpus: Corpus) -> None:
    pairs = prepare(replace(SOURCES, vocab_size=300, window=48))
    encoder = learn([text.tobytes() for text in corpus.train.values()], 300)
    every = b"\0".join(text.tobytes() for text in corpus.train.values())
    assert every == b"\0".join(encoder.decode(text.astype("uint16")) for text in pairs.train.values())
    for domain, windows in pairs.held_out["test"].items():
        for window in windows:
            text, size = encoder.decode(window.astype("uint16")), SHARED_BYTES[domain]
            assert all(text[at : at + size] not in every for at in range(len(text) - size + 1))
