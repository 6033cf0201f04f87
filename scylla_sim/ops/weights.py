"""Weights of each operation of a model, and their bytes where operations have data types of their own."""

from __future__ import annotations

from collections.abc import Mapping

from scylla_sim.ops.forward import forward_ops
from scylla_sim.ops.op import Op
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.model import Model

LAYER_PREFIXES = ("sliding_", "full_")
"""Prefixes of operations in models whose attention layers have several shapes."""


def base_name(name: str) -> str:
    """Return the name of an operation without the prefix of its layers.

    Examples
    --------
    >>> base_name("sliding_qkv_proj"), base_name("qkv_proj")
    ('qkv_proj', 'qkv_proj')
    """
    for prefix in LAYER_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _weights(op: Op, model: Model) -> float:
    """Return the weights of all executions of an operation; experts count whether they are used or not."""
    if "n" not in op.columns or "k" not in op.columns:
        return 0.0
    copies = 1.0
    if op.kind == "expert_gemm" and model.moe is not None:
        copies = float(model.moe.num_experts)
    elif op.kind == "grouped_gemm":
        copies = float(op.columns["groups"])
    return op.count * copies * float(op.columns["n"]) * float(op.columns["k"])


def op_weights(model: Model, tp: int = 1) -> dict[str, float]:
    """Return the number of weights of one TP rank by operation, the embedding left out.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> found = op_weights(catalog.model("llama-3.1-8b"))
    >>> round(found["gate_up_proj"] / 1e9, 2), round(sum(found.values()) / 1e9, 2)
    (3.76, 7.5)
    """
    found: dict[str, float] = {}
    for op in forward_ops(model, batch=1, context=1, tp=tp):
        count = _weights(op, model)
        if count:
            found[base_name(op.name)] = found.get(base_name(op.name), 0.0) + count
    return found


def exception_bytes(model: Model, dtype: str, op_dtypes: Mapping[str, str], tp: int = 1) -> float:
    """Return the additional bytes on one TP rank of the decoder weights whose data type is not ``dtype``.

    Parameters
    ----------
    dtype
        Data type of most weights.
    op_dtypes
        Operation -> data type of its weights. The vocabulary projection is left out.
    tp
        TP ranks. Each rank has all weights of the operations that ranks replicate.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> round(exception_bytes(catalog.model("llama-3.1-8b"), "fp8", {"o_proj": "bfloat16"}) / 1e9, 2)
    0.54
    """
    if not op_dtypes:
        return 0.0
    stored = DTYPES[dtype].stored_bytes
    weights = op_weights(model, tp)
    return sum(
        (DTYPES[other].stored_bytes - stored) * weights.get(op, 0.0)
        for op, other in op_dtypes.items()
        if op != "lm_head"
    )
