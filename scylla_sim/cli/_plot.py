"""Figures of the command line; matplotlib is optional and imported on use."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError, one_of
from scylla_sim.laws.fit import Fit
from scylla_sim.records import write_bytes
from scylla_sim.serving.metrics import latencies
from scylla_sim.serving.simulation import Run

FORMATS = ("svg", "png", "pdf")
"""Suffixes of a figure."""


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
    usable = [law for law in laws if law.converged]
    figure = _figure_class("draw")(figsize=(6.0, 4.0), layout="constrained")
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
    _save(figure, path)


def draw_served(path: str, run: Run, *, pool: float) -> None:
    """Draw the distributions of latencies, and the batch and the use of the KV pool over time.

    Parameters
    ----------
    path
        File to write; its suffix chooses SVG or PNG.
    run
        Simulated run; all its requests are drawn.
    pool
        Tokens of the KV pool.

    Raises
    ------
    InputError
        When matplotlib is not installed, or the file cannot be written.
    """
    figure = _figure_class("plot")(figsize=(8.0, 6.0), layout="constrained")
    (wait, token), (batch, memory) = figure.subplots(2, 2)
    each = latencies(run)
    for axes, name, label in ((wait, "ttft_s", "TTFT"), (wait, "e2e_s", "E2E"), (token, "tpot_s", "TPOT")):
        values = np.sort(each[name][np.isfinite(each[name])])
        axes.plot(values, (np.arange(values.size) + 1.0) / values.size, label=label)
    order = np.argsort(run.gap_s, kind="stable")
    tokens = np.cumsum(run.gap_weight[order])
    token.plot(run.gap_s[order], tokens / max(int(tokens[-1]), 1), label="ITL")
    wait.set_xscale("log")
    for axes in (wait, token):
        axes.set(xlabel="seconds", ylabel="share of requests or gaps")
        axes.legend(fontsize="small")
    batch.step(run.starts_s, run.running, where="post", linewidth=0.7)
    batch.set(xlabel="seconds", ylabel="requests running")
    memory.step(run.starts_s, run.kv_tokens / pool, where="post", linewidth=0.7)
    memory.set(xlabel="seconds", ylabel="share of the KV pool")
    _save(figure, path)


def draw_series(
    path: str, series: Mapping[str, Sequence[tuple[float, float]]], *, x_name: str, y_name: str
) -> None:
    """Draw points by series; a line joins the points of one series.

    Parameters
    ----------
    path
        File to write; its suffix chooses SVG or PNG.
    series
        Name -> points.
    x_name, y_name
        Labels of the axes.

    Raises
    ------
    InputError
        When matplotlib is not installed, or the file cannot be written.
    """
    figure = _figure_class("plot")(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.plot(*zip(*sorted(points)), "o-", markersize=4, linewidth=1.0, label=name)
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.grid(alpha=0.3)
    if series:
        axes.legend(fontsize="small")
    _save(figure, path)


def _figure_class(option: str) -> Any:
    """Return the class of figures of matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        text = f"{option} needs matplotlib, which is not installed; pip install 'scylla-sim[paper]'"
        raise InputError(text) from None
    return Figure


def check_format(path: str) -> str:
    """Return the format that the suffix of a file chooses; raise for an unknown one."""
    return one_of("format of the figure", Path(path).suffix[1:].lower(), FORMATS, hint=f"file={path[:80]!r}")


def _save(figure: Any, path: str) -> None:
    """Write a figure; its suffix chooses SVG or PNG."""
    import matplotlib

    drawn = io.BytesIO()
    # A fixed salt and no date make the file reproducible.
    with matplotlib.rc_context({"svg.hashsalt": "scylla-sim"}):
        kind = check_format(path)
        figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=150)
    write_bytes(path, drawn.getvalue())
