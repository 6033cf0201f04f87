"""Numbers that other authors published: the CSV files of ``published/``, with a source in every row.

The column ``how_read`` states how a number was obtained; `HOW_READ` lists the values. ``published/README.md``
describes each file and the definitions that are easy to confuse.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from scylla_sim.checks import fail, one_of
from scylla_sim.number_columns import number_or_text
from scylla_sim.records import Row, read_columns

HOW_READ = ("printed", "digitised", "derived", "secondary")
"""Printed as text, read from a figure, computed from printed numbers, or quoted by a third party."""

FOLDER = Path(str(resources.files("paper") / "published"))


@cache
def _rows(name: str) -> tuple[Row, ...]:
    """Return all rows of a file after checking their sources."""
    columns = read_columns(FOLDER / f"{name}.csv")
    for row, how in enumerate(columns.get("how_read", [])):
        one_of("how_read", how, HOW_READ, hint=f"{name}.csv, line {row + 2}")
    if "source" not in columns or not all(columns["source"]):
        raise fail("source", "", f"is missing in {name}.csv", "every published number needs a source")
    lines = zip(*columns.values(), strict=True)
    return tuple({key: number_or_text(text) for key, text in zip(columns, line)} for line in lines)


def rows(name: str, **where: Any) -> list[Row]:
    """Return the rows of ``published/NAME.csv`` whose columns equal ``where``, with numeric cells as floats.

    Raises
    ------
    InputError
        If the file is unknown, a row lacks its source, or no row matches.

    Examples
    --------
    >>> [row["tokens_per_cycle"] for row in rows("fig1_layers")]
    [5.03, 5.24, 5.65, 5.83]
    """
    one_of("published", name, sorted(path.stem for path in FOLDER.glob("*.csv")))
    found = [row for row in _rows(name) if all(row[key] == value for key, value in where.items())]
    if not found:
        raise fail("published", name, f"has no rows with {where}")
    return [dict(row) for row in found]


def series(name: str, x: str, y: str, **where: Any) -> dict[float, float]:
    """Return one published curve as a mapping x -> y.

    Examples
    --------
    >>> series("table5", "batch_size", "tokens_per_s", method="eagle2")[64.0]
    980.0
    """
    return {float(row[x]): float(row[y]) for row in rows(name, **where)}


def quoted(theorem: str) -> dict[str, float]:
    """Return the quoted coefficients of a theorem: ``1.1``, ``1.2``, ``1.3`` or ``1.3-throughput``.

    Raises
    ------
    InputError
        If the theorem is unknown.

    Examples
    --------
    >>> quoted("1.2")
    {'slope': 0.74, 'intercept': 4.61, 'r2': 0.99}
    """
    found = [row for row in rows("theorems") if str(row["theorem"]) == theorem]
    if not found:
        raise fail("theorem", theorem, "is not in theorems.csv")
    return {row["coefficient"]: float(row["value"]) for row in found}


def claim(quantity: str) -> float:
    """Return a number of the paper's abstract.

    Examples
    --------
    >>> claim("acceptance_gain_over_eagle3")
    0.3
    """
    return float(rows("abstract_claims", quantity=quantity)[0]["value"])


def step_seconds(component: str, tokens: float, kv_tokens: float) -> float:
    """Return the published linear fit of a step's seconds.

    Parameters
    ----------
    component : {"forward", "draft", "overhead"}
        Part of a cycle.
    tokens : float
        New tokens of the whole batch.
    kv_tokens : float
        Cached tokens of the whole batch.

    Examples
    --------
    >>> round(1e3 * step_seconds("forward", 1, 512), 3)
    5.927
    """
    row = rows("step_times", component=component)[0]
    return float(row["intercept_s"] + row["per_token_s"] * tokens + row["per_kv_token_s"] * kv_tokens)
