"""A prediction beside a measured run, and the part of the prediction that explains the difference.

Four parts can be wrong: kernels, host work of the engine, acceptance, and prefills. Each has an interval of its
own. A part explains a difference if a change of this part alone, within its interval, moves every predicted time to
its measurement. The time between two pieces of an answer (ITL) is that of a cycle, so acceptance does not move it,
and prefills do not move its median. Throughput counts if no time was measured: it holds the wait for first tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.uncertainty import seconds_interval
from scylla_sim.stats.estimate import Estimate, root_sum

TPOT, ITL, RATE = "tpot_s", "itl_s", "output_tokens_per_s"
"""Compared quantities, by the names of `MeasuredServing`."""
SAME = 0.02
"""Relative difference below which a prediction counts as equal to a measurement; chosen, not derived."""
HOST, KERNELS, ACCEPTANCE, PREFILLS = "engine overhead", "kernels", "acceptance", "prefills"
"""Parts of a prediction."""


@dataclass(frozen=True)
class Compared:
    """One measured quantity beside its prediction.

    Attributes
    ----------
    name
        One of `TPOT`, `ITL` and `RATE`.
    measured
        Measured value.
    predicted
        Predicted value with its 90 % interval.
    median
        Whether a median was measured, which prefills do not move.
    """

    name: str
    measured: float
    predicted: Estimate
    median: bool = False

    def moved_by(self, part: str) -> bool:
        """Return whether a part of the prediction moves the quantity."""
        return not (self.name == ITL and (part == ACCEPTANCE or (part == PREFILLS and self.median)))

    @property
    def ratio(self) -> float:
        """Measured value over the predicted one."""
        return self.measured / float(self.predicted.value)

    @property
    def inside(self) -> bool:
        """Whether the measurement lies in the interval."""
        return bool(self.predicted.lower <= self.measured <= self.predicted.upper)


@dataclass(frozen=True)
class Part:
    """One part of a prediction, and whether it can explain the difference.

    Attributes
    ----------
    name
        One of `HOST`, `KERNELS`, `ACCEPTANCE` and `PREFILLS`.
    seconds
        Seconds of the part per output token; ``NaN`` for acceptance.
    lower, upper
        Change of the seconds per output token at the two ends of its interval.
    share
        Share of the way to the end of its interval that closes the differences of all quantities; infinite if no
        change of this part closes them.
    """

    name: str
    seconds: float
    lower: float
    upper: float
    share: float

    @property
    def explains(self) -> bool:
        """Whether a change within the interval closes the difference."""
        return self.share <= 1.0


@dataclass(frozen=True)
class Comparison:
    """Measured and predicted quantities of one run, with the parts that can explain their difference.

    Attributes
    ----------
    quantities
        Measured quantities, each beside its prediction.
    parts
        Parts of the prediction.
    waiting
        Measured throughput times the time per token, over the concurrency: the share of requests that decode. 1
        where one of them was not measured.
    """

    quantities: tuple[Compared, ...]
    parts: tuple[Part, ...]
    waiting: float = 1.0

    @property
    def agrees(self) -> bool:
        """Whether all times, or else the throughput, are within `SAME` of their measurement."""
        times = [item for item in self.quantities if item.name != RATE] or self.quantities
        return all(abs(item.ratio - 1.0) <= SAME for item in times)

    def verdict(self) -> str:
        """Return which part explains the difference, in one or two sentences."""
        wait = ""
        if self.waiting < 1.0 - 2 * SAME:
            share = f"{100 * self.waiting:.0f} %"
            wait = f" Only {share} of the requests in flight decode; the others wait or are prefilled."
        return self._explanation() + wait

    def _explanation(self) -> str:
        if self.agrees:
            return f"Prediction and measurement agree within {100 * SAME:.0f} %."
        able = sorted((part for part in self.parts if part.explains), key=lambda part: part.share)
        inside = all(item.inside for item in self.quantities)
        start = "Every measured value lies in its 90 % interval. " if inside else ""
        if not able and inside:
            return f"{start}No single part explains the difference; several together may."
        if not able:
            nearest = min(self.parts, key=lambda part: part.share)
            most = ""
            if np.isfinite(nearest.share):
                most = f" The nearest is {nearest.name}, at {nearest.share:.1f} times the end of its interval."
            return f"No single part explains the difference within its interval.{most}"
        first, *others = able
        also = f"; so would {' or '.join(f'{part.name} ({_percent(part)})' for part in others)}" if others else ""
        found = f"{first.name.capitalize()} would explain the difference: {_percent(first)} of its interval"
        return f"{start}{found}{also}."


def _percent(part: Part) -> str:
    return f"{100 * part.share:.0f} %"


def compare(out: Prediction, measured: MeasuredServing) -> Comparison:
    """Return a prediction of one run beside its measurement.

    Parameters
    ----------
    out
        Prediction of one configuration at one batch and context, those of the run.
    measured
        What was measured.

    Raises
    ------
    InputError
        If nothing that is predicted was measured.
    """
    quantities = _quantities(out, measured)
    if not quantities:
        rule = "must state a time per token (tpot_s), a time between pieces (itl_s) or output_tokens_per_s"
        raise fail("compare", sorted(measured.as_dict()), rule)
    times = [item for item in quantities if item.name != RATE] or quantities
    parts = [_with_share(part, times, out) for part in _parts(out)]
    return Comparison(tuple(quantities), tuple(parts), _decoding_share(measured))


def _decoding_share(measured: MeasuredServing) -> float:
    """Return the share of the requests in flight that decode; 1 where it is not known."""
    rate, tpot, load = measured.output_tokens_per_s, measured.tpot_s, measured.concurrency
    return rate * tpot / load if rate and tpot and load else 1.0


def _quantities(out: Prediction, measured: MeasuredServing) -> list[Compared]:
    """Return the measured quantities that are predicted; the median of ITL is that of cycles without prefills."""
    found = []
    rate = _scalar(out.tokens_per_s_estimate)
    batch = float(out.batch.ravel()[0])
    if measured.tpot_s is not None or measured.tpot_median_s is not None:
        tpot = Estimate(batch / rate.value, batch / rate.upper, batch / rate.lower)
        found.append(Compared(TPOT, float(measured.tpot_s or measured.tpot_median_s or 0.0), tpot))
    if measured.itl_median_s is not None:
        found.append(
            Compared(
                ITL, measured.itl_median_s, _scalar(seconds_interval(out.cycle.decoding, out.engine)), median=True
            )
        )
    elif measured.itl_s is not None:
        found.append(Compared(ITL, measured.itl_s, _scalar(seconds_interval(out.cycle, out.engine))))
    if measured.output_tokens_per_s is not None:
        found.append(Compared(RATE, measured.output_tokens_per_s, rate))
    return [item for item in found if item.measured > 0.0]


def _scalar(estimate: Estimate) -> Estimate:
    return Estimate(*(np.asarray(end).ravel()[0] for end in (estimate.value, estimate.lower, estimate.upper)))


def _parts(out: Prediction) -> list[Part]:
    """Return the parts of a prediction in seconds per output token, with the change at both ends."""
    cycle, tau = out.cycle, out.config.tokens_per_cycle
    overheads = [
        (float(np.ravel(count)[0]), out.engine.overhead(name)) for name, count in cycle.overhead_counts.items()
    ]
    host = sum(count * float(one.value) for count, one in overheads)
    host_down, host_up = (
        float(root_sum([np.asarray((count * float(getattr(one, end))) ** 2) for count, one in overheads]))
        for end in ("down", "up")
    )
    kernel_s = float(np.ravel(out.verify.seconds + out.draft.seconds)[0])
    kernel_down, kernel_up = (
        float(np.ravel(np.hypot(getattr(out.verify.time, end), getattr(out.draft.time, end)))[0])
        for end in ("down", "up")
    )
    decoding = float(np.ravel(cycle.decoding.seconds)[0])
    found = [
        Part(HOST, host / tau, -host_down / tau, host_up / tau, np.inf),
        Part(KERNELS, kernel_s / tau, -kernel_down / tau, kernel_up / tau, np.inf),
    ]
    if out.config.draft_len > 0:
        fast, slow = (decoding / end - decoding / tau for end in (out.config.tau_upper, out.config.tau_lower))
        found.append(Part(ACCEPTANCE, np.nan, fast, slow, np.inf))
    if out.load is not None:
        value, down, up = (
            float(np.ravel(end)[0]) / tau for end in (cycle.load.value, cycle.load.down, cycle.load.up)
        )
        found.append(Part(PREFILLS, value, -down, up, np.inf))
    return found


def _with_share(part: Part, quantities: Sequence[Compared], out: Prediction) -> Part:
    """Return a part with the share of its interval that closes the differences of all quantities.

    Every quantity allows a range of changes, within `SAME` of its measurement. The smallest change in all ranges
    counts.
    """
    lowest, highest = -np.inf, np.inf
    for item in quantities:
        if not item.moved_by(part.name):
            lowest = lowest if abs(item.ratio - 1.0) <= SAME else np.inf
            continue
        low, high = sorted(_change(item, out, factor) for factor in (1.0 - SAME, 1.0 + SAME))
        lowest, highest = max(lowest, low), min(highest, high)
    if lowest > highest:
        return part
    change = min(max(0.0, lowest), highest)
    room = part.upper if change > 0.0 else part.lower
    return replace(part, share=0.0 if change == 0.0 else change / room if room * change > 0.0 else np.inf)


def _change(item: Compared, out: Prediction, factor: float) -> float:
    """Return the seconds per token by which a prediction differs from a multiple of its measurement."""
    measured, predicted = factor * item.measured, float(item.predicted.value)
    if item.name == RATE:
        batch = float(out.batch.ravel()[0])
        return batch / measured - batch / predicted
    return (measured - predicted) / (out.config.tokens_per_cycle if item.name == ITL else 1.0)
