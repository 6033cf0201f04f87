"""Operations of one pass of a draft: EAGLE heads, block drafters, Medusa heads, MLP stages, and draft models.

`draft_ops` is the list of operations, for example of an EAGLE-3 head. The operations of drafters that propose a
block at once are in `scylla_sim.ops.block_draft`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, InputError, fail, positive
from scylla_sim.ops import block_draft
from scylla_sim.ops.decoder import Pass, decoder_layers
from scylla_sim.ops.forward import check_tensor_parallel, forward_ops, output_head
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import element_bytes
from scylla_sim.specs.layers import MLA
from scylla_sim.specs.model import Model

_ATTENTION_INPUTS = ("qkv_proj", "qkv_a_proj", "q_proj", "kv_a_proj")
"""Projections that read the input of an attention layer."""


def joined_inputs(draft: Draft) -> float:
    """Return the vectors of the target's hidden size that a draft fuses into its input.

    A head with one feature fuses it with the token embedding. EAGLE-3 fuses its features alone, and reads the
    embedding in the first layer. Block drafters fuse features only.
    """
    return 2.0 if draft.fused_features == 1 and draft.kind == "head" else float(draft.fused_features)


def reads_second_input(draft: Draft) -> bool:
    """Return whether the first layer's attention reads embedding and feature side by side (EAGLE-3, P-EAGLE)."""
    return draft.fused_features > 1 and (draft.block is None or not draft.block.projects_context)


def check_target(draft: Draft, target: Model) -> None:
    """Check that a draft fits the width of the target's hidden states.

    Raises
    ------
    InputError
        The draft was trained for another hidden size.
    """
    if draft.target_hidden_size not in (0, target.hidden_size):
        size, width = draft.target_hidden_size, target.hidden_size
        rule = f"reads hidden states of {size} elements, but {target.name} has {width}"
        raise fail("draft", draft.name, rule, "give the draft of this model")


def draft_model(draft: Draft, target: Model) -> Model:
    """Return the transformer that a draft runs: its own, or decoder layers of the target's shape.

    The layers of a head attend the whole context. Their MLP is dense, with the ``intermediate_size`` of the
    target's config, unless the draft keeps the target's experts.

    Raises
    ------
    InputError
        The draft was trained for another hidden size.
    """
    check_target(draft, target)
    if draft.kind == "model" and draft.model is not None:
        return draft.model
    if draft.model is not None:
        return replace(draft.model, vocab_size=draft.vocab_size or target.vocab_size)
    moe = replace(target.moe, dense_layers=0) if target.moe and draft.keeps_experts else None
    return replace(
        target,
        name=f"{draft.name} head of {target.name}",
        num_layers=draft.num_layers,
        vocab_size=draft.vocab_size or target.vocab_size,
        moe=moe,
        mla=_draft_mla(target, draft.num_layers),
        windows=(),
        mtp_layers=0,
        attention=(),
        linear=None,
        mlp_layers=None,
        notes=(),
    )


def _draft_mla(target: Model, layers: int) -> MLA | None:
    """Return the MLA of a head's layers, where each layer has an indexer of its own if the target has any."""
    if target.mla is None or target.mla.indexer is None:
        return target.mla
    return replace(target.mla, indexer=replace(target.mla.indexer, layers=layers))


def _draft_ranks(model: Model, tp: int) -> int:
    """Return the ranks of a draft; engines run one that does not divide among them on one GPU."""
    try:
        return check_tensor_parallel(model, tp)
    except InputError as error:
        raise InputError(error.problem, "draft_tp=1 runs the draft on one GPU") from None


def draft_ops(
    draft: Draft,
    target: Model,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    width: ArrayLike = 1,
    scored: ArrayLike | None = None,
    tp: int = 1,
    dtype: str = "bfloat16",
    first: bool = True,
) -> list[Op]:
    """Return the operations of one draft pass; an empty list for drafts without a model.

    Parameters
    ----------
    batch, context, width
        Broadcasting arrays: sequences, tokens in each KV cache, candidates of each sequence in this pass. Block
        and MLP drafts take one width, the tokens that they draft in the pass.
    scored
        Positions of each sequence whose logits are computed, for heads and models; default: all of ``width``. The
        first pass of a cycle reads `Draft.first_width` tokens and scores one.
    tp
        Tensor-parallel ranks; the list is that of one rank.
    first
        Whether the pass reads features of the target, as the first one of a cycle does. EAGLE-3 fuses nothing in
        the others, because they read one feature, that of the draft itself.

    Raises
    ------
    InputError
        ``tp`` does not divide the draft's model, or the draft was trained for another hidden size.

    Notes
    -----
    - An EAGLE head projects the target's features, runs its decoder layers and projects to the vocabulary, which
      often dominates. EAGLE-3 fuses three features, and its first layer reads an input twice as wide.
    - vLLM (``propose`` in ``v1/spec_decode/eagle.py`` at commit 008603a3 and ``llm_base_proposer.py`` at 00c4f22d)
      and SGLang (``models/llama_eagle3.py`` at 03d5a777) apply the fusion of EAGLE-3 to features of the target
      only, and so once per cycle, to all verified tokens.
    - Every TP rank runs the whole fusion: it is a ``ReplicatedLinear`` in vLLM (``models/llama_eagle3.py`` at
      00bd1493) and a ``torch.nn.Linear`` in SGLang.
    - Medusa heads are one parallel pass: each is a residual block and a vocabulary projection.
    - Block drafters and MLP stages: see `scylla_sim.ops.block_draft`.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> ops = draft_ops(catalog.draft("eagle3"), catalog.model("llama-3.1-8b"), batch=8, context=1024)
    >>> [op.name for op in ops if op.kind == "gemm"]  # doctest: +NORMALIZE_WHITESPACE
    ['fuse_features', 'qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj', 'qkv_second_input', 'lm_head']
    """
    b, s, q = positive("batch", batch), positive("context", context), positive("width", width)
    if draft.kind in ("none", "ngram"):
        return []
    check_target(draft, target)
    if draft.kind == "model":
        _draft_ranks(draft_model(draft, target), tp)
        return forward_ops(
            draft_model(draft, target), batch=b, context=s, tokens=q, scored=scored, tp=tp, dtype=dtype
        )
    out = element_bytes(dtype).output
    if draft.kind == "medusa":
        return _medusa_ops(draft, target, b * q, tp=tp, output_bytes=out)
    if draft.kind == "mlp":
        return block_draft.stage_ops(draft, target, b, int(q.flat[0]), tp=tp, output_bytes=out)
    model = draft_model(draft, target)
    ranks = _draft_ranks(model, tp)
    drafted = int(q.flat[0])
    tokens = q if draft.block is None else np.full_like(b, draft.block.positions(drafted))
    p = Pass(b * tokens, b, s, tokens, ranks, out)
    layers = decoder_layers(model, p)
    if reads_second_input(draft):
        layers = _with_second_input(layers)
    if draft.block is not None:
        return block_draft.block_ops(draft, target, model, layers, p, drafted)
    rows, hidden = p.rows, float(model.hidden_size)
    heads = rows if scored is None else b * positive("scored", scored)
    fused = {"m": rows, "n": scalar(hidden), "k": scalar(joined_inputs(draft) * target.hidden_size)}
    return [
        elementwise("embedding", 1, 2.0 * out * hidden * rows),
        Op("fuse_features", "gemm", int(first or draft.fused_features == 1), fused),
        *layers,
        *output_head(model.hidden_size, model.vocab_size, heads, tp=ranks, output_bytes=out),
    ]


def _with_second_input(layers: list[Op]) -> list[Op]:
    """Return the operations of layers whose first attention input joins embedding and feature."""
    second = [
        replace(op, name=op.name.replace("_proj", "_second_input"), count=1)
        for op in layers
        if op.name in _ATTENTION_INPUTS
    ]
    return [*layers, *second]


def _medusa_ops(draft: Draft, target: Model, rows: FloatArray, *, tp: int, output_bytes: float) -> list[Op]:
    """Return the residual blocks and vocabulary projections of all Medusa heads."""
    hidden = target.hidden_size
    block = {"m": rows, "n": scalar(float(hidden) / tp), "k": scalar(float(hidden))}
    heads = output_head(hidden, draft.vocab_size or target.vocab_size, rows, tp=tp, output_bytes=output_bytes)
    return [
        Op("medusa_block", "gemm", draft.num_layers * draft.blocks_per_head, block),
        *(replace(op, count=draft.num_layers) for op in heads),
    ]
