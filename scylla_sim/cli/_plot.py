"""Figures of the command line; matplotlib is optional and imported on use."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scylla_sim.checks import FloatArray, InputError
from scylla_sim.laws.fit import Fit
from scylla_sim.records import write_bytes


def draw_laws(
    path: str, x: FloatArray, y: FloatArray, laws: Sequence[Fit], *, x_name: str, y_name: str, level: float
) -> None:
    """Draw points, every law that converged, and the interval of the first law.

    Parameters
    ----------
    path
        File to write; its suffix chooses SVG or PNG.
    x, y
        Points, shape (points,).
    laws
        Fitted laws.
    x_name, y_name
        Labels of the axes.
    level
        Coverage of the interval, in (0, 1).

    Raises
    ------
    InputError
        When matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("draw needs matplotlib, which is not installed; pip install 'scylla-sim[paper]'") from None
    usable = [law for law in laws if law.converged]
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    if x.min() > 0:
        axes.set_xscale("log")
        grid = np.geomspace(x.min(), x.max(), 200)
    else:
        grid = np.linspace(x.min(), x.max(), 200)
    for i, law in enumerate(usable):
        predicted = law.predict(grid, level=level)
        axes.plot(grid, predicted.value, linewidth=1.5, label=law.form)
        if i == 0:
            band = f"{level:.0%} interval of {law.form}"
            axes.fill_between(grid, predicted.lower, predicted.upper, alpha=0.15, label=band)
    axes.plot(x, y, "o", color="black", label="points")
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.legend(fontsize="small")
    drawn = io.BytesIO()
    # A fixed salt and no date make the file reproducible.
    with matplotlib.rc_context({"svg.hashsalt": "scylla-sim"}):
        kind = Path(path).suffix[1:]
        figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=150)
    write_bytes(path, drawn.getvalue())
