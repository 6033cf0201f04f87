"""How good a predicted choice is by what was measured: the best drafting in each situation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_validate.comparison.join import DRAFTING, SHAPE, CsvTable, Lines
from scylla_sim.checks import FloatArray


def situations_of(measured: CsvTable, lines: Lines) -> list[tuple[str, ...]]:
    """What rows share with those that differ from them in drafting only."""
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
    """How good the predicted best choice is in each situation, by what was measured.

    The regret is what following the prediction loses against the best measured choice, as a fraction;
    ``within_floor`` is the fraction of situations where it is at most ``floor``, by which two measurements of the
    same configuration differ anyway (nothing is said without a floor).

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
