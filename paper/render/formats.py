"""Output files of a table: Markdown, LaTeX, CSV and HTML.

The same rows always give the same bytes. The CSV file has full precision and machine-readable column names; the
other formats round the numbers.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from paper.render.table import MISSING, Table
from scylla_sim.checks import fail
from scylla_sim.records import format_csv, write_text

WIDE = 6
"""Number of columns above which a LaTeX table is scaled to the width of the line."""

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


def _grid(table: Table, cells: Sequence[Sequence[str]], titles: Sequence[str], style: str) -> str:
    """Return the rows in one of tabulate's styles, empty if there are none."""
    if not cells:
        return ""
    try:
        from tabulate import tabulate
    except ImportError:
        raise fail("tabulate", None, "is not installed", "pip install 'scylla-sim[paper]'") from None
    return str(tabulate(cells, headers=titles, tablefmt=style, colalign=table.alignment(), disable_numparse=True))


def latex_escape(text: str) -> str:
    r"""Return text with the special characters of LaTeX escaped.

    Examples
    --------
    >>> latex_escape("50 % of k_opt")
    '50 \\% of k\\_opt'
    """
    return text.translate(_LATEX)


def markdown(table: Table) -> str:
    """Return caption, table and footer as GitHub Markdown."""

    def escaped(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    cells = [[escaped(cell) for cell in line] for line in table.cells()]
    grid = _grid(table, cells, [escaped(column.title) for column in table.columns], "pipe")
    footer = "".join(f"\n{line}  " for line in table.footer()).rstrip()
    return f"**{table.caption}**\n" + (f"\n{grid}\n" if grid else "") + f"{footer}\n"


def latex(table: Table) -> str:
    """Return a LaTeX ``table`` environment, which needs the packages booktabs and graphicx."""
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


def grid_html(table: Table) -> str:
    """Return the rows as an HTML table, empty if there are none."""
    return _grid(table, table.cells(), [column.title for column in table.columns], "html")


def webpage(table: Table) -> str:
    """Return a self-contained HTML page, which the report of Snakemake embeds."""
    grid = grid_html(table)
    footer = "\n".join(f'<p class="foot">{html.escape(line)}</p>' for line in table.footer())
    caption = html.escape(table.caption)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{caption}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<figure><figcaption>{caption}</figcaption>\n{grid}\n</figure>\n"
        f"{footer}\n</body></html>\n"
    )


def comma_separated(table: Table) -> str:
    """Return the rows as CSV text with full precision, without caption and footer."""
    keys = [column.key for column in table.columns]
    if not table.rows:
        return ",".join(keys) + "\n"
    return format_csv([{key: row.get(key) for key in keys} for row in table.rows])


def render(table: Table) -> dict[str, str]:
    """Return the text of every format by file suffix."""
    return {
        "md": markdown(table),
        "tex": latex(table),
        "csv": comma_separated(table),
        "html": webpage(table),
    }


def write(table: Table, folder: Path) -> list[Path]:
    """Write ``table-NAME.{md,tex,csv,html}`` atomically and return the paths."""
    paths = []
    for suffix, text in render(table).items():
        path = folder / f"table-{table.name}.{suffix}"
        write_text(path, text)
        paths.append(path)
    return paths
