"""Tables of the decay over draft positions: tokens per cycle of long chains from short ones, all pairs listed."""

from __future__ import annotations

from paper.render.table import Column, Table, joined, mean, percent
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from scylla_sim.records import Row

COLLECTIONS = {
    "decay": ("engines' tables and blogs", "tau_vs_draft_len.csv"),
    "decay-specbundle": ("EAGLE-3 heads of SpecBundle", "tau_vs_draft_len_specbundle.csv"),
    "decay-traces": ("traces of one head and of n-grams", "tau_vs_draft_len_traces.csv"),
}
"""Result file -> what was collected, and the published file. In each, a series is predicted from the others."""


def _file(results: Results, name: str) -> ResultTable:
    return results.table(f"laws/{name}.json", how_to_make(f"laws/{name}.json"))


def _fullest(table: ResultTable) -> list[Row]:
    """The rows of each series that know all its short lengths."""
    known: dict[str, str] = {}
    for row in table.rows:
        name = str(value(row, "series", table.path))
        known[name] = max(known.get(name, ""), str(value(row, "known", table.path)), key=len)
    return [row for row in table.rows if str(row["known"]) == known[str(row["series"])]]


_ERRORS = (
    Column("iid_error", "independent positions: mean error", "%", digits=1, scale=100),
    Column("error", "law of decay: mean error", "%", digits=1, scale=100),
    Column("inside", "within the 90 % interval", "%", digits=0, scale=100),
)


def _summary(rows: list[Row], path: str) -> Row:
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
    return known.replace("+", ", ")


def decay(results: Results) -> Table:
    """Tokens per cycle of long chains from short ones: the law of decay beside independent positions."""
    rows: list[Row] = []
    tables = {name: _file(results, name) for name in COLLECTIONS}
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
    beaten = [row for row in rows if row["error"] > row["iid_error"] / 2]
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
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "published", "predicted": "fitted on the other series"}),
        commits(tables.values()),
        sources=[
            f"paper/published/{file}, which names the source of every row" for _, file in COLLECTIONS.values()
        ],
        notes=[
            "The decay of a series is fitted on all other series of its collection; independent positions keep one "
            "acceptance rate, that of the longest known length.",
            f"The law halves the error of independent positions in {len(rows) - len(beaten)} of {len(rows)} rows"
            + ("." if not beaten else ", not with " + _named(beaten) + "."),
        ],
    )


def _named(rows: list[Row]) -> str:
    """Collections, each with the known lengths of its rows."""
    known: dict[str, list[str]] = {}
    for row in rows:
        known.setdefault(row["collection"], []).append(row["known"])
    return "; nor with ".join(f"{name} (known: {'; '.join(lengths)})" for name, lengths in known.items())


def decay_pairs(results: Results) -> Table:
    """Every pair: a series, the lengths known, the length predicted, both predictions."""
    rows: list[Row] = []
    tables = [_file(results, name) for name in COLLECTIONS]
    for table in tables:
        for row in _fullest(table):
            line = {key: value(row, key, table.path) for key in ("series", "draft_len", "iid_error", "error")}
            line |= {"known": _words(str(row["known"])), "evidence": row.get("evidence")}
            line |= {key: row.get(key) for key in ("measured", "iid", "predicted")}
            if row.get("lower") is not None:
                line["interval"] = f"{row['lower']:.2f} to {row['upper']:.2f}"
            rows.append(line)
    law, constant = (mean([abs(row[key]) for row in rows]) for key in ("error", "iid_error"))
    return Table(
        "decay-pairs",
        "Every published pair of a short and a long chain: tokens per cycle measured and predicted",
        (
            Column("series", "series"),
            Column("known", "known lengths"),
            Column("draft_len", "length", digits=0),
            Column("measured", "measured", "tokens/cycle", digits=2),
            Column("iid", "independent positions", digits=2),
            Column("iid_error", "error", "%", digits=1, scale=100, signed=True),
            Column("predicted", "law of decay", digits=2),
            Column("interval", "90 % interval"),
            Column("error", "error", "%", digits=1, scale=100, signed=True),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "published", "predicted": "fitted on the other series"}),
        commits(tables),
        sources=[
            f"paper/published/{file}, which names the source of every row" for _, file in COLLECTIONS.values()
        ],
        notes=[
            f"{len(rows)} pairs, each with all known lengths up to 3: mean error {percent(law)}, of independent "
            f"positions {percent(constant)}.",
        ],
    )
