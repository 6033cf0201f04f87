"""All figures. To add one, write a function ``Results -> drawing.Canvas`` and name it in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper import cost_figures, law_figures, smallscale_figures
from paper.drawing import Canvas, styled
from paper.results import Results
from scylla_sim.checks import InputError, one_of

FIGURES: dict[str, Callable[[Results], Canvas]] = {
    "kernels": cost_figures.kernels,
    "fig1": law_figures.fig1,
    "fig5": law_figures.fig5,
    "turning-points": law_figures.turning_points,
    "small-scale": smallscale_figures.small_scale,
    "table5": cost_figures.table5,
    "speedup": cost_figures.speedup,
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
