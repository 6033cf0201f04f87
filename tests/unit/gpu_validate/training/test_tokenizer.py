"""Byte pairs: the same every time, without loss, and never across a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_validate.training.tokenizer import ALPHABET, Encoder, learn

TEXT = [b"the cat sat on the mat, the rat sat on the hat\n" * 40, b"def f(x):\n\treturn x + 1\n" * 30]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return learn(TEXT, 150)


def test_same_text_gives_same_tokens(encoder: Encoder) -> None:
    again = learn(TEXT, 150)
    for text in TEXT:
        assert (again.encode(text) == encoder.encode(text)).all()


@given(st.lists(st.integers(0, 127), max_size=60).map(bytes))
def test_decoding_restores_text(encoder: Encoder, text: bytes) -> None:
    assert encoder.decode(encoder.encode(text)) == text


def test_vocabulary_has_requested_size(encoder: Encoder) -> None:
    assert encoder.vocab_size == 150
    assert encoder.encode(TEXT[0]).max() < 150
    assert encoder.encode(TEXT[0]).dtype == np.uint16


def test_vocabulary_ends_when_no_pair_occurs_twice() -> None:
    assert learn([b"ab"], 200).vocab_size == ALPHABET


def test_frequent_words_are_one_token(encoder: Encoder) -> None:
    assert len(encoder.encode(b" the")) == 1
    assert len(encoder.encode(TEXT[0])) < len(TEXT[0]) / 3


def test_sizes_are_the_bytes_of_each_token(encoder: Encoder) -> None:
    tokens = encoder.encode(TEXT[0])
    assert encoder.sizes.shape == (150,)
    assert [len(encoder.decode(tokens[at : at + 1])) for at in range(tokens.size)] == encoder.sizes[tokens].tolist()


def test_no_token_crosses_a_word_or_a_document(encoder: Encoder) -> None:
    repeated = learn([b"a)\0b 12\t" * 100], 200)
    merged = np.arange(ALPHABET, repeated.vocab_size, dtype=np.uint16)
    spelled = {repeated.decode(merged[at : at + 1]) for at in range(merged.size)}
    assert spelled == {b" 1"}
    joined = encoder.encode(b"\0".join(TEXT))
    parts = [encoder.encode(TEXT[0]), encoder.encode(b"\0"), encoder.encode(TEXT[1])]
    assert joined.tolist() == np.concatenate(parts).tolist()
