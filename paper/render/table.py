"""One table description, four files: Markdown, LaTeX, CSV and HTML, the same bytes for the same rows.

The CSV carries full precision under machine-readable column names; the other three round for reading. Under every
table stand its level of evidence, its sources, and the commits that made its inputs.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.records import Row, format_csv, write_text

FORMATS = ("md", "tex", "csv", "html")

MISSING = "\N{EN DASH}"

WIDE = 6
"""More columns than this are shrunk to the line in LaTeX."""

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "\N{MINUS SIGN}": r"$-$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "Δ": r"$\Delta$",
        "τ": r"$\tau$",
        "µ": r"\textmu{}",
        "²": r"\textsuperscript{2}",
        MISSING: "--",
        "—": "---",
        "…": r"\ldots{}",
    }
)


@dataclass(frozen=True)
class Column:
    """A column: key of the row, heading, unit, and how a number is rounded for reading.

    ``digits`` counts decimals; ``None`` prints text and whole numbers as they are. ``scale`` multiplies a number
    before it is printed (1e3 prints seconds as ms); the CSV keeps the value of the row.
    """

    key: str
    heading: str
    unit: str = ""
    digits: int | None = None
    scale: float = 1.0
    signed: bool = False

    @property
    def title(self) -> str:
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: Any) -> str:
        """One cell for reading.

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
    """What is printed: rows, columns, and the words around them.

    ``notes`` stand under the table one a line: assumptions, summaries of errors, what was left out. ``nothing``
    is the line of a table without rows that says why there are none. ``evidence``
    says which column has which level; ``sources`` name the published numbers, ``commits`` made the rest (empty when
    there is no rest).
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
        if not self.rows and not self.nothing:
            raise fail("table", self.name, "has no rows")
        if not self.evidence:
            raise fail("table", self.name, "must state its level of evidence")
        keys = {key for row in self.rows for key in row}
        for column in self.columns if self.rows else ():
            if column.key not in keys:
                raise fail("column", column.key, f"is in no row of table {self.name}")

    def footer(self) -> list[str]:
        """The lines under the table."""
        if not self.rows:
            return [self.nothing]
        lines = [*self.notes, f"Evidence: {self.evidence}."]
        if self.sources:
            lines.append(f"Sources: {'; '.join(dict.fromkeys(self.sources))}.")
        return [*lines, f"Made from commit {self.commits}."] if self.commits else lines

    def cells(self) -> list[list[str]]:
        return [[column.text(row.get(column.key)) for column in self.columns] for row in self.rows]

    def alignment(self) -> list[str]:
        """``right`` for columns of numbers, ``left`` for text."""
        return ["right" if self._numeric(column.key) else "left" for column in self.columns]

    def _numeric(self, key: str) -> bool:
        values = [row.get(key) for row in self.rows if row.get(key) not in (None, "")]
        return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _grid(table: Table, cells: Sequence[Sequence[str]], titles: Sequence[str], style: str) -> str:
    if not cells:
        return ""
    try:
        from tabulate import tabulate
    except ImportError:
        raise fail("tabulate", None, "is not installed", "pip install 'scylla-sim[paper]'") from None
    return str(tabulate(cells, headers=titles, tablefmt=style, colalign=table.alignment(), disable_numparse=True))


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands.

    Examples
    --------
    >>> latex_escape("50 % of k_opt")
    '50 \\\\% of k\\\\_opt'
    """
    return text.translate(_LATEX)


def markdown(table: Table) -> str:
    """Caption, table and footer as GitHub Markdown."""

    def safe(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    cells = [[safe(cell) for cell in line] for line in table.cells()]
    grid = _grid(table, cells, [safe(column.title) for column in table.columns], "pipe")
    footer = "".join(f"\n{line}  " for line in table.footer()).rstrip()
    return f"**{table.caption}**\n" + (f"\n{grid}\n" if grid else "") + f"{footer}\n"


def latex(table: Table) -> str:
    """A ``table`` environment that needs booktabs and graphicx; everything is escaped."""
    cells = [[latex_escape(cell) for cell in line] for line in table.cells()]
    grid = _grid(table, cells, [latex_escape(column.title) for column in table.columns], "latex_raw")
    grid = (
        grid.replace("\\hline", "\\toprule", 1)
        .replace("\\hline", "\\midrule", 1)
        .replace("\\hline", "\\bottomrule")
    )
    if grid and len(table.columns) > WIDE:
        grid = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{grid}}}"
    footer = " ".join(latex_escape(line) for line in table.footer())
    return (
        "% needs \\usepackage{booktabs,graphicx}\n\\begin{table}\n\\centering\n"
        f"\\caption{{{latex_escape(table.caption)}}}\n\\label{{tab:{table.name}}}\n"
        f"{grid}\n\n\\smallskip\n\\footnotesize {footer}\n\\end{{table}}\n"
    )


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;color:#222;margin:1.5em}"
    "figure{margin:0;overflow-x:auto}figcaption{font-weight:600;margin-bottom:.6em}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th{border-bottom:2px solid #444;vertical-align:bottom}th,td{padding:.25em .7em}"
    "tbody tr:nth-child(even){background:#f4f5f7}.foot{color:#555;font-size:13px;margin:.2em 0}"
)


def webpage(table: Table) -> str:
    """A page that stands alone and can be shown inside a report."""
    grid = _grid(table, table.cells(), [column.title for column in table.columns], "html")
    footer = "\n".join(f'<p class="foot">{html.escape(line)}</p>' for line in table.footer())
    caption = html.escape(table.caption)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{caption}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<figure><figcaption>{caption}</figcaption>\n{grid}\n</figure>\n"
        f"{footer}\n</body></html>\n"
    )


def comma_separated(table: Table) -> str:
    """The rows as they are: full precision, one column a key, no words around them."""
    keys = [column.key for column in table.columns]
    if not table.rows:
        return ",".join(keys) + "\n"
    return format_csv([{key: row.get(key) for key in keys} for row in table.rows])


def render(table: Table) -> dict[str, str]:
    """All formats of a table: suffix -> text."""
    return {
        "md": markdown(table),
        "tex": latex(table),
        "csv": comma_separated(table),
        "html": webpage(table),
    }


def write(table: Table, folder: Path) -> list[Path]:
    """Write ``table-NAME.{md,tex,csv,html}``, each whole or not at all; return the paths."""
    paths = []
    for suffix, text in render(table).items():
        path = folder / f"table-{table.name}.{suffix}"
        write_text(path, text)
        paths.append(path)
    return paths


def percent(fraction: float, digits: int = 1) -> str:
    """A share in words.

    Examples
    --------
    >>> percent(0.0216)
    '2.2 %'
    """
    return f"{100 * fraction:.{digits}f} %"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of what is there; the caller has checked that something is."""
    return sum(values) / len(values)


def joined(facts: Mapping[str, str]) -> str:
    """``column: level`` pairs of the evidence line.

    Examples
    --------
    >>> joined({"reported": "published", "predicted": "theory"})
    'reported: published; predicted: theory'
    """
    return "; ".join(f"{name}: {level}" for name, level in facts.items())
