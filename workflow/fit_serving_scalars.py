"""Write the scalars of engines on devices from serving runs: ``python workflow/fit_serving_scalars.py RUNS OUT``.

``make serving-scalars`` runs it on the runs of the DAG and replaces the shipped file. RUNS is the result of
``scylla-sim tpot --fit-half --format json``. Every group of runs has scalars that are fitted to half of it. An
engine on a device takes the medians over its groups, and the range of their intervals. Groups without documented
arrivals are left out, because their time to the first token tells nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scylla_sim.records import read_json, write_text
from scylla_sim.serving.scalar_fit import combined
from scylla_sim.serving.serving_scalars import UNITS, ServingScalars
from scylla_sim.stats.estimate import Estimate

HEAD = """# Scalars of engines on devices that kernels do not explain. scylla_sim/serving/serving_scalars.py
# reads this file and describes the fields. Milliseconds for host_s and first_token_s. Written by
# workflow/fit_serving_scalars.py: make serving-scalars.

[default]
source = "assumed: about the first tokens of vLLM below; prompts of most groups take longer than their kernels"
host_s = {value = 0.0, lower = 0.0, upper = 1.5}
slow = {value = 0.0, lower = -0.2, upper = 0.6}
first_token_s = {value = 30.0, lower = 0.0, upper = 120.0}
"""
MIN_RUNS = 8
"""Smallest number of runs of a group that counts."""
GROUP = ("framework", "device", "checkpoint", "precision")


def scalars(row: dict[str, Any]) -> ServingScalars:
    """Return the scalars of a run of the result file."""
    host, slow, first = (Estimate.of(*(row[f"{name}{end}"] for end in ("", "_lower", "_upper"))) for name in UNITS)
    return ServingScalars(host, slow, first, source="")


def fitted(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[list[ServingScalars], list[str]]]:
    """Return (engine, device) -> the scalars of its groups, and a word for each group."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["scalars"] == "half" and row["documented"] == "yes" and not row["excluded"]:
            groups.setdefault((row["engine"], *(row[name] for name in GROUP)), []).append(row)
    found: dict[tuple[str, str], tuple[list[ServingScalars], list[str]]] = {}
    for (engine, _, device, checkpoint, precision), members in sorted(groups.items()):
        used = [row for row in members if row["half"] == "fit"]
        if len(members) < MIN_RUNS or len(used) < 4:
            continue
        each, words = found.setdefault((engine, device), ([], []))
        each.append(scalars(used[0]))
        words.append(f"{checkpoint.rpartition('/')[2]} {precision} ({len(used)} runs)".replace("  ", " "))
    return found


def text(rows: list[dict[str, Any]]) -> str:
    """Return the content of the file."""
    lines = [HEAD]
    for (engine, device), (each, words) in fitted(rows).items():
        one = combined(each, "")
        lines.append(f"[{engine}.{device}]")
        lines.append(f'source = "fitted to halves of aiconfigurator-core, silicon_sample.csv: {", ".join(words)}"')
        for name, unit in UNITS.items():
            estimate = getattr(one, name)
            ends = zip(("value", "lower", "upper"), (estimate.value, estimate.lower, estimate.upper))
            lines.append(f"{name} = {{{', '.join(f'{end} = {round(float(x) / unit, 3)}' for end, x in ends)}}}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write_text(Path(sys.argv[2]), text(read_json(sys.argv[1])["rows"]))
