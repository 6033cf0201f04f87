"""Laws of models and drafts: parameters, operations of a pass, and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.forward import check_tensor_parallel, forward_ops, prefill_ops
from scylla_sim.ops.memory import MemoryPlan, draft_parameters, sequence_bytes, weight_bytes
from scylla_sim.ops.op import WORK, Op
from scylla_sim.ops.weights import op_weights
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.model import Model
from scylla_sim.testing.requirement import close, never_below, require

TP = (1, 2, 4, 8)
"""TP ranks that a check tries, as far as they divide the model."""

_BATCH = np.array([1.0, 3.0, 16.0, 200.0])[:, None, None]
_CONTEXT = np.array([1.0, 100.0, 5000.0])[:, None]
_TOKENS = np.array([1.0, 2.0, 8.0])
_GRID: dict[str, Any] = {"batch": _BATCH, "context": _CONTEXT, "tokens": _TOKENS}


def _flops(ops: list[Op]) -> FloatArray:
    return sum((op.flops() for op in ops), np.zeros((4, 3, 3)))


def _bytes(ops: list[Op]) -> FloatArray:
    return sum((op.memory_bytes("bfloat16", "bfloat16") for op in ops), np.zeros((4, 3, 3)))


def possible_ranks(model: Model) -> list[int]:
    """Return the TP ranks of `TP` that divide a model.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> possible_ranks(catalog.model("qwen2.5-0.5b"))
    [1, 2]
    """
    found = []
    for tp in TP:
        try:
            found.append(check_tensor_parallel(model, tp))
        except InputError:
            continue
    return found


def check_model(model: Model) -> None:
    """Check a model: its parameters, the operations of its passes, and its memory.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> check_model(catalog.model("llama-3.1-8b"))
    """
    name = f"model {model.name}"
    require(name, "a token uses at most all weights", 0 < model.active_parameters <= model.parameters)
    weights = sum(op_weights(model).values())
    embedding = 0 if model.tied_embeddings else model.head_parameters
    law = "the operations of a pass read all weights but the embedding"
    require(name, law, close(weights, model.parameters - embedding, 1e-3), operations=weights)
    _check_pass(name, model)
    _check_ranks(name, model)
    _check_memory(name, model)


def _check_pass(name: str, model: Model) -> None:
    """Check that a pass grows with the tokens, and that a verification shares what it reads."""
    ops = forward_ops(model, **_GRID)
    for op in ops:
        require(name, f"{op.name} has a known kind", op.kind in WORK, kind=op.kind)
        size = op.memory_bytes("bfloat16", "bfloat16")
        require(name, f"{op.name} moves bytes", np.isfinite(size) & (size >= 0.0), **_GRID)
    flops, moved = _flops(ops), _bytes(ops)
    require(name, "FLOPs grow with the batch", never_below(flops[1:], flops[:-1]))
    require(name, "FLOPs grow with the context", never_below(flops[:, 1:], flops[:, :-1]))
    require(name, "bytes grow with the batch", never_below(moved[1:], moved[:-1]))
    require(name, "bytes grow with the tokens", never_below(moved[..., 1:], moved[..., :-1]))
    more = moved[..., 1:] < _TOKENS[1:] * moved[..., :1]
    require(name, "a verification moves fewer bytes than as many decode steps", more)
    dense = 2.0 * (model.active_parameters - (0 if model.tied_embeddings else model.head_parameters))
    law = "a token takes 2 FLOPs for each weight that it uses, and more for attention"
    require(name, law, never_below(flops * (1 + 1e-3), dense * _BATCH * _TOKENS), flops=flops)
    one, two = (
        _flops(prefill_ops(model, tokens=size, sequences=_BATCH, cached=_CONTEXT)) for size in (64.0, 128.0)
    )
    require(name, "twice the tokens of a prompt take more FLOPs", never_below(two, one))


def _check_ranks(name: str, model: Model) -> None:
    """Check that ranks divide the GEMMs, and that a single rank communicates nothing."""
    require(
        name, "one rank communicates nothing", all(op.kind != "all_reduce" for op in forward_ops(model, **_GRID))
    )
    whole = {op.name: op.flops() for op in forward_ops(model, **_GRID) if op.kind != "all_reduce"}
    for tp in possible_ranks(model)[1:]:
        ops = forward_ops(model, **_GRID, tp=tp)
        law = f"{tp} ranks exchange the sum of each attention and each MLP"
        reduced = sum(op.count for op in ops if op.name == "all_reduce")
        require(name, law, reduced == model.sublayers, all_reduces=reduced)
        for op in ops:
            if op.name in whole:
                law = f"{tp} ranks do all of {op.name} together"
                require(name, law, never_below(tp * op.flops(), whole[op.name]), **_GRID)
                require(
                    name,
                    f"a rank does no more of {op.name} than one alone",
                    never_below(whole[op.name], op.flops()),
                )


def _check_memory(name: str, model: Model) -> None:
    """Check that weights and caches shrink with precision and ranks, and grow with the context."""
    none = Draft("none", "none")
    for dtype, narrow in (("bfloat16", "fp8"), ("fp8", "nvfp4")):
        one, other = (weight_bytes(MemoryPlan(model, none, dtype=each)) for each in (dtype, narrow))
        require(name, f"{narrow} weights take less memory than {dtype}", other < one, **{dtype: one, narrow: other})
    plans = [MemoryPlan(model, none, tp=tp) for tp in possible_ranks(model)]
    sizes = np.array([weight_bytes(plan) for plan in plans])
    require(name, "more ranks hold fewer weights each", sizes[1:] < sizes[:-1])
    together = sizes * np.array([plan.tp for plan in plans])
    law = "ranks hold all weights together"
    stored = DTYPES["bfloat16"].stored_bytes
    require(name, law, never_below(together, stored * model.parameters * (1 - 1e-9)), bytes=together)
    contexts = np.geomspace(1.0, 1e6, 50)
    held = np.stack([sequence_bytes(plan, contexts) for plan in plans])
    require(name, "a longer context never takes less memory", never_below(held[:, 1:], held[:, :-1]))
    require(name, "more ranks never hold more of a sequence each", never_below(held[:-1], held[1:]))


def check_draft(draft: Draft, target: Model) -> None:
    """Check a draft for a target: its weights, and the operations of its pass.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> check_draft(catalog.draft("eagle3"), catalog.model("llama-3.1-8b"))
    """
    name = f"draft {draft.name} of {target.name}"
    weights = draft_parameters(draft, target)
    require(name, "weights are not negative", weights >= 0.0, weights=weights)
    batch, context = np.array([1.0, 8.0, 64.0]), np.array(1000.0)
    ops = draft_ops(draft, target, batch=batch, context=context)
    runs = draft.kind not in ("none", "ngram")
    require(name, "a draft with weights has operations", bool(ops) == runs and (weights > 0.0) == runs)
    flops = sum((op.flops() for op in ops), np.zeros(3))
    moved = sum((op.memory_bytes("bfloat16", "bfloat16") for op in ops), np.zeros(3))
    require(
        name, "FLOPs and bytes grow with the batch", never_below(flops[1:], flops[:-1]) & (moved[1:] >= moved[:-1])
    )
    if runs:
        require(name, "a pass does work", (flops > 0.0) & (moved > 0.0), batch=batch)
    nothing = MemoryPlan(target, Draft("none", "none"))
    with_draft = MemoryPlan(target, draft)
    law = "a draft never takes less than no memory"
    require(name, law, never_below(weight_bytes(with_draft), weight_bytes(nothing)))
    require(name, law, never_below(sequence_bytes(with_draft, 1000.0), sequence_bytes(nothing, 1000.0)))
