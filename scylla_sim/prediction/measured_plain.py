"""A measured time per output token of plain decoding, which turns a predicted speed-up into a throughput.

Speed-ups are predicted better than times, because kernel and engine errors cancel in part. A throughput that is the
measured plain one times the predicted speed-up has the interval of the speed-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scylla_sim.checks import fail
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.units import MILLI, parse_seconds

NAME = "measured_plain_tpot"
_HINT = "give a time with its unit, such as 9.1ms, one for each batch"


def _seconds(text: str) -> float:
    """Return a duration in seconds."""
    try:
        value = parse_seconds(text)
    except ValueError as error:
        raise fail(NAME, text, f"is not understood ({error})", _HINT) from None
    if not value > 0.0:
        raise fail(NAME, text, "must be above 0", _HINT)
    return value


def measured_seconds(
    given: str | Sequence[str], *, batch: Sequence[int], context: Sequence[int]
) -> dict[int, float]:
    """Return the measured seconds per output token of each batch.

    Parameters
    ----------
    given
        Times with units: a sequence, or text with commas; one for each batch.
    batch, context
        Batches of the prediction, and contexts, of which there must be one.

    Raises
    ------
    InputError
        For a number without a unit, another number of values than of batches, two values of one batch, and several
        contexts.

    Examples
    --------
    >>> measured_seconds("9.1ms,0.02s", batch=[8, 64], context=[1024])
    {8: 0.0091, 64: 0.02}
    """
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, Sequence) else [given]
    for part in parts:
        if not isinstance(part, str):
            raise fail(NAME, part, "must have a unit", _HINT)
    if len(set(context)) > 1:
        raise fail(NAME, given, "needs one context", "the time of plain decoding grows with the context")
    seconds = [_seconds(part) for part in parts]
    if len(parts) != len(batch):
        raise fail(NAME, given, f"must have one value for each of {len(batch)} batches", _HINT)
    found: dict[int, float] = {}
    for size, value in zip(batch, seconds):
        if found.setdefault(size, value) != value:
            raise fail(NAME, given, f"has two values for batch {size}")
    return found


def notes_of(predictions: Sequence[Prediction], measured: Mapping[int, float]) -> list[str]:
    """Return how the measured times enter, and one note for each outside its predicted 90 % interval."""
    notes = [
        "throughput and TPOT are the measured plain ones and the predicted speed-up, with the interval of the "
        "speed-up; cycle and step are predicted"
    ]
    for out in predictions:
        predicted = out.predicted_plain_tpot_estimate.broadcast_to(out.batch.shape)
        for at in np.ndindex(out.batch.shape):
            batch, (value, low, high) = (
                int(out.batch[at]),
                (float(end[at]) for end in (predicted.value, predicted.lower, predicted.upper)),
            )
            if not low <= measured[batch] <= high:
                notes.append(
                    f"the measured plain TPOT of {measured[batch] / MILLI:.3g} ms at batch {batch} is "
                    f"{measured[batch] / value:.2f} times the predicted {value / MILLI:.3g} ms, outside its "
                    f"interval, {low / MILLI:.3g} to {high / MILLI:.3g} ms; check GPU, model, precision and context"
                )
    return list(dict.fromkeys(notes))
