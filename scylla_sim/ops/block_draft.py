"""Operations of drafts that propose all tokens of a cycle in one pass: DFlash, DSpark, Domino, P-EAGLE, MLP stages.

Notes
-----
DFlash projects the target's features of the verified tokens, and writes the keys and values of its layers from
them. Its layers then run once over the block. DSpark and Domino add a head that corrects the logits of one token
after the other. P-EAGLE runs its layers over verified tokens and masks together.

Sources: sgl-project/SpecForge, commit a6b6b023, specforge/modeling/draft; sgl-project/sglang,
python/sglang/srt/models/dflash.py (feature projection on every rank) and speculative/domino_utils.py;
vllm-project/vllm, model_executor/models/mlp_speculator.py.
"""

from __future__ import annotations

from dataclasses import replace

from scylla_sim.checks import FloatArray
from scylla_sim.ops.decoder import Pass
from scylla_sim.ops.forward import output_head
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.draft import Draft, TokenHead
from scylla_sim.specs.model import Model


def _gemm(name: str, count: int, rows: FloatArray, n: float, k: float) -> Op:
    return Op(name, "gemm", count, {"m": rows, "n": scalar(n), "k": scalar(k)})


def block_ops(draft: Draft, target: Model, model: Model, layers: list[Op], p: Pass, drafted: int) -> list[Op]:
    """Return the operations of one pass of a block drafter.

    Parameters
    ----------
    model
        Decoder layers of the draft, with the vocabulary that it predicts.
    layers
        Operations of the decoder layers in this pass.
    p
        Size of the pass; its rows are all positions of all sequences.
    drafted
        Tokens drafted per sequence. The pass also reads the features of the ``drafted + 1`` verified tokens.
    """
    hidden, out = float(model.hidden_size), p.output_bytes
    features = p.batch * float(drafted + 1)
    fused = _gemm("fuse_features", 1, features, hidden, float(draft.fused_features * target.hidden_size))
    block = draft.block
    context: list[Op] = []
    if block is not None and block.projects_context:
        width = 2.0 * max(model.num_kv_heads / p.tp, 1.0) * model.head_dim
        context = [
            _gemm("context_kv_proj", model.num_layers, features, width, hidden),
            elementwise("context_kv_write", model.num_layers, 2.0 * out * width * features),
        ]
    rows = p.batch * float(drafted)
    ops = [
        elementwise("embedding", 1, 2.0 * out * hidden * p.rows),
        fused,
        *context,
        *layers,
        *output_head(model.hidden_size, model.vocab_size, rows, tp=p.tp, output_bytes=out),
    ]
    if block is not None and block.token_head is not None:
        ops += _token_head_ops(block.token_head, model, p, drafted)
    return ops


def head_shapes(head: TokenHead, hidden: int) -> list[tuple[int, int]]:
    """Return the output and input widths of the GEMMs of a token head, without its vocabulary projection.

    Examples
    --------
    >>> head_shapes(TokenHead("gru", 256, 1024), 4096)
    [(3072, 4096), (3072, 1024), (256, 5120)]
    """
    rank, state = head.rank, head.state_size
    return {
        "markov": [],
        "gated": [(rank, hidden + rank)],
        "rnn": [(3 * rank, 2 * rank + hidden)],
        "gru": [(3 * state, hidden), (3 * state, state), (rank, hidden + state)],
    }[head.kind]


def head_parameters(head: TokenHead, model: Model) -> float:
    """Return the weights of a token head; Markov heads have an embedding of their own."""
    small = sum(n * k for n, k in head_shapes(head, model.hidden_size))
    embeddings = 1 if head.kind == "gru" else 2
    return float(small + embeddings * head.rank * model.vocab_size)


def _token_head_ops(head: TokenHead, model: Model, p: Pass, drafted: int) -> list[Op]:
    """Return the operations that correct and sample the tokens of a block one after the other."""
    b, out = p.batch, p.output_bytes
    read = float(model.hidden_size if head.kind == "gru" else head.rank)
    logits = 3.0 * out * model.vocab_size / p.tp * b  # base logits and correction in, corrected logits out
    ops = [elementwise("token_embedding", drafted, 2.0 * out * read * b)]
    ops += [
        _gemm(f"token_head_{i}", drafted, b, float(n), float(k))
        for i, (n, k) in enumerate(head_shapes(head, model.hidden_size), start=1)
    ]
    ops += [
        _gemm("token_head_logits", drafted, b, model.vocab_size / p.tp, float(head.rank)),
        elementwise("token_head_sampling", drafted, logits),
    ]
    if p.tp > 1:
        size = {"bytes": 0.5 * out * model.vocab_size * b, "num_gpus": scalar(p.tp)}
        ops.append(Op("token_head_gather", "all_reduce", drafted, size))
    return ops


def stage_ops(
    draft: Draft, target: Model, batch: FloatArray, drafted: int, *, tp: int, output_bytes: float
) -> list[Op]:
    """Return the operations of an MLP speculator: one stage for each drafted token.

    A stage embeds the last token, projects the state, normalizes their sum and projects it to the vocabulary.
    """
    inner, vocab = float(draft.inner_size), draft.vocab_size or target.vocab_size
    heads = output_head(draft.inner_size, vocab, batch, tp=tp, output_bytes=output_bytes)
    later = [_gemm("stage_proj", drafted - 1, batch, inner, inner)] if drafted > 1 else []
    return [
        elementwise("stage_embedding", drafted, 2.0 * output_bytes * inner * batch),
        _gemm("first_stage_proj", 1, batch, inner, float(target.hidden_size)),
        *later,
        elementwise("stage_activation", drafted, 4.0 * output_bytes * inner * batch),
        *(replace(op, count=drafted) for op in heads),
    ]


def stage_parameters(draft: Draft, target: Model) -> float:
    """Return the weights of an MLP speculator, with the embedding of each stage."""
    inner, vocab = draft.inner_size, draft.vocab_size or target.vocab_size
    first, later = inner * target.hidden_size, (draft.num_layers - 1) * inner * inner
    if draft.tied_stages:
        return float(first + min(later, inner * inner) + 2 * inner * vocab)
    return float(first + later + draft.num_layers * 2 * inner * vocab)
