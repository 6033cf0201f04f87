"""Time per output token of aggregated serving: decode steps that wait, now and then, for somebody's prefill.

With ``batch`` requests in flight, each of them is prefilled once while any one of them decodes. Its own prefill is
over before its first token and so is no part of its time per output token; those of the ``batch - 1`` others are.
Two scalars describe an engine: the share of those prefills that decoding waits for, and host seconds a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.prediction.steps import Deployment, Step, target_step
from scylla_sim.specs.model import Model
from scylla_sim.stats.split import column_hash

MIN_FIT_ROWS = 4
"""Fewer runs than this leave nothing over to judge two scalars by."""


@dataclass(frozen=True)
class Overheads:
    """What an engine adds to the kernels.

    Attributes
    ----------
    share
        Part of the other requests' prefills that decoding waits for, in [0, 1]. 1: prefills are spread over time
        and stop decoding, or slow it by as much. About a half: requests come in waves, and wait for the earlier
        half of their wave before their first token.
    host_s
        Seconds a decode step that no kernel accounts for.
    """

    share: float = 1.0
    host_s: float = 0.0

    def __post_init__(self) -> None:
        in_range("share", self.share, 0, 1)
        in_range("host_s", self.host_s, 0)


NOTHING_FITTED = Overheads()
"""Prefills stop decoding, the host costs nothing."""


@dataclass(frozen=True)
class Runs:
    """Serving runs of one model on one device and one number of ranks; arrays of one shape."""

    batch: FloatArray
    input_len: FloatArray
    output_len: FloatArray

    def __post_init__(self) -> None:
        for name in ("batch", "input_len", "output_len"):
            positive(name, getattr(self, name))
            whole(name, getattr(self, name))

    def prefills_per_token(self) -> FloatArray:
        """Prefills of other requests for each output token of one."""
        return (self.batch - 1.0) / self.output_len


@dataclass(frozen=True)
class Work:
    """Seconds of a decode step, and of the prefills that fall to it, with what the datasheet says of both.

    Attributes
    ----------
    step_s, waiting_s
        One decode step at the mean context; prefill of the other requests per output token.
    lower_s, upper_s
        90 % interval of their sum.
    naive_s
        The same sum by the datasheet's roofline, operation by operation.
    least_s
        The least that the datasheet allows for this work, however it is overlapped: all FLOPs at peak, or the bytes
        of the decode step at full bandwidth, whichever takes longer.
    """

    step_s: FloatArray
    waiting_s: FloatArray
    lower_s: FloatArray
    upper_s: FloatArray
    naive_s: FloatArray
    least_s: FloatArray

    def tpot_s(self, overheads: Overheads = NOTHING_FITTED) -> FloatArray:
        """Mean seconds per output token."""
        return self.step_s + overheads.share * self.waiting_s + overheads.host_s


def _sums(step: Step) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute and memory seconds of the datasheet, and its roofline operation by operation."""
    zero = np.zeros_like(step.seconds)
    return (
        sum((part.compute_s for part in step.parts), zero),
        sum((part.memory_s for part in step.parts), zero),
        step.datasheet_s,
    )


def work(model: Model, deployment: Deployment, runs: Runs) -> Work:
    """Price decode and prefill of serving runs.

    A decode step sees the mean context, input plus half the output. A prefill is a forward pass of the whole input
    whose tokens attend half of it on average.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> runs = Runs(np.array([1.0, 64.0]), np.array(1024.0), np.array(256.0))
    >>> found = work(catalog.model("llama-3.1-8b"), deployment, runs)
    >>> bool(found.waiting_s[0] == 0.0), bool(found.tpot_s()[1] > 2 * found.tpot_s()[0])
    (True, True)
    """
    step = target_step(model, deployment, batch=runs.batch, context=runs.input_len + 0.5 * runs.output_len)
    prefill = target_step(model, deployment, batch=1, context=0.5 * runs.input_len, tokens=runs.input_len)
    often = runs.prefills_per_token()
    waiting = often * prefill.seconds
    total = step.seconds + waiting
    down = np.hypot(step.seconds - step.lower, often * (prefill.seconds - prefill.lower))
    up = np.hypot(step.upper - step.seconds, often * (prefill.upper - prefill.seconds))
    compute_s, memory_s, naive_s = _sums(step)
    prefill_compute_s, _, prefill_naive_s = _sums(prefill)
    return Work(
        step_s=step.seconds,
        waiting_s=waiting,
        lower_s=total - down,
        upper_s=total + up,
        naive_s=naive_s + often * prefill_naive_s,
        least_s=np.maximum(memory_s, compute_s + often * prefill_compute_s),
    )


def in_fit_half(tp: ArrayLike, input_len: ArrayLike, output_len: ArrayLike) -> NDArray[np.bool_]:
    """Which (ranks, input, output) groups fit the scalars; the others score them.

    A hash, so that a group falls on the same side whatever file it stands in.

    Examples
    --------
    >>> in_fit_half([2, 2, 4], [1024, 8192, 1024], 1024).shape
    (3,)
    """
    groups = (("tp", tp), ("input_len", input_len), ("output_len", output_len))
    code = column_hash([whole(name, value, 1) for name, value in groups])
    half: NDArray[np.bool_] = code % np.uint64(2) == 0
    return half


def fit(step_s: FloatArray, waiting_s: FloatArray, measured_s: FloatArray) -> Overheads:
    """The two scalars that minimise the mean absolute percentage error: a linear programme with one optimum value.

    Least squares would follow the few runs that are 30 % off (bursts, a slow GPU) instead of the many.

    Raises
    ------
    InputError
        With fewer than `MIN_FIT_ROWS` runs.

    Examples
    --------
    >>> step, waiting = np.linspace(0.01, 0.02, 6), np.array([1.0, 5, 2, 8, 3, 4]) * 1e-3
    >>> found = fit(step, waiting, step + 0.5 * waiting + 1e-3)
    >>> round(found.share, 6), round(found.host_s, 9)
    (0.5, 0.001)
    """
    from scipy.optimize import linprog

    count = measured_s.size
    if count < MIN_FIT_ROWS:
        raise fail("rows", count, f"must be at least {MIN_FIT_ROWS} to fit two scalars", "leave out --fit-half")
    # unknowns: share, host over the median run (so that both are of order 1), and one error a run
    scale = float(np.median(measured_s))
    slope = np.stack([waiting_s, np.full(count, scale)], axis=1) / measured_s[:, None]
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
    return Overheads(share=min(max(share, 0.0), 1.0), host_s=max(host, 0.0) * scale)
