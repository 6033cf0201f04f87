"""Operations of one forward pass of a model, as one tensor-parallel rank runs them.

`forward_ops` lists the operations with which the target scores ``tokens`` tokens of each sequence, `prefill_ops`
those with which it reads prompts. The operations of a draft are in `scylla_sim.ops.draft`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.ops.decoder import CHUNK, FRESH, Pass, decoder_layers
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.dtypes import element_bytes
from scylla_sim.specs.model import Model


def check_tensor_parallel(model: Model, tp: int) -> int:
    """Return the number of tensor-parallel ranks as an integer.

    It must divide the heads and the width of every MLP. KV heads are replicated where there are fewer than ranks.

    Raises
    ------
    InputError
        ``tp`` does not divide a size of the model.
    """
    ranks = int(whole("tp", tp, 1))
    shared = {"num_heads": model.num_heads}
    for group in model.attention_groups:
        if group.num_heads != model.num_heads:
            shared[f"num_heads of window {group.window}"] = group.num_heads
    if model.linear is not None:
        shared["linear value heads"] = model.linear.value_heads
        shared["linear key heads"] = model.linear.key_heads
    if model.dense_layers:
        shared["intermediate_size"] = model.intermediate_size
    if model.moe is not None:
        shared["expert intermediate_size"] = model.moe.intermediate_size
        shared["shared_intermediate_size"] = model.moe.shared_intermediate_size
    for name, size in shared.items():
        if size % ranks:
            raise fail("tp", ranks, f"must divide {name}={size} of {model.name}")
    for kv_heads in {group.num_kv_heads: None for group in model.attention_groups}:
        if kv_heads % ranks and ranks % kv_heads:
            rule = f"must divide num_kv_heads={kv_heads} of {model.name}, or be a multiple of it"
            raise fail("tp", ranks, rule)
    return ranks


def output_head(hidden: int, vocab: int, rows: FloatArray, *, tp: int, output_bytes: float) -> list[Op]:
    """Return final norm, vocabulary projection, gathering of the logits, and sampling over float32 logits."""
    ops = [
        elementwise("final_norm", 1, 4.0 * output_bytes * hidden * rows, rows),
        Op("lm_head", "gemm", 1, {"m": rows, "n": scalar(vocab / tp), "k": scalar(hidden)}),
        elementwise("sampling", 1, 2.0 * 4.0 * vocab * rows),
    ]
    if tp > 1:  # gathering the logits moves half the bytes of their all-reduce
        size = 0.5 * output_bytes * vocab * rows
        ops.insert(2, Op("logits_gather", "all_reduce", 1, {"bytes": size, "num_gpus": scalar(tp)}))
    return ops


def forward_ops(
    model: Model,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    tokens: ArrayLike = 1,
    scored: ArrayLike | None = None,
    tp: int = 1,
    dtype: str = "bfloat16",
) -> list[Op]:
    """Return the operations of one forward pass that scores ``tokens`` tokens of each of ``batch`` sequences.

    Parameters
    ----------
    batch, context, tokens
        Broadcasting arrays: sequences, tokens in each KV cache, tokens scored per sequence. One token is
        autoregressive decoding; a draft tree plus one token is verification.
    scored
        Tokens of each sequence whose logits are computed; default: all of ``tokens``.
    tp
        Tensor-parallel ranks; the list is that of one rank.
    dtype
        Data type of weights and activations.

    Raises
    ------
    InputError
        ``tp`` does not divide a size of the model.

    Notes
    -----
    GEMMs have ``batch * tokens`` rows. Attention reads the KV cache of each sequence once for all its tokens. An
    MoE layer reads the experts that at least one row is routed to.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> ops = forward_ops(catalog.model("llama-3.1-8b"), batch=1, context=1024)
    >>> round(sum(float(op.memory_bytes("bfloat16", "bfloat16")) for op in ops) / 1e9, 1)
    15.2
    """
    b, s, q = positive("batch", batch), positive("context", context), positive("tokens", tokens)
    ranks = check_tensor_parallel(model, tp)
    out = element_bytes(dtype).output
    rows = b * q
    return [
        elementwise("embedding", 1, 2.0 * out * model.hidden_size * rows),
        *decoder_layers(model, Pass(rows, b, s, q, ranks, out)),
        *output_head(
            model.hidden_size,
            model.vocab_size,
            rows if scored is None else b * positive("scored", scored),
            tp=ranks,
            output_bytes=out,
        ),
    ]


def prefill_ops(
    model: Model,
    *,
    tokens: ArrayLike,
    cached: ArrayLike = 0,
    sequences: ArrayLike = 1,
    tp: int = 1,
    dtype: str = "bfloat16",
) -> list[Op]:
    """Return the operations of one prefill step over ``tokens`` new tokens of each of ``sequences`` prompts.

    Parameters
    ----------
    tokens, cached, sequences
        Broadcasting arrays: new tokens of each prompt, earlier tokens of each prompt in the KV cache, prompts.
    tp, dtype
        As in `forward_ops`.

    Raises
    ------
    InputError
        ``tp`` does not divide a size of the model.

    Notes
    -----
    The vocabulary projection works on the last token of each prompt. MLA expands the keys and values of all
    attended tokens. Sparse attention runs as in decoding, at the mean context of its tokens.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> found = prefill_ops(catalog.model("llama-3.1-8b"), tokens=1000, cached=200, sequences=4)
    >>> ops = {op.name: op for op in found}
    >>> [float(ops[name].columns["m"]) for name in ("qkv_proj", "lm_head")], ops["attention"].kind
    ([4000.0, 4.0], 'chunk_attention')
    """
    q, old, b = np.broadcast_arrays(
        positive("tokens", tokens), in_range("cached", cached, 0), positive("sequences", sequences)
    )
    ranks = check_tensor_parallel(model, tp)
    out, rows = element_bytes(dtype).output, b * q
    sparse = model.mla is not None and model.mla.indexer is not None
    context = old + 0.5 * (q + 1.0) if sparse else old + q
    kind = CHUNK if np.any(old > 0.0) else FRESH
    return [
        elementwise("embedding", 1, 2.0 * out * model.hidden_size * rows),
        *decoder_layers(model, Pass(rows, b, context, q, ranks, out, kind)),
        *output_head(model.hidden_size, model.vocab_size, b, tp=ranks, output_bytes=out),
    ]
