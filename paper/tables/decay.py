"""Tables ``decay*``: tokens per cycle of long chains, predicted from short chains."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, mean, percent
from paper.sources.results import Results, ResultTable, commits, value
from scylla_sim.records import Row

COLLECTIONS = {
    "decay": ("engines' tables and blogs", "tau_vs_draft_len.csv"),
    "decay-specbundle": ("EAGLE-3 heads of SpecBundle", "tau_vs_draft_len_specbundle.csv"),
    "decay-traces": ("traces of one head and of n-grams", "tau_vs_draft_len_traces.csv"),
}
"""Result file -> name of the collection, and its published file. Each series is predicted from the others."""

_SOURCES = [f"paper/published/{file}, which names the source of every row" for _, file in COLLECTIONS.values()]


def _with_all_lengths(table: ResultTable) -> list[Row]:
    """Return the rows of each series that use all its short lengths."""
    known: dict[str, str] = {}
    for row in table.rows:
        name = str(value(row, "series", table.path))
        known[name] = max(known.get(name, ""), str(value(row, "known", table.path)), key=len)
    return [row for row in table.rows if str(row["known"]) == known[str(row["series"])]]


_ERRORS = (
    percent_column("iid_error", "independent positions: mean error"),
    percent_column("error", "position decay: mean error"),
    percent_column("inside", "inside 90 % interval", digits=0),
)


def _summary(rows: list[Row], path: str) -> Row:
    """Return range, number and mean errors of some predictions."""
    lengths = sorted({int(value(row, "draft_len", path)) for row in rows})
    bounds = [(row["lower"], row["measured"], row["upper"]) for row in rows if row.get("lower") is not None]
    return {
        "lengths": f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else f"{lengths[0]}",
        "n": len(rows),
        "iid_error": mean([abs(value(row, "iid_error", path)) for row in rows]),
        "error": mean([abs(value(row, "error", path)) for row in rows]),
        "inside": mean([float(low <= middle <= high) for low, middle, high in bounds]) if bounds else None,
        "evidence": rows[0].get("evidence"),
    }


def _words(known: str) -> str:
    """Return known draft lengths, ``1+3`` in the file, as a list."""
    return known.replace("+", ", ")


def decay(results: Results) -> Table:
    """Return errors of the position decay and of independent positions, by collection and known lengths."""
    rows: list[Row] = []
    tables = {name: results.table(f"laws/{name}.json") for name in COLLECTIONS}
    for name, table in tables.items():
        for known in dict.fromkeys(str(value(row, "known", table.path)) for row in table.rows):
            members = [row for row in table.rows if str(row["known"]) == known]
            series = len({row["series"] for row in members})
            rows.append(
                {
                    "collection": COLLECTIONS[name][0],
                    "series": series,
                    "known": _words(known),
                    **_summary(members, table.path),
                }
            )
    others = [row for row in rows if row["error"] > row["iid_error"] / 2]
    return Table(
        "decay",
        "Tokens per cycle of longer chains predicted from shorter ones",
        (
            Column("collection", "collection"),
            Column("series", "series", digits=0),
            Column("known", "known lengths"),
            Column("lengths", "predicted lengths"),
            Column("n", "predictions", digits=0),
            *_ERRORS,
            EVIDENCE,
        ),
        rows,
        joined({"measured": "published", "predicted": "fitted on the other series"}),
        commits(tables.values()),
        sources=_SOURCES,
        notes=[
            "The decay of a series is fitted to all other series of its collection. Independent positions have one "
            "acceptance rate, that of the longest known length.",
            f"The decay at least halves the error of independent positions in {len(rows) - len(others)} of "
            f"{len(rows)} rows" + ("." if not others else f". The exceptions are: {_named(others)}."),
        ],
    )


def _named(rows: list[Row]) -> str:
    """Return collections with the known lengths of their rows."""
    known: dict[str, list[str]] = {}
    for row in rows:
        known.setdefault(row["collection"], []).append(row["known"])
    return "; ".join(f"{name} (known: {'; '.join(lengths)})" for name, lengths in known.items())


def decay_pairs(results: Results) -> Table:
    """Return every published pair of known and predicted chain lengths with both predictions."""
    rows: list[Row] = []
    tables = [results.table(f"laws/{name}.json") for name in COLLECTIONS]
    for table in tables:
        for row in _with_all_lengths(table):
            line = {key: value(row, key, table.path) for key in ("series", "draft_len", "iid_error", "error")}
            line |= {"known": _words(str(row["known"])), "evidence": row.get("evidence")}
            line |= {key: row.get(key) for key in ("measured", "iid", "predicted")}
            if row.get("lower") is not None:
                line["interval"] = f"{row['lower']:.2f} to {row['upper']:.2f}"
            rows.append(line)
    law, constant = (mean([abs(row[key]) for row in rows]) for key in ("error", "iid_error"))
    return Table(
        "decay-pairs",
        "Tokens per cycle of longer chains, measured and predicted, for every published series",
        (
            Column("series", "series"),
            Column("known", "known lengths"),
            Column("draft_len", "length", digits=0),
            Column("measured", "measured", "tokens/cycle", digits=2),
            Column("iid", "independent positions", digits=2),
            percent_column("iid_error", "error", signed=True),
            Column("predicted", "position decay", digits=2),
            Column("interval", "90 % interval"),
            percent_column("error", "error", signed=True),
            EVIDENCE,
        ),
        rows,
        joined({"measured": "published", "predicted": "fitted on the other series"}),
        commits(tables),
        sources=_SOURCES,
        notes=[
            f"{len(rows)} predictions, each from all known lengths up to 3. Mean error: position decay "
            f"{percent(law)}, independent positions {percent(constant)}.",
        ],
    )


def decay_sources(results: Results) -> Table:
    """Return errors of the position laws of methods, by method and source left out."""
    table = results.table("laws/decay-laws.json")
    keys = dict.fromkeys((str(row["method"]), str(row["origin"])) for row in table.rows)
    methods = dict.fromkeys(method for method, _ in keys)
    groups = [(method, None) for method in methods] + list(keys)
    rows: list[Row] = []
    for method, origin in sorted(groups, key=lambda pair: (list(methods).index(pair[0]), pair[1] is not None)):
        members = [row for row in table.rows if row["method"] == method and origin in (None, row["origin"])]
        pooled = mean([abs(value(row, "pooled_error", table.path)) for row in members])
        rows.append(
            {
                "method": method,
                "origin": origin or "all sources",
                "fitted_on": min(int(value(row, "fitted_on", table.path)) for row in members),
                **_summary(members, table.path),
                "pooled_error": pooled,
            }
        )
    return Table(
        "decay-sources",
        "Tokens per cycle of 5 tokens or more from those of 3, with laws of other sources",
        (
            Column("method", "method"),
            Column("origin", "source left out"),
            Column("fitted_on", "sources of the law", digits=0),
            Column("lengths", "predicted lengths"),
            Column("n", "predictions", digits=0),
            percent_column("iid_error", "one rate: mean error"),
            percent_column("pooled_error", "one exponent for all methods: mean error"),
            percent_column("error", "law of the method: mean error"),
            percent_column("inside", "inside 90 % interval", digits=0),
            EVIDENCE,
        ),
        rows,
        joined({"measured": "published", "predicted": "fitted on the other sources"}),
        commits([table]),
        sources=[*_SOURCES, "paper/published/tau_vs_draft_len_more.csv, which names the source of every row"],
        notes=[
            "The law of a method without another source is that of all other methods. "
            "One exponent for all methods is the median of the first collection, which holds some of the rows."
        ],
    )
