"""Fit the overheads of engine presets and the overlap of experts to published runs, and write both.

Usage: ``python workflow/fit_overheads.py SERVED.json FOLDER [DATA]``. The first file is the output of ``scylla-sim
served``, whose configurations lie in FOLDER. ``DATA`` is ``scylla_sim/data``; without it, the script only prints
the values. `overhead_fit` describes the fit, and `left_out` scores it on sources that it does not see.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from left_out import fitted_rows, runs_of
from overhead_fit import Fit, Runs, fit, supported

from scylla_sim.records import Row, read_json, write_text
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.tables import text_table
from scylla_sim.units import MICRO, MILLI

RUNS = "paper/published/served_runs.csv"
UNITS = {"token_s": ("us", MICRO)}
"""Overhead -> unit of its table and its seconds; milliseconds for the others."""
DIGITS = 3
"""Decimal places of the values that are written."""


def rows_of(found: Fit, runs: Runs, presets: tuple[str, ...]) -> list[Row]:
    """Return one row for every overhead that some run of its preset has, with the runs' sources."""
    free = supported(runs, presets)
    counts = runs.system.counts + runs.system.plain_counts
    rows: list[Row] = []
    for at, preset in enumerate(presets):
        for index, (name, one) in enumerate(found.of(preset).items()):
            if free[at, index]:
                own = (runs.presets == preset) & (counts[:, index] > 0.0)
                sources = sorted({source.split(",")[0] for source in runs.sources[own].tolist()})
                rows.append({"preset": preset, "overhead": name, **_ends(name, one), "runs": int(own.sum())})
                rows[-1]["sources"] = ", ".join(sources)
    return rows


def _ends(name: str, one: Estimate) -> Row:
    """Return value, ends and unit of an overhead."""
    unit, seconds = UNITS.get(name, ("ms", MILLI))
    ends = {"value": one.value, "lower": one.lower, "upper": one.upper}
    return {**{key: round(float(end) / seconds, DIGITS) for key, end in ends.items()}, "unit": unit}


def with_table(text: str, row: Row) -> str:
    """Return the text of ``engines.toml`` with the value, the interval and the source of one overhead.

    Its table keeps ``note``, loses ``evidence``, and is added behind the last one of its preset if it is missing.
    """
    name = f"[{row['preset']}.{row['overhead']}]"
    source = f"fitted by workflow/fit_overheads.py: {row['runs']} runs of {row['sources']} in {RUNS}"
    lines = [f"{key} = {row[key]}" for key in ("value", "lower", "upper")]
    lines += [f'unit = "{row["unit"]}"', f'source = "{source}"']
    found = re.search(rf"^{re.escape(name)}\n(?:.+\n)+", text, flags=re.MULTILINE)
    if found:
        note = [line for line in found[0].splitlines() if line.startswith("note = ")]
        return text[: found.start()] + "\n".join([name, *lines, *note]) + "\n" + text[found.end() :]
    last = list(re.finditer(rf"^\[{re.escape(str(row['preset']))}\..+\]\n(?:.+\n)+", text, flags=re.MULTILINE))[-1]
    return text[: last.end()] + "\n" + "\n".join([name, *lines]) + "\n" + text[last.end() :]


def with_overlap(text: str, found: Fit) -> str:
    """Return the text of ``expert_overlap.toml`` with the fitted values and intervals."""
    for kind, one in found.overlap.items():
        for key, number in (("value", one.value), ("lower", one.lower), ("upper", one.upper)):
            text = re.sub(rf"(\[{kind}\]\n(?:.+\n)*?{key} = ).+", rf"\g<1>{float(number):.2f}", text)
    return text


def main(served: Path, folder: Path, data: Path | None) -> None:
    """Fit all presets, print their overheads, and rewrite the data files if a folder is given."""
    runs = runs_of(fitted_rows(read_json(served)["rows"]), folder)
    presets = tuple(np.unique(runs.presets).tolist())
    found = fit(runs, presets, supported(runs, presets))
    rows = rows_of(found, runs, presets)
    print(text_table(rows))
    for kind, one in found.overlap.items():
        print(f"overlap of experts, {kind}: {one.value:.2f}, {one.lower:.2f} to {one.upper:.2f}")
    if data is None:
        return
    engines, overlap = data / "engines.toml", data / "expert_overlap.toml"
    text = engines.read_text("utf-8")
    for row in rows:
        text = with_table(text, row)
    write_text(engines, text)
    write_text(overlap, with_overlap(overlap.read_text("utf-8"), found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
