"""Counts of accepted tokens per position from a CSV file with the columns ``position,accepted,drafted``.

Fields are separated by commas, semicolons or tabs, and may be quoted or padded with blanks. Byte order marks and
UTF-16 are understood, as spreadsheets write them.
"""

from __future__ import annotations

import csv
import re

from scylla_sim.checks import fail
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile

COLUMNS = ["position", "accepted", "drafted"]
SOURCE = "counts"

MAX_LINES = 10_000
"""Lines of the longest file that is read."""


def is_counts(text: TextFile) -> bool:
    """Return whether the first line names the columns.

    Examples
    --------
    >>> is_counts(TextFile.of('"position";"accepted";"drafted"')), is_counts(TextFile.of("position of the pod"))
    (True, False)
    """
    first = text.start().split("\n", 1)[0].replace('"', "")
    return re.match(r"position[ ]*([,;\t]|\s*$)", first) is not None


def read_counts(text: TextFile) -> list[Measurement]:
    r"""Return the counts of a CSV file.

    Positions start at 1. ``drafted`` is the number of all cycles, equal at every position, or the number of cycles
    that reached the position, equal to ``accepted`` at the position before.

    Raises
    ------
    InputError
        For other columns, for cells that are not whole numbers, and for any other ``drafted``.

    Examples
    --------
    >>> for page in ("position,accepted,drafted\n1,7,10\n2,4,7\n", "position;accepted;drafted\n1;7;10\n2;4;10\n"):
    ...     print(read_counts(TextFile.of(page))[0].found)
    Counts(cycles=10, accepted=(7, 4), drafted=None, windows=1, whole_drafts=True)
    Counts(cycles=10, accepted=(7, 4), drafted=None, windows=1, whole_drafts=True)
    """
    content = text.whole().lstrip()
    first = content.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        reader = csv.reader(content.splitlines(), delimiter=separator, skipinitialspace=True, strict=True)
        read = ((reader.line_num, [cell.strip() for cell in line]) for line in reader)
        lines = {number: cells for number, cells in read if any(cells)}
    except csv.Error as error:
        raise fail("file", text.name, f"is not CSV text ({error})") from None
    header, *numbers = lines or [0]
    if lines.get(header) != COLUMNS:
        shown = separator.join(lines.get(header, []))
        raise fail("columns", shown, "must be position,accepted,drafted", "separated by commas, semicolons or tabs")
    if len(lines) > MAX_LINES:
        raise fail("file", text.name, f"must have at most {MAX_LINES} lines")
    table = [_whole_numbers(lines[number], f"on line {number} of {text.name}") for number in numbers]
    if [row[0] for row in table] != list(range(1, len(table) + 1)) or not table:
        raise fail("position", [row[0] for row in table], "must run from 1 without gaps")
    accepted, drafted = [row[1] for row in table], [row[2] for row in table]
    if len(set(drafted)) > 1 and drafted[1:] != accepted[:-1]:
        raise fail("drafted", drafted, "must be equal at all positions, or equal to accepted one position before")
    return [Measurement(SOURCE, Counts(drafted[0], tuple(accepted)))]


def _whole_numbers(cells: list[str], place: str) -> list[int]:
    """Return the whole numbers of a line."""
    good = len(cells) == len(COLUMNS) and all(
        cell.isascii() and cell.isdigit() and len(cell) < 16 for cell in cells
    )
    if not good:
        raise fail("counts", ",".join(cells), f"must be three whole numbers {place}", "position,accepted,drafted")
    return [int(cell) for cell in cells]
