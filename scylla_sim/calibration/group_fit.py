"""Fit one group of measured rows: parameters, their intervals, and error bands from cross-validation.

The fit is a maximum a posteriori estimate in the logs of the parameters: robust residuals of log seconds, plus the
prior of the kernel model. Where few rows cannot determine a parameter, the prior does. A parameter whose posterior
is as wide as its prior is reported as not identified.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.fitted_kernel import Band, FittedKernel
from scylla_sim.calibration.kernel_table import KernelTable
from scylla_sim.calibration.posterior_mode import PosteriorMode, identified, parameter_intervals, posterior_mode
from scylla_sim.calibration.row_groups import problem_of
from scylla_sim.checks import FloatArray, InputError
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.model import KernelModel, evaluate
from scylla_sim.kernels.operation import FitSettings
from scylla_sim.kernels.registry import operation
from scylla_sim.ops.op import Columns
from scylla_sim.specs.hardware import Hardware
from scylla_sim.stats.quantiles import weighted_quantile
from scylla_sim.stats.relative_errors import summarize
from scylla_sim.units import MILLI

MAX_ROWS = 4096
"""Maximum number of rows of a fit; errors with 256 rows are within 0.5 points of those with 7,000. A fixed subset
is taken."""
FOLDS = 4
"""Folds of the cross-validation."""
MAX_FOLDS = 16
"""Largest number of cross-validation groups that are left out one by one."""
LEVEL = 0.9
"""Probability of the intervals of predictions."""
MIN_BAND_ROWS = 40
"""Minimum number of rows for separate bands; half of fewer rows does not determine a 5 % quantile."""

GRAPH_LAUNCH_S = {"hopper": 1.3e-6, "blackwell": 2.7e-6, "ada": 1.8e-6, "ampere": 2.9e-6}
"""Seconds that the GPU spends on launching a CUDA graph, by family.

Source: aiconfigurator-core has GEMMs of 1 to 128 rows with weights of 512 x 128 and 128 x 512 twice. One table has
one call per graph (mla_bmm, one head), the other has five (gemm). The extra time of a single call is four fifths of
a launch. The table gives medians over GPUs, vLLM and SGLang.

=========  ===========
Family     Launch (us)
=========  ===========
Hopper     1.0-1.9
Blackwell  2.5-3.5
L40S       0.8-2.8
A100       1.8-4.1
=========  ===========
"""


@dataclass(frozen=True)
class GroupFit:
    """Result of fitting one group.

    Attributes
    ----------
    op, name
        Operation and name of the group.
    kernel
        Fitted kernel.
    rows
        Number of fitted rows.
    intervals
        Value, 90 % interval and identification of each parameter.
    median_error, p90_error, bias
        Relative errors on held-out folds: median and 90 % quantile of the size, and median with its sign.
    """

    op: str
    name: str
    kernel: FittedKernel
    rows: int
    intervals: dict[str, dict[str, Any]]
    median_error: float
    p90_error: float
    bias: float

    def report(self) -> dict[str, Any]:
        """Return one row for the terminal and for the calibration file."""
        loose = [name for name, item in self.intervals.items() if not item["identified"]]
        return {
            "op": self.op,
            "group": self.name,
            "form": self.kernel.model.name,
            "rows": self.rows,
            "cv_median_error": self.median_error,
            "cv_p90_error": self.p90_error,
            "cv_bias": self.bias,
            "not_identified": " ".join(loose),
        }


# -- Cross-validation and error bands --------------------------------------------------------------------------


def _cv_groups(settings: FitSettings, columns: Columns) -> FloatArray:
    """Return the cross-validation group of each row; with too few groups its slice, or else each row alone."""
    for names in filter(None, (settings.cv_groups, settings.slice_columns)):
        groups = np.column_stack([columns[name] for name in names])
        if np.unique(groups, axis=0).shape[0] >= settings.min_cv_groups:
            return groups
    return np.column_stack(list(columns.values()))


def _folds(settings: FitSettings, groups: FloatArray) -> NDArray[np.intp]:
    """Return the fold of each row: one fold per group, or folds of about equally many rows.

    Large groups come first, groups of one size in the order of a hash. Each one joins the smallest fold.
    """
    distinct, place, sizes = np.unique(groups, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    if settings.leave_one_group_out and distinct.shape[0] <= MAX_FOLDS:
        return np.asarray(place, dtype=np.intp)
    hashes = np.array([zlib.crc32(row.tobytes()) for row in distinct])
    fold_of, rows = np.zeros(hashes.size, dtype=np.intp), np.zeros(FOLDS)
    for group in np.lexsort((hashes, -sizes)):
        fold_of[group] = np.argmin(rows)
        rows[fold_of[group]] += sizes[group]
    return fold_of[place]


def _take(columns: Columns, at: NDArray[Any]) -> dict[str, FloatArray]:
    return {name: column[at] for name, column in columns.items()}


def _mode_without(
    model: KernelModel,
    whole: PosteriorMode,
    columns: Columns,
    seconds: FloatArray,
    *,
    r: Rates,
    settings: FitSettings,
) -> PosteriorMode:
    """Return the posterior mode from the rows of some folds.

    A parameter that only the other rows determine keeps its value of the whole fit. Without it, its prior would
    predict a kind of kernel that the fit has seen, and the error would be that of the prior.
    """
    mode = posterior_mode(model, columns, seconds, r=r, settings=settings)
    lost = identified(model, whole) & ~identified(model, mode)
    if not lost.any():
        return mode
    centres = [np.where(lost, whole.theta, np.log(point)) for point in model.starting_points()]
    return posterior_mode(model, columns, seconds, r=r, settings=settings, centres=centres)


def _held_out_errors(
    model: KernelModel,
    whole: PosteriorMode,
    columns: Columns,
    seconds: FloatArray,
    *,
    folds: NDArray[np.intp],
    r: Rates,
    settings: FitSettings,
) -> FloatArray:
    """Return log(measured / predicted) of every row, from a fit to the other folds."""
    out = np.empty(seconds.size)
    for fold in np.unique(folds):
        test = folds == fold
        train = ~test if (~test).any() else test
        mode = _mode_without(model, whole, _take(columns, train), seconds[train], r=r, settings=settings)
        fitted = model.with_values(np.exp(mode.theta).tolist())
        out[test] = np.log(seconds[test] / evaluate(model, fitted, _take(columns, test), r))
    return out


def _band(log_error: FloatArray, groups: FloatArray) -> Band:
    """Return the interval that holds 90 % of the rows of new groups.

    Errors of rows in one group are partly correlated. A group of n rows therefore has the weight of sqrt(n) rows.
    One large group then does not set an end of the interval alone.
    """
    _, place, sizes = np.unique(groups, axis=0, return_inverse=True, return_counts=True)
    weights = sizes[place.reshape(-1)] ** -0.5
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.exp(weighted_quantile(log_error, [tail, 1.0 - tail], weights=weights)).tolist()
    return Band(min(low, 1.0), max(high, 1.0))


def _bands(predicted_s: FloatArray, log_error: FloatArray, groups: FloatArray) -> tuple[Band, Band, float]:
    """Return the bands of long and short executions and the seconds that separate them; few rows share one band."""
    split_s = float(np.median(predicted_s))
    short = predicted_s < split_s
    if min(short.sum(), (~short).sum()) < MIN_BAND_ROWS:
        band = _band(log_error, groups)
        return band, band, 0.0
    return _band(log_error[~short], groups[~short]), _band(log_error[short], groups[short]), split_s


# -- One group -------------------------------------------------------------------------------------------------


def _graph_share_s(part: KernelTable, hardware: Hardware) -> float:
    """Return the part of a graph launch in each measured execution; 0 where rows do not state it."""
    calls = part.numbers.get("calls_per_graph", np.zeros(1))
    usual = float(np.median(calls))
    return GRAPH_LAUNCH_S.get(hardware.family, 0.0) / usual if usual > 0.0 else 0.0


def _subset(part: KernelTable) -> KernelTable:
    """Return at most `MAX_ROWS` rows, evenly spaced."""
    if len(part) <= MAX_ROWS:
        return part
    keep = np.zeros(len(part), dtype=np.bool_)
    keep[np.linspace(0, len(part) - 1, MAX_ROWS).astype(int)] = True
    return part.where(keep)


def fit_group(op: str, name: str, part: KernelTable, *, hardware: Hardware, evidence: str) -> GroupFit:
    """Fit one group of rows with the best of its operation's kernel models.

    Raises
    ------
    InputError
        The rows cannot support a fit, or no kernel model describes the operation on this device.
    """
    described = operation(op)
    settings = described.fit
    dtype = str(part.labels["dtype"][0]) or "bfloat16"
    candidates = described.models_for(dtype, hardware, str(part.labels["kernel_source"][0]))
    problem = problem_of(settings, part) if candidates else "no kernel model for a CPU"
    if problem:
        raise InputError(f"{op} {name}: {problem}")
    r = rates(hardware, dtype, str(part.labels["kv_dtype"][0]) if described.reads_kv else "")
    part = _subset(part)
    columns = {column: part.numbers[column] for column in candidates[0].columns}
    seconds = part.numbers["latency_ms"] * MILLI
    modes = [posterior_mode(model, columns, seconds, r=r, settings=settings) for model in candidates]
    model, mode = min(zip(candidates, modes), key=lambda pair: pair[1].cost)
    groups = _cv_groups(settings, columns)
    folds = _folds(settings, groups)
    log_error = _held_out_errors(model, mode, columns, seconds, folds=folds, r=r, settings=settings)
    parameters = model.with_values(np.exp(mode.theta).tolist())
    band, short, split_s = _bands(evaluate(model, parameters, columns, r), log_error, groups)
    errors = summarize(np.expm1(-log_error))
    return GroupFit(
        op=op,
        name=name,
        kernel=FittedKernel(model, parameters, band, short, split_s, evidence, _graph_share_s(part, hardware)),
        rows=len(part),
        intervals=parameter_intervals(model, mode),
        median_error=errors.median,
        p90_error=errors.p90,
        bias=errors.bias,
    )
