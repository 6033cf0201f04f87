"""Description of a table, independent of the output format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.records import Row

MISSING = "\N{EN DASH}"
"""Text of a cell without a value."""


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes
    ----------
    key : str
        Key of the value in a row, and name of the column in the CSV file.
    heading, unit : str
        Heading and unit for reading.
    digits : int, optional
        Number of decimals. ``None`` prints text and whole numbers unchanged.
    scale : float
        Factor applied before a number is printed; 1e3 prints seconds as ms. The CSV file keeps the unscaled value.
    signed : bool
        Whether positive numbers get a plus sign.
    """

    key: str
    heading: str
    unit: str = ""
    digits: int | None = None
    scale: float = 1.0
    signed: bool = False

    @property
    def title(self) -> str:
        """Heading with its unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: Any) -> str:
        """Return a cell as text for reading.

        Examples
        --------
        >>> Column("step_s", "step", "ms", digits=2, scale=1e3).text(0.0058859)
        '5.89'
        >>> Column("error", "error", "%", digits=1, scale=100, signed=True).text(-0.123)
        '−12.3'
        """
        if value is None or value == "":
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "no"
        if not isinstance(value, int | float):
            return str(value)
        if self.digits is None:
            return f"{value:g}" if isinstance(value, float) else str(value)
        text = f"{value * self.scale:{'+' if self.signed else ''}.{self.digits}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Table:
    """Rows and columns of a table, with its caption and the lines under it.

    Attributes
    ----------
    name : str
        Name of the output files: ``table-NAME``.
    caption : str
        Title of the table.
    columns : sequence of Column
        Columns, in order.
    rows : sequence of Row
        Values by key.
    evidence : str
        Evidence level of each column.
    commits : str
        Commits that made the result files, empty if the table shows published numbers only.
    sources : sequence of str
        Sources of the published numbers.
    notes : sequence of str
        Lines under the table: definitions, assumptions, summaries.
    nothing : str
        Line that replaces all others in a table without rows.

    Raises
    ------
    InputError
        If the table has neither rows nor ``nothing``, states no evidence, or names a column that is in no row.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    evidence: str
    commits: str
    sources: Sequence[str] = ()
    notes: Sequence[str] = ()
    nothing: str = ""

    def __post_init__(self) -> None:
        """Check rows, evidence and columns."""
        if not self.rows and not self.nothing:
            raise fail("table", self.name, "has no rows")
        if not self.evidence:
            raise fail("table", self.name, "must state its level of evidence")
        keys = {key for row in self.rows for key in row}
        for column in self.columns if self.rows else ():
            if column.key not in keys:
                raise fail("column", column.key, f"is in no row of table {self.name}")

    def footer(self) -> list[str]:
        """Return the lines under the table."""
        if not self.rows:
            return [self.nothing]
        lines = [*self.notes, f"Evidence: {self.evidence}."]
        if self.sources:
            lines.append(f"Sources: {'; '.join(dict.fromkeys(self.sources))}.")
        return [*lines, f"Made from commit {self.commits}."] if self.commits else lines

    def cells(self) -> list[list[str]]:
        """Return the rounded cells, row by row."""
        return [[column.text(row.get(column.key)) for column in self.columns] for row in self.rows]

    def alignment(self) -> list[str]:
        """Return ``right`` for each column of numbers and ``left`` for each column of text."""
        return ["right" if self._numeric(column.key) else "left" for column in self.columns]

    def _numeric(self, key: str) -> bool:
        """Return whether a column holds numbers only."""
        values = [row.get(key) for row in self.rows if row.get(key) not in (None, "")]
        return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


EVIDENCE = Column("evidence", "evidence")
"""Evidence level of a row; the last column of every table."""


def percent_column(key: str, heading: str, *, digits: int = 1, signed: bool = False) -> Column:
    """Return a column of fractions, printed as percentages."""
    return Column(key, heading, "%", digits=digits, scale=100, signed=signed)


def ms_column(key: str, heading: str) -> Column:
    """Return a column of seconds, printed as milliseconds."""
    return Column(key, heading, "ms", digits=2, scale=1e3)
