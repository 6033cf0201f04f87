"""Numbers as other people printed them: the CSV files of ``published/``, every row with its source.

``how_read`` says how a number came here: ``printed`` (as text in the source), ``digitised`` (read off a figure),
``secondary`` (quoted by a third party). ``published/README.md`` explains the definitions that are easy to confuse.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from scylla_sim.checks import fail, one_of
from scylla_sim.records import Row, read_columns

HOW_READ = ("printed", "digitised", "derived", "secondary")

FOLDER = Path(str(resources.files("paper") / "published"))


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


@cache
def _rows(name: str) -> tuple[Row, ...]:
    columns = read_columns(FOLDER / f"{name}.csv")
    for row, how in enumerate(columns.get("how_read", [])):
        one_of("how_read", how, HOW_READ, hint=f"{name}.csv, line {row + 2}")
    if "source" not in columns or not all(columns["source"]):
        raise fail("source", "", f"is missing in {name}.csv", "every published number names its source")
    return tuple(
        {key: _value(text) for key, text in zip(columns, line)} for line in zip(*columns.values(), strict=True)
    )


def rows(name: str, **where: Any) -> list[Row]:
    """Rows of ``published/NAME.csv`` whose columns equal ``where``; cells that read as numbers are floats.

    Raises
    ------
    InputError
        When the file is unknown, or a row lacks its source.

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
    """One published curve as x -> y.

    Examples
    --------
    >>> series("table5", "batch_size", "tokens_per_s", method="eagle2")[64.0]
    980.0
    """
    return {float(row[x]): float(row[y]) for row in rows(name, **where)}


def quoted(theorem: str) -> dict[str, float]:
    """Coefficients of a theorem as quoted: ``1.1``, ``1.2``, ``1.3`` or ``1.3-throughput``.

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
    """A number of the abstract.

    Examples
    --------
    >>> claim("acceptance_gain_over_eagle3")
    0.3
    """
    return float(rows("abstract_claims", quantity=quantity)[0]["value"])
