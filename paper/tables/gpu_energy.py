"""Energy of measured GPUs: free-running generations first, single cycles as indications, and their noise."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from paper.render.table import Column, Table, percent
from paper.sources.gpu_records import Campaign, campaigns, drafting
from paper.sources.results import Results
from paper.tables.gpu_steps import BATCH, CONTEXT, DEVICE, EVIDENCE, gpu_table
from scylla_sim.records import Row

GENERATION, CYCLE = "generation", "single cycle (indicative)"
_TAIL = 0.9


def _energy(row: Row, tokens: float, place: Row) -> Row:
    """Joules of a token and of plain decoding; ``tokens`` are those that a sequence keeps in a cycle."""
    batch = row["batch_size"]
    shown = place | {"token_j": row["energy_j"] / (batch * tokens), "cycle_w": row["energy_j"] / row["cycle_s"]}
    if row.get("plain_energy_j") is not None:
        plain = row["plain_energy_j"] / batch
        shown |= {"plain_j": plain, "ratio": shown["token_j"] / plain}
        shown["plain_w"] = row["plain_energy_j"] / row["plain_step_s"]
    return shown | {"speedup": row["speedup"]}


def _again(row: Row) -> Row:
    """What the second pass differs by: energy of a token, of plain decoding, and their ratio."""
    if row.get("again_energy_j") is None:
        return {}
    found = {"again": row["again_energy_j"] / row["energy_j"] - 1}
    if row.get("plain_energy_j") is not None and row.get("again_plain_energy_j") is not None:
        found["again_plain"] = row["again_plain_energy_j"] / row["plain_energy_j"] - 1
        found["again_ratio"] = (1 + found["again"]) / (1 + found["again_plain"]) - 1
    return found


def generations(campaign: Campaign) -> list[Row]:
    """Energy of each speculative generation and of the plain one beside it, by the tokens that were seen."""
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
    """Energy of each cycle, by the tokens that it keeps on average, with what its second pass differs by."""
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
        | _again(row)
        for row in campaign.graphed_cycles()
        if row.get("energy_j") is not None
    ]


def _spread(values: Sequence[float]) -> str:
    """Median and 90th percentile of absolute differences.

    Examples
    --------
    >>> _spread([-0.01, 0.02, -0.03])
    'median 2.0 %, p90 2.8 %'
    """
    sizes = [abs(value) for value in values]
    return f"median {percent(median(sizes))}, p90 {percent(float(np.quantile(sizes, _TAIL)))}"


def _noise_note(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """The noise floor of single cycles, of their power beside generations, and how long each was watched."""
    notes = []
    said = [
        f"{words} {_spread(found)}"
        for key, words in (("again", "energy"), ("again_plain", "plain energy"), ("again_ratio", "their ratio"))
        if (found := [row[key] for row in rows if row.get(key) is not None])
    ]
    if said:
        count = sum(row.get("again") is not None for row in rows)
        notes.append(
            f"{campaign.gpu}, noise floor of single cycles, from {count} that a second pass repeated: "
            f"{'; '.join(said)}. Smaller differences between rows mean nothing."
        )
    place = ("batch", "context", "drafting")
    long = {tuple(row[name] for name in place): row for row in rows if row["what"] == GENERATION}
    shares = []
    for row in rows:
        other = long.get(tuple(row[name] for name in place))
        if row["what"] == CYCLE and other is not None:
            shares.append(f"{row['cycle_w'] / other['cycle_w']:.2f} at batch {row['batch']:g}")
    if shares:
        notes.append(
            f"{campaign.gpu}, power of a single cycle over that of the same generation: {', '.join(shares)}."
        )
    windows = {
        name: campaign.windows(suite) for name, suite in (("generations", "decode"), ("cycles", "specdecode"))
    }
    lasted = ", ".join(f"{name} {min(some):.1f} to {max(some):.1f} s" for name, some in windows.items() if some)
    if lasted:
        notes.append(f"{campaign.gpu}, time over which energy was counted: {lasted}.")
    return notes


def energy(results: Results) -> Table:
    """Joules for each token that is kept, beside plain decoding: generations, then single cycles."""
    found = []
    for campaign in campaigns(results):
        found += [
            (campaign, "decode", generations(campaign)),
            (campaign, "specdecode", single_cycles(campaign)),
        ]
    notes = [
        "NVML's energy counter of the whole board over the timed calls. No prediction is made of energy.",
        "Generations: tokens seen; single cycles: tokens kept on average. NVML renews its counter every 20 to 100 "
        "ms, and a GPU takes a while to reach its power: energy of a few tenths of a second is indicative only.",
    ]
    for campaign in campaigns(results):
        notes += _noise_note(campaign, [row for other, _, rows in found if other == campaign for row in rows])
    return gpu_table(
        "gpu-energy",
        "Energy on measured GPUs: joules for each token that is kept, speculative and plain",
        (
            *(DEVICE, Column("what", "measured over"), BATCH, CONTEXT, Column("drafting", "drafting")),
            Column("token_j", "energy a token", "J", digits=4),
            Column("again", "second pass", "%", digits=1, scale=100, signed=True),
            Column("plain_j", "plain decoding", "J", digits=4),
            Column("ratio", "ratio", digits=3),
            Column("again_ratio", "second pass", "%", digits=1, scale=100, signed=True),
            Column("cycle_w", "power", "W", digits=0),
            Column("plain_w", "plain", "W", digits=0),
            Column("speedup", "speed-up", digits=3),
            EVIDENCE,
        ),
        found,
        notes,
    )
