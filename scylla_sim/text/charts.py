"""Charts in a terminal: curves with intervals over a logarithmic axis, drawn with Unicode blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.text.digits import WIDTH, number, wrapped

HEIGHT = 14
"""Lines of the plotted area."""
BAND, LINE, REFERENCE, MARK = "░", "█", "─", "┊"
"""Signs of an interval, of the only curve, of the reference and of a marked position."""


@dataclass(frozen=True)
class Curve:
    """One curve of a chart.

    Attributes
    ----------
    label
        Name in the legend. With several curves, each is drawn with a letter of its own.
    x, y
        Points in ascending order of x, which is above 0.
    lower, upper
        Ends of the interval of each y. Default: none. Only a single curve shows its interval.
    connected
        Whether lines connect the points.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    lower: Sequence[float] | None = None
    upper: Sequence[float] | None = None
    connected: bool = True


def chart(
    curves: Sequence[Curve],
    *,
    x_name: str,
    y_name: str,
    reference: float | None = None,
    marks: Mapping[float, str] | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Return curves as text of at most ``width`` columns; the x axis is logarithmic.

    Parameters
    ----------
    curves
        Curves to draw, at least one. Of several curves, later ones are drawn over earlier ones.
    x_name, y_name
        Names of the axes.
    reference
        Value of y with a horizontal line, for example 1 for a speed-up.
    marks
        Position on the x axis -> text. A vertical line stands at each, and the texts follow under the chart.
    width, height
        Columns of the text, and lines of the plotted area.

    Examples
    --------
    >>> line = Curve("K = 3", [1, 2, 4, 8], [2.0, 1.5, 1.0, 0.5], [1.5, 1.0, 0.6, 0.4], [2.2, 1.8, 1.4, 0.8])
    >>> text = chart(
    ...     [line], x_name="batch", y_name="speed-up", reference=1.0, width=26, height=5, marks={4: "crossover 4"}
    ... )
    >>> print(text, end="")
    speed-up
     2.20 █░░░         ┊
          ░██████░░░░  ┊
     1.30 ░░░░░░░█████░░░░░
     1.00 ──────░░░░░░██████░░
    0.400              ░░░░░██
          1     2      4     8
    batch
    █ K = 3, ░ its interval
    ┊ crossover 4
    """
    area = _area(curves, reference, width, height)
    cells = np.full((height, area.columns), " ")
    if reference is not None:
        cells[area.rows(reference)] = REFERENCE
    for curve in curves:
        _paint_band(cells, area, curve, alone=len(curves) == 1)
    for position in marks or {}:
        column = cells[:, area.column(position)]
        column[np.isin(column, (" ", REFERENCE))] = MARK
    for i, curve in enumerate(curves):
        _paint_line(cells, area, curve, LINE if len(curves) == 1 else chr(ord("A") + i))
    lines = [y_name]
    lines += [f"{label:>{area.margin}} {''.join(row)}".rstrip() for label, row in zip(area.labels, cells)]
    lines += [" " * (area.margin + 1) + area.x_labels(), x_name]
    lines += [_legend(curves), *(f"{MARK} {text}" for text in (marks or {}).values())]
    return "".join(wrapped(line, width=width) if len(line) > width else f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Area:
    """Plotted area: its axes, its size in cells, and the labels of its rows."""

    log_x: tuple[float, float]
    y: tuple[float, float]
    columns: int
    height: int
    labels: Sequence[str]
    margin: int

    def rows(self, y: FloatArray | float) -> NDArray[np.int64]:
        """Return the rows of values of y, clipped to the area."""
        share = (self.y[1] - np.asarray(y)) / (self.y[1] - self.y[0])
        return np.clip(np.rint(share * (self.height - 1)), 0, self.height - 1).astype(np.int64)

    def column(self, x: float) -> int:
        """Return the column of a position on the x axis, clipped to the area."""
        share = (math.log(x) - self.log_x[0]) / (self.log_x[1] - self.log_x[0])
        return round(min(max(share, 0.0), 1.0) * (self.columns - 1))

    def inside(self, curve: Curve, values: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the columns that a curve covers, and its row in each."""
        first, last = self.column(curve.x[0]), self.column(curve.x[-1])
        at = np.arange(first, last + 1)
        log_x = self.log_x[0] + at / (self.columns - 1) * (self.log_x[1] - self.log_x[0])
        return at, self.rows(np.interp(log_x, np.log(curve.x), values))

    def x_labels(self) -> str:
        """Return labels at the ends of the x axis and at powers of two between them, as far as there is room."""
        low, high = (math.exp(end) for end in self.log_x)
        powers = [2.0**i for i in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
        last = number(round(high))
        text = ""
        for x in dict.fromkeys([low, *powers]):
            label, at = number(round(x) if x >= 1.0 else x), self.column(x)
            room = self.columns - len(last) - (0 if x == high else 2)
            if (not text or at >= len(text) + 2) and at + len(label) <= room:
                text = text.ljust(at) + label
        return text.ljust(self.columns - len(last)) + last


def _area(curves: Sequence[Curve], reference: float | None, width: int, height: int) -> _Area:
    """Return an area that holds all curves and the reference."""
    ends = [end for curve in curves for end in (curve.y, *_band_of(curve, alone=len(curves) == 1))]
    values = [y for end in ends for y in end] + ([] if reference is None else [reference])
    low, high = min(values), max(values)
    high = high if high > low else low + 1.0
    xs = [math.log(x) for curve in curves for x in curve.x]
    log_x = (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1.0)
    ticks = {row: high - (high - low) * row / (height - 1) for row in (0, (height - 1) // 2, height - 1)}
    if reference is not None:
        at = round((high - reference) / (high - low) * (height - 1))
        ticks = {row: tick for row, tick in ticks.items() if abs(row - at) > 0} | {at: reference}
    labels = [number(float(ticks[row])) if row in ticks else "" for row in range(height)]
    margin = max(map(len, labels))
    return _Area(log_x, (low, high), width - margin - 1, height, labels, margin)


def _band_of(curve: Curve, *, alone: bool) -> tuple[Sequence[float], ...]:
    """Return both ends of the interval of a curve that shows it, else nothing."""
    return () if not alone or curve.lower is None or curve.upper is None else (curve.lower, curve.upper)


def _paint_band(cells: NDArray[np.str_], area: _Area, curve: Curve, *, alone: bool) -> None:
    """Fill the interval of a curve."""
    band = _band_of(curve, alone=alone)
    if band:
        (at, low), (_, high) = (area.inside(curve, end) for end in band)
        rows = np.arange(area.height)[:, None]
        cells[:, at] = np.where((rows <= low) & (rows >= high), BAND, cells[:, at])


def _paint_line(cells: NDArray[np.str_], area: _Area, curve: Curve, sign: str) -> None:
    """Draw the points of a curve, and the steps between neighbouring columns if they are connected."""
    if not curve.connected:
        cells[area.rows(np.asarray(curve.y)), [area.column(x) for x in curve.x]] = sign
        return
    at, row = area.inside(curve, curve.y)
    before = np.concatenate([row[:1], row[:-1]])
    first = np.where(before < row, np.minimum(before + 1, row), row)
    last = np.where(before > row, np.maximum(before - 1, row), row)
    rows = np.arange(area.height)[:, None]
    cells[:, at] = np.where((rows >= first) & (rows <= last), sign, cells[:, at])


def _legend(curves: Sequence[Curve]) -> str:
    """Return the line that names the curves."""
    if len(curves) > 1:
        return "   ".join(f"{chr(ord('A') + i)} {curve.label}" for i, curve in enumerate(curves))
    interval = f", {BAND} its interval" if _band_of(curves[0], alone=True) else ""
    return f"{LINE} {curves[0].label}{interval}"
