"""Byte-level byte-pair encoding of ASCII text, by the library ``tokenizers``.

Text is first cut into words: letters, single digits, white space and other signs. The zero byte between documents
is a word of its own. A merge never crosses words.

Source: Sennrich et al., arXiv 1508.07909, section 3.2; the byte-level alphabet is that of GPT-2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ALPHABET = 128
"""Number of ASCII bytes, each of which is a token."""

_WORDS = r" ?[A-Za-z]+| ?[0-9]|\s+|\x00|[^\sA-Za-z0-9\x00]+"


@dataclass(frozen=True)
class Encoder:
    """A learned vocabulary of byte pairs.

    Attributes
    ----------
    tokenizer
        Trained tokenizer of the library.
    """

    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of tokens: bytes and merges."""
        return int(self.tokenizer.get_vocab_size())

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of every token, ``(vocab_size,)``."""
        spelled = [self.tokenizer.id_to_token(token) or "" for token in range(self.vocab_size)]
        return np.array([len(text) for text in spelled])

    def encode(self, text: bytes) -> NDArray[np.uint16]:
        """Return the tokens of ASCII text.

        Examples
        --------
        >>> encoder = learn([b"abab abab"], 131)
        >>> tokens = encoder.encode(b"abab ba")
        >>> tokens.dtype.name, encoder.decode(tokens)
        ('uint16', b'abab ba')
        """
        words = re.findall(_WORDS, text.decode("ascii"), flags=re.ASCII)
        distinct = list(dict.fromkeys(words))  # encoding each word once is three times as fast
        encoded = self.tokenizer.encode_batch_fast(distinct, add_special_tokens=False)
        tokens = {word: np.array(found.ids, dtype=np.uint16) for word, found in zip(distinct, encoded)}
        return np.concatenate([np.zeros(0, dtype=np.uint16), *(tokens[word] for word in words)])

    def decode(self, tokens: NDArray[np.uint16]) -> bytes:
        """Return the text of tokens."""
        return self.tokenizer.decode(tokens.tolist(), skip_special_tokens=False).encode("ascii")


def learn(texts: Sequence[bytes], vocab_size: int) -> Encoder:
    """Learn byte pairs from ASCII texts.

    The most frequent pair becomes a token, until there are ``vocab_size`` tokens or no pair occurs twice. The
    result depends on the texts only.

    Parameters
    ----------
    texts
        Training texts.
    vocab_size
        Maximum number of tokens, between `ALPHABET` and 65536.

    Raises
    ------
    ModuleNotFoundError
        If the library ``tokenizers`` is not installed.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    ((spelled, _),) = byte_level.pre_tokenize_str("".join(map(chr, range(ALPHABET))))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=list(spelled), show_progress=False
    )
    tokenizer.train_from_iterator((text.decode("ascii") for text in texts), trainer)
    return Encoder(tokenizer)
