"""Merge of measured rows with the predictions of the same shapes, row by row."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_validate.comparison.join import CsvTable, key_columns, match

PREDICTED = (
    *("predicted_s", "naive_s", "lower_s", "upper_s"),
    *("draft_s", "verify_s", "cycle_s", "plain_step_s", "tokens_per_s", "speedup"),
    *("speedup_lower", "speedup_upper", "naive_cycle_s", "naive_speedup"),
)
"""Columns of a prediction that are kept, as ``NAME_COLUMN``."""
REPEATED = ("latency_ms", "cycle_s", "tokens_per_s", "speedup", "energy_j", "plain_energy_j")
"""Columns of the repeat that are kept, as ``again_COLUMN``."""

_KERNEL = frozenset(PREDICTED[:4])
"""Columns of a predicted kernel or step; the others are those of a cycle."""


def missing_columns(predicted: CsvTable) -> list[str]:
    """Return the kept columns that a prediction should have but lacks.

    A prediction of kernels or steps needs the columns up to ``upper_s``. A prediction of cycles, which has
    ``cycle_s`` or ``speedup``, needs the other ones.
    """
    is_cycle = "cycle_s" in predicted.cells or "speedup" in predicted.cells
    return [name for name in PREDICTED if (name in _KERNEL) != is_cycle and name not in predicted.cells]


def merge(
    measured: CsvTable, predictions: Mapping[str, CsvTable], repeat: CsvTable | None = None
) -> dict[str, list[str]]:
    """Merge measured rows with their repeat and their predictions.

    Parameters
    ----------
    measured
        Measured rows.
    predictions
        Name -> prediction; columns that a prediction lacks are left out, see `missing_columns`.
    repeat
        Second measurement of the same shapes.

    Returns
    -------
    dict
        Columns of the measured file, then those of the repeat and of each prediction. A cell is empty where the
        repeat or the prediction lacks the shape.

    Raises
    ------
    InputError
        If a shape occurs twice in a file, or a prediction shares no row with the measured file.
    """
    out = dict(measured.cells)
    if repeat is not None:
        names = key_columns(measured, repeat)
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


def _placed(size: int, lines: Mapping[int, int], cells: list[str]) -> list[str]:
    """Return cells in the order of the measured rows; ``lines`` maps a measured row to a line of the other file."""
    return [cells[lines[line]] if line in lines else "" for line in range(size)]
