"""All figures. To add one, write a function ``Results -> drawing.Canvas`` and name it in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper.figures import costs, laws, small_scale
from paper.render.drawing import Canvas, styled
from paper.sources.results import Results
from scylla_sim.checks import InputError, one_of

FIGURES: dict[str, Callable[[Results], Canvas]] = {
    "kernels": costs.kernels,
    "fig1": laws.fig1,
    "fig5": laws.fig5,
    "turning-points": laws.turning_points,
    "small-scale": small_scale.small_scale,
    "table5": costs.table5,
    "speedup": costs.speedup,
}


def write(results: Results, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Draw the named figures, or all, then write each as SVG and PNG; return the paths.

    Raises
    ------
    InputError
        When a name is unknown, a result file is missing, or matplotlib is not installed.
    """
    drawn = []
    for name in names or FIGURES:
        draw = FIGURES[one_of("figure", name, FIGURES)]
        try:
            with styled():
                drawn.append(draw(results))
        except InputError as error:
            raise InputError(f"figure {name}: {error}") from None
    return [path for picture in drawn for path in picture.write(folder)]
