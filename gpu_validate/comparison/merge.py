"""Measured rows with the predictions of the same shapes beside them, row by row."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_validate.comparison.join import CsvTable, match, told_apart

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
    measured: CsvTable, predictions: Mapping[str, CsvTable], repeat: CsvTable | None = None
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
