"""Byte-pair encoding, learned here: a GPU box has neither a tokenizer library nor a hub to take one from.

Text is cut into words first (letters, digits, spaces, other signs apart), so pairs are counted once per distinct
word and its frequency.

Source: Sennrich et al., arXiv 1508.07909, section 3.2; the byte-level start as in GPT-2.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WORDS = re.compile(rb" ?[A-Za-z]+| ?[0-9]|\s+|\0|[^\sA-Za-z0-9\0]+")
BASE = 128
"""Tokens below are the bytes of ASCII."""

Pair = tuple[int, int]


@dataclass
class Encoder:
    """Merges in the order they were learned; merge i makes token ``BASE + i``."""

    merges: Sequence[Pair]
    _ranks: dict[Pair, int] = field(init=False, repr=False)
    _words: dict[bytes, NDArray[np.uint16]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}

    @property
    def vocab_size(self) -> int:
        """Bytes and merges."""
        return BASE + len(self.merges)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """``(vocab_size,)``: bytes of every token."""
        found = [1] * BASE
        for first, second in self.merges:
            found.append(found[first] + found[second])
        return np.array(found)

    def encode(self, text: bytes) -> NDArray[np.uint16]:
        """Tokens of ASCII text.

        Examples
        --------
        >>> encoder = learn([b"abab abab"], 130)
        >>> encoder.encode(b"abab").tolist(), encoder.decode(encoder.encode(b"ab ba"))
        ([129], b'ab ba')
        """
        parts = []
        for word in _WORDS.findall(text):
            if word not in self._words:
                self._words[word] = np.array(self._merged(word), dtype=np.uint16)
            parts.append(self._words[word])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16)

    def _merged(self, word: bytes) -> list[int]:
        tokens = list(word)
        while len(tokens) > 1:
            pairs = list(pairwise(tokens))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            tokens = _replaced(tokens, best, BASE + self._ranks[best])
        return tokens

    def decode(self, tokens: NDArray[np.uint16]) -> bytes:
        """Text of tokens."""
        spelled = [bytes([byte]) for byte in range(BASE)]
        for first, second in self.merges:
            spelled.append(spelled[first] + spelled[second])
        return b"".join(spelled[token] for token in tokens.tolist())


def _replaced(tokens: list[int], pair: Pair, new: int) -> list[int]:
    """Every occurrence of a pair as one token, from the left."""
    out: list[int] = []
    index = 0
    while index < len(tokens):
        if tuple(tokens[index : index + 2]) == pair:
            out.append(new)
            index += 2
        else:
            out.append(tokens[index])
            index += 1
    return out


def learn(texts: Sequence[bytes], vocab_size: int) -> Encoder:
    """Merge the most frequent pair again and again, until there are so many tokens or no pair is left twice.

    Ties go to the pair of lower tokens, so the result depends on the text alone.
    """
    counts = Counter(word for text in texts for word in _WORDS.findall(text))
    words = [list(word) for word in counts]
    times = list(counts.values())
    pairs: Counter[Pair] = Counter()
    places: dict[Pair, set[int]] = {}
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += times[index]
            places.setdefault(pair, set()).add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and BASE + len(merges) < vocab_size:
        count, best = heapq.heappop(heap)
        if -count != pairs[best]:  # counted anew since it was pushed
            continue
        if -count < 2:
            break
        new = BASE + len(merges)
        merges.append(best)
        changed: set[Pair] = set()
        for index in places.pop(best):
            word = words[index]
            for pair in pairwise(word):
                pairs[pair] -= times[index]
                changed.add(pair)
            words[index] = word = _replaced(word, best, new)
            for pair in pairwise(word):
                pairs[pair] += times[index]
                places.setdefault(pair, set()).add(index)
                changed.add(pair)
        for pair in changed:
            if pairs[pair] > 0 and pair != best:
                heapq.heappush(heap, (-pairs[pair], pair))
    return Encoder(merges)
