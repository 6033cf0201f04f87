"""FLOPs and bytes of the cases, from the operation lists of `scylla_sim.ops`.

The simulator and the measured records must state the same work for the same shape. This module therefore counts
nothing itself. It lists the operations that a case runs and adds up what `scylla_sim.ops.op.Op` states for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gpu_validate.decoding.tree_layout import TreeTables
from gpu_validate.suites.case import ELEMENT_BYTES
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.ops.forward import forward_ops
from scylla_sim.ops.op import Op
from scylla_sim.specs.model import Model

HEAD = "lm_head"
"""Operation of a forward pass whose weights stay in 16 bits when those of the layers are quantized."""


@dataclass(frozen=True)
class Cost:
    """Work of one call.

    Attributes
    ----------
    flop
        Useful floating-point operations.
    bytes
        Device memory traffic in bytes: each tensor of each operation once.
    """

    flop: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        """Return the work of both calls."""
        return Cost(self.flop + other.flop, self.bytes + other.bytes)

    def times(self, count: int) -> Cost:
        """Return the work of ``count`` such calls."""
        return Cost(count * self.flop, count * self.bytes)


def operation(kind: str, **columns: float) -> Op:
    """Return one operation from the numbers in its shape columns.

    Examples
    --------
    >>> float(operation("gemm", m=1, n=4096, k=4096).flops())
    33554432.0
    """
    return Op(kind, kind, 1, {name: np.asarray(float(value)) for name, value in columns.items()})


def operations_cost(ops: Iterable[Op], dtype: str, *, layer_dtype: str = "") -> Cost:
    """Add up the FLOPs and bytes of operations.

    Parameters
    ----------
    ops
        Operations whose columns are single numbers.
    dtype
        Dtype of activations, KV cache and vocabulary projection, and of all weights by default.
    layer_dtype
        Dtype of the layers' weights where it differs, as with 8-bit weights.

    Examples
    --------
    >>> operations_cost([operation("gemm", m=1, n=4096, k=4096)], "bfloat16")
    Cost(flop=33554432.0, bytes=33570816.0)
    """
    flop = size = 0.0
    for op in ops:
        flop += float(op.flops())
        size += float(op.memory_bytes(layer_dtype if layer_dtype and op.name != HEAD else dtype, dtype))
    return Cost(flop, size)


def pass_ops(model: Model, batch: int, context: int, tokens: int, dtype: str) -> list[Op]:
    """List the operations of one forward pass.

    Parameters
    ----------
    batch
        Sequences.
    context
        Tokens of each sequence in the KV cache before the pass.
    tokens
        New tokens of each sequence. Attention also reads the keys and values of the new tokens, so the operations
        of this pass are those of `scylla_sim.ops.forward.forward_ops` at ``context + tokens`` cached tokens.
    """
    return forward_ops(model, batch=batch, context=context + tokens, tokens=tokens, dtype=dtype)


def pass_cost(model: Model, batch: int, context: int, tokens: int, dtype: str, *, layer_dtype: str = "") -> Cost:
    """Return the work of one forward pass; see `pass_ops` and `operations_cost`."""
    return operations_cost(pass_ops(model, batch, context, tokens, dtype), dtype, layer_dtype=layer_dtype)


def model_bytes(specs: Iterable[Model], tokens: int, dtype: str) -> float:
    """Return the bytes of some models, each with its weights and a KV cache of ``tokens`` tokens."""
    elements = sum(spec.parameters + spec.kv_elements_per_token * tokens for spec in specs)
    return ELEMENT_BYTES[dtype] * elements


def head_ops(spec: Model, target: Model, batch: int, context: int, tokens: int, *, fed: bool) -> list[Op]:
    """List the operations of one pass of a `gpu_validate.models.eagle.EagleDraft` in single precision.

    A projection joins the target's feature and the embedding. The draft's own layers follow. A second projection
    returns to the target's width, where the target's vocabulary projection is applied.
    """
    rows, width = batch * tokens, target.hidden_size
    layers = [op for op in pass_ops(spec, batch, context, tokens, "float32") if op.name != HEAD]
    return [
        *layers,
        operation("gemm", m=rows, n=spec.hidden_size, k=width * (1 + fed)),
        operation("gemm", m=rows, n=width, k=spec.hidden_size),
        operation("gemm", m=rows, n=spec.vocab_size, k=width),
    ]


def draft_widths(tree: DraftTree) -> Sequence[int]:
    """Return the tokens that each draft pass of a tree reads in every sequence, first pass first."""
    return [level.rows.numel() for level in TreeTables.of(tree).levels]


def cycle_cost(
    specs: tuple[Model, Model],
    tree: DraftTree | None,
    shape: tuple[int, int],
    dtype: str,
    *,
    verify: bool = True,
    draft: bool = True,
) -> Cost:
    """Return the work of one draft-verify cycle, or of a part of it.

    Parameters
    ----------
    specs
        Target and draft.
    tree
        Draft tree; without one, the work is that of one plain step of the target.
    shape
        ``(batch, context)``.
    verify, draft
        Whether the target's pass over the tree, and the draft's pass over each level, are included.
    """
    batch, context = shape
    total = Cost(0.0, 0.0)
    if verify:
        total += pass_cost(specs[0], batch, context, tree.verify_tokens if tree else 1, dtype)
    for width in draft_widths(tree) if tree and draft else ():
        total += pass_cost(specs[1], batch, context, width, dtype)
    return total
