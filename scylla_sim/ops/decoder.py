"""Operations of the decoder layers of one forward pass, as one tensor-parallel rank runs them.

Attention is grouped-query attention or MLA, with one operation per sliding window. MLPs are dense or MoE. Every TP
rank holds a slice of each expert, sharded along its width as a dense MLP is.
"""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import FloatArray
from scylla_sim.ops.expert_routing import routed_loads
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.model import MLA, Model, MoE

FLOAT_BYTES = 4.0
"""Bytes of a router score; routers compute in float32."""
INDEX_BYTES = 4.0
"""Bytes of an index; sorting the rows by expert moves 32-bit indices."""


@dataclass(frozen=True)
class Pass:
    """Size of one forward pass.

    Attributes
    ----------
    rows
        Tokens of all sequences.
    batch
        Sequences.
    context
        Tokens in the KV cache of each sequence.
    tokens
        Tokens of each sequence in this pass.
    tp
        Tensor-parallel ranks.
    output_bytes
        Bytes of one activation.
    """

    rows: FloatArray
    batch: FloatArray
    context: FloatArray
    tokens: FloatArray
    tp: int
    output_bytes: float

    def gemm(self, name: str, count: int, n: float, k: float) -> Op:
        """Return a GEMM of all rows with a weight of ``n`` x ``k``."""
        return Op(name, "gemm", count, {"m": self.rows, "n": scalar(n), "k": scalar(k)})

    def moved(self, name: str, count: int, elements: float, *, by_row: bool = False) -> Op:
        """Return a kernel that reads and writes ``elements`` activations per row.

        ``by_row`` marks kernels that reduce each row, as a norm does.
        """
        return elementwise(name, count, self.output_bytes * elements * self.rows, self.rows if by_row else None)


def _grouped(name: str, count: int, m: FloatArray, groups: FloatArray, n: float, k: float) -> Op:
    return Op(name, "grouped_gemm", count, {"m": m, "n": scalar(n), "k": scalar(k), "groups": groups})


def _grouped_query_attention(model: Model, p: Pass) -> list[Op]:
    """Return projections, rotary embedding, attention per window, and output projection."""
    heads, kv_heads = model.num_heads // p.tp, max(model.num_kv_heads // p.tp, 1)
    qkv, hidden = float((heads + 2 * kv_heads) * model.head_dim), float(model.hidden_size)
    shape = {
        "batch": p.batch,
        "kv_len": p.context,
        "q_len": p.tokens,
        "num_heads": scalar(heads),
        "num_kv_heads": scalar(kv_heads),
        "head_dim": scalar(model.head_dim),
    }
    return [
        p.gemm("qkv_proj", model.num_layers, qkv, hidden),
        p.moved("rope_and_kv_write", model.num_layers, 2.0 * qkv),
        *(
            Op(
                f"attention_window_{window}" if window else "attention",
                "decode_attention",
                count,
                {**shape, "window": scalar(window)},
            )
            for window, count in model.window_layers.items()
        ),
        p.gemm("o_proj", model.num_layers, hidden, float(heads * model.head_dim)),
    ]


def _mla(model: Model, part: MLA, p: Pass) -> list[Op]:
    """Return MLA in its absorbed form, which projects each head's query and never expands the keys.

    All heads attend one vector of ``kv_rank + rope_dim`` elements per token; its first ``kv_rank`` elements are
    also the value. TP ranks replicate the down-projections and the cache, and share the heads.

    Source: DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C.
    """
    count, hidden = model.num_layers, float(model.hidden_size)
    heads = model.num_heads // p.tp
    kept = part.kv_rank + part.rope_dim
    query = float(heads * (part.nope_dim + part.rope_dim))
    if part.query_rank:
        ops = [
            p.gemm("qkv_a_proj", count, float(part.query_rank + kept), hidden),
            p.moved("latent_norms", count, 2.0 * (part.query_rank + part.kv_rank), by_row=True),
            p.gemm("q_b_proj", count, query, float(part.query_rank)),
        ]
    else:
        ops = [
            p.gemm("q_proj", count, query, hidden),
            p.gemm("kv_a_proj", count, float(kept), hidden),
            p.moved("latent_norms", count, 2.0 * part.kv_rank, by_row=True),
        ]
    all_heads, each = p.rows * heads, scalar(heads)
    columns = {
        "batch": p.batch,
        "kv_len": p.context,
        "q_len": p.tokens,
        "num_heads": each,
        "kv_rank": scalar(part.kv_rank),
        "rope_dim": scalar(part.rope_dim),
    }
    return [
        *ops,
        p.moved("rope_and_kv_write", count, 2.0 * (heads * part.rope_dim + kept)),
        _grouped("query_absorb", count, all_heads, each, float(part.kv_rank), float(part.nope_dim)),
        Op("attention", "latent_attention", count, columns),
        _grouped("value_up", count, all_heads, each, float(part.value_dim), float(part.kv_rank)),
        p.gemm("o_proj", count, hidden, float(heads * part.value_dim)),
    ]


def _mlp(model: Model, p: Pass, count: int, width: float, prefix: str = "") -> list[Op]:
    """Return a gated MLP with ``width`` columns on this rank."""
    hidden = float(model.hidden_size)
    return [
        p.gemm(f"{prefix}gate_up_proj", count, 2.0 * width, hidden),
        p.moved(f"{prefix}activation", count, 3.0 * width),
        p.gemm(f"{prefix}down_proj", count, hidden, width),
    ]


def _moe(model: Model, part: MoE, p: Pass) -> list[Op]:
    """Return router, routed experts as two grouped GEMMs, weighted sum, and shared expert."""
    count, hidden = model.moe_layers, float(model.hidden_size)
    chosen, width = float(part.experts_per_token), part.intermediate_size / p.tp
    routed, loads = chosen * p.rows, routed_loads(part, p.rows)
    up = {"m": routed, "n": scalar(2.0 * width), "k": scalar(hidden), **loads}
    down = {"m": routed, "n": scalar(hidden), "k": scalar(width), **loads}
    ops = [
        p.gemm("router", count, float(part.num_experts), hidden),
        elementwise("router_top_k", count, 2.0 * FLOAT_BYTES * part.num_experts * p.rows),
        elementwise("expert_sort", count, 2.0 * INDEX_BYTES * routed),
        Op("expert_gate_up", "expert_gemm", count, up),
        p.moved("expert_activation", count, 3.0 * chosen * width),
        Op("expert_down", "expert_gemm", count, down),
        p.moved("expert_combine", count, (chosen + 1.0) * hidden),
    ]
    if part.shared_intermediate_size:
        ops += _mlp(model, p, count, part.shared_intermediate_size / p.tp, "shared_")
    return ops


def decoder_layers(model: Model, p: Pass) -> list[Op]:
    """Return the operations of all decoder layers, each with the number of layers that run it.

    Examples
    --------
    >>> import numpy as np
    >>> from scylla_sim.specs import catalog
    >>> one = np.asarray(1.0)
    >>> [op.name for op in decoder_layers(catalog.model("llama-3.1-8b"), Pass(one, one, one, one, 1, 2.0))]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['norms', 'qkv_proj', 'rope_and_kv_write', 'attention', 'o_proj', 'gate_up_proj', 'activation', 'down_proj']
    """
    hidden, count = float(model.hidden_size), model.num_layers
    ops = [p.moved("norms", 2 * count, 4.0 * hidden, by_row=True)]  # fused residual add: two tensors in, two out
    ops += _grouped_query_attention(model, p) if model.mla is None else _mla(model, model.mla, p)
    if count > model.moe_layers:
        ops += _mlp(model, p, count - model.moe_layers, model.intermediate_size / p.tp)
    if model.moe is not None:
        ops += _moe(model, model.moe, p)
    if p.tp > 1:
        message = {"bytes": p.output_bytes * hidden * p.rows, "num_gpus": scalar(p.tp)}
        ops.append(Op("all_reduce", "all_reduce", 2 * count, message))
    return ops
