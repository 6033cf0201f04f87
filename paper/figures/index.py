"""Figures by name.

The files ``figure-NAME.*`` come from the entry ``NAME`` of `FIGURES`. To add a figure, write a function
``Results -> Canvas`` in a module of this folder and add one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paper.figures import crossover, fig1, fig5, gpu, kernels, profiles, small_scale, speedup, table5
from paper.render.drawing import Canvas, styled
from paper.sources.results import Results
from scylla_sim.checks import InputError, one_of

FIGURES: dict[str, Callable[[Results], Canvas]] = {
    "kernels": kernels.kernels,
    "fig1": fig1.fig1,
    "fig5": fig5.fig5,
    "turning-points": crossover.crossover,
    "small-scale": small_scale.small_scale,
    "profiles": profiles.profiles,
    "table5": table5.table5,
    "speedup": speedup.speedup,
    "gpu": gpu.gpu,
}
"""Name -> function that draws the figure."""


def write(results: Results, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Draw the named figures, or all of them, write each as SVG and PNG, and return the paths.

    Nothing is written if a figure cannot be drawn.

    Raises
    ------
    InputError
        If a name is unknown, a result file is missing, or matplotlib is not installed.
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
