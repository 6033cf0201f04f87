"""Fit the closed forms of `scylla_sim.kernels.registry` to measured rows of one device.

Each group of rows (a GEMM dtype and library, an attention KV dtype and head size, graph or eager all-reduce) gets
one form. The fit is a maximum a posteriori estimate in the logs of the parameters: robust residuals
of log seconds, plus the prior of the form. With 16 rows the prior decides what the rows cannot; a parameter whose
posterior is as wide as its prior is reported as not identified. Intervals of predictions come from cross-validated
residuals. scipy is imported here only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.fitted_kernel import Band, FittedKernel
from scylla_sim.calibration.kernel_table import KernelTable
from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.registry import FORMS, KernelModel, evaluate, forms_for
from scylla_sim.ops.op import ATTENTION, Columns
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import MILLI

MIN_ROWS = {
    **{"gemm": 16, "decode_attention": 16, "latent_attention": 16, "experts": 16},
    **{"all_reduce": 8, "elementwise": 3},
}
"""Fewer rows than this say less than the prior: the group is refused and named."""
MAX_ROWS = 4096
"""More rows than this add seconds, not accuracy (256 are within 0.5 points of 7,000): a fixed subset is taken."""

RESIDUAL_SCALE = {
    **{"gemm": 0.03, "decode_attention": 0.02, "latent_attention": 0.02, "experts": 0.04},
    **{"all_reduce": 0.04, "elementwise": 0.04},
}
"""Typical log error of a row around these forms, where the robust loss turns from quadratic to linear. One GEMM
scatters by 2-5 % (measured through another framework), attention by about 1 %."""
FOLDS = 4
MIN_SHAPES = {"experts": 3}
"""Distinct shapes below which rows are held out instead, where that is not twice the folds: models are few."""
MAX_FOLDS = 16
"""Of groups whose shapes are left out one by one."""
LEVEL = 0.9
MIN_BAND_ROWS = 40
"""Fewer rows than this do not tell the 5 % quantile of one half of the executions: both halves share theirs."""
IDENTIFIED = 0.7
"""A parameter whose posterior spread exceeds this share of its prior spread is called not identified."""


@dataclass(frozen=True)
class Group:
    """Result of fitting one group: the kernel, its parameters' intervals and how well it did on held-out folds."""

    op: str
    name: str
    kernel: FittedKernel
    rows: int
    intervals: dict[str, dict[str, Any]]
    median_error: float
    p90_error: float
    bias: float

    def report(self) -> dict[str, Any]:
        """One row for the terminal and for the calibration file."""
        loose = [name for name, item in self.intervals.items() if not item["identified"]]
        return {
            "op": self.op,
            "group": self.name,
            "form": self.kernel.form,
            "rows": self.rows,
            "cv_median_error": self.median_error,
            "cv_p90_error": self.p90_error,
            "cv_bias": self.bias,
            "not_identified": " ".join(loose),
        }


def group_names(rows: KernelTable) -> NDArray[np.str_]:
    """Group of each row; rows of one dtype measured through several libraries are kept apart."""
    labels = rows.labels
    names = labels["dtype"].astype("<U64")
    attention = labels["op"] == "decode_attention"
    if attention.any():
        size = rows.numbers["head_dim"][attention].astype(np.int64).astype(str)
        names[attention] = np.char.add(np.char.add(labels["kv_dtype"][attention], "/"), size)
    latent = labels["op"] == "latent_attention"
    names[latent] = labels["kv_dtype"][latent]
    reduce_ = labels["op"] == "all_reduce"
    if reduce_.any():
        names[reduce_] = np.where(rows.numbers["graph"][reduce_] > 0, "graph", "eager")
    names[labels["op"] == "elementwise"] = "copy"
    return names


UNNAMED = "unnamed"
"""What a blank framework or library is called where rows beside it have one."""


def _groups(rows: KernelTable) -> Iterator[tuple[str, str, KernelTable]]:
    """Yield (op, group, rows), kernels of different sources apart.

    The framework of a group's first rows has the plain name, another one ``name@framework``. Of the libraries that
    one framework chooses among the commonest is meant by that, others are ``name@library``.
    """
    names = group_names(rows)
    for op in dict.fromkeys(rows.labels["op"].tolist()):
        for name in dict.fromkeys(names[rows.labels["op"] == op].tolist()):
            chosen = (rows.labels["op"] == op) & (names == name)
            for order, framework in enumerate(dict.fromkeys(rows.labels["framework"][chosen].tolist())):
                made = chosen & (rows.labels["framework"] == framework)
                other = f"@{framework or UNNAMED}" if order else ""
                if op in ("all_reduce", "elementwise"):  # the library of an all-reduce repeats what `graph` says
                    yield op, f"{name}{other}", rows.where(made)
                    continue
                libraries, counts = np.unique(rows.labels["kernel_source"][made], return_counts=True)
                for rank, library in enumerate(libraries[np.argsort(-counts, kind="stable")].tolist()):
                    part = rows.where(made & (rows.labels["kernel_source"] == library))
                    yield op, f"{name}@{library or UNNAMED}" if rank else f"{name}{other}", part


def _usable(op: str, part: KernelTable) -> str:
    """Why a group cannot be fitted, or nothing."""
    count = len(part)
    if count < MIN_ROWS[op]:
        return f"{count} rows, at least {MIN_ROWS[op]} are needed"
    names = {
        "gemm": ("m", "n", "k"),
        "decode_attention": ("batch", "kv_len", "num_kv_heads"),
        "latent_attention": ("batch", "kv_len", "num_heads"),
        "experts": ("num_tokens", "groups", "hidden_size", "inter_size"),
        "all_reduce": ("bytes",),
        "elementwise": ("bytes",),
    }
    columns = np.column_stack([part.numbers[name] for name in names[op]])
    # widths of a verify step tell more about one cache, and nothing about another size of it
    widths = part.numbers["q_len"] if op == "decode_attention" else np.ones(count)
    distinct = np.unique(np.column_stack([columns, widths]), axis=0).shape[0]
    if distinct < MIN_ROWS[op] // 2:
        return f"only {distinct} distinct shapes in {count} rows"
    work = np.prod(columns, axis=1)
    if work.max() < 4.0 * work.min():
        return "all shapes are of one size, so latency and bandwidth cannot be told apart"
    return ""


DISTURBED = ("gemm",)
"""Operations in whose tables some rows are slower than the kernel, and none is faster.

Products of 1 to 17 rows with one weight take the same time, yet in aiconfigurator-core's tables a fifth of H100's
rows takes 12-18 % longer than the rest, of H200's and L40S's 8-14 %, of A100's 6-12 %, at random over shapes and in
vLLM's and SGLang's tables on different ones; on Blackwell hardly any does. In cross-validation over training shapes
the median error of bf16 products is 0.2 points larger with symmetric residuals (H100: 0.5). Of attention it is
smaller with those (4.0 against 4.8 %, mean of the dense groups), of experts and all-reduce alike."""


def _loss(residual: FloatArray, *, one_sided: bool) -> FloatArray:
    """Signed square root of a robust loss, so that least squares minimises that loss.

    Pseudo-Huber; ``one_sided`` it is Cauchy where the row is slower than the form, which forgives such rows more.
    """
    square = residual**2
    loss = np.sqrt(1.0 + square) - 1.0
    if one_sided:
        loss = np.where(residual > 0.0, loss, np.log1p(0.5 * square))
    return np.asarray(np.sign(residual) * np.sqrt(2.0 * loss))


@dataclass(frozen=True)
class _Mode:
    """Posterior mode of the log-parameters, their covariance, and minus the log posterior there."""

    theta: FloatArray
    covariance: FloatArray
    cost: float


def _fit_once(form: KernelModel, columns: Columns, seconds: FloatArray, r: Rates) -> _Mode:
    """Posterior mode of a form, the best over its starts."""
    from scipy.optimize import least_squares

    spread, scale = np.asarray(form.spread), RESIDUAL_SCALE[form.op]
    target = np.log(seconds)

    def residuals(theta: FloatArray, prior: FloatArray) -> FloatArray:
        predicted = evaluate(form, np.exp(theta).tolist(), columns, r)
        loss = _loss((np.log(predicted) - target) / scale, one_sided=form.op in DISTURBED)
        return np.concatenate([loss, (theta - prior) / spread])

    solutions = [
        least_squares(residuals, prior, x_scale=spread, max_nfev=200, args=(prior,))
        for prior in map(np.log, form.priors())
    ]
    best = min(solutions, key=lambda solution: float(solution.cost))
    return _Mode(best.x, np.linalg.pinv(best.jac.T @ best.jac), float(best.cost))


def _take(columns: Columns, at: NDArray[Any]) -> dict[str, FloatArray]:
    return {name: column[at] for name, column in columns.items()}


HELD_TOGETHER = {
    "gemm": ("n", "k"),
    "decode_attention": ("num_heads", "num_kv_heads"),
    "latent_attention": ("batch", "num_heads"),
    "experts": ("hidden_size", "experts_per_token"),
    "all_reduce": ("bytes",),
    "elementwise": ("bytes",),
}
"""Rows of one weight shape, head configuration, size or model stay on one side of every split. Slices of a model's
experts err together: with only some of them held out, intervals for new models would be too narrow."""


def _shapes(op: str, columns: Columns) -> FloatArray:
    """What a row shares with others of its shape, one line a row."""
    shapes = np.column_stack([columns[name] for name in HELD_TOGETHER[op]])
    if np.unique(shapes, axis=0).shape[0] < MIN_SHAPES.get(op, 2 * FOLDS):
        return np.column_stack(list(columns.values()))  # too few to hold any out: rows take their place
    return shapes


def _folds(op: str, shapes: FloatArray) -> NDArray[np.intp]:
    """Fold of each row: shapes are dealt out to `FOLDS`, the few models of experts are left out one by one."""
    distinct, place = np.unique(shapes, axis=0, return_inverse=True)
    if op in MIN_SHAPES and distinct.shape[0] <= MAX_FOLDS:
        return np.asarray(place.reshape(-1), dtype=np.intp)
    return np.array([zlib.crc32(row.tobytes()) % FOLDS for row in shapes], dtype=np.intp)


def _held_out(
    form: KernelModel, columns: Columns, seconds: FloatArray, folds: NDArray[np.intp], r: Rates
) -> FloatArray:
    """Log(measured / predicted) of every row, from a fit that did not see its fold."""
    out = np.empty(seconds.size)
    for fold in np.unique(folds):
        test = folds == fold
        train = ~test if (~test).any() else test
        mode = _fit_once(form, _take(columns, train), seconds[train], r)
        out[test] = np.log(seconds[test] / evaluate(form, np.exp(mode.theta).tolist(), _take(columns, test), r))
    return out


def _band(log_error: FloatArray, shapes: FloatArray) -> Band:
    """Interval that a row of a new shape falls into nine times out of ten.

    The i-th smallest of n has i / (n + 1) of the population below it on average, so the tails are counted from
    n + 1. Rows of one shape err together in part: n is the geometric mean of rows and distinct shapes.
    """
    count = np.sqrt(log_error.size * np.unique(shapes, axis=0).shape[0])
    tail = max(0.0, ((1.0 - LEVEL) / 2.0 * (count + 1.0) - 1.0) / (count - 1.0)) if count > 1.0 else 0.0
    low, high = np.exp(np.quantile(log_error, [tail, 1.0 - tail])).tolist()
    return Band(min(low, 1.0), max(high, 1.0))


GRAPH_LAUNCH_S = {"hopper": 1.3e-6, "blackwell": 2.7e-6, "ada": 1.8e-6, "ampere": 2.9e-6}
"""Seconds that the GPU spends on launching a CUDA graph, by family.

Source: aiconfigurator-core has products of 1 to 128 rows with weights of 512 x 128 and 128 x 512 twice, one call in
a graph (mla_bmm, one head) and five (gemm); what one call takes longer is four fifths of a launch. Medians over
GPUs, vLLM and SGLang: Hopper 1.0-1.9 us, Blackwell 2.5-3.5, L40S 0.8-2.8, A100 1.8-4.1."""


def _graph_share(part: KernelTable, hardware: Hardware) -> float:
    """What an execution of these rows holds of the launch of its benchmark's graph; 0 where the rows do not say."""
    calls = part.numbers.get("calls_per_graph", np.zeros(1))
    usual = float(np.median(calls))
    return GRAPH_LAUNCH_S.get(hardware.family, 0.0) / usual if usual > 0.0 else 0.0


def _bands(predicted_s: FloatArray, log_error: FloatArray, shapes: FloatArray) -> tuple[Band, Band, float]:
    """Spread of long and of short executions, and the seconds that part them; few rows are not parted."""
    split_s = float(np.median(predicted_s))
    short = predicted_s < split_s
    if min(short.sum(), (~short).sum()) < MIN_BAND_ROWS:
        band = _band(log_error, shapes)
        return band, band, 0.0
    return _band(log_error[~short], shapes[~short]), _band(log_error[short], shapes[short]), split_s


def fit_group(op: str, name: str, part: KernelTable, hardware: Hardware, evidence: str) -> Group:
    """Fit one group of rows; raises `InputError` when the rows cannot support a fit."""
    problem = _usable(op, part)
    if op == "latent_attention" and hardware.sm_count == 0:
        problem = "no form for a CPU"
    if problem:
        raise InputError(f"{op} {name}: {problem}")
    dtype = str(part.labels["dtype"][0]) or "bfloat16"
    r = rates(hardware, dtype, str(part.labels["kv_dtype"][0]) if op in ATTENTION else "")
    candidates = forms_for(op, dtype, hardware, library=str(part.labels["kernel_source"][0]))
    if len(part) > MAX_ROWS:
        keep = np.zeros(len(part), dtype=np.bool_)
        keep[np.linspace(0, len(part) - 1, MAX_ROWS).astype(int)] = True
        part = part.where(keep)
    columns = {column: part.numbers[column] for column in FORMS[candidates[0]].columns}
    seconds = part.numbers["latency_ms"] * MILLI
    modes = {name: _fit_once(FORMS[name], columns, seconds, r) for name in candidates}
    form_name = min(modes, key=lambda candidate: modes[candidate].cost)
    form, mode = FORMS[form_name], modes[form_name]
    shapes = _shapes(op, columns)
    log_error = _held_out(form, columns, seconds, _folds(op, shapes), r)
    error = np.abs(np.expm1(-log_error))
    parameters = tuple(np.exp(mode.theta).tolist())
    band, short, split_s = _bands(evaluate(form, parameters, columns, r), log_error, shapes)
    kernel = FittedKernel(form_name, parameters, band, short, split_s, evidence, _graph_share(part, hardware))
    deviation = np.sqrt(np.clip(np.diag(mode.covariance), 0.0, None))
    intervals = {
        parameter: {
            "value": float(np.exp(centre)),
            "lower": float(np.exp(centre - 1.645 * sd)),
            "upper": float(np.exp(centre + 1.645 * sd)),
            "identified": bool(sd < IDENTIFIED * prior),
        }
        for parameter, centre, sd, prior in zip(form.parameters, mode.theta, deviation, form.spread)
    }
    return Group(
        op=op,
        name=name,
        kernel=kernel,
        rows=len(part),
        intervals=intervals,
        median_error=float(np.median(error)),
        p90_error=float(np.quantile(error, 0.9)),
        bias=float(np.median(np.expm1(-log_error))),
    )


def fit(
    rows: KernelTable,
    hardware: Hardware,
    *,
    evidence: str,
    source: str = "",
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Calibration, list[Group], list[str]]:
    """Fit every group of rows of one device.

    Returns
    -------
    calibration, groups, refused
        ``refused`` names the groups that could not be fitted and why.

    Raises
    ------
    InputError
        When no group can be fitted.
    """
    groups: list[Group] = []
    refused: list[str] = []
    for op, name, part in _groups(rows.where(rows.without_window())):
        try:
            groups.append(fit_group(op, name, part, hardware, evidence))
        except InputError as error:
            refused.append(f"{op} {name}: {error}" if op not in str(error) else str(error))
            continue
        progress(f"{op} {name}: {groups[-1].rows} rows, held-out median error {groups[-1].median_error:.1%}")
    if not groups:
        raise fail("measurements", f"{len(rows)} rows", "cannot be fitted", "; ".join(refused))
    kernels: dict[str, dict[str, FittedKernel]] = {}
    for group in groups:
        kernels.setdefault(group.op, {})[group.name] = group.kernel
    calibration = Calibration(
        device=hardware.name, hardware=hardware, kernels=kernels, evidence=evidence, source=source
    )
    return calibration, groups, refused
