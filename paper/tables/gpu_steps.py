"""Tables of GPUs that `gpu-validate campaign` measured, beside blind predictions and calibrated ones.

Without a record the tables are empty and say so. Every row is of evidence level ``recorded``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from paper.render.table import Column, Table, joined, percent
from paper.sources.gpu_records import PREDICTIONS, Campaign, campaigns, drafting
from paper.sources.results import Results, commits
from paper.tables.kernels import ERRORS, OPS, WORDS
from scylla_sim.records import Row

NOT_MEASURED = "No GPU has been measured yet; docs/validate-on-your-gpu.md has the one command."
RATIOS = (4, 8, 16, 64)
"""Numbers of query tokens whose time is shown over that of one."""
ROLES = ("plain", "verify", "draft")

DEVICE, EVIDENCE = Column("device", "device"), Column("evidence", "evidence")
BATCH, CONTEXT = Column("batch", "batch", digits=0), Column("context", "context", digits=0)
BLIND_NOTE = (
    "Blind: predicted with the shipped calibration before the measurement, hashed and committed. Calibrated: the "
    "same forms fitted to one part of this GPU's GEMM and attention shapes; kernels are scored on the other part, "
    "and nothing is fitted to a step, a cycle or a generation. Kernels that were not fitted keep the shipped fit."
)
_ROOFLINE_NOTE = "Roofline: the larger of FLOPs / datasheet peak and bytes / datasheet bandwidth."
_FLOOR_NOTE = "Noise floor: median difference of a second pass over the grid, its median ratio taken out."


DECODER_ATTENTION = "triton_split_kv"
_WIDTH_NOTE = (
    f"{DECODER_ATTENTION} splits the keys of a sequence only while there are fewer blocks of queries than the GPU "
    "holds, and then adds up the parts, which costs more for more tokens; 64 tokens fill twice as many blocks and "
    "may need no split. The form of attention has neither step."
)


def gpu_table(
    name: str,
    caption: str,
    columns: Sequence[Column],
    found: Sequence[tuple[Campaign, str, list[Row]]],
    notes: Sequence[str] = (),
) -> Table:
    """A table of what was found, or an empty one that says how to measure.

    ``found`` are campaigns with the suite that a table shows and its rows; columns without any value are left out.
    """
    rows = [{"device": campaign.gpu, **row, "evidence": "recorded"} for campaign, _, some in found for row in some]
    if not rows:
        gpus = ", ".join(dict.fromkeys(campaign.gpu for campaign, _, _ in found))
        nothing = f"Not measured on {gpus} yet." if gpus else NOT_MEASURED
        return Table(name, caption, columns, [], "not measured", "", nothing=nothing)
    shown = [column for column in columns if any(row.get(column.key) not in (None, "") for row in rows)]
    measured = [(campaign, suite) for campaign, suite, some in found if some]
    tables = [table for campaign, suite in measured for table in campaign.compared(suite).values()]
    said = [campaign.facts(suite) for campaign, suite in measured]
    blind = [line for line in (campaign.blind_facts(suite) for campaign, suite in measured) if line]
    levels = {"measured": "recorded"}
    for prediction in PREDICTIONS:
        made = [
            campaign.level(prediction) for campaign, suite in measured if prediction in campaign.compared(suite)
        ]
        levels |= {prediction: ", ".join(dict.fromkeys(made))} if made else {}
    return Table(
        name,
        caption,
        shown,
        rows,
        joined(levels),
        commits(tables),
        notes=[*notes, *dict.fromkeys(said), *dict.fromkeys(blind)],
    )


def each(
    results: Results, suite: str, rows: Callable[[Campaign], list[Row]]
) -> list[tuple[Campaign, str, list[Row]]]:
    """Every campaign with the rows that a table shows of a suite; none where it was not measured."""
    return [(campaign, suite, rows(campaign) if campaign.has(suite) else []) for campaign in campaigns(results)]


def word(name: str, value: Any) -> str:
    """A value of a column in words."""
    return WORDS.get(name, {}).get(str(value), str(value))


def _prefixed(row: Row, name: str) -> Row:
    """Errors of one prediction under its name."""
    return {f"{name}_{column.key}": row.get(column.key) for column in ERRORS if column.key in row}


def _scored(campaign: Campaign, suite: str, by: Sequence[str]) -> list[Row]:
    """Groups of a suite with the errors of the blind and of the calibrated prediction beside each other."""
    found: dict[tuple[str, ...], Row] = {}
    for name, table in campaign.compared(suite).items():
        for row in table.rows:
            key = tuple(str(row.get(column, "")) for column in by)
            if row["group"] == "all":
                continue
            out = found.setdefault(key, dict(zip(by, key)))
            out |= _prefixed(row, name)
            out.setdefault("naive_median_ape", row.get("naive_median_ape"))
            if row.get("floor_kind") == "repeat":
                out.setdefault("floor_median", row["floor_median"])
    return list(found.values())


def _error_columns(name: str, heading: str) -> list[Column]:
    return [
        Column(f"{name}_n", f"{heading}: n", digits=0),
        Column(f"{name}_median_ape", f"{heading}: median error", "%", digits=1, scale=100),
        Column(f"{name}_p90_ape", f"{heading}: p90", "%", digits=1, scale=100),
        Column(f"{name}_bias", f"{heading}: bias", "%", digits=1, scale=100, signed=True),
        Column(f"{name}_coverage", f"{heading}: in 90 % interval", "%", digits=0, scale=100),
    ]


_SCORES = (
    *_error_columns("blind", "blind"),
    Column("naive_median_ape", "roofline: median", "%", digits=1, scale=100),
    *_error_columns("calibrated", "calibrated"),
    Column("floor_median", "noise floor", "%", digits=1, scale=100),
)


def kernels(results: Results) -> Table:
    """Errors of kernels by operation, library and dtype."""

    def rows(campaign: Campaign) -> list[Row]:
        found = _scored(campaign, "kernels", ("op", "dtype", "kernel_source"))
        return [row | {"op": OPS[row["op"]], "dtype": word("dtype", row["dtype"])} for row in found]

    found = each(results, "kernels", rows)
    return gpu_table(
        "gpu-kernels",
        "Kernels on measured GPUs: blind and calibrated predictions against the measurement",
        (
            *(DEVICE, Column("op", "kernels"), Column("kernel_source", "library"), Column("dtype", "dtype")),
            *_SCORES,
            EVIDENCE,
        ),
        found,
        [
            BLIND_NOTE,
            _ROOFLINE_NOTE,
            _FLOOR_NOTE,
            "The fit takes the kernels that the measured decoder runs (torch_linear, triton_split_kv) and "
            "torch_scaled_mm; other libraries are scored blind only.",
            *(note for campaign, _, some in found if some for note in _width_notes(campaign)),
        ],
    )


def _width_notes(campaign: Campaign) -> list[str]:
    """Errors of the decoder's attention by the tokens of a step, of each prediction."""
    notes = []
    for name, table in campaign.widths().items():
        rows = [
            row for row in table.rows if row.get("kernel_source") == DECODER_ATTENTION and row["group"] != "all"
        ]
        said = [
            f"{row['q_len']}: {percent(row['median_ape'])}"
            for row in sorted(rows, key=lambda row: float(row["q_len"]))
        ]
        if said:
            sizes = "all batches and contexts" if name == PREDICTIONS[0] else "those that were held out"
            title = f"median error of {DECODER_ATTENTION} by number of tokens ({sizes})"
            notes.append(f"{campaign.gpu}, {name}: {title}: {', '.join(said)}.")
    return [*notes, _WIDTH_NOTE] if notes else []


def verify_attention(results: Results) -> Table:
    """Attention of several query tokens over that of one, by kernel, batch and context."""

    def rows(campaign: Campaign) -> list[Row]:
        found: dict[tuple[Any, ...], dict[int, Row]] = {}
        for row in campaign.rows("kernels"):
            if row["op"] == "decode_attention":
                key = tuple(row[name] for name in ("kernel_source", "num_heads", "num_kv_heads", "kv_len", "batch"))
                found.setdefault(key, {})[int(row.get("q_len") or 1)] = row
        out = []
        for (source, heads, kv_heads, context, batch), widths in sorted(found.items()):
            one = widths.pop(1, None)
            if one is None or not widths:
                continue
            shown: Row = {"kernel_source": source, "heads": f"{heads:g}/{kv_heads:g}"}
            shown |= {"batch": batch, "context": context, "one_ms": one["latency_ms"]}
            for width in RATIOS:
                many = widths.get(width, {})
                for name, column in (("measured", "latency_ms"), ("blind", "blind_predicted_s")):
                    if many.get(column) is not None and one.get(column) is not None:
                        shown[f"{name}_{width}"] = many[column] / one[column]
            out.append(shown)
        return out

    ratios = [
        Column(f"{name}_{width}", f"{width} tokens, {name}", digits=2)
        for width in RATIOS
        for name in ("measured", "blind")
    ]
    return gpu_table(
        "gpu-verify-attention",
        "Attention of a verify step on measured GPUs: time of several query tokens over the time of one",
        (
            *(DEVICE, Column("kernel_source", "kernel"), Column("heads", "heads/KV heads"), BATCH, CONTEXT),
            *(Column("one_ms", "one token", "µs", digits=1, scale=1e3), *ratios, EVIDENCE),
        ),
        each(results, "kernels", rows),
        ["triton_split_kv is the kernel that the measured decoder runs, for plain and for verify steps alike."],
    )


def _span(values: Iterable[float], digits: int = 2) -> str:
    known = sorted(values)
    ends = [f"{known[0]:.{digits}f}", f"{known[-1]:.{digits}f}"]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def steps(results: Results) -> Table:
    """Errors of whole steps in CUDA graphs, by role, model and batch."""

    def rows(campaign: Campaign) -> list[Row]:
        by = ("role", "model", "dtype", "batch")
        times: dict[tuple[str, ...], list[float]] = {}
        for row in campaign.rows("step"):
            if row["graph"] == 1:
                key = tuple(f"{row[name]:g}" if name == "batch" else str(row[name]) for name in by)
                times.setdefault(key, []).append(row["latency_ms"])
        scored = {tuple(str(row[name]) for name in by): row for row in _scored(campaign, "step", by)}
        order = sorted(times, key=lambda key: (ROLES.index(key[0]), key[1], key[2], float(key[3])))
        return [
            scored.get(key, dict(zip(by, key)))
            | {"batch": float(key[3]), "dtype": word("dtype", key[2]), "measured": _span(times[key])}
            for key in order
        ]

    return gpu_table(
        "gpu-steps",
        "Whole steps on measured GPUs: plain, verify and draft steps in CUDA graphs",
        (
            *(DEVICE, Column("role", "step"), Column("model", "model"), Column("dtype", "dtype"), BATCH),
            *(Column("measured", "measured (ms)"), *_SCORES, EVIDENCE),
        ),
        each(results, "step", rows),
        [BLIND_NOTE, _ROOFLINE_NOTE, _FLOOR_NOTE, "A range of times is over contexts and numbers of tokens."],
    )


def host(results: Results) -> Table:
    """The same work launched from Python and in a CUDA graph."""

    def rows(campaign: Campaign) -> list[Row]:
        return [*_pairs(campaign.rows("specdecode"), "cycle_s"), *_pairs(campaign.rows("step"), "latency_ms")]

    found = [(campaign, "specdecode", rows(campaign)) for campaign in campaigns(results)]
    return gpu_table(
        "gpu-host",
        "What launching from Python costs on measured GPUs: the same work in a CUDA graph and eager",
        (
            *(DEVICE, Column("what", "what"), BATCH, CONTEXT),
            Column("graph_s", "CUDA graph", "ms", digits=2, scale=1e3),
            Column("eager_s", "eager", "ms", digits=2, scale=1e3),
            Column("ratio", "ratio", digits=2),
            Column("graph_speedup", "speed-up in a graph", digits=2),
            Column("eager_speedup", "eager", digits=2),
            EVIDENCE,
        ),
        found,
        ["Both speed-ups are relative to plain steps launched in the same way."],
    )


def _pairs(rows: Sequence[Row], column: str) -> list[Row]:
    """Eager rows beside the graphed row of the same configuration."""
    names = (
        "model",
        "dtype",
        "batch",
        "context",
        "tokens",
        "batch_size",
        "context_len",
        "draft",
        "draft_len",
        "top_k",
    )

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in (*names, "verify_tokens"))

    graphed = {key(row): row for row in rows if row["graph"] == 1}
    out = []
    for row in rows:
        twin = graphed.get(key(row))
        if row["graph"] == 1 or twin is None:
            continue
        scale = 1e-3 if column == "latency_ms" else 1.0
        is_cycle = column == "cycle_s"
        what = f"cycle, drafting {drafting(row)}" if is_cycle else f"{row['role']} step, {row['tokens']:g} tokens"
        shown: Row = {"what": what, "batch": row["batch_size" if is_cycle else "batch"]}
        shown |= {"context": row["context_len" if is_cycle else "context"]}
        shown |= {"graph_s": scale * twin[column], "eager_s": scale * row[column]}
        shown["ratio"] = shown["eager_s"] / shown["graph_s"]
        if is_cycle:
            shown |= {"graph_speedup": twin["speedup"], "eager_speedup": row["speedup"]}
        out.append(shown)
    return out
