"""Tables ``gpu-cycles`` and ``gpu-decode``: speculative decoding on measured GPUs."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import percent
from paper.sources.gpu_records import PREDICTIONS, Campaign, drafting
from paper.sources.results import Results
from paper.tables.errors import word
from paper.tables.gpu_table import BATCH, BLIND_NOTE, CONTEXT, DEVICE, DRAFTING, GIVEN_NOTE, each, gpu_table
from paper.tables.local import CYCLE_PARTS
from scylla_sim.records import Row

_SPEEDUPS = (
    Column("tokens_per_cycle", "tokens per cycle", digits=2),
    Column("measured", "speed-up measured", digits=3),
    Column("blind", "blind", digits=3),
    Column("blind_interval", "blind 90 % interval"),
    percent_column("blind_error", "blind error", signed=True),
    Column("calibrated", "calibrated", digits=3),
    percent_column("calibrated_error", "calibrated error", signed=True),
)


def _speedups(row: Row) -> Row:
    """Return measured and predicted speed-ups of a row with their errors."""
    out: Row = {"measured": row["speedup"], "tokens_per_cycle": row["tokens_per_cycle"]}
    for name in PREDICTIONS:
        predicted = row.get(f"{name}_speedup")
        if predicted is None:
            continue
        out |= {name: predicted, f"{name}_error": predicted / row["speedup"] - 1}
        low, high = row[f"{name}_speedup_lower"], row[f"{name}_speedup_upper"]
        out |= {f"{name}_interval": f"{low:.2f} to {high:.2f}", f"{name}_inside": low <= row["speedup"] <= high}
    return out


def _place(row: Row, context: str = "context_len") -> Row:
    """Return batch, context and draft shape of a row."""
    return {"batch": row["batch_size"], "context": row[context], "drafting": row.get("drafting") or drafting(row)}


def _part_notes(campaign: Campaign) -> list[str]:
    """Return the median errors of the parts of a cycle, a sentence for each prediction."""
    notes = []
    for name, table in campaign.compared("specdecode").items():
        by_quantity = {row["quantity"]: row for row in table.rows if row["group"] == "all"}
        parts = ", ".join(
            f"{words} {percent(by_quantity[key]['median_ape'])}"
            for key, words in CYCLE_PARTS.items()
            if key in by_quantity
        )
        speedup = by_quantity.get("speedup", {})
        inside = (
            f". {percent(speedup['coverage'], 0)} of the speed-ups are in their 90 % interval, whose upper end is "
            f"{speedup['width']:.2f} times the lower one in the median"
            if "coverage" in speedup
            else ""
        )
        notes.append(f"{campaign.gpu}, {name}: median errors of {parts}{inside}.")
    return notes


def cycles(results: Results) -> Table:
    """Return the speed-up of every draft shape, in CUDA graphs."""

    def rows(campaign: Campaign) -> list[Row]:
        return [_place(row) | _speedups(row) for row in campaign.graphed_cycles()]

    found = each(results, "specdecode", rows)
    return gpu_table(
        "gpu-cycles",
        "Draft-verify cycles on measured GPUs: speed-up over autoregressive decoding, measured and predicted",
        (DEVICE, BATCH, CONTEXT, DRAFTING, *_SPEEDUPS, EVIDENCE),
        found,
        [
            BLIND_NOTE,
            GIVEN_NOTE,
            *(note for campaign, _, some in found if some for note in _part_notes(campaign)),
        ],
    )


def decode(results: Results) -> Table:
    """Return the throughput of free-running generations by wall-clock time."""

    def rows(campaign: Campaign) -> list[Row]:
        return [
            _place(row, "prompt_len")
            | {name: row[name] for name in ("new_tokens", "tokens_per_s", "plain_tokens_per_s", "graph")}
            | {"graph": word("graph", f"{row['graph']:g}"), "seen": row.get("tokens_per_cycle_seen")}
            | _speedups(row)
            | {f"{name}_tokens_per_s": row.get(f"{name}_tokens_per_s") for name in PREDICTIONS}
            for row in campaign.generations()
        ]

    rates = [
        Column(f"{name}tokens_per_s", heading, digits=0)
        for name, heading in (
            ("", "tokens/s"),
            ("blind_", "blind"),
            ("calibrated_", "calibrated"),
            ("plain_", "tokens/s of autoregressive decoding"),
        )
    ]
    return gpu_table(
        "gpu-decode",
        "Free-running generation on measured GPUs: tokens per second by wall-clock time",
        (
            *(DEVICE, BATCH, Column("context", "prompt", digits=0), Column("new_tokens", "new tokens", digits=0)),
            *(Column("graph", "launch"), DRAFTING, *rates, Column("seen", "observed tokens per cycle", digits=2)),
            *(*_SPEEDUPS, EVIDENCE),
        ),
        each(results, "decode", rows),
        [
            "Throughput: tokens that all sequences emit, divided by wall-clock time, with a given acceptance. The "
            "speed-up is relative to a plain generation timed in the same way.",
            "The prediction uses the context in the middle of the generation and the mean tokens per cycle.",
        ],
    )
