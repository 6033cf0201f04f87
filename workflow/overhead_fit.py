"""Fit of the overheads of engine presets to published serving runs.

Seconds are linear in the overheads of `scylla_sim.specs.engine`, so the kernels of every run are predicted once.
Overheads are not negative. Those of one preset are pulled to the mean of all presets, and a preset without runs has
that mean. The weight of a source is the root of its runs, and large residuals count in proportion to their size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from overhead_rows import CHAIN, FITTED, TREE, System

from scylla_sim.checks import FloatArray
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import Z_90

BoolArray = NDArray[np.bool_]

SPREAD_S = dict(zip(FITTED, (0.5e-3, 8e-6, 1.0e-3, 0.1e-3, 0.2e-3, 0.4e-3, 0.3e-3, 0.5e-3, 0.05e-3)))
"""Standard deviation of an overhead between presets.

Source: half of the distance between synchronous engines of 2025 and asynchronous ones of 2026, in round numbers.
That of ``draft_pass_host_s`` is between half of the distance of EAGLE-1's pass (0.16 and 0.08 ms) and half of the
range over versions of vllm-2025 (0.06 to 0.41 ms); EAGLE-3's pass differs by ``fused_pass_host_s``. The scores of
0.05, 0.1 and 0.2 ms were seen. The mean over presets has a prior of `MEAN` +- 1 spreads.
"""
MEAN = 0.5
OVERLAP_PRIOR = (0.5, 0.3)
"""Mean and standard deviation of the overlap of experts before any run is seen."""
SPEEDUP, CYCLE, PLAIN, RATE, PLAIN_RATE = "speedup", "cycle_s", "plain_step_s", "tokens_per_s", "plain_tokens_per_s"
ERRORS = {SPEEDUP: 0.05, CYCLE: 0.07, PLAIN: 0.07, RATE: 0.10, PLAIN_RATE: 0.10}
"""Quantity -> standard deviation of the logarithm of one measurement around the form.

Source: the error of calibrated kernels, 4 to 5 %, and more where it does not cancel or prefills enter.
"""
BETWEEN_SOURCES = 0.5
"""Standard deviation of an overhead between sources of one preset, in spreads between presets.

Source: assumed; versions and hosts differ within a preset too, and less than presets do. The variance of a fit to n
sources has the n-th part of it.
"""
START, MOST = 0.5, 20.0
"""First and largest overhead, in spreads."""


@dataclass(frozen=True)
class Runs:
    """Published runs with their equations.

    Attributes
    ----------
    system
        Equations, one row per run.
    presets, sources, series
        Preset, source and series of each run.
    batch
        Sequences in flight.
    measured
        Quantity -> measured values, NaN where it is not to be fitted. See `ERRORS`.
    free_tau
        Whether the tokens per cycle of the run's series are fitted, so that only ratios within it count.
    """

    system: System
    presets: NDArray[np.str_]
    sources: NDArray[np.str_]
    series: NDArray[np.str_]
    batch: FloatArray
    measured: Mapping[str, FloatArray]
    free_tau: BoolArray

    def at(self, keep: BoolArray) -> Runs:
        """Return the runs for which ``keep`` is true."""
        arrays = {name: getattr(self, name)[keep] for name in ("presets", "sources", "series", "batch", "free_tau")}
        measured = {name: values[keep] for name, values in self.measured.items()}
        return replace(self, system=self.system.at(keep), measured=measured, **arrays)


@dataclass(frozen=True)
class Fit:
    """Fitted overheads.

    Attributes
    ----------
    presets
        Names of the presets.
    overheads
        Value and 90 % interval of each of `FITTED` by preset, in seconds, shape (presets, overheads).
    overlap
        Overlap of experts of `CHAIN` and of `TREE`.
    """

    presets: tuple[str, ...]
    overheads: Estimate
    overlap: Mapping[str, Estimate]

    def of(self, preset: str) -> dict[str, Estimate]:
        """Return the overheads of one preset by name."""
        at = self.presets.index(preset)
        ends = (self.overheads.value[at], self.overheads.lower[at], self.overheads.upper[at])
        return {name: Estimate.of(*values) for name, *values in zip(FITTED, *ends)}


def supported(runs: Runs, presets: Sequence[str]) -> BoolArray:
    """Return whether some run of a preset has an overhead, shape (presets, overheads).

    The further work of a pass of a fused head is only known from presets with runs of both kinds of heads.
    """
    counts = runs.system.counts + runs.system.plain_counts
    found = np.array([(counts[runs.presets == name] > 0.0).any(axis=0) for name in presets])
    fused, one_pass = FITTED.index("fused_pass_host_s"), FITTED.index("draft_pass_host_s")
    for at, name in enumerate(presets):
        drafted = (runs.presets == name) & (counts[:, one_pass] > 0.0)
        found[at, fused] &= not (counts[drafted, fused] > 0.0).all()
    return found


def predicted(runs: Runs, overheads: FloatArray, overlap: Mapping[str, float]) -> dict[str, FloatArray]:
    """Return the quantities of `ERRORS` of every run, given the overheads of every run."""
    cycle, plain = runs.system.seconds(overheads, overlap)
    tau, load = runs.system.tokens_per_cycle, runs.system.load_s
    tpot, plain_tpot = cycle / tau + load, plain + load
    rates = {RATE: runs.batch / tpot, PLAIN_RATE: runs.batch / plain_tpot}
    return {SPEEDUP: plain_tpot / tpot, CYCLE: cycle, PLAIN: plain, **rates}


def _known(runs: Runs, name: str) -> BoolArray:
    """Return which measurements of a quantity are fitted; times of a cycle need stated tokens per cycle."""
    known: BoolArray = np.isfinite(runs.measured[name])
    return known & ~runs.free_tau if name in (CYCLE, RATE) else known


def residuals_of(runs: Runs) -> Callable[[Mapping[str, FloatArray]], FloatArray]:
    """Return a function of the predicted quantities: the weighted log residuals of all measurements.

    What the runs alone determine is computed once, because a fit calls the function ten thousand times.
    """
    parts = []
    for name, error in ERRORS.items():
        known = _known(runs, name)
        _, index, counts = np.unique(runs.sources[known], return_inverse=True, return_counts=True)
        free, series = runs.free_tau[known] & (name == SPEEDUP), runs.series[known]
        members = [np.flatnonzero(free & (series == one)) for one in np.unique(series[free])]
        parts.append((name, known, runs.measured[name][known], counts[index] ** -0.25 / error, members))

    def residuals(found: Mapping[str, FloatArray]) -> FloatArray:
        out = []
        for name, known, measured, weight, members in parts:
            residual = np.log(found[name][known] / measured)
            for at in members:
                residual[at] -= residual[at].mean()
            out.append(residual * weight)
        return np.concatenate(out)

    return residuals


def _robust(residual: FloatArray) -> FloatArray:
    """Return residuals whose squares grow linearly beyond 1 (soft L1)."""
    found: FloatArray = np.sign(residual) * np.sqrt(2.0 * (np.sqrt(1.0 + residual**2) - 1.0))
    return found


def fit(runs: Runs, presets: Sequence[str], free: BoolArray) -> Fit:
    """Fit the overheads of presets and the overlap of experts.

    Parameters
    ----------
    runs
        Runs to fit; they may lack a preset.
    presets
        Presets to return.
    free
        Which overheads are fitted; see `supported`. The others are 0.

    Returns
    -------
    Fit
        Intervals come from the curvature at the optimum, from the spread of the sources' gradients, and from
        `BETWEEN_SOURCES`, which counts where few sources have an overhead. They are independent of each other and
        reproduce the variance of the runs' speed-ups, which the correlated errors of the fit give.
    """
    from scipy.optimize import least_squares

    spread = np.array([SPREAD_S[name] for name in FITTED])
    shape = (len(presets), len(FITTED))
    size = shape[0] * shape[1]
    row = np.array([presets.index(name) for name in runs.presets])

    def split(values: FloatArray) -> tuple[FloatArray, FloatArray, dict[str, float]]:
        return values[:size].reshape(shape), values[size:-2], {CHAIN: float(values[-2]), TREE: float(values[-1])}

    residuals = residuals_of(runs)

    def residual_of(values: FloatArray) -> FloatArray:
        scaled, _, overlap = split(values)
        return residuals(predicted(runs, (scaled * free * spread)[row], overlap))

    def objective(values: FloatArray) -> FloatArray:
        scaled, mean, _ = split(values)
        overlap = (values[-2:] - OVERLAP_PRIOR[0]) / OVERLAP_PRIOR[1]
        return np.concatenate([_robust(residual_of(values)), (scaled - mean).ravel(), mean - MEAN, overlap])

    start = np.concatenate([np.full(size + len(FITTED), START), np.full(2, OVERLAP_PRIOR[0])])
    most = np.concatenate([np.full(size + len(FITTED), MOST), np.full(2, 0.95)])
    best = least_squares(objective, start, bounds=(0.0, most), x_scale="jac")
    data = best.fun.size - size - len(FITTED) - 2
    covariance = _covariance(best.jac, best.fun[:data], _clusters(runs))
    scaled, _, overlap = split(best.x)
    sources = sources_of(runs, presets)
    covariance[:size, :size] += np.diag((BETWEEN_SOURCES**2 / np.maximum(sources, 1.0)).ravel())
    deviation = np.sqrt(np.diag(covariance))
    narrowed = _narrowed(
        covariance[:size, :size], shape, _speedup_gradients(runs, scaled * free * spread, row, overlap)
    )
    value = scaled * free * spread
    reach = Z_90 * deviation[:size].reshape(shape) * narrowed[:, None] * free * spread
    ends = {
        kind: Estimate.of(at, max(at - Z_90 * sd, 0.0), min(at + Z_90 * sd, 0.95))
        for (kind, at), sd in zip(overlap.items(), deviation[-2:].tolist())
    }
    return Fit(tuple(presets), Estimate.of(value, np.maximum(value - reach, 0.0), value + reach), ends)


def sources_of(runs: Runs, presets: Sequence[str]) -> FloatArray:
    """Return the number of sources whose runs have an overhead of a preset, shape (presets, overheads)."""
    counts = runs.system.counts + runs.system.plain_counts > 0.0
    names = np.array([source.split(",")[0] for source in runs.sources.tolist()])
    found = np.zeros((len(presets), len(FITTED)))
    for at, preset in enumerate(presets):
        own = runs.presets == preset
        for source in np.unique(names[own]):
            found[at] += counts[own & (names == source)].any(axis=0)
    return found


def _clusters(runs: Runs) -> NDArray[np.str_]:
    """Return the source of every residual of `residuals_of`."""
    return np.concatenate([runs.sources[_known(runs, name)] for name in ERRORS])


def _covariance(jacobian: FloatArray, residual: FloatArray, sources: NDArray[np.str_]) -> FloatArray:
    """Return the covariance of a fit: that of independent residuals, plus the spread between sources."""
    inverse = np.linalg.inv(jacobian.T @ jacobian)
    gradients = jacobian[: residual.size] * residual[:, None]
    spread = np.zeros_like(inverse)
    for name in np.unique(sources):
        one = gradients[sources == name].sum(axis=0)
        spread += np.outer(one, one)
    return np.asarray(inverse + inverse @ spread @ inverse, dtype=np.float64)


def _speedup_gradients(
    runs: Runs, overheads: FloatArray, row: NDArray[np.int_], overlap: Mapping[str, float]
) -> FloatArray:
    """Return the change of every run's log speed-up with each overhead of its preset, shape (runs, overheads)."""
    cycle, plain = runs.system.seconds(overheads[row], overlap)
    load, tau = runs.system.load_s, runs.system.tokens_per_cycle
    found: FloatArray = (
        runs.system.plain_counts / (plain + load)[:, None] - runs.system.counts / (cycle + tau * load)[:, None]
    )
    scaled = np.zeros((*found.shape, overheads.shape[0]))
    scaled[np.arange(row.size), :, row] = found * np.array([SPREAD_S[name] for name in FITTED])
    return scaled


def _narrowed(covariance: FloatArray, shape: tuple[int, int], gradients: FloatArray) -> FloatArray:
    """Return for each preset the factor on independent deviations that gives the variance of its speed-ups."""
    found = np.ones(shape[0])
    for at in range(shape[0]):
        own = covariance[at * shape[1] : (at + 1) * shape[1], at * shape[1] : (at + 1) * shape[1]]
        slope = gradients[:, :, at]
        slope = slope[(slope != 0.0).any(axis=1)]
        if slope.size:
            joint, apart = np.einsum("ri,ij,rj->r", slope, own, slope), slope**2 @ np.diag(own)
            found[at] = min(float(np.sqrt(np.median(joint / apart))), 1.0)
    return found
