"""Text of a log or result file, read block by block.

Logs have hundreds of megabytes, and one line in twenty is about acceptance. `TextFile.lines` yields only the lines
that contain some bytes, so memory does not grow with the file. UTF-16 and UTF-32 are converted, byte order marks
are dropped, and bytes that are not UTF-8 become replacement characters.
"""

from __future__ import annotations

import codecs
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from scylla_sim.checks import fail

STDIN = "-"
"""Name of standard input."""

BLOCK = 1 << 16
"""Bytes that are read at once; larger blocks are slower, because each gets fresh memory from the system."""

START = 1 << 16
"""Bytes at the start of a file that show some kinds."""

MAX_WHOLE_BYTES = 1 << 28
"""Size of the largest file that is read at once, such as a JSON document or a metrics page."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and their encodings; UTF-32 is before UTF-16, whose mark is a part of it."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"BZh": "bzip2"}
"""First bytes of compressed files."""


@dataclass(frozen=True)
class TextFile:
    """A file of text that can be read more than once.

    Attributes
    ----------
    name
        Name of the file, for error messages.
    handle
        The bytes, at a file that can be rewound.
    """

    name: str
    handle: BinaryIO

    @classmethod
    def of(cls, text: str | bytes, name: str = "text") -> TextFile:
        """Return a file of some text."""
        return cls(name, io.BytesIO(text.encode() if isinstance(text, str) else text))

    def _encoding(self) -> tuple[int, str]:
        """Return the length of the byte order mark, and the encoding."""
        self.handle.seek(0)
        first = self.handle.read(256)
        for start, kind in _COMPRESSED.items():
            if first.startswith(start):
                raise fail("file", self.name, f"is compressed ({kind})", "decompress it, and pipe it to -")
        for mark, encoding in _MARKS:
            if first.startswith(mark):
                return len(mark), encoding
        pairs = len(first) // 2  # UTF-16 without a mark: every second byte of ASCII text is zero
        if pairs >= 8 and first[1 : 2 * pairs : 2].count(0) > 0.9 * pairs:
            return 0, "utf-16-le"
        if pairs >= 8 and first[: 2 * pairs : 2].count(0) > 0.9 * pairs:
            return 0, "utf-16-be"
        return 0, "utf-8"

    def blocks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8, block by block; invalid UTF-8 is passed on unchanged."""
        start, encoding = self._encoding()
        self.handle.seek(start)
        decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")
        while block := self.handle.read(BLOCK):
            yield block if decoder is None else decoder.decode(block).encode("utf-8", "replace")
        if decoder is not None and (last := decoder.decode(b"", final=True)):
            yield last.encode("utf-8", "replace")

    def whole_lines(self) -> Iterator[bytes]:
        """Yield the text in pieces that end at the end of a line, each about one block long.

        Raises
        ------
        InputError
            For a line above `MAX_WHOLE_BYTES`.
        """
        parts: list[bytes] = []
        size = 0
        for block in self.blocks():
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join([*parts, block[:end]])
                parts, size, block = [], 0, block[end:]
            parts.append(block)
            size = self._checked(size + len(block), "lines of ")
        yield b"".join(parts)

    def lines(self, pattern: bytes | re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
        r"""Yield the number and the text of every line with a match of a pattern, which matches no line break.

        Patterns that begin with fixed bytes are searched several times as fast as others.

        Examples
        --------
        >>> list(TextFile.of("one\ntwo 2\nthree 2").lines(b"2"))
        [(2, 'two 2'), (3, 'three 2')]
        """
        mark, number = re.compile(pattern), 1
        for piece in self.whole_lines():
            counted = 0
            for begin, end in _ranges(piece, mark):
                number += piece.count(b"\n", counted, begin)
                counted = begin
                yield number, piece[begin:end].decode("utf-8", "replace")
            number += piece.count(b"\n", counted)

    def texts(self, pattern: bytes | re.Pattern[bytes]) -> Iterator[str]:
        """Yield the lines of `lines` without their numbers, which take time to count."""
        mark = re.compile(pattern)
        for piece in self.whole_lines():
            for begin, end in _ranges(piece, mark):
                yield piece[begin:end].decode("utf-8", "replace")

    def whole(self) -> str:
        """Return the whole text.

        Raises
        ------
        InputError
            For a file above `MAX_WHOLE_BYTES`.
        """
        parts, size = [], 0
        for block in self.blocks():
            parts.append(block)
            size = self._checked(size + len(block))
        return b"".join(parts).decode("utf-8", "replace")

    def _checked(self, size: int, what: str = "") -> int:
        """Return a number of bytes to hold in memory."""
        if size > MAX_WHOLE_BYTES:
            rule = f"must have {what}at most {MAX_WHOLE_BYTES >> 20} MiB"
            raise fail("file", self.name, rule, "cut it into parts")
        return size

    def start(self) -> str:
        """Return the first characters that are not blank, of at most `START` bytes."""
        return b"".join(islice(self.blocks(), 2))[:START].decode("utf-8", "replace").lstrip()


def _ranges(text: bytes, mark: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of every line with a match of a pattern."""
    end = 0
    while (hit := mark.search(text, end)) is not None:
        begin = text.rfind(b"\n", 0, hit.start()) + 1
        end = text.find(b"\n", hit.start())
        end = len(text) if end < 0 else end
        yield begin, end


@contextmanager
def open_text(path: str) -> Iterator[TextFile]:
    """Open a file, or standard input for ``-``; pipes are copied to a temporary file, so that they can be rewound.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    name = "standard input" if path == STDIN else str(path)
    try:
        if path != STDIN and Path(path).is_file():
            with Path(path).open("rb") as file:
                yield TextFile(name, file)
            return
        with tempfile.TemporaryFile() as copy:
            if path == STDIN:
                if sys.stdin is None:
                    raise fail("file", path, "is standard input, which is closed")
                shutil.copyfileobj(sys.stdin.buffer, copy)
            else:
                with Path(path).open("rb") as pipe:
                    shutil.copyfileobj(pipe, copy)
            yield TextFile(name, copy)
    except (OSError, ValueError) as error:
        if not isinstance(error, OSError) and "null" not in str(error):
            raise
        raise fail("file", path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
