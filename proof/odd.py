"""Odd versions of good inputs: cells of a CSV file, values of a JSON or TOML file, options, and damaged bytes."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

CELLS = (
    *("", " ", "nan", "inf", "-1", "0", "-0", "abc", "1.5", "1e300", "1e999", "5e-324", "1e16", "9" * 400),
    *("1_0", "0x10", "True", "=1+1", "+1", "1,5", "\u0663", "\uff16", "\0", '"', "../../up", "h100-sxm ", "1Ki"),
)
"""Odd cells of a CSV file."""

OPTIONS = (
    *("", " ", ",", "=", "0", "-1", "1.5", "nan", "inf", "1e300", "1e999", "1e-300", "9" * 400, "999999999999"),
    *("1000000", "abc", "1,1", "1,,2", "0.7,2", "0.5,0.9", "1Ki", "10B", "x=1", "p95:0ms", "30ms", "h100-sxm "),
    *("\u0663", "é", "a\nb", "\udcff", "a" * 3000, "../../up", "/dev/null", "/", "/proc/x", "none", "eagle3"),
)
"""Odd values of an option."""

VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", ".7", "9" * 5000, "../../up", "a\0b", "nan", [], {}, [[1]], [None], ["x"], {"x": 1}),
    *(-1, 0, 1.5, 5e-324, 1e300, 10**12, 10**400, float("nan"), float("inf"), "\ud800"),
)
"""Odd values in a JSON file; some are no JSON, as other programs write them."""

NUMBERS = (
    *("0", "-1", "1.5", "5e-324", "1e300", "nan", "inf", "true", '""', '"x"', "[]", "{}", "[[1]]", "1" + "0" * 400),
    *("9" * 5001, "[" * 5000 + "]" * 5000, "1979-05-27", '"\\u0000"', "= 1", ""),
)
"""Odd values in a TOML file, as text."""

PIECES = (
    *(b"", b"\0", b"\xff\xfe", b"\x80", b".", b"-", b"e", b"9" * 400, b"1e999", b"nan", b"Infinity", b'"', b"{"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"\n", b"\r", b",", b";", b"\t", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
)
"""Pieces that replace some bytes of a file."""


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return a file with one to three random pieces replaced, cut or moved."""
    for _ in range(chance.randint(1, 3)):
        at, length = chance.randint(0, len(data)), chance.choice((0, 1, 5, 40, 400))
        piece = chance.choice((*PIECES, data[: chance.randint(0, 200)]))
        data = data[:at] + piece + data[at + length :]
    return data


def whole_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a name and odd bytes in place of a whole file."""
    text = data.decode()
    yield "empty", b""
    yield "blank-lines", b"\n\n\n"
    yield "binary", bytes(range(256)) * 20
    yield "nested", b'{"a":' * 100_000
    yield "first-half", data[: len(data) // 2]
    yield "nul-at-end", data + b"\0\0\n"
    yield "twice", data + data
    for encoding in ("utf-16", "utf-8-sig", "utf-32"):
        yield encoding, text.encode(encoding)
    yield "crlf", text.replace("\n", "\r\n").encode()
    yield "no-last-newline", data.rstrip(b"\n")


def csv_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a name and an odd version of a CSV file, for every column and every odd cell."""
    text = data.decode()
    head, first, *rest = text.splitlines()
    yield from whole_files(data)
    yield "header-only", f"{head}\n".encode()
    yield "semicolons", text.replace(",", ";").encode()
    yield "blanks", text.replace(",", " , ").encode()
    yield "column-twice", "".join(f"{line},{line.rpartition(',')[2]}\n" for line in text.splitlines()).encode()
    yield "field-too-many", "\n".join([head, f"{first},9", *rest]).encode()
    yield "open-quote", "\n".join([head, f'"{first}', *rest]).encode()
    names, cells = head.split(","), first.split(",")
    for index, name in enumerate(names):
        left = [
            ",".join(part for i, part in enumerate(line.split(",")) if i != index) for line in text.splitlines()
        ]
        yield f"without-{name}", ("\n".join(left) + "\n").encode()
        for odd in CELLS:
            quoted = f'"{odd}"' if "," in odd else odd
            line = ",".join(quoted if i == index else cell for i, cell in enumerate(cells))
            yield f"{name}={odd[:12]!r}", ("\n".join([head, line, *rest]) + "\n").encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a parsed file; of a list, the first and the last element."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for index in sorted({0, len(value) - 1}):
            yield from _places(value[index], (*path, index))


_MISSING = object()


def _changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """Return a parsed file with the value at a path replaced, or without it."""
    if not path:
        return odd
    changed = copy.copy(value)
    if len(path) == 1 and odd is _MISSING:
        del changed[path[0]]
    else:
        changed[path[0]] = _changed(value[path[0]], path[1:], odd)
    return changed


def json_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a name and a version of a parsed file in which one value is odd or one key is missing."""
    for path in _places(value):
        name = ".".join(map(str, path)) or "whole"
        for odd in VALUES:
            yield f"{name}={odd!r:.20}", _changed(value, path, odd)
        if path:
            yield f"without-{name}", _changed(value, path, _MISSING)


def one_json_value(value: Any, chance: random.Random) -> Any:
    """Return a version of a parsed file in which one value is odd or one key is missing."""
    path = chance.choice(list(_places(value)))
    return _changed(value, path, chance.choice(VALUES if not path else (*VALUES, _MISSING)))


def json_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a name and an odd version of a JSON file."""
    yield from whole_files(data)
    for name, value in json_values(json.loads(data)):
        yield name, json.dumps(value).encode()


def toml_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a name and an odd version of a TOML file, in which one value or one line is odd."""
    text = data.decode()
    yield from whole_files(data)
    for found in re.finditer(r"(\w+)\s*=\s*(\"[^\"]*\"|[\w.+-]+)", text):
        for odd in NUMBERS:
            changed = text[: found.start(2)] + odd + text[found.end(2) :]
            yield f"{found[1]}@{found.start(2)}={odd[:20]!r}", changed.encode()
    lines = text.splitlines()
    for index, line in enumerate(lines):
        yield f"without-{line[:20]}", "\n".join(lines[:index] + lines[index + 1 :]).encode()


def text_files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a name and an odd version of a log: every number replaced by odd ones."""
    text = data.decode()
    yield from whole_files(data)
    for found in re.finditer(r"[\d.]+", text):
        for odd in (*CELLS, "2.1.0", ".", "9" * 5000):
            changed = text[: found.start()] + odd + text[found.end() :]
            yield f"{found[0]}@{found.start()}={odd[:12]!r}", changed.encode()
