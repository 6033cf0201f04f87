"""The page ``index.html``: one self-contained file that loads nothing."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from paper.claims.index import judged
from paper.claims.verdict import MEANINGS, STATUSES
from paper.overview.accuracy import Bar, bars
from paper.render.formats import grid_html
from paper.render.table import Table
from paper.render.values import percent
from paper.sources.results import Results
from paper.tables.index import TABLES, build
from scylla_sim.checks import InputError
from scylla_sim.records import Row, write_text

TITLE = "Scaling Laws for Speculative Decoding (arXiv 2505.07858): what was reproduced"

FIGURES = {
    "fig1": "Fig. 1: both laws, refitted on the printed points",
    "small-scale": "The laws for drafts that were trained here",
    "profiles": "Rank profiles of these drafts, and the trees that they predict",
    "fig5": "Fig. 5 from a roofline, with constants chosen to fit it",
    "turning-points": "The best number of paths falls as 1/batch",
    "table5": "Table 5: reported and predicted throughput",
    "kernels": "Kernels on shapes that no fit saw",
    "gpu": "GPUs measured after the prediction",
    "speedup": "Speed-up by batch for three contexts",
}
"""Figure -> what it shows."""

QUESTIONS: dict[str, Sequence[str]] = {
    "Are the laws right?": ("theorem-1.1", "theorem-1.2", "theorem-1.3-forms", "small-scale-tokens"),
    "Does the throughput of the paper come out?": ("table5", "table5-sensitivity"),
    "Can I trust a prediction?": ("silicon-gemm", "silicon-decode-attention", "serving-runs"),
    "How many tokens will a longer draft yield?": ("decay",),
}
"""Question -> tables that answer it, folded into the page."""

TOPICS: dict[str, Sequence[str]] = {
    "Kernels of GPUs": ("silicon-", "verify-attention", "transfer"),
    "A GPU that was measured after the prediction": ("gpu-",),
    "This machine": ("local",),
    "Served models": ("serving-", "served-", "closed-form", "llama-8b-", "verify-gap", "specbundle", "sglang-"),
    "Drafts trained here": ("small-scale-", "design-"),
    "Laws in other papers": (
        "data-",
        "layers-",
        "epochs-",
        "pretraining-",
        "rival-",
        "joint-",
        "theorem-1.1",
        "theorem-1.2",
    ),
    "Acceptance by position and rank": ("positions", "ranks", "trees-", "decay", "acceptance"),
    "Trees by batch, Fig. 5 and Table 5": ("theorem-1.3", "fig5", "table5"),
}
"""Topic -> beginnings of the names of its tables."""


def topic_of(name: str) -> str:
    """Return the topic of a table; empty if it has none.

    Examples
    --------
    >>> topic_of("gpu-cycles"), topic_of("table5-ablation")
    ('A GPU that was measured after the prediction', 'Trees by batch, Fig. 5 and Table 5')
    """
    return next((topic for topic, starts in TOPICS.items() if name.startswith(tuple(starts))), "")


GROUPS = {"premise": "Premises of the paper", "simulator": "This simulator", "abstract": "Abstract"}
"""Place of a claim -> heading of its group, where it differs."""

LEVELS = {
    "live": "measured on the machine that made this page",
    "recorded": "measured earlier by this package, with its provenance",
    "silicon": "kernels of that GPU, measured by others",
    "published": "a number printed by others",
    "small-scale": "drafts trained here, with a target of 0.3 M weights",
    "transferred": "from kernel models fitted on another GPU",
    "theory": "from datasheet and formula only",
}
"""Level of evidence -> meaning."""


def _class(status: str) -> str:
    return status.replace(" ", "-")


def _chip(status: str) -> str:
    return f'<span class="chip {_class(status)}">{status}</span>'


def _strip(rows: Sequence[Row]) -> str:
    """Return the counts of the statuses as one strip."""
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    parts = "".join(
        f'<b class="{_class(status)}" style="flex:{count}">{count} {status}</b>'
        for status, count in counts.items()
        if count
    )
    return f'<div class="strip">{parts}</div>'


def _claims(rows: Sequence[Row]) -> str:
    """Return the claims in groups by their place in the paper; a finding opens to its numbers, rule and files."""
    lines = []
    for where in dict.fromkeys(row["where"] for row in rows):
        lines.append(f'<tr><th colspan="3">{html.escape(GROUPS.get(where, where))}</th></tr>')
        for row in (row for row in rows if row["where"] == where):
            level = f' <span class="level">{html.escape(row["evidence"])}</span>' if row["evidence"] else ""
            whole = "".join(
                f"<p>{label}: {html.escape(row[name])}.</p>"
                for label, name in (("Claim", "claim"), ("Finding", "finding"), ("Rule", "rule"), ("Files", "file"))
                if row[name]
            )
            lines.append(
                f"<tr><td>{html.escape(row['short'])}</td><td>{_chip(row['status'])}</td>"
                f'<td><details class="finding"><summary>{html.escape(row["brief"])}{level}</summary>{whole}'
                "</details></td></tr>"
            )
    return f'<table class="claims">{"".join(lines)}</table>'


def _bars(found: Sequence[Bar]) -> str:
    """Return errors as bars above those of the roofline baseline."""
    longest = max((max(bar.error, bar.roofline) for bar in found), default=1.0)
    lines = "".join(
        f'<tr><td>{html.escape(bar.label)}</td><td>{percent(bar.error)}</td><td class="bar">'
        f'<span style="width:{100 * bar.error / longest:.1f}%"></span>'
        f'<span style="width:{100 * bar.roofline / longest:.1f}%"></span></td>'
        f"<td>{percent(bar.roofline, 0)}</td></tr>"
        for bar in found
    )
    head = '<tr class="soft"><td>on data that no fit saw</td><td>error</td><td></td><td>roofline</td></tr>'
    return f'<table class="bars">{head}{lines}</table>'


def _words() -> str:
    statuses = "".join(f"<tr><td>{_chip(name)}</td><td>{text}</td></tr>" for name, text in MEANINGS.items())
    levels = "".join(
        f'<tr><td><span class="level">{name}</span></td><td>{text}</td></tr>' for name, text in LEVELS.items()
    )
    return f'<table class="words">{statuses}{levels}</table>'


def _image(path: Path, kind: str, caption: str) -> str:
    """Return an image element that contains a file."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(caption)}">'


def _figures(folder: Path) -> str:
    """Return the figures as thumbnails that open in full size; one that the folder lacks is left out."""
    small, large = [], []
    for name, caption in FIGURES.items():
        path, thumbnail = folder / f"figure-{name}.svg", folder / f"thumbnail-{name}.png"
        if not (path.exists() and thumbnail.exists()):
            continue
        small.append(f'<a href="#{name}">{_image(thumbnail, "png", caption)}<b>{caption}</b></a>')
        large.append(f'<a class="large" id="{name}" href="#figures">{_image(path, "svg+xml", caption)}</a>')
    return f'<div class="figures" id="figures">{"".join(small)}</div>{"".join(large)}'


def _folded(table: Table) -> str:
    notes = "".join(f'<p class="foot">{html.escape(line)}</p>' for line in table.footer())
    return (
        f'<details><summary>{html.escape(table.caption)}</summary><div class="table">{grid_html(table)}</div>'
        f"{notes}</details>"
    )


def _tables(results: Results) -> str:
    """Return the tables of the questions, folded, and all others by topic with their titles."""
    built: dict[str, Table] = {}
    for name in TABLES:
        try:
            built[name] = build(results, [name])[0]
        except InputError:
            continue  # the run lacks its files
    lines = []
    for question, names in QUESTIONS.items():
        lines.append(f"<h3>{question}</h3>{''.join(_folded(built[name]) for name in names if name in built)}")
    shown = {name for names in QUESTIONS.values() for name in names}
    others = [name for name, table in built.items() if name not in shown and table.rows]
    lines.append("<h2>All other tables</h2>")
    for topic in TOPICS:
        links = "".join(
            f'<p><a href="table-{name}.html">{html.escape(built[name].caption)}</a></p>'
            for name in others
            if topic_of(name) == topic
        )
        lines.append(f'<h3>{topic}</h3><div class="lists">{links}</div>' if links else "")
    return "".join(lines)


def page(results: Results, folder: Path) -> str:
    """Return the page.

    Parameters
    ----------
    results : Results
        Results folder.
    folder : Path
        Folder with the figures, which the page contains.
    """
    rows = judged(results)
    style = (resources.files("paper") / "overview" / "style.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{TITLE}</title>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>\n<h1>{TITLE}</h1>\n'
        '<p class="soft">The code and the weights of the paper were never released. Here its laws are fitted '
        "again, drafts are trained at small scale, and throughput is predicted by a simulator whose kernels are "
        "fitted to measured GPUs. No number on this page is a measurement of the paper's own system.</p>\n"
        f'{_strip(rows)}<p class="soft">{len(rows)} claims. Each finding opens to its numbers, '
        'its rule and its files; <a href="claims.md">claims.md</a> has them as one table.</p>\n'
        f'<div class="halves"><div><h2>The claims</h2>{_claims(rows)}</div>'
        f"<div><h2>How far off is the simulator?</h2>{_bars(bars(results))}<h2>Words</h2>{_words()}</div></div>\n"
        f"<h2>Figures</h2>{_figures(folder)}\n<h2>Tables</h2>{_tables(results)}\n"
        "<h2>How was this made?</h2><p>A workflow of Snakemake made every file. After <code>make reproduce</code>, "
        '<a href="report.html">report.html</a> beside this page has its diagram, and the command, the inputs and '
        "the time of every step.</p>\n"
        "</body></html>\n"
    )


def write(results: Results, folder: Path) -> list[Path]:
    """Write ``index.html`` into a folder that has the figures, and return its path."""
    path = folder / "index.html"
    write_text(path, page(results, folder))
    return [path]
