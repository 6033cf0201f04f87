"""Estimate the differences between published deployments from scored runs, and write them into the package.

Usage: ``python workflow/fit_between_sources.py SERVED [DATA.toml]``. The first file is the output of
``workflow/left_out.py``, or of ``scylla-sim served --runs paper/published/served_runs.csv --format csv``. The
second one is rewritten, for example ``scylla_sim/data/between_sources.toml``; without it, the script only prints
the table.

The table has one line for each quantity and source: the size from all other sources, the share of the measurements
inside 90 % intervals, and the median of upper over lower end, without and with the differences.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.between_sources import RATE, SPEEDUP, SUPERSEDED, speedup_of
from scylla_sim.prediction.served_runs import RAGGED
from scylla_sim.records import Row, read_columns, read_json, write_text
from scylla_sim.specs import catalog
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.tables import text_table

MEASURED = {
    SPEEDUP: {"speedup": "measured_speedup"},
    SUPERSEDED: {"speedup": "measured_speedup"},
    RATE: {
        "tokens_per_s": "measured_tokens_per_s",
        "plain_tokens_per_s": "measured_plain_tokens_per_s",
        "cycle_s": "measured_cycle_s",
        "plain_step_s": "measured_plain_step_s",
    },
}
"""Quantity -> predicted column -> measured column."""
SIZES = {SPEEDUP: "sd_speedup", SUPERSEDED: "sd_speedup", RATE: "sd_rate"}
"""Quantity -> column of the standard deviation that the intervals contain."""
IDEAL = "ideal"
"""Engine without a preset, whose intervals contain no differences between deployments."""
GIVEN, FITTED = "given", "fitted"
"""Values of ``tau_from``: tokens per cycle that the source states, and those fitted to its own speed-ups."""


@dataclass(frozen=True)
class Scored:
    """Scored runs of one quantity; intervals contain no differences between sources."""

    sources: list[str]
    measured: FloatArray
    predicted: Estimate


def scored(columns: dict[str, list[str]], quantity: str) -> Scored:
    """Return the runs of a preset that measured a quantity, without those whose tokens per cycle were fitted.

    Speed-ups of runs that drafted nothing are left out too. So are batches without refill, and runs whose column
    ``unseen`` is false: other runs of their source were fitted, so they show less than the difference to a new
    source.
    """
    sources: list[str] = []
    numbers: list[list[float]] = []
    shipped = [str(between_sources.shipped_sd(quantity))] * len(columns["source"])
    included = columns.get(SIZES[quantity], shipped)
    unseen = columns.get("unseen", [str(True)] * len(columns["source"]))
    kinds = columns.get("batch_kind", [""] * len(columns["source"]))
    for name, measured in MEASURED[quantity].items():
        for at, cell in enumerate(columns[measured]):
            drafted = columns["tau_from"][at]
            usable = drafted != FITTED if quantity == RATE else drafted == GIVEN
            usable &= (
                of_preset(columns["preset"][at], quantity) and unseen[at] != str(False) and kinds[at] != RAGGED
            )
            if cell and usable and columns["preset"][at] != IDEAL:
                sources.append(columns["source"][at])
                cells = (columns[key][at] for key in (measured, name, f"{name}_lower", f"{name}_upper"))
                numbers.append([float(cell) for cell in (*cells, included[at])])
    if not numbers:
        raise fail("quantity", quantity, "has no scored run")
    m, value, lower, upper, sd = np.array(numbers).T
    low, high = (between_sources.without(end, sd) for end in (value / lower, upper / value))
    return Scored(sources, m, Estimate(value, value / low, value * high))


def of_preset(preset: str, quantity: str) -> bool:
    """Return whether runs of a preset count for a quantity."""
    return quantity == RATE or quantity == speedup_of(catalog.engine(preset))


def table(runs: Scored, quantity: str) -> tuple[float, list[Row]]:
    """Return the size from all sources, and one row for each source, for all runs, and for the mean of sources."""
    required = between_sources.required_sd(
        runs.measured, runs.predicted.value, runs.predicted.lower, runs.predicted.upper
    )
    size = between_sources.estimated_sd(required, runs.sources)
    left_out = between_sources.estimated_without_each(required, runs.sources)
    wider = between_sources.interval_with(
        runs.predicted.value, runs.predicted.lower, runs.predicted.upper, np.nan_to_num(left_out, nan=size)
    )
    names = np.array(runs.sources)
    rows = [
        _row(quantity, name, runs, wider, at=names == name, sd=float(left_out[names == name][0]))
        for name in dict.fromkeys(runs.sources)
    ]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("inside_without", "inside")}
    everything = _row(quantity, "all runs", runs, wider, at=np.full(names.size, True), sd=size)
    macro = {**everything, **mean, "source": "mean of sources", "width_without": None, "width": None}
    return size, [*rows, everything, macro]


def _row(
    quantity: str,
    source: str,
    runs: Scored,
    wider: Estimate,
    *,
    at: NDArray[np.bool_],
    sd: float,
) -> Row:
    """Return coverage and width of some runs without and with the differences."""
    row: Row = {"quantity": quantity, "source": source, "n": int(at.sum()), "sd_of_the_others": sd}
    for suffix, one in (("_without", runs.predicted), ("", wider)):
        inside = (one.lower <= runs.measured) & (runs.measured <= one.upper)
        row[f"inside{suffix}"] = float(inside[at].mean())
        row[f"width{suffix}"] = float(np.median((one.upper / one.lower)[at]))
    return row


def document(sizes: dict[str, float], rows: list[Row], source: str) -> str:
    """Return the text of ``between_sources.toml``."""
    text = (
        "# Differences between published deployments that no term of the simulator explains, as standard\n"
        "# deviations of logarithms. Written by workflow/fit_between_sources.py, which prints coverage and width.\n"
    )
    for quantity, size in sizes.items():
        own = [row for row in rows if row["quantity"] == quantity]
        n = next(row["n"] for row in own if row["source"] == "all runs")
        text += (
            f"\n[{quantity}]\nsd = {size:.3f}\nruns = {n}\nsources = {len(own) - 2}\n"
            f'source = "derived: size with which 90 % intervals hold 90 % of the runs of {source}, the weight of '
            'a source is the root of its runs"\n'
        )
    return text


def read_served(served: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV or JSON file of scored runs, as text."""
    if served.suffix != ".json":
        return read_columns(str(served), needed=["source", "preset", "tau_from"])
    return as_text(read_json(served)["rows"])


def as_text(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return rows as columns of text; a missing value is blank."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: ["" if row.get(name) is None else str(row[name]) for row in rows] for name in names}


def main(served: Path, data: Path | None) -> None:
    """Print the table of both quantities, and rewrite the data file if it is given."""
    columns = read_served(served)
    sizes: dict[str, float] = {}
    rows: list[Row] = []
    for quantity in MEASURED:
        sizes[quantity], found = table(scored(columns, quantity), quantity)
        rows += found
    print(text_table(rows))
    if data is not None:
        write_text(data, document(sizes, rows, "paper/published/served_runs.csv"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
