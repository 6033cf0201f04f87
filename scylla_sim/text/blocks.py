"""Columns as CSV or JSON text, block by block, so that a table of a million rows never is one text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = Sequence[str | float] | Sequence[str] | NDArray[np.float64]
"""A column of texts or numbers."""

BLOCK = 1 << 14
"""Rows that become text at once."""


def _blocks(columns: Mapping[str, Cells]) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Yield the rows of columns, block by block; arrays become numbers of Python."""
    size = min(map(len, columns.values()), default=0)
    for begin in range(0, size, BLOCK):
        parts = (column[begin : begin + BLOCK] for column in columns.values())
        yield zip(*(part.tolist() if isinstance(part, np.ndarray) else part for part in parts))


def csv_blocks(columns: Mapping[str, Cells]) -> Iterator[str]:
    r"""Yield columns of one length as CSV text, block by block; numbers keep all digits.

    Examples
    --------
    >>> "".join(csv_blocks({"op": ["gemm"], "predicted_s": np.array([1e-5])}))
    'op,predicted_s\ngemm,1e-05\n'
    """
    for rows in chain([iter([tuple(columns)])], _blocks(columns)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        yield text.getvalue()


def json_blocks(whole: str, columns: Mapping[str, Cells]) -> Iterator[str]:
    r"""Yield a JSON object with columns as its rows, block by block.

    Parameters
    ----------
    whole
        Text of the object with an indent of 1, whose ``rows`` are an empty list.

    Examples
    --------
    >>> print("".join(json_blocks('{\n "rows": []\n}', {"m": [1.0, 2.0]})))
    {
     "rows": [
      {
       "m": 1.0
      },
      {
       "m": 2.0
      }
     ]
    }
    """
    head, tail = whole.split('"rows": []', 1)
    yield f'{head}"rows": ['
    comma = ""
    for rows in _blocks(columns):
        text = json.dumps([dict(zip(columns, row)) for row in rows], indent=1, allow_nan=False)
        yield comma + text[1:-2].replace("\n", "\n ")  # JSON escapes the line breaks of strings
        comma = ","
    yield ("\n ]" if comma else "]") + tail
