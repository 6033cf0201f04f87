"""Quality of predicted choices: measured loss from following the predicted best configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_validate.comparison.join import DRAFTING, SHAPE, CsvTable, Lines
from scylla_sim.checks import FloatArray


def situations_of(measured: CsvTable, lines: Lines) -> list[tuple[str, ...]]:
    """Return the situation of each row: all its shape columns except those of the drafting."""
    names = [name for name in SHAPE if name in measured.cells and name not in DRAFTING]
    keys = measured.keys(names)
    return [keys[line] for line in lines]


def choice_quality(
    situations: Sequence[tuple[str, ...]],
    predicted: FloatArray,
    measured: FloatArray,
    *,
    floor: float | None = None,
) -> dict[str, Any]:
    """Return the quality of the predicted best choice over all situations.

    The regret of a situation is the fraction that the predicted choice loses against the best measured choice.

    Parameters
    ----------
    situations
        Situation of each row.
    predicted, measured
        Values of each row; the largest is best.
    floor
        Noise floor: fraction by which two measurements of one configuration differ.

    Returns
    -------
    dict
        ``situations``: their number. ``same_choice``: fraction with the measured best choice. ``within_floor``:
        fraction with a regret of at most ``floor``, or ``None`` without a floor. ``median_regret`` and
        ``max_regret``: regret over the situations.

    Examples
    --------
    >>> found = choice_quality([("b1",), ("b1",)], np.array([1.5, 2.0]), np.array([2.0, 1.9]))
    >>> found["same_choice"], round(found["max_regret"], 3)
    (0.0, 0.05)
    """
    regrets = []
    for situation in dict.fromkeys(situations):
        at = np.flatnonzero([other == situation for other in situations])
        followed = measured[at[np.argmax(predicted[at])]]
        regrets.append(1.0 - followed / measured[at].max())
    return {
        "situations": len(regrets),
        "same_choice": float(np.mean(np.array(regrets) == 0.0)),
        "within_floor": None if floor is None else float(np.mean(np.array(regrets) <= floor)),
        "median_regret": float(np.median(regrets)),
        "max_regret": float(np.max(regrets)),
    }
