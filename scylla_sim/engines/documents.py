"""JSON documents of a file: one document, several documents one after the other, or one on each line."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

from scylla_sim.checks import InputError, fail
from scylla_sim.engines.text_file import TextFile
from scylla_sim.text.formats import LENIENT_JSON


def documents(text: TextFile) -> list[Any]:
    """Return the JSON documents of a file.

    Raises
    ------
    InputError
        If the text between two documents is not JSON, or a number or the nesting cannot be represented.

    Examples
    --------
    >>> documents(TextFile.of('{"a": 1} {"a": 2}'))
    [{'a': 1}, {'a': 2}]
    """
    content, at, found = text.whole(), 0, []
    while (at := _skip(content, at)) < len(content):
        try:
            value, at = LENIENT_JSON.raw_decode(content, at)
        except RecursionError:
            raise fail("file", text.name, "is not JSON that can be read (nested too deeply)") from None
        except JSONDecodeError as error:
            line = content.count("\n", 0, at) + 1
            raise fail("file", text.name, f"is not JSON in line {line} ({error.msg})", "is it cut?") from None
        except InputError:
            raise
        except ValueError as error:
            raise fail("file", text.name, f"is not JSON ({error})") from None
        found.append(value)
    return found


def _skip(content: str, at: int) -> int:
    """Return the next position that is not blank, a comma or the mark of a JSON text sequence."""
    while at < len(content) and content[at] in " \t\r\n,\x1e":
        at += 1
    return at


def objects(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """Yield every object inside a JSON value that has a key; objects inside a found object are not searched.

    Examples
    --------
    >>> list(objects([{"n": 1}, {"in": {"n": 2}}], "n"))
    [{'n': 1}, {'n': 2}]
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if key in item:
                yield item
            else:
                pending += reversed(list(item.values()))
        elif isinstance(item, list):
            pending += reversed(item)
