"""Descriptions of operations: which kernels are fitted, and how a forward pass uses them.

An `Operation` is a kind of kernel that benchmarks measure; rows of the kernels CSV name it in their column ``op``.
An `OpKind` is a kind of operation in a forward pass (`scylla_sim.ops.op.Op`). The two usually coincide. A grouped
GEMM, which has no table of measurements, is estimated from the fitted GEMM kernels.

Calibration, prediction and the command line read these descriptions and never branch on an operation's name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.model import KernelModel, evaluate
from scylla_sim.ops.op import WORK, Columns
from scylla_sim.specs.hardware import Hardware

Labels = Mapping[str, NDArray[np.str_]]
"""Text columns of the kernels CSV."""


# -- Looking up a fitted kernel --------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelQuery:
    """Properties by which a fitted kernel is looked up.

    Attributes
    ----------
    dtype, kv_dtype
        Data types of the weights and of the KV cache.
    sources
        Libraries or frameworks whose own kernels are preferred, in this order.
    values
        Values of the operation's ``group_columns``, for example the head size.
    """

    dtype: str
    kv_dtype: str = ""
    sources: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


def with_sources(sources: tuple[str, ...], group: str) -> tuple[str, ...]:
    """Return the names of a group, first those of single libraries or frameworks, then the general one.

    Examples
    --------
    >>> with_sources(("deepgemm", "", "vllm"), "fp8")
    ('fp8@deepgemm', 'fp8@vllm', 'fp8')
    """
    return (*(f"{group}@{source}" for source in sources if source), group)


def lookup_by_dtype(query: KernelQuery, fitted: Collection[str]) -> tuple[str, ...]:
    """Return the groups of a weight data type, best first."""
    return with_sources(query.sources, query.dtype)


def lookup_by_kv_dtype(query: KernelQuery, fitted: Collection[str]) -> tuple[str, ...]:
    """Return the groups of a KV cache data type, best first."""
    return with_sources(query.sources, query.kv_dtype)


def groups_by_dtype(labels: Labels, numbers: Columns) -> NDArray[np.str_]:
    """Return the group of each row: its weight data type."""
    return labels["dtype"]


def groups_by_kv_dtype(labels: Labels, numbers: Columns) -> NDArray[np.str_]:
    """Return the group of each row: its KV cache data type."""
    return labels["kv_dtype"]


# -- Reading tables and fitting --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnRule:
    """A rule that relates several columns of a row.

    Attributes
    ----------
    column
        Column that an error names.
    broken
        Columns -> mask of the rows that break the rule. NaN marks rows of other operations; they never break the
        rule.
    text
        Columns and row -> wording of the rule, for example ``must divide num_heads=32``.
    """

    column: str
    broken: Callable[[Columns], NDArray[np.bool_]]
    text: Callable[[Columns, int], str]


@dataclass(frozen=True)
class TableColumns:
    """Columns of an operation in the kernels CSV.

    Attributes
    ----------
    required
        Columns that every row needs.
    optional
        Columns that may be absent, with the default of an empty cell.
    together
        Optional columns that need each other: a file that has one has to have all.
    fractional
        Columns that need not hold whole numbers.
    may_be_zero
        Columns that may hold 0; optional columns with default 0 always may.
    needs_dtype
        Whether an empty ``dtype`` is an error; otherwise it means ``bfloat16``.
    derived
        Columns to compute where the file has none of ``together``.
    rules
        Checks across columns.
    """

    required: tuple[str, ...]
    optional: Mapping[str, float] = field(default_factory=dict)
    together: tuple[str, ...] = ()
    fractional: tuple[str, ...] = ()
    may_be_zero: tuple[str, ...] = ()
    needs_dtype: bool = True
    derived: Callable[[Columns], Mapping[str, FloatArray]] | None = None
    rules: tuple[ColumnRule, ...] = ()


@dataclass(frozen=True)
class FitSettings:
    """Settings of the fit of an operation's kernel models.

    Attributes
    ----------
    min_rows
        Minimum number of rows of a group. The prior is more accurate than a fit to fewer rows.
    residual_scale
        Typical log error of one row, where the robust loss turns from quadratic to linear.
    size_columns
        Columns whose product is the size of a shape. A group whose sizes differ by less than a factor of 4 is
        refused, because latency and bandwidth cannot be told apart.
    distinct_columns
        Further columns that distinguish shapes but do not count as size.
    cv_groups
        Columns that rows of one cross-validation group share. A group is on one side of every split.
    min_cv_groups
        Minimum number of cross-validation groups; with fewer, slices or single rows are held out.
    slice_columns
        Columns that rows of one slice of a model share. With too few cross-validation groups, slices are held out.
    leave_one_group_out
        Whether each group is a fold of its own, as long as there are few.
    outlier_rows
        Largest ``m`` of rows that something else may have slowed; their loss penalizes slow rows less. 0: none.
    """

    min_rows: int
    residual_scale: float
    size_columns: tuple[str, ...]
    cv_groups: tuple[str, ...]
    distinct_columns: tuple[str, ...] = ()
    min_cv_groups: int = 8
    slice_columns: tuple[str, ...] = ()
    leave_one_group_out: bool = False
    outlier_rows: float = 0.0


# -- Use in a forward pass -------------------------------------------------------------------------------------


def same_columns(c: Columns) -> Columns:
    """Return the columns unchanged."""
    return c


@dataclass(frozen=True)
class Execution:
    """One way to estimate an operation from the fitted kernels of an `Operation`.

    Attributes
    ----------
    operation
        Name of the operation whose fitted kernels are used.
    columns
        Conversion of the shape columns to those of that operation.
    values
        Fixed values of the ``group_columns`` of that operation; others are read from the columns.
    seconds
        Formula of the part of the kernel that is executed; the whole kernel model by default.
    parts
        Equal parts of a measured kernel, of which one is executed. The interval is that of the whole kernel.
    extra_seconds
        Seconds to add to the kernel model, from the original columns.
    fallback
        Whether the kernels are of another kind than the operation. The interval is then widened, and the evidence
        is ``theory``.
    """

    operation: str
    columns: Callable[[Columns], Columns] = same_columns
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: Callable[[KernelModel, Any, Columns, Rates], FloatArray] = evaluate
    parts: float = 1.0
    extra_seconds: Callable[[Columns, Rates], FloatArray] | None = None
    fallback: bool = False


TENSOR_CORES, MEMORY, LINK = "tensor cores", "memory", "link"
"""Resources of a device: arithmetic on weights, KV cache or states, copies of activations, links between GPUs."""


@dataclass(frozen=True)
class OpKind:
    """One kind of operation in a forward pass.

    Attributes
    ----------
    name
        ``kind`` of `scylla_sim.ops.op.Op`.
    executions
        Ways to estimate it. The first whose data type was fitted is used, otherwise the last.
    resource
        Resource that the operation occupies: `TENSOR_CORES`, `MEMORY` or `LINK`.
    power_limited
        Whether the power limit of a GPU may slow it.
    depends_on_graph
        Whether its kernels differ inside and outside a CUDA graph.
    correlation_exponent
        Exponent c: errors of one kernel at query rows that differ by a factor r correlate as r**-c. ``None`` counts
        them as independent, because no data show the kernel at two sizes on one weight or cache.
    attention
        Kind of attention, ``grouped`` or ``mla``, whose kernel for several query tokens depends on the engine
        (`scylla_sim.specs.attention_backend`); empty for other operations.
    """

    name: str
    executions: tuple[Execution, ...]
    resource: str = TENSOR_CORES
    power_limited: bool = False
    depends_on_graph: bool = False
    correlation_exponent: float | None = None
    attention: str = ""

    @property
    def fitted_together(self) -> bool:
        """Whether one measurement covers several operations of the kind, so that their errors are one."""
        return any(execution.parts > 1.0 for execution in self.executions)

    @property
    def reads_kv(self) -> bool:
        """Whether it reads the KV cache, by `scylla_sim.ops.op.WORK`."""
        return WORK[self.name].reads_kv

    def compute_dtype(self, dtype: str) -> str:
        """Return the data type that the operation computes in, for weights of a data type.

        Kernels that read the KV cache compute in 16 bits for every weight data type except float32.
        """
        return "bfloat16" if self.reads_kv and dtype != "float32" else dtype


# -- One operation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One kind of kernel that benchmarks measure and calibrations fit.

    Attributes
    ----------
    name
        Value of the column ``op`` in the kernels CSV.
    models
        All kernel models of the operation.
    models_for
        Data type, device and library -> kernel models that may describe the operation, the likeliest first. A fit
        keeps the best one. The library is empty where it is not known. An empty result means that no model fits
        the device.
    roofline_seconds
        Datasheet roofline, the baseline beside every error.
    table
        Columns in the kernels CSV.
    fit
        Settings of the fit.
    group_names
        Labels and numbers of rows -> group of each row. Each group is fitted on its own.
    lookup
        Query and names of the fitted groups -> groups to use, best first; the general group is last.
    kinds
        Kinds of operations of a forward pass that this operation describes.
    group_columns
        Numeric columns that select a group.
    per_library
        Whether the libraries of one framework have separate fits.
    l2_reuse_in_serving
        Whether data stays in L2 between the kernels of a step. Weights and KV caches do not stay there; activations
        do.
    executions
        Ways to estimate a row of the kernels CSV, as in `OpKind`; the fitted kernel alone by default.
    """

    name: str
    models: tuple[KernelModel, ...]
    models_for: Callable[[str, Hardware, str], tuple[KernelModel, ...]]
    roofline_seconds: Callable[[Columns, Rates], FloatArray]
    table: TableColumns
    fit: FitSettings
    kinds: tuple[OpKind, ...]
    group_names: Callable[[Labels, Columns], NDArray[np.str_]] = groups_by_dtype
    lookup: Callable[[KernelQuery, Collection[str]], tuple[str, ...]] = lookup_by_dtype
    group_columns: tuple[str, ...] = ()
    per_library: bool = True
    l2_reuse_in_serving: bool = False
    executions: tuple[Execution, ...] = ()

    @property
    def reads_kv(self) -> bool:
        """Whether the stored elements are those of the KV cache."""
        return any(kind.reads_kv for kind in self.kinds)
