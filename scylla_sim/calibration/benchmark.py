"""Seconds of the rows of a kernels CSV, as a benchmark of one kernel measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration import op_time
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.kernel_table import LABELS, KernelTable
from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.operation import Execution, KernelQuery
from scylla_sim.kernels.registry import OPERATIONS, operation
from scylla_sim.number_columns import errors_at
from scylla_sim.ops.op import Columns
from scylla_sim.stats.estimate import Estimate, with_deviations


def _alike(rows: KernelTable) -> Iterator[NDArray[np.intp]]:
    """Yield the positions of rows that one fitted kernel predicts: equal labels and group columns."""
    group = np.zeros(len(rows), dtype=np.int64)
    selecting = dict.fromkeys(name for item in OPERATIONS.values() for name in item.group_columns)
    for column in (
        *(rows.labels[name] for name in LABELS),
        *(rows.numbers[name] for name in selecting if name in rows.numbers),
    ):
        values, code = np.unique(column, return_inverse=True)
        group = group * values.size + code
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    yield from np.split(order, starts[1:])


def benchmark_seconds(
    rows: KernelTable, calibrations: Mapping[str, Calibration], *, place: Callable[[int], str] = "row {}".format
) -> dict[str, FloatArray]:
    """Return the predicted seconds of each row, with their 90 % interval and the datasheet roofline.

    A row is predicted as a benchmark measures it: weights that stay in L2 between its calls are read from L2.
    Attention with several query tokens runs in the backend of the framework of its row.

    Parameters
    ----------
    calibrations
        Calibration of each device in the rows.
    place
        Function from the index of a row to its place, for error messages.

    Returns
    -------
    dict
        Arrays ``predicted_s``, ``naive_s``, ``lower_s`` and ``upper_s``, one value per row.
    """
    out = {name: np.full(len(rows), np.nan) for name in ("predicted_s", "naive_s", "lower_s", "upper_s")}
    for at in _alike(rows):
        with errors_at(place, int(at[0])):
            naive, seconds = _seconds_alike(rows, at, calibrations[str(rows.labels["device"][at[0]])])
        out["naive_s"][at] = naive
        out["predicted_s"][at], out["lower_s"][at], out["upper_s"][at] = seconds.value, seconds.lower, seconds.upper
    return out


def _seconds_alike(
    rows: KernelTable, at: NDArray[np.intp], calibration: Calibration
) -> tuple[FloatArray, Estimate]:
    """Return the roofline and the predicted seconds of rows that one fitted kernel predicts."""
    label = {name: str(rows.labels[name][at[0]]) for name in LABELS}
    kernel_op = operation(label["op"])
    kv_dtype = label["kv_dtype"] if kernel_op.reads_kv else ""
    columns: Columns = {name: numbers[at] for name, numbers in rows.numbers.items()}
    r = rates(calibration.hardware, label["dtype"] or "bfloat16", kv_dtype)
    query = KernelQuery(label["dtype"], kv_dtype, (label["kernel_source"], label["framework"]))
    executions = kernel_op.executions or (Execution(kernel_op.name),)
    execution, kernel = op_time.choose(executions, calibration, columns, query)
    backend = op_time.backend_of(
        kernel_op.kinds[0], columns, calibration.hardware, framework=label["framework"], kv_dtype=kv_dtype
    )
    found = op_time.estimate_by(backend, execution, kernel, columns=columns, r=r)
    sources = found.sources.values()
    seconds = with_deviations(
        found.seconds.value,
        (found.seconds.down, *(one.down for one in sources)),
        (found.seconds.up, *(one.up for one in sources)),
    )
    return kernel_op.roofline_seconds(columns, r), seconds
