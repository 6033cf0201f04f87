"""Kernel models: closed-form seconds of one kernel with a few positive parameters.

A kernel model starts from the datasheet roofline and adds what real kernels do: achieved fractions, launch latency,
tiles and split-K plans, waves, caches. Every parameter has a prior, so that few measured rows are enough to fit.

The parameters of a model are the fields of a frozen dataclass, and formulas use them by name::

    @dataclass(frozen=True)
    class Copy:
        bandwidth_fraction: float = parameter(0.8, 0.5, "Achieved fraction of the memory bandwidth.")
        launch_s: float = parameter(1.5e-6, 1.5, "Launch latency.")

Notes
-----
The priors of the GEMM models are joint fits to the training shapes of H100, B300, GB200 and GB300. There is one fit
for 16 bits, one for fp8, and one for fp8_block together with nvfp4. H200 and B200 are left out, because fits of
H100 are transferred to them and scored there. The joint fits use symmetric residuals for all rows. The quantizer's
``row_s`` and ``cold_ratio``, the ``throttle`` of 8 bits, and all values of fp8_block and nvfp4 are of earlier or
other fits, because the four devices do not agree on them. The table gives the median error in 16 bits, up to 512
rows, on a device that the joint fit leaves out.

========================  =====  =====  =====
Residuals                 B300   GB200  GB300
========================  =====  =====  =====
symmetric                 5.1 %  5.3 %  5.2 %
one-sided                 5.1 %  5.8 %  5.2 %
========================  =====  =====  =====
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.ops.op import Columns

BLOCK = 16384
"""Rows evaluated at once; the intermediates of one block stay in the L2 cache of a CPU core."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel model.

    Attributes
    ----------
    name
        Name in the formula and in calibration files.
    prior
        Prior median; positive, in SI units.
    spread
        Standard deviation of the logarithm under the prior.
    doc
        Meaning, in one sentence.
    """

    name: str
    prior: float
    spread: float
    doc: str


def parameter(prior: float, spread: float, doc: str) -> Any:
    """Return a dataclass field that declares one parameter; see `Parameter` for the arguments."""
    return field(default=prior, metadata={"spread": spread, "doc": doc})


def values_of(parameters: Any) -> tuple[float, ...]:
    """Return the values of a parameter dataclass in the order of its fields."""
    return tuple(getattr(parameters, item.name) for item in fields(parameters))


@dataclass(frozen=True)
class KernelModel:
    """One closed form for the seconds of a kernel.

    Attributes
    ----------
    name
        Name in calibration files.
    prior
        Parameter dataclass at its prior medians.
    columns
        Shape columns that the formula reads.
    seconds
        Formula: parameters, columns and device rates -> seconds. A fit calls it with one value of a parameter for
        each row, so a parameter may be an array, and no branch may depend on it.
    starts
        Alternative starting values for parameters in which the formula jumps. A fit tries each alternative,
        because no gradient leads from one to another.
    """

    name: str
    prior: Any
    columns: tuple[str, ...]
    seconds: Callable[[Any, Columns, Rates], FloatArray]
    starts: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields."""
        names = {item.name for item in fields(self.prior)}
        for start in self.starts:
            if not set(start) <= names:
                raise ValueError(f"starts of {self.name} name unknown parameters: {sorted(set(start) - names)}")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters in the order of the calibration files."""
        return tuple(
            Parameter(item.name, getattr(self.prior, item.name), item.metadata["spread"], item.metadata["doc"])
            for item in fields(self.prior)
        )

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(item.name for item in fields(self.prior))

    def with_values(self, values: Iterable[float | FloatArray]) -> Any:
        """Return the parameter dataclass with values in the order of its fields; an array has one value per row."""
        return type(self.prior)(*values)

    def starting_points(self) -> list[FloatArray]:
        """Return the parameter values from which a fit starts: the prior, or one set for each of ``starts``."""
        return [np.array(values_of(replace(self.prior, **start))) for start in self.starts or ({},)]


def evaluate(model: KernelModel, parameters: Any, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of many shapes, computed in blocks so that memory stays bounded.

    Parameters
    ----------
    parameters
        Parameter dataclass of the model.
    c
        Columns that broadcast against each other.
    r
        Datasheet rates of the device.

    Returns
    -------
    ndarray
        Seconds, in the common shape of the columns.

    Examples
    --------
    >>> from scylla_sim.kernels.device_rates import rates
    >>> from scylla_sim.kernels.elementwise import ELEMENTWISE_COPY
    >>> from scylla_sim.specs import catalog
    >>> h100 = rates(catalog.hardware("h100-sxm"), "bfloat16")
    >>> t = evaluate(ELEMENTWISE_COPY, ELEMENTWISE_COPY.prior, {"bytes": np.array([1e6, 1e9])}, h100)
    >>> t.shape
    (2,)
    """
    arrays = np.broadcast_arrays(*(np.asarray(c[name], dtype=np.float64) for name in model.columns))
    shape = arrays[0].shape
    flat = [array.reshape(-1) for array in arrays]
    out = np.empty(flat[0].size)
    for start in range(0, out.size, BLOCK):
        part = {name: column[start : start + BLOCK] for name, column in zip(model.columns, flat)}
        out[start : start + BLOCK] = model.seconds(parameters, part, r)
    return out.reshape(shape)
