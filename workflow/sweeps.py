"""Sweeps of ``config/sweeps.yaml``: ``python workflow/sweeps.py NAME HARDWARE OUT`` predicts one GPU of a sweep.

A sweep is coarse in jobs: one job predicts every model and scenario of a GPU in one process, because Python takes
longer to start than a prediction takes. The cost of a sweep is linear in its scenarios.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import yaml
from guard import check_schema

import scylla_sim
from scylla_sim.checks import InputError, fail
from scylla_sim.console import run
from scylla_sim.records import format_csv, write_text

HERE = Path(__file__).parent
Sweep = Mapping[str, Any]


def load(path: Path = HERE / "config/sweeps.yaml") -> dict[str, Sweep]:
    """Return the sweeps by name.

    Raises
    ------
    SystemExit
        With exit code 2 when the file breaks its schema or names no option of `scylla_sim.predict`; one line on
        stderr says what is wrong.
    """
    content: dict[str, Sweep] = yaml.safe_load(path.read_text(encoding="utf-8"))
    check_schema(content, HERE / "schemas/sweeps.schema.yaml", label="sweeps")
    known = set(inspect.signature(scylla_sim.predict).parameters) - {"model", "hardware", "batch", "context"}
    for name, sweep in content.items():
        for option in sweep["scenario"]:
            if option not in known:
                print(f"sweeps: {name}.scenario.{option} is not an option of predict", file=sys.stderr)
                raise SystemExit(2)
    return content


def size(sweep: Sweep) -> int:
    """Return the number of scenarios of a sweep.

    Examples
    --------
    >>> size({"hardware": ["l4"], "model": ["a"], "scenario": {"tp": [1, 2]}, "batch": [1, 8, 9], "context": [64]})
    6
    """
    lists = (sweep[name] for name in ("hardware", "model", "batch", "context"))
    return prod(map(len, (*lists, *sweep["scenario"].values())))


def scenarios_of(sweep: Sweep) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a model and the options of each call of `scylla_sim.predict` on one GPU."""
    names = list(sweep["scenario"])
    for model, *values in product(sweep["model"], *sweep["scenario"].values()):
        yield model, dict(zip(names, values))


def rows_of(sweep: Sweep, hardware: str) -> list[dict[str, Any]]:
    """Return the predicted rows of one GPU.

    Raises
    ------
    InputError
        For a scenario that cannot be predicted; the message names it.
    """
    grid = {"batch": sweep["batch"], "context": sweep["context"], "allow_long_context": True}
    rows = []
    for model, options in scenarios_of(sweep):
        try:
            found = scylla_sim.predict(model, hardware=hardware, **grid, **options).rows()
        except InputError as error:
            raise fail("scenario", {"model": model, "hardware": hardware, **options}, str(error)) from None
        given = {name: value for name, value in options.items() if name not in found[0]}
        rows += [{**row, **given} for row in found]
    return rows


def main(arguments: Sequence[str]) -> int:
    """Write the rows of one GPU as CSV."""
    name, hardware, out = arguments
    write_text(out, format_csv(rows_of(load()[name], hardware)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run("sweep", lambda: main(sys.argv[1:])))
