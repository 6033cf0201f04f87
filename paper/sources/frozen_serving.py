"""Scores of closed-loop serving runs that are kept in a file, and the check that a change does not worsen them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paper.sources import frozen_scores, serving_scores
from paper.sources.results import Results
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row

FROZEN = Path(__file__).with_suffix(".csv")
"""Median error and noise of every group with nothing fitted to it, with the reason of its last change."""
MIN_RUNS = 8
"""Fewest runs of a group that is kept."""
RESAMPLES = 200
"""Resamples of the runs behind the noise of a median."""


def fresh(results: Results) -> list[Row]:
    """Return the median errors of the serving runs in a results folder, by quantity and group."""
    members = serving_scores.runs(results, serving_scores.OTHERS)
    found = []
    for quantity in serving_scores.QUANTITIES:
        for key, part in serving_scores.groups(members):
            errors = serving_scores.errors(part, quantity)
            if errors.size < MIN_RUNS:
                continue
            noise = max(_noise(errors), frozen_scores.LEAST_NOISE)
            grouping = "engine" if key[1] == serving_scores.ALL else "group"
            found.append(
                {
                    "quantity": quantity,
                    "grouping": grouping,
                    "group": " ".join(word for word in key if word),
                    "n": int(errors.size),
                    "error": round(float(np.median(errors)), frozen_scores.DIGITS),
                    "noise": round(noise, frozen_scores.DIGITS),
                }
            )
    return found


def _noise(errors: FloatArray) -> float:
    """Return the standard error of the median over resampled runs."""
    rng = np.random.default_rng(0)
    picked = rng.integers(0, errors.size, (RESAMPLES, errors.size))
    return float(np.median(errors[picked], axis=1).std())


def check(results: Results, path: Path = FROZEN) -> list[str]:
    """Return the groups of a results folder that are worse than frozen; see `frozen_scores.worsened`."""
    return frozen_scores.worsened(fresh(results), frozen_scores.read(path), statistic="median")


def update(results: Results, reason: str, path: Path = FROZEN) -> Path:
    """Write the scores of a results folder as the frozen ones, and return the path."""
    return frozen_scores.write(fresh(results), reason, path)
