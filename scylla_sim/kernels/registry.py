"""All operations and kernel models by name.

A new operation is one module like `scylla_sim.kernels.elementwise` and one entry in `OPERATIONS`. If it occurs in a
forward pass, `scylla_sim.ops.op.WORK` states its FLOPs and bytes.
"""

from __future__ import annotations

from scylla_sim.checks import FloatArray, one_of
from scylla_sim.kernels.all_reduce import ALL_REDUCE
from scylla_sim.kernels.attention import ATTENTION
from scylla_sim.kernels.context_attention import CONTEXT_ATTENTION
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.elementwise import ELEMENTWISE
from scylla_sim.kernels.gemm import GEMM
from scylla_sim.kernels.mla import MLA
from scylla_sim.kernels.model import KernelModel
from scylla_sim.kernels.moe import MOE
from scylla_sim.kernels.operation import Operation, OpKind
from scylla_sim.ops.op import Columns
from scylla_sim.specs.hardware import Hardware

OPERATIONS = {item.name: item for item in (GEMM, ATTENTION, CONTEXT_ATTENTION, MLA, MOE, ALL_REDUCE, ELEMENTWISE)}
"""Operations that benchmarks measure, by the value of the column ``op``."""
_KINDS = {kind.name: kind for item in OPERATIONS.values() for kind in item.kinds}


def operation(name: str) -> Operation:
    """Return an operation by name; `InputError` lists the known names."""
    return OPERATIONS[one_of("op", name, OPERATIONS)]


def kernel_models() -> dict[str, KernelModel]:
    """Return the kernel models of all operations by name.

    Examples
    --------
    >>> kernel_models()["gemm_tiles"].prior.bandwidth_fraction
    0.89
    """
    return {model.name: model for item in OPERATIONS.values() for model in item.models}


def models_for(op: str, dtype: str, hardware: Hardware, *, library: str = "") -> tuple[KernelModel, ...]:
    """Return the kernel models that may describe an operation on a device, the likeliest first.

    Parameters
    ----------
    library
        Library of the measured kernels; empty where it is not known.
    """
    return operation(op).models_for(dtype, hardware, library)


def roofline_seconds(op: str, c: Columns, r: Rates) -> FloatArray:
    """Return the datasheet roofline of an operation, the baseline beside every error.

    It is the larger of FLOPs / peak and bytes / bandwidth. On measured kernels it is 18-95 % too fast.
    """
    return operation(op).roofline_seconds(c, r)


def op_kind(name: str) -> OpKind:
    """Return the description of a kind of operation of a forward pass.

    Examples
    --------
    >>> op_kind("decode_attention").reads_kv
    True
    """
    if name in _KINDS:
        return _KINDS[name]
    kinds = {kind.name: kind for item in OPERATIONS.values() for kind in item.kinds}
    return kinds[one_of("kind", name, kinds)]
