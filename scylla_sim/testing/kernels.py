"""Laws of kernel models, fitted kernels, operations and calibrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.fitted_kernel import LEVELS, FittedKernel, prior_kernel
from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.model import KernelModel, values_of
from scylla_sim.kernels.operation import Operation
from scylla_sim.ops.op import Columns
from scylla_sim.records import dump_json
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.hardware import Hardware
from scylla_sim.testing.requirement import close, never_below, require
from scylla_sim.testing.shapes import WORK, grown, random_shapes


def rates_of_group(operation: Operation, group: str, hardware: Hardware) -> Rates:
    """Return the rates of a device for a group of fitted kernels, whose name begins with its data type.

    Examples
    --------
    >>> from scylla_sim.kernels.registry import operation
    >>> from scylla_sim.specs import catalog
    >>> rates_of_group(operation("decode_attention"), "fp8/128@vllm", catalog.hardware("h100-sxm")).size.stored
    1.0
    """
    name = group.partition("@")[0].partition("/")[0]
    dtype = name if name in DTYPES else "bfloat16"
    if operation.reads_kv:
        return rates(hardware, "bfloat16" if "bf16" in hardware.peak_flop_per_s else "float32", dtype)
    return rates(hardware, dtype)


def check_kernel_model(
    model: KernelModel,
    operation: Operation,
    hardware: Hardware,
    *,
    dtype: str = "bfloat16",
    growing: Sequence[str] | None = None,
) -> None:
    """Check a kernel model at its prior on a device.

    Parameters
    ----------
    dtype
        Data type of the weights; of the KV cache for attention.
    growing
        Columns of which more never takes less time; default: those of `scylla_sim.testing.shapes.WORK`.

    Raises
    ------
    AssertionError
        The message names the law and a shape.

    Examples
    --------
    >>> from scylla_sim.kernels.gemm import GEMM, GEMM_TILES
    >>> from scylla_sim.specs import catalog
    >>> check_kernel_model(GEMM_TILES, GEMM, catalog.hardware("h100-sxm"))
    """
    r = rates_of_group(operation, dtype, hardware)
    check_kernel(prior_kernel(model), operation, r, growing=growing)
    _check_arrays_of_parameters(model, random_shapes(operation), r)


def _check_arrays_of_parameters(model: KernelModel, shapes: Columns, r: Rates) -> None:
    """Check that a formula takes parameters with one value for each row, as a fit gives them."""
    columns = {column: shapes[column] for column in model.columns}
    odd = np.arange(next(iter(columns.values())).size) % 2 == 1
    twice = [2.0 * value for value in values_of(model.prior)]
    mixed = [np.where(odd, more, value) for value, more in zip(values_of(model.prior), twice)]
    one, two, both = (
        model.seconds(model.with_values(p), columns, r) for p in (values_of(model.prior), twice, mixed)
    )
    law = "each row may have its own parameters"
    require(f"kernel model {model.name}", law, close(both, np.where(odd, two, one)), **columns)


def check_kernel(
    kernel: FittedKernel,
    operation: Operation,
    r: Rates,
    *,
    subject: str = "",
    growing: Sequence[str] | None = None,
) -> None:
    """Check a fitted kernel: its seconds, their interval, and its growth with the work.

    Parameters
    ----------
    r
        Rates of the device.
    subject
        Name in messages; default: that of the kernel model.
    growing
        As in `check_kernel_model`.
    """
    name = subject or f"kernel model {kernel.model.name}"
    shapes = random_shapes(operation)
    serving = kernel if operation.l2_reuse_in_serving else kernel.without_l2_reuse
    seconds = kernel.seconds(shapes, r)
    require(name, "seconds are positive and finite", np.isfinite(seconds) & (seconds > 0.0), **shapes)
    found = kernel.interval(seconds)
    inside = never_below(seconds, found.lower) & never_below(found.upper, seconds)
    require(name, "the interval contains the value", inside & (found.lower > 0.0), seconds=seconds)
    alone = np.array([float(kernel.seconds(_row(shapes, at), r)) for at in range(min(seconds.size, 20))])
    first = {key: column[: alone.size] for key, column in shapes.items()}
    require(name, "arrays and single shapes agree", close(seconds[: alone.size], alone), **first)
    for column in WORK.get(operation.name, operation.fit.size_columns) if growing is None else growing:
        before, after = grown(operation, shapes, column)
        less, more = serving.seconds(before, r), serving.seconds(after, r)
        require(name, f"twice the {column} never takes less time", never_below(more, less), **before)
    graph = kernel.in_cuda_graph.seconds(shapes, r)
    require(name, "a kernel in a larger graph takes no longer", never_below(seconds, graph), **shapes)


def _row(columns: Columns, at: int) -> dict[str, FloatArray]:
    return {name: np.asarray(column[at]) for name, column in columns.items()}


def check_operation(operation: Operation, hardware: Hardware, *, dtype: str = "bfloat16") -> None:
    """Check an operation on a device: the roofline, and every kernel model that may describe it there.

    Raises
    ------
    AssertionError
        The message names the law and a shape.
    """
    name, shapes = f"operation {operation.name} on {hardware.name}", random_shapes(operation)
    r = rates_of_group(operation, dtype, hardware)
    least = operation.roofline_seconds(shapes, r)
    require(name, "the roofline is positive and finite", np.isfinite(least) & (least > 0.0), **shapes)
    for model in operation.models_for(dtype, hardware, ""):
        if not r.link_bytes_per_s and "num_gpus" in model.columns:
            continue
        require(name, f"{model.name} reads columns of the operation", set(model.columns) <= set(shapes))
        check_kernel_model(model, operation, hardware, dtype=dtype)
        start = np.array([values_of(model.with_values(np.atleast_1d(p))) for p in model.starting_points()])
        require(name, f"{model.name} starts at positive parameters", start > 0.0)


def check_calibration(calibration: Calibration) -> None:
    """Check every fitted kernel of a calibration, its evidence, and that its file can be read back.

    Raises
    ------
    AssertionError
        The message names the operation, the group, the law and a shape.

    Examples
    --------
    >>> check_calibration(device_calibration.shipped("l40s"))
    """
    from scylla_sim.kernels.registry import operation

    name = f"calibration {calibration.device}"
    for op, groups in calibration.kernels.items():
        for group, kernel in groups.items():
            subject = f"{name}, {op} {group}"
            require(subject, "the evidence has a known level", kernel.evidence in LEVELS, level=kernel.evidence)
            check_kernel(
                kernel, operation(op), rates_of_group(operation(op), group, calibration.hardware), subject=subject
            )
            wider = kernel.transferred(same_family=True)
            require(
                subject,
                "a transferred fit is less sure",
                wider.band.lower_ratio <= kernel.band.lower_ratio
                and wider.band.upper_ratio >= kernel.band.upper_ratio,
            )
    content = device_calibration.to_json(calibration)
    again = device_calibration.to_json(device_calibration.from_json(content))
    require(name, "the file holds all of it", dump_json(again) == dump_json(content))
