"""Notes on batches that fit in memory with some versions and settings of an engine only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.prediction.throughput import Prediction


def memory_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Return one note if a batch fits in memory only at the upper end of the range."""
    for item in predictions:
        lower, upper = item.max_sequences
        between = np.argwhere((item.batch > lower) & (item.batch <= upper))
        if between.size:
            at = tuple(between[0])
            first, last = item.engine.memory.share
            hint = "; memory_share narrows it" if first < last else ""
            return [
                f"batch {item.batch[at]:.0f} at context {item.context[at]:.0f} fits in memory only in part of the "
                f"range of engine {item.engine.name}, {lower[at]:.0f} to {upper[at]:.0f} sequences{hint}"
            ]
    return []
