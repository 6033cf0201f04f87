"""The verb ``merge``: measured rows with the predictions of the same shapes beside them, row by row.

`gpu_validate.cli.compare` sums errors up; this keeps each row, for tables that show single configurations.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from gpu_validate.cli.compare import assignments
from gpu_validate.comparison.join import Columns, match, read, told_apart
from scylla_sim.console import emit_text
from scylla_sim.records import format_columns

EPILOG = """example:
  gpu-validate merge --measured cycles.csv --repeat again.csv --predicted blind=blind/specdecode.csv --out rows.csv
"""

PREDICTED = (
    *("predicted_s", "naive_s", "lower_s", "upper_s"),
    *("draft_s", "verify_s", "cycle_s", "plain_step_s", "tokens_per_s", "speedup"),
    *("speedup_lower", "speedup_upper", "naive_cycle_s", "naive_speedup"),
)
"""Columns of a prediction that are kept, as ``NAME_COLUMN``."""
REPEATED = ("latency_ms", "cycle_s", "tokens_per_s", "speedup", "energy_j", "plain_energy_j")
"""Columns of the repeat that are kept, as ``again_COLUMN``."""


def _placed(size: int, lines: Mapping[int, int], cells: list[str]) -> list[str]:
    return [cells[lines[line]] if line in lines else "" for line in range(size)]


def merge(
    measured: Columns, predictions: Mapping[str, Columns], repeat: Columns | None = None
) -> dict[str, list[str]]:
    """Columns of the measured file, then those of its repeat and of each prediction; empty where a row has none.

    Raises
    ------
    InputError
        When a shape occurs twice in a file, or a prediction shares no row with the measured file.
    """
    out = dict(measured.cells)
    if repeat is not None:
        names = told_apart(measured, repeat)
        where = {key: line for line, key in enumerate(repeat.keys(names))}
        lines = {line: where[key] for line, key in enumerate(measured.keys(names)) if key in where}
        for name in REPEATED:
            if name in repeat.cells and name in measured.cells:
                out[f"again_{name}"] = _placed(measured.size, lines, repeat.cells[name])
    for label, predicted in predictions.items():
        p, m = match(predicted, measured)
        for name in PREDICTED:
            if name in predicted.cells:
                out[f"{label}_{name}"] = _placed(measured.size, dict(zip(m, p)), predicted.cells[name])
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--measured", metavar="FILE", required=True, help="CSV of gpu-validate rows")
    parser.add_argument(
        "--predicted", metavar="NAME=FILE,...", default="", help="CSV of scylla-sim kernels, steps or cycles"
    )
    parser.add_argument("--repeat", metavar="FILE", help="the same shapes measured again")
    parser.add_argument("--out", metavar="FILE", help="write there (whole or not at all) instead of stdout")


def execute(args: argparse.Namespace) -> None:
    repeat = read(args.repeat, empty=True) if args.repeat else None
    predictions = {name: read(path) for name, path in assignments("predicted", args.predicted).items()}
    columns = merge(read(args.measured), predictions, repeat if repeat is not None and repeat.size else None)
    emit_text(args, format_columns(columns))
