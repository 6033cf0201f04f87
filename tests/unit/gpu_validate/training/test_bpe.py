"""Byte pairs: learned by frequency, the same every time, and nothing is lost by encoding."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpu_validate.training.bpe import BASE, Encoder, learn

TEXT = [b"the cat sat on the mat, the rat sat on the hat\n" * 40, b"def f(x):\n\treturn x + 1\n" * 30]


def naive(texts: list[bytes], vocab_size: int) -> list[tuple[int, int]]:
    """The same by counting everything anew for each merge."""
    from gpu_validate.training.bpe import _WORDS, _replaced

    counts = Counter(word for text in texts for word in _WORDS.findall(text))
    words = {word: list(word) for word in counts}
    merges: list[tuple[int, int]] = []
    while BASE + len(merges) < vocab_size:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, tokens in words.items():
            for pair in pairwise(tokens):
                pairs[pair] += counts[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        words = {word: _replaced(tokens, best, BASE + len(merges)) for word, tokens in words.items()}
        merges.append(best)
    return merges


def test_merges_are_those_of_counting_anew_every_time() -> None:
    assert list(learn(TEXT, 170).merges) == naive(TEXT, 170)


@given(st.lists(st.integers(0, 127), max_size=60).map(bytes))
def test_encoding_loses_nothing(text: bytes) -> None:
    encoder = learn(TEXT, 160)
    assert encoder.decode(encoder.encode(text)) == text


def test_frequent_words_become_one_token_and_the_vocabulary_has_its_size() -> None:
    encoder = learn(TEXT, 170)
    assert encoder.vocab_size <= 170
    assert len(encoder.encode(b" the")) == 1
    assert len(encoder.encode(TEXT[0])) < len(TEXT[0]) / 3


def test_without_merges_tokens_are_bytes() -> None:
    assert Encoder([]).encode(b"ab\t").tolist() == [97, 98, 9]


def test_sizes_are_the_bytes_that_tokens_spell() -> None:
    encoder = learn(TEXT, 170)
    tokens = encoder.encode(TEXT[0])
    assert encoder.sizes.size == encoder.vocab_size
    assert [len(encoder.decode(tokens[at : at + 1])) for at in range(tokens.size)] == encoder.sizes[tokens].tolist()
