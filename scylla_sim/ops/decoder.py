"""Operations of the decoder layers of one forward pass, as one tensor-parallel rank runs them.

Attention is grouped-query attention, MLA or linear attention, with one operation per sliding window. MLPs are dense
or MoE. Every TP rank holds a slice of each expert, sharded along its width as a dense MLP is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.ops.expert_routing import independent_tokens, related_loads, routed_loads
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.layers import MLA, AttentionLayers, LinearAttention, MoE, SparseIndexer
from scylla_sim.specs.model import Model

FLOAT_BYTES = 4.0
"""Bytes of a router score; routers compute in float32."""
INDEX_BYTES = 4.0
"""Bytes of an index; sorting the rows by expert moves 32-bit indices."""

EXPERT_OVERLAP = "expert_overlap"
"""Name of the assumption on the experts that tokens of one sequence have in common."""

DECODING, FRESH, CHUNK = "decode_attention", "context_attention", "chunk_attention"
"""Kinds of grouped-query attention: decoding and verification, fresh prompts, tokens after a cached prefix."""

STATE_CHUNK = 64.0
"""Tokens of a chunk of linear attention in prefill; shorter passes keep the state of each token."""


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
    attention
        Kind of the operations of grouped-query attention: ``decode_attention``, or ``context_attention`` and
        ``chunk_attention`` in a prefill, see `scylla_sim.ops.op.Op`.
    """

    rows: FloatArray
    batch: FloatArray
    context: FloatArray
    tokens: FloatArray
    tp: int
    output_bytes: float
    attention: str = DECODING

    @property
    def lengths(self) -> dict[str, FloatArray]:
        """Columns of the sequences in attention."""
        return {"batch": self.batch, "kv_len": self.context, "q_len": self.tokens}

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
    """Return the operations of the layers of grouped-query attention, one block for each shape of projections."""
    shapes: dict[tuple[int, ...], list[AttentionLayers]] = {}
    for group in model.attention_groups:
        shapes.setdefault(group.shape, []).append(group)
    several = len(shapes) > 1
    return [op for groups in shapes.values() for op in _one_shape(model, p, groups, several=several)]


def _one_shape(model: Model, p: Pass, groups: Sequence[AttentionLayers], *, several: bool) -> list[Op]:
    """Return projections, rotary embedding, attention per window, and output projection.

    The groups differ in their window only. Values that are narrower than keys (MiMo-V2) count with the mean width,
    which gives the bytes and FLOPs of the kernel.
    """
    one, hidden = groups[0], float(model.hidden_size)
    heads, kv_heads = one.num_heads // p.tp, max(one.num_kv_heads // p.tp, 1)
    rotated = heads * one.head_dim + kv_heads * (one.head_dim + one.value_dim)
    qkv = float(rotated + (heads * one.head_dim if one.output_gate else 0))
    count = sum(group.layers for group in groups)
    prefix = ("sliding_" if one.window else "full_") if several else ""
    shape = {
        **p.lengths,
        "num_heads": scalar(heads),
        "num_kv_heads": scalar(kv_heads),
        "head_dim": scalar((one.head_dim + one.value_dim) / 2),
    }
    ops = [p.gemm(f"{prefix}qkv_proj", count, qkv, hidden)]
    ops.append(p.moved(f"{prefix}rope_and_kv_write", count, 2.0 * rotated))
    for group in groups:
        name = f"attention_window_{group.window}" if group.window else "attention"
        ops.append(Op(name, p.attention, group.layers, {**shape, "window": scalar(group.window)}))
    if one.output_gate:
        ops.append(p.moved(f"{prefix}output_gate", count, 3.0 * heads * one.value_dim))
    return [*ops, p.gemm(f"{prefix}o_proj", count, hidden, float(heads * one.value_dim))]


def _linear_attention(model: Model, part: LinearAttention, p: Pass) -> list[Op]:
    """Return projections, convolution, update of the state, gated norm, and output projection.

    A pass reads the state of each sequence once and writes it once per token, because a rejected token needs the
    state before it. A prefill writes it once per `STATE_CHUNK` tokens.

    Source: ``fused_recurrent_gated_delta_rule_fwd_kernel`` of vLLM, which keeps the state of each token, and
    ``chunk_gated_delta_rule_fwd``, which works in chunks of 64 tokens.
    """
    count, hidden = part.layers, float(model.hidden_size)
    states = 1.0 + np.maximum(np.minimum(p.tokens, STATE_CHUNK), p.tokens / STATE_CHUNK)
    written = p.batch * states * (part.sequence_bytes / p.tp)
    flops = p.rows * (part.flops_per_element * part.state_elements / p.tp)
    output = part.output_width / p.tp
    return [
        p.gemm("linear_in_proj", count, part.projection_width / p.tp, hidden),
        p.moved("linear_conv", count, 2.0 * part.conv_width / p.tp),
        Op("linear_state", "state_update", count, {"bytes": written, "flops": flops}),
        p.moved("linear_norm", count, 3.0 * output, by_row=True),
        p.gemm("linear_out_proj", count, hidden, output),
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
    if p.attention != DECODING and part.indexer is None:
        return [*ops, *_expanded_mla(model, part, p)]
    all_heads, each = p.rows * heads, scalar(heads)
    columns = {"num_heads": each, "kv_rank": scalar(part.kv_rank), "rope_dim": scalar(part.rope_dim)}
    attention = {**p.lengths, **columns}
    kind = "latent_attention"
    if part.indexer is not None:
        ops += _indexer(part, part.indexer, p, hidden)
        picked = np.minimum(p.context, float(part.indexer.top_k))  # each query token reads the tokens it picked
        attention, kind = {"batch": p.rows, "kv_len": picked, "q_len": scalar(1), **columns}, "sparse_attention"
    return [
        *ops,
        p.moved("rope_and_kv_write", count, 2.0 * (heads * part.rope_dim + kept)),
        _grouped("query_absorb", count, all_heads, each, float(part.kv_rank), float(part.nope_dim)),
        Op("attention", kind, count, attention),
        _grouped("value_up", count, all_heads, each, float(part.value_dim), float(part.kv_rank)),
        p.gemm("o_proj", count, hidden, float(heads * part.value_dim)),
    ]


def _expanded_mla(model: Model, part: MLA, p: Pass) -> list[Op]:
    """Return MLA of a prefill, which expands keys and values of all tokens and attends as full heads.

    Source: DeepSeek-V2, arXiv 2405.04434, section 2.1; vLLM, ``v1/attention/backends/mla/common.py``.
    """
    count, heads = model.num_layers, model.num_heads // p.tp
    key = part.nope_dim + part.rope_dim
    columns = {"num_heads": scalar(heads), "num_kv_heads": scalar(heads), "window": scalar(0)}
    expand = {
        "m": p.batch * p.context,
        "n": scalar(heads * (part.nope_dim + part.value_dim)),
        "k": scalar(part.kv_rank),
    }
    columns["head_dim"] = scalar((key + part.value_dim) / 2)  # the mean gives FLOPs and bytes of the kernel
    return [
        p.moved("rope_and_kv_write", count, 2.0 * (heads * part.rope_dim + part.kv_rank + part.rope_dim)),
        Op("kv_b_proj", "gemm", count, expand),
        Op("attention", CHUNK, count, {**p.lengths, **columns}),
        p.gemm("o_proj", count, float(model.hidden_size), float(heads * part.value_dim)),
    ]


def _indexer(mla: MLA, part: SparseIndexer, p: Pass, hidden: float) -> list[Op]:
    """Return the indexer of sparse attention: projections, scores of all cached tokens, and their top-k.

    Every rank runs the whole indexer.

    Source: DeepSeek-V3.2, arXiv 2512.02556, section 2.1.
    """
    columns = {
        **p.lengths,
        "num_heads": scalar(part.num_heads),
        "kv_rank": scalar(0),
        "rope_dim": scalar(part.head_dim),
    }
    scores = p.rows * p.context
    return [
        p.gemm("index_q_proj", part.layers, float(part.num_heads * part.head_dim), float(mla.query_rank)),
        p.gemm("index_k_proj", part.layers, float(part.head_dim + part.num_heads), hidden),
        Op("index_scores", "index_scores", part.layers, columns),
        elementwise("index_top_k", part.layers, 2.0 * FLOAT_BYTES * scores),
    ]


def _mlp(model: Model, p: Pass, count: int, width: float, prefix: str = "") -> list[Op]:
    """Return an MLP with ``width`` columns on this rank; a gated MLP has two matrices before the activation."""
    hidden, inputs = float(model.hidden_size), 2.0 if model.gated_mlp else 1.0
    first = "gate_up_proj" if model.gated_mlp else "up_proj"
    return [
        p.gemm(f"{prefix}{first}", count, inputs * width, hidden),
        p.moved(f"{prefix}activation", count, (inputs + 1.0) * width),
        p.gemm(f"{prefix}down_proj", count, hidden, width),
    ]


def _loads(part: MoE, p: Pass, overlaps: Sequence[float | None]) -> list[dict[str, FloatArray]]:
    """Return the columns of a grouped GEMM for each share of experts that tokens of one sequence have in common."""
    alone = routed_loads(part, p.rows)
    related = bool(np.any(p.tokens > 1))
    return [
        related_loads(part, alone, p.rows, independent_tokens(p.batch, p.tokens, overlap))
        if overlap and related
        else alone
        for overlap in overlaps
    ]


def _moe(model: Model, part: MoE, p: Pass) -> list[Op]:
    """Return router, routed experts as two grouped GEMMs, weighted sum, and shared expert.

    Latent experts work between two projections, which every rank runs in full.
    """
    count, hidden = model.moe_layers, float(model.hidden_size)
    inputs, inner = 2.0 if model.gated_mlp else 1.0, float(part.latent_size or model.hidden_size)
    chosen, width = float(part.experts_per_token), part.intermediate_size / p.tp
    ends = part.expert_overlap_range if np.any(p.tokens > 1) else None
    loads, *at_ends = _loads(part, p, [part.expert_overlap, *(ends or ())])
    routed = chosen * p.rows
    up = {"m": routed, "n": scalar(inputs * width), "k": scalar(inner), **loads}
    down = {"m": routed, "n": scalar(inner), "k": scalar(width), **loads}
    assumed = {EXPERT_OVERLAP: tuple(at_ends)} if at_ends else {}
    ops = [
        p.gemm("router", count, float(part.num_experts), hidden),
        elementwise("router_top_k", count, 2.0 * FLOAT_BYTES * part.num_experts * p.rows),
        elementwise("expert_sort", count, 2.0 * INDEX_BYTES * routed),
        Op("expert_gate_up", "expert_gemm", count, up, assumed),
        p.moved("expert_activation", count, (inputs + 1.0) * chosen * width),
        Op("expert_down", "expert_gemm", count, down, assumed),
        p.moved("expert_combine", count, (chosen + 1.0) * inner),
    ]
    if part.latent_size:
        ops += [
            p.gemm("latent_down_proj", count, inner, hidden),
            p.gemm("latent_up_proj", count, hidden, inner),
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
    hidden, count = float(model.hidden_size), model.sublayers
    ops = [p.moved("norms", count, 4.0 * hidden, by_row=True)]  # fused residual add: two tensors in, two out
    ops += _grouped_query_attention(model, p) if model.mla is None else _mla(model, model.mla, p)
    if model.linear is not None:
        ops += _linear_attention(model, model.linear, p)
    if model.dense_layers:
        ops += _mlp(model, p, model.dense_layers, model.intermediate_size / p.tp)
    if model.moe is not None:
        ops += _moe(model, model.moe, p)
    if p.tp > 1:
        message = {"bytes": p.output_bytes * hidden * p.rows, "num_gpus": scalar(p.tp)}
        ops.append(Op("all_reduce", "all_reduce", count, message))
    return ops
