"""Style and output files of the figures: SVG and PNG, the same bytes for the same inputs."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scylla_sim.checks import InputError
from scylla_sim.records import write_bytes

INK, GREY, LIGHT = "#1f2933", "#6b7680", "#d5dade"
BLUE, ORANGE, GREEN, RED, PURPLE = "#1f6fb2", "#d9730d", "#2a8f5c", "#c0392b", "#7a4fb5"
"""Colours that differ in lightness too, for readers with colour vision deficiency."""

THUMBNAIL_SHARE, THUMBNAIL_DPI = 0.68, 110
"""Width of a thumbnail over that of its figure, at the same size of the text, and its resolution."""

NOTE = "note"
"""Label of texts inside panels that a thumbnail leaves out, because they would cover its curves."""

BATCH_COLOURS = {1: "#3b1f6b", 4: "#38598c", 8: "#25858e", 16: "#2ab07f", 32: "#8bc34a", 64: "#e0a80d"}
"""Colour of each batch size, lighter for larger ones."""

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
    # a fixed salt keeps the identifiers inside an SVG the same in every run
    "svg.hashsalt": "paper",
}


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib uses `STYLE`.

    Raises
    ------
    InputError
        If matplotlib is not installed.
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
    """Figure with its panels.

    Attributes
    ----------
    name : str
        Name of the output files: ``figure-NAME``.
    figure : matplotlib.figure.Figure
        The figure, whose bottom line states the evidence.
    axes : list of matplotlib.axes.Axes
        Panels, row by row.
    small : Canvas, optional
        Figure of fewer panels for the thumbnail, where all of them would be too small to read.
    """

    name: str
    figure: Any
    axes: list[Any]
    small: Canvas | None = None

    def thumbnail(self) -> bytes:
        """Return a small PNG without title, caption and notes, whose labels are larger beside its panels.

        The figure is as before afterwards.
        """
        if self.small is not None:
            return self.small.bytes("png", THUMBNAIL_DPI)
        notes = [text for axes in self.axes for text in axes.texts if text.get_label() == NOTE]
        texts, size = [self.figure._suptitle, self.figure._supxlabel, *notes], self.figure.get_size_inches()
        for text in texts:
            text.set_in_layout(False)
            text.set_visible(False)
        self.figure.set_size_inches(THUMBNAIL_SHARE * size)
        small = self.bytes("png", THUMBNAIL_DPI)
        for text in texts:
            text.set_in_layout(True)
            text.set_visible(True)
        self.figure.set_size_inches(size)
        return small

    def bytes(self, kind: str, dpi: int = 160) -> bytes:
        """Return the image as SVG or PNG."""
        drawn = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with styled():
            self.figure.savefig(drawn, format=kind, metadata=metadata, dpi=dpi)
        return drawn.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Write ``figure-NAME.{svg,png}`` and ``thumbnail-NAME.png`` atomically and return the paths."""
        paths = [folder / f"figure-{self.name}.{kind}" for kind in ("svg", "png")]
        for path in paths:
            write_bytes(path, self.bytes(path.suffix[1:]))
        small = folder / f"thumbnail-{self.name}.png"
        write_bytes(small, self.thumbnail())
        return [*paths, small]


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
    """Return an empty figure with a title and a caption; call it within `styled`.

    Parameters
    ----------
    name, title, caption : str
        Name of the files, text above and text below. The caption states the evidence. A figure for a thumbnail
        has neither.
    size : tuple of float
        Width and height in inches.
    rows, columns : int
        Grid of panels.
    share_y, share_x
        Axes that the panels share, as in `matplotlib.pyplot.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y, sharex=share_x)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    wrapped = "\n".join(textwrap.wrap(caption, width=int(size[0] * 17)))
    if wrapped:
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=7.5, color=GREY)
    return Canvas(name, figure, list(grid.flat))


def label_line(axes: Any, x: float, y: float, text: str, colour: str, *, dx: float = 5, dy: float = 0) -> None:
    """Write the name of a curve next to its end, in the colour of the curve."""
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
    """Return positions of labels, moved apart to at least ``gap`` with their order kept.

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
        # merge neighbours until no two groups overlap; each group is centred on the mean of its heights
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
    """Write the names of several curves next to their ends.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Panel.
    x : float
        Right end of the curves.
    ends : sequence of (height, text, colour)
        Ends of the curves.
    gap : float
        Smallest distance of two labels, in decades on a log axis.
    log : bool
        Whether the y axis is logarithmic.
    """
    heights = [math.log10(end[0]) if log else end[0] for end in ends]
    for (_, text, colour), height in zip(ends, spread(heights, gap)):
        label_line(axes, x, 10**height if log else height, text, colour)


def powers_of_two(axes: Any, ticks: Sequence[float]) -> None:
    """Make the x axis logarithmic with base 2 and plain numbers at ``ticks``."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def draw_formula(axes: Any, law: Callable[[float], float], low: float, high: float, **style: Any) -> None:
    """Draw a formula between ``low`` and ``high`` on a logarithmic grid."""
    grid = [low * (high / low) ** (i / 100) for i in range(101)]
    axes.plot(grid, [law(x) for x in grid], **style)
