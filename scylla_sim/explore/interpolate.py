"""Values of a grid between its nodes, and their error against a full prediction.

`seconds_at` and `band_at` are the arithmetic of the page (``model.js``) in numpy. They exist to measure its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.explore.grid import CONTEXT_RANGE, DENSE, Grid, build, predictions
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.uncertainty import with_interval

POINTS = 300
"""Random points at which the error of a grid is measured."""
MAX_ERROR = 0.01
"""Largest error of the speed-up between nodes; a grid above it is refined."""
ROUNDS = 6
"""Most refinements of a grid."""
DRAFT_SECONDS = ("draft_dense", "draft_attention")
VERIFY_SECONDS = ("gemm", "other", "attention", "waiting")
LARGEST_BATCH = 512
"""Largest batch of the random points; every batch up to it is on the grid."""


@dataclass(frozen=True)
class GridError:
    """Relative errors of a grid at random points.

    Attributes
    ----------
    speedup
        Largest relative error of the speed-up.
    band
        Largest relative error of an end of its interval.
    points
        Number of points.
    batch, context
        Where the largest error of the speed-up is.
    """

    speedup: float
    band: float
    points: int
    batch: float
    context: float


def _weights(nodes: FloatArray, at: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Return the index of the node below each value, and the share of the way to the next one."""
    index = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    share = (at - nodes[index]) / (nodes[index + 1] - nodes[index])
    return index, np.clip(share, 0.0, 1.0)


def smooth_at(grid: Grid, name: str, batch: FloatArray, context: FloatArray) -> FloatArray:
    """Return a smooth array at batches and contexts, shape (shapes, points)."""
    values = grid.values[name]
    i, u = _weights(grid.nodes, batch)
    j, v = _weights(grid.contexts, context)
    below = values[:, i, j] * (1.0 - v) + values[:, i, j + 1] * v
    above = values[:, i + 1, j] * (1.0 - v) + values[:, i + 1, j + 1] * v
    found: FloatArray = below * (1.0 - u) + above * u
    return found


def _dense_at(grid: Grid, name: str, batch: FloatArray) -> FloatArray:
    return np.asarray(grid.values[name][:, np.searchsorted(grid.batches, batch)])


def seconds_at(grid: Grid, batch: FloatArray, context: FloatArray) -> FloatArray:
    """Return the seconds of a cycle by draft shape, shape (shapes, points); a cycle is no shorter than a step."""
    names = (*VERIFY_SECONDS, *DRAFT_SECONDS, "overhead")
    total = np.zeros((len(grid.shapes), *np.shape(batch)))
    for name in names:
        total += _dense_at(grid, name, batch) if name in DENSE else smooth_at(grid, name, batch, context)
    return np.maximum(total, total[:1])


def error_of(grid: Grid, scenario: Scenario, *, points: int = POINTS, seed: int = 0) -> GridError:
    """Return the errors of a grid at random batches and contexts, for every draft shape."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(1, LARGEST_BATCH, points, endpoint=True).astype(np.float64)
    low, high = CONTEXT_RANGE[0], grid.contexts[-1]
    context = np.round(np.exp(rng.uniform(np.log(low), np.log(high), points))).astype(np.float64)
    seconds = seconds_at(grid, batch, context)
    ours = seconds[0] / seconds[1:]
    bands = {name: smooth_at(grid, name, batch, context)[1:] for name in ("below", "above")}
    outs = [out for out in predictions(scenario, batch, context) if out.config.draft_len]
    exact = np.stack([out.speedup for out in outs])
    intervals = [with_interval(out.speedup, out.cycle, out.engine, out.plain_cycle) for out in outs]
    lower = np.stack([np.broadcast_to(one.lower, batch.shape) for one in intervals])
    upper = np.stack([np.broadcast_to(one.upper, batch.shape) for one in intervals])
    wrong = np.abs(ours / exact - 1.0)
    band = np.maximum(
        np.abs(exact / (1.0 + bands["below"]) / lower - 1.0), np.abs(exact * (1.0 + bands["above"]) / upper - 1.0)
    )
    worst = int(np.argmax(wrong.max(axis=0)))
    return GridError(float(wrong.max()), float(band.max()), points, float(batch[worst]), float(context[worst]))


def _with_one_more(nodes: FloatArray, at: float, *, whole: bool) -> FloatArray:
    """Return nodes with one more in the interval that holds a value."""
    index = int(_weights(nodes, np.array([at]))[0][0])
    middle = np.sqrt(nodes[index] * nodes[index + 1])
    return np.unique([*nodes, np.round(middle) if whole else middle])


def refined(grid: Grid, scenario: Scenario) -> tuple[Grid, GridError]:
    """Return a grid of a scenario and its error, with more nodes while the error is above `MAX_ERROR`."""
    if len(grid.shapes) == 1:
        return grid, GridError(0.0, 0.0, 0, 1.0, float(grid.contexts[0]))
    error = error_of(grid, scenario)
    for _ in range(ROUNDS):
        if error.speedup <= MAX_ERROR:
            break
        grid = build(
            scenario,
            nodes=_with_one_more(grid.nodes, error.batch, whole=True),
            contexts=_with_one_more(grid.contexts, error.context, whole=True),
        )
        error = error_of(grid, scenario)
    return grid, error
