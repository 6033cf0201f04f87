"""Tables of speculative decoding on measured GPUs: speed-up, best draft length, free-running generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper.render.table import Column, Table, percent
from paper.sources.gpu_records import PREDICTIONS, Campaign, campaigns, drafting, errors
from paper.sources.results import Results
from paper.tables.gpu_steps import BATCH, BLIND_NOTE, CONTEXT, DEVICE, EVIDENCE, NOT_MEASURED, each, gpu_table, word
from paper.tables.kernels import CYCLE_PARTS
from scylla_sim.records import Row

FIXED = (3, 5)
"""Draft lengths that a user may set once and for all."""
PLAIN = "0"
"""Plain decoding among the choices of a draft length."""
DRAFTING = Column("drafting", "drafting")
_GIVEN_NOTE = "Acceptance is given: measured and predicted cycles emit the same tokens, and time is compared."


def _part_note(campaign: Campaign, suite: str) -> list[str]:
    """Median errors of the parts of a cycle, and what following the predicted choice loses."""
    notes = []
    for name, table in campaign.compared(suite).items():
        by_quantity = {row["quantity"]: row for row in table.rows if row["group"] == "all"}
        parts = ", ".join(
            f"{words} {percent(by_quantity[key]['median_ape'])}"
            for key, words in CYCLE_PARTS.items()
            if key in by_quantity
        )
        covered = by_quantity.get("speedup", {}).get("coverage")
        inside = "" if covered is None else f"; {percent(covered, 0)} of the speed-ups lie in their 90 % interval"
        notes.append(f"{campaign.gpu}, {name}: median errors of {parts}{inside}.")
    return notes


def _speedups(row: Row) -> Row:
    """Measured and predicted speed-ups of a row with their errors."""
    out: Row = {"measured": row["speedup"], "tokens_per_cycle": row["tokens_per_cycle"]}
    for name in PREDICTIONS:
        predicted = row.get(f"{name}_speedup")
        if predicted is None:
            continue
        out |= {name: predicted, f"{name}_error": predicted / row["speedup"] - 1}
        low, high = row[f"{name}_speedup_lower"], row[f"{name}_speedup_upper"]
        out |= {f"{name}_interval": f"{low:.2f} to {high:.2f}", f"{name}_inside": low <= row["speedup"] <= high}
    return out


_SPEEDUPS = (
    Column("tokens_per_cycle", "tokens per cycle", digits=2),
    Column("measured", "speed-up measured", digits=3),
    Column("blind", "blind", digits=3),
    Column("blind_interval", "its 90 % interval"),
    Column("blind_error", "blind error", "%", digits=1, scale=100, signed=True),
    Column("calibrated", "calibrated", digits=3),
    Column("calibrated_error", "calibrated error", "%", digits=1, scale=100, signed=True),
)


def _place(row: Row, context: str = "context_len") -> Row:
    return {"batch": row["batch_size"], "context": row[context], "drafting": row.get("drafting") or drafting(row)}


def cycles(results: Results) -> Table:
    """Speed-up of every drafting configuration, in a CUDA graph."""

    def rows(campaign: Campaign) -> list[Row]:
        return [_place(row) | _speedups(row) for row in campaign.graphed_cycles()]

    found = each(results, "specdecode", rows)
    return gpu_table(
        "gpu-cycles",
        "Draft-verify cycles on measured GPUs: speed-up over plain decoding, measured and predicted",
        (DEVICE, BATCH, CONTEXT, DRAFTING, *_SPEEDUPS, EVIDENCE),
        found,
        [
            BLIND_NOTE,
            _GIVEN_NOTE,
            *(note for campaign, _, some in found if some for note in _part_note(campaign, "specdecode")),
        ],
    )


def best_k(results: Results) -> Table:
    """Best drafting at each batch and context, and what other choices lose."""
    found = each(results, "specdecode", choices)
    notes = [
        "0 is plain decoding, with a speed-up of 1. Regret: what a choice loses against the best measured one.",
        _GIVEN_NOTE,
    ]
    for campaign, _, rows in found:
        for name in PREDICTIONS:
            regrets = [row[f"{name}_regret"] for row in rows if row.get(f"{name}_regret") is not None]
            if regrets:
                fixed = ", ".join(_fixed_regret(rows, length) for length in FIXED)
                notes.append(
                    f"{campaign.gpu}, {name}: the predicted best is the measured best in "
                    f"{sum(regret == 0 for regret in regrets)} of {len(regrets)} situations; following it loses "
                    f"{percent(sum(regrets) / len(regrets))} on average; {fixed}."
                )
    return gpu_table(
        "gpu-best-k",
        "Best draft length on measured GPUs: measured, predicted, and what a fixed choice loses",
        (
            *(DEVICE, BATCH, CONTEXT, Column("best", "best measured"), Column("speedup", "its speed-up", digits=3)),
            *(
                column
                for name in PREDICTIONS
                for column in (
                    Column(f"{name}_best", f"best by {name}"),
                    Column(f"{name}_regret", f"regret of {name}", "%", digits=1, scale=100),
                )
            ),
            *(
                Column(f"always_{length}_regret", f"regret of always {length}", "%", digits=1, scale=100)
                for length in FIXED
            ),
            EVIDENCE,
        ),
        found,
        notes,
    )


def _fixed_regret(rows: Sequence[Row], length: int) -> str:
    regrets = [row[f"always_{length}_regret"] for row in rows if row.get(f"always_{length}_regret") is not None]
    lost = percent(sum(regrets) / len(regrets)) if regrets else "unknown"
    return f"always {length} loses {lost}"


def _largest(values: Mapping[str, float]) -> str:
    return max(values, key=lambda name: values[name])


def best_lengths(campaign: Campaign) -> dict[float, list[tuple[float, float]]]:
    """Best measured length of a chain by batch, for each context; 0 is plain decoding.

    Lengths that were measured at every batch of a context are the choices there.
    """
    found: dict[float, dict[float, dict[float, float]]] = {}
    for row in campaign.graphed_cycles():
        if row["top_k"] == 1:
            there = found.setdefault(row["context_len"], {}).setdefault(row["batch_size"], {0.0: 1.0})
            there[row["draft_len"]] = row["speedup"]
    out = {}
    for context, batches in sorted(found.items()):
        shared = set.intersection(*map(set, batches.values()))
        out[context] = [
            (batch, max(sorted(shared), key=lambda length: speedups[length]))
            for batch, speedups in sorted(batches.items())
        ]
    return out


def choices(campaign: Campaign) -> list[Row]:
    """Best drafting of each situation, measured and predicted; plain decoding is one of the choices."""
    situations: dict[tuple[float, float], list[Row]] = {}
    for cycle in campaign.graphed_cycles():
        situations.setdefault((cycle["batch_size"], cycle["context_len"]), []).append(cycle)
    out = []
    for (batch, context), cycles_there in situations.items():
        measured = {PLAIN: 1.0} | {cycle["drafting"]: cycle["speedup"] for cycle in cycles_there}
        best = _largest(measured)
        row: Row = {"batch": batch, "context": context, "best": best, "speedup": measured[best]}
        for name in PREDICTIONS:
            predicted: dict[str, Any] = {cycle["drafting"]: cycle.get(f"{name}_speedup") for cycle in cycles_there}
            if None not in predicted.values():
                chosen = _largest({PLAIN: 1.0} | predicted)
                row |= {f"{name}_best": chosen, f"{name}_regret": 1 - measured[chosen] / measured[best]}
        for length in FIXED:
            if str(length) in measured:
                row[f"always_{length}_regret"] = 1 - measured[str(length)] / measured[best]
        out.append(row)
    return out


def decode(results: Results) -> Table:
    """Free-running generations by the wall clock."""

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
            ("plain_", "tokens/s of plain decoding"),
        )
    ]
    return gpu_table(
        "gpu-decode",
        "Free-running generation on measured GPUs: tokens per second by the wall clock",
        (
            *(DEVICE, BATCH, Column("context", "prompt", digits=0), Column("new_tokens", "new tokens", digits=0)),
            *(Column("graph", "launched"), DRAFTING, *rates, Column("seen", "tokens per cycle seen", digits=2)),
            *(*_SPEEDUPS, EVIDENCE),
        ),
        each(results, "decode", rows),
        [
            "Tokens that all sequences emit, over wall time, with acceptance given; speed-up is relative to a "
            "plain generation timed in the same way. Predicted at the context in the middle of the generation, "
            "with the mean tokens per cycle.",
        ],
    )


def summary(results: Results) -> str:
    """One line for the end of a run."""
    lines = []
    for campaign in campaigns(results):
        parts = []
        for suite, words in (("kernels", "kernels"), ("step", "steps"), ("specdecode", "speed-up")):
            found = {name: errors(table, suite) for name, table in campaign.compared(suite).items()}
            said = ", ".join(f"{percent(value)} {name}" for name, value in found.items() if value is not None)
            parts += [f"{words} {said}"] if said else []
        lines.append(f"{campaign.gpu}, median errors: {'; '.join(parts) or 'nothing was predicted'}")
    return "; ".join(lines) or NOT_MEASURED
