"""How every figure looks and is saved: one style, SVG and PNG, the same bytes for the same inputs."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scylla_sim.checks import InputError
from scylla_sim.records import write_bytes

INK, GREY, LIGHT = "#1f2933", "#6b7680", "#d5dade"
BLUE, ORANGE, GREEN, RED, PURPLE = "#1f6fb2", "#d9730d", "#2a8f5c", "#c0392b", "#7a4fb5"
"""Told apart by people with any colour vision: lightness differs too."""

BATCH_COLOURS = {1: "#3b1f6b", 4: "#38598c", 8: "#25858e", 16: "#2ab07f", 32: "#8bc34a", 64: "#e0a80d"}
"""Dark to light with the batch."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "path",
    # fixed, or the identifiers inside an SVG would change from run to run
    "svg.hashsalt": "paper",
}


def styled() -> AbstractContextManager[None]:
    """The settings under which everything is drawn and saved.

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError(
            "figures need matplotlib, which is not installed; pip install 'scylla-sim[paper]'"
        ) from None
    return matplotlib.rc_context(STYLE)


@dataclass(frozen=True)
class Canvas:
    """A figure with its panels; the line at the bottom says what the evidence is."""

    name: str
    figure: Any
    axes: list[Any]

    def bytes(self, kind: str) -> bytes:
        """The finished picture as SVG or PNG."""
        drawn = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with styled():
            self.figure.savefig(drawn, format=kind, metadata=metadata, dpi=160)
        return drawn.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Write ``figure-NAME.{svg,png}``, each whole or not at all."""
        paths = [folder / f"figure-{self.name}.{kind}" for kind in ("svg", "png")]
        for path in paths:
            write_bytes(path, self.bytes(path.suffix[1:]))
        return paths


def canvas(
    name: str,
    title: str,
    caption: str,
    *,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    share_y: bool = False,
    share_x: Literal["none", "row"] = "none",
) -> Canvas:
    """An empty figure with a title above and the evidence line below, inside `styled`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y, sharex=share_x)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    wrapped = "\n".join(textwrap.wrap(caption, width=int(size[0] * 17)))
    figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=7.5, color=GREY)
    return Canvas(name, figure, list(grid.flat))


def label_line(axes: Any, x: float, y: float, text: str, colour: str, *, dx: float = 5, dy: float = 0) -> None:
    """Write a curve's name beside its end, in its colour: no legend to look up."""
    axes.annotate(
        text,
        (x, y),
        xytext=(dx, dy),
        textcoords="offset points",
        color=colour,
        fontsize=8.5,
        va="center",
        ha="left" if dx >= 0 else "right",
        annotation_clip=False,
    )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions of labels at these heights, moved apart to at least ``gap``, order kept.

    Examples
    --------
    >>> spread([1.0, 1.1, 3.0], 0.5)
    [0.8, 1.3, 3.0]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        groups.append([i])
        centres.append(values[i])
        # merge neighbours until no two groups overlap; a group sits around the mean of its own heights
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last = groups.pop()
            groups[-1] += last
            centres.pop()
            centres[-1] = sum(values[j] for j in groups[-1]) / len(groups[-1])
    placed = [0.0] * len(values)
    for members, centre in zip(groups, centres):
        for rank, i in enumerate(members):
            placed[i] = round(centre + gap * (rank - (len(members) - 1) / 2), 9)
    return placed


def label_ends(
    axes: Any, x: float, ends: Sequence[tuple[float, str, str]], gap: float, *, log: bool = False
) -> None:
    """Names of several curves beside their ends at ``x``, moved apart to ``gap`` (decades on a log axis)."""
    heights = [math.log10(end[0]) if log else end[0] for end in ends]
    for (_, text, colour), height in zip(ends, spread(heights, gap)):
        label_line(axes, x, 10**height if log else height, text, colour)


def powers_of_two(axes: Any, ticks: Sequence[float]) -> None:
    """A logarithmic batch axis with plain numbers at the given places."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
