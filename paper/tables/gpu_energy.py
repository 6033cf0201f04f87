"""Table ``gpu-energy``: energy per token of measured GPUs, for generations and single cycles."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import percent
from paper.sources.gpu_records import Campaign, campaigns, drafting
from paper.sources.results import Results
from paper.tables.gpu_table import BATCH, CONTEXT, DEVICE, DRAFTING, gpu_table
from scylla_sim.records import Row

GENERATION, CYCLE = "generation", "single cycle (indicative)"
"""Kinds of rows."""
_TAIL = 0.9
"""Quantile of the differences that a note states next to the median."""


def _energy(row: Row, tokens: float, place: Row) -> Row:
    """Return energy per token and power; ``tokens`` is the number that a sequence keeps per cycle."""
    batch = row["batch_size"]
    shown = place | {"token_j": row["energy_j"] / (batch * tokens), "cycle_w": row["energy_j"] / row["cycle_s"]}
    if row.get("plain_energy_j") is not None:
        plain = row["plain_energy_j"] / batch
        shown |= {"plain_j": plain, "ratio": shown["token_j"] / plain}
        shown["plain_w"] = row["plain_energy_j"] / row["plain_step_s"]
    return shown | {"speedup": row["speedup"]}


def _second_pass(row: Row) -> Row:
    """Return the relative differences of the second pass: energy, energy without a draft, and their ratio."""
    if row.get("again_energy_j") is None:
        return {}
    found = {"again": row["again_energy_j"] / row["energy_j"] - 1}
    if row.get("plain_energy_j") is not None and row.get("again_plain_energy_j") is not None:
        found["again_plain"] = row["again_plain_energy_j"] / row["plain_energy_j"] - 1
        found["again_ratio"] = (1 + found["again"]) / (1 + found["again_plain"]) - 1
    return found


def generations(campaign: Campaign) -> list[Row]:
    """Return the energy of each speculative generation and of the plain one, per observed token."""
    return [
        _energy(
            row,
            row.get("tokens_per_cycle_seen") or row["tokens_per_cycle"],
            {
                "what": GENERATION,
                "batch": row["batch_size"],
                "context": row["prompt_len"],
                "drafting": drafting(row),
            },
        )
        for row in campaign.generations()
        if row.get("energy_j") is not None
    ]


def single_cycles(campaign: Campaign) -> list[Row]:
    """Return the energy of each cycle per kept token on average, with the differences of its second pass."""
    return [
        _energy(
            row,
            row["tokens_per_cycle"],
            {
                "what": CYCLE,
                "batch": row["batch_size"],
                "context": row["context_len"],
                "drafting": row["drafting"],
            },
        )
        | _second_pass(row)
        for row in campaign.graphed_cycles()
        if row.get("energy_j") is not None
    ]


def _spread(values: Sequence[float]) -> str:
    """Return median and 90th percentile of absolute differences.

    Examples
    --------
    >>> _spread([-0.01, 0.02, -0.03])
    'median 2.0 %, 90th percentile 2.8 %'
    """
    sizes = [abs(value) for value in values]
    return f"median {percent(median(sizes))}, 90th percentile {percent(float(np.quantile(sizes, _TAIL)))}"


def _noise_notes(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return the noise floor of single cycles, their power relative to generations, and the counting times."""
    return [*_floor_note(campaign, rows), *_power_note(campaign, rows), *_window_note(campaign)]


def _floor_note(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return the noise floor of single cycles, if a second pass measured it."""
    differences = [
        f"{words} {_spread(found)}"
        for key, words in (("again", "energy"), ("again_plain", "plain energy"), ("again_ratio", "their ratio"))
        if (found := [row[key] for row in rows if row.get(key) is not None])
    ]
    if not differences:
        return []
    count = sum(row.get("again") is not None for row in rows)
    return [
        f"{campaign.gpu}, noise floor of single cycles, from {count} that a second pass repeated: "
        f"{'; '.join(differences)}. Smaller differences between rows are noise."
    ]


def _power_note(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return the power of single cycles relative to generations of the same configuration."""
    place = ("batch", "context", "drafting")
    long = {tuple(row[name] for name in place): row for row in rows if row["what"] == GENERATION}
    shares = []
    for row in rows:
        other = long.get(tuple(row[name] for name in place))
        if row["what"] == CYCLE and other is not None:
            shares.append(f"{row['cycle_w'] / other['cycle_w']:.2f} at batch {row['batch']:g}")
    if not shares:
        return []
    return [f"{campaign.gpu}, power of a single cycle over that of the same generation: {', '.join(shares)}."]


def _window_note(campaign: Campaign) -> list[str]:
    """Return the times over which the energy of generations and cycles was counted, if recorded."""
    windows = {
        name: campaign.windows(suite) for name, suite in (("generations", "decode"), ("cycles", "specdecode"))
    }
    lasted = ", ".join(f"{name} {min(some):.1f} to {max(some):.1f} s" for name, some in windows.items() if some)
    return [f"{campaign.gpu}, time over which energy was counted: {lasted}."] if lasted else []


def energy(results: Results) -> Table:
    """Return energy per kept token next to that of autoregressive decoding: generations, then single cycles."""
    found = []
    for campaign in campaigns(results):
        found += [
            (campaign, "decode", generations(campaign)),
            (campaign, "specdecode", single_cycles(campaign)),
        ]
    notes = [
        "Energy is that of the whole board by NVML's counter over the timed calls. It is not predicted.",
        "The number of tokens is the observed one for generations, and the average number of kept tokens for "
        "single cycles.",
        "NVML updates its counter every 20 to 100 ms, and a GPU takes some time to reach its power. Energy over a "
        "few tenths of a second is indicative only.",
    ]
    for campaign in campaigns(results):
        notes += _noise_notes(campaign, [row for other, _, rows in found if other == campaign for row in rows])
    return gpu_table(
        "gpu-energy",
        "Energy per kept token on measured GPUs, speculative and autoregressive decoding",
        (
            *(DEVICE, Column("what", "measured over"), BATCH, CONTEXT, DRAFTING),
            Column("token_j", "energy per token", "J", digits=4),
            percent_column("again", "second pass", signed=True),
            Column("plain_j", "energy per token of autoregressive decoding", "J", digits=4),
            Column("ratio", "ratio", digits=3),
            percent_column("again_ratio", "second pass of the ratio", signed=True),
            Column("cycle_w", "power", "W", digits=0),
            Column("plain_w", "power of autoregressive decoding", "W", digits=0),
            Column("speedup", "speed-up", digits=3),
            EVIDENCE,
        ),
        found,
        notes,
    )
