"""Time per output token of aggregated serving, where prefills interrupt decode steps.

With ``batch`` requests in flight, every other request is prefilled once while one request decodes. The prefill of a
request ends before its first token, so it is not part of its own time per output token. Two scalars describe an
engine: the share of the other prefills that decoding waits for, and host seconds per step (`ServingOverheads`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.prediction.step_time import Step
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.split import column_hash

MIN_FIT_ROWS = 4
"""Smallest number of runs for `fit`: two scalars leave two degrees of freedom."""


@dataclass(frozen=True)
class ServingOverheads:
    """Two scalars that describe the time an engine adds to its kernels.

    Attributes
    ----------
    share
        Share of the other requests' prefills that decoding waits for, in [0, 1]. It is 1 if prefills are spread
        over time and stop decoding. It is about a half if requests come in waves: a request then waits for the
        earlier half of its wave before its first token.
    host_s
        Host seconds per decode step.
    """

    share: float = 1.0
    host_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        in_range("share", self.share, 0, 1)
        in_range("host_s", self.host_s, 0)


NOT_FITTED = ServingOverheads()
"""Overheads of an engine without measurements: prefills stop decoding, and the host takes no time."""


@dataclass(frozen=True)
class ServingRuns:
    """Serving runs of one model, device and number of TP ranks; arrays of one shape.

    Attributes
    ----------
    batch
        Requests in flight.
    input_len, output_len
        Tokens of each prompt and of each answer.
    """

    batch: FloatArray
    input_len: FloatArray
    output_len: FloatArray

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("batch", "input_len", "output_len"):
            positive(name, getattr(self, name))
            whole(name, getattr(self, name))

    def prefills_per_token(self) -> FloatArray:
        """Return the prefills of other requests per output token of one request."""
        return (self.batch - 1.0) / self.output_len


@dataclass(frozen=True)
class TokenTime:
    """Seconds per output token, split into decode and prefill.

    Attributes
    ----------
    step_s
        Seconds of one decode step at the mean context.
    prefill_s
        Seconds of the other requests' prefills per output token.
    total
        Sum of both, with its 90 % interval.
    roofline_s
        Roofline seconds of both, operation by operation.
    bound_s
        Lower bound from the datasheet with perfect overlap: the larger of the time of all FLOPs at peak and the
        time of the decode step's bytes at full bandwidth.
    """

    step_s: FloatArray
    prefill_s: FloatArray
    total: Estimate
    roofline_s: FloatArray
    bound_s: FloatArray

    def tpot_s(self, overheads: ServingOverheads = NOT_FITTED) -> FloatArray:
        """Return the mean seconds per output token of an engine."""
        return self.step_s + overheads.share * self.prefill_s + overheads.host_s


def _datasheet_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Return the datasheet's compute and memory seconds, each summed over the operations."""
    zero = np.zeros_like(step.seconds)
    return sum((part.compute_s for part in step.parts), zero), sum((part.memory_s for part in step.parts), zero)


def token_time(model: Model, deployment: Deployment, runs: ServingRuns) -> TokenTime:
    """Estimate decode and prefill seconds per output token.

    A decode step has the mean context: the input plus half the output. A prefill is a forward pass over the whole
    input, whose tokens attend to half of it on average.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> runs = ServingRuns(np.array([1.0, 64.0]), np.array(1024.0), np.array(256.0))
    >>> found = token_time(catalog.model("llama-3.1-8b"), deployment, runs)
    >>> bool(found.prefill_s[0] == 0.0), bool(found.tpot_s()[1] > 2 * found.tpot_s()[0])
    (True, True)
    """
    step = target_step(model, deployment, batch=runs.batch, context=runs.input_len + 0.5 * runs.output_len)
    prefill = target_step(model, deployment, batch=1, context=0.5 * runs.input_len, tokens=runs.input_len)
    count = runs.prefills_per_token()
    prefill_s = count * prefill.seconds
    total_s = step.seconds + prefill_s
    # np.hypot is the quadrature of two deviations; `quadrature` would change the last bit of published predictions
    down = np.hypot(step.time.down, count * prefill.time.down)
    up = np.hypot(step.time.up, count * prefill.time.up)
    compute_s, memory_s = _datasheet_sums(step)
    prefill_compute_s, _ = _datasheet_sums(prefill)
    return TokenTime(
        step_s=step.seconds,
        prefill_s=prefill_s,
        total=Estimate(total_s, total_s - down, total_s + up),
        roofline_s=step.datasheet_s + count * prefill.datasheet_s,
        bound_s=np.maximum(memory_s, compute_s + count * prefill_compute_s),
    )


def in_fit_half(tp: ArrayLike, input_len: ArrayLike, output_len: ArrayLike) -> NDArray[np.bool_]:
    """Return which (tp, input, output) groups are used to fit the scalars; the others are held out.

    The choice is a hash of the group, so it does not depend on the file that holds the group.

    Parameters
    ----------
    tp, input_len, output_len
        Whole numbers of at least 1; they broadcast.

    Examples
    --------
    >>> in_fit_half([2, 2, 4], [1024, 8192, 1024], 1024).shape
    (3,)
    """
    groups = (("tp", tp), ("input_len", input_len), ("output_len", output_len))
    code = column_hash([whole(name, value, 1) for name, value in groups])
    half: NDArray[np.bool_] = code % np.uint64(2) == 0
    return half


def fit(step_s: FloatArray, prefill_s: FloatArray, measured_s: FloatArray) -> ServingOverheads:
    """Fit the two scalars by the smallest mean absolute percentage error.

    The problem is a linear programme. Least squares would follow the few runs that are 30 % off, for example on a
    slow GPU.

    Parameters
    ----------
    step_s, prefill_s
        Fields of `TokenTime`, shape (runs,).
    measured_s
        Measured seconds per output token, shape (runs,).

    Raises
    ------
    InputError
        If there are fewer than `MIN_FIT_ROWS` runs.

    Examples
    --------
    >>> step, prefill = np.linspace(0.01, 0.02, 6), np.array([1.0, 5, 2, 8, 3, 4]) * 1e-3
    >>> found = fit(step, prefill, step + 0.5 * prefill + 1e-3)
    >>> round(found.share, 6), round(found.host_s, 9)
    (0.5, 0.001)
    """
    from scipy.optimize import linprog

    count = measured_s.size
    if count < MIN_FIT_ROWS:
        raise fail("rows", count, f"must be at least {MIN_FIT_ROWS} to fit two scalars", "leave out --fit-half")
    # unknowns: share, host seconds over the median run (both are then of order 1), and one error per run
    scale = float(np.median(measured_s))
    slope = np.stack([prefill_s, np.full(count, scale)], axis=1) / measured_s[:, None]
    target = 1.0 - step_s / measured_s
    identity = np.eye(count)
    found = linprog(
        np.concatenate([np.zeros(2), np.ones(count)]),
        A_ub=np.block([[slope, -identity], [-slope, -identity]]),
        b_ub=np.concatenate([target, -target]),
        bounds=[(0.0, 1.0), (0.0, None), *[(0.0, None)] * count],
        method="highs",
    )
    share, host = (float(value) for value in found.x[:2])
    return ServingOverheads(share=min(max(share, 0.0), 1.0), host_s=max(host, 0.0) * scale)
