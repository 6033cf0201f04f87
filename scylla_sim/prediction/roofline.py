"""Theorem 1.3 from first principles: when verification turns from memory-bound to compute-bound.

Verifying ``n`` tokens of each of ``b`` sequences costs ``n b f`` FLOPs and ``W + b K + n b a`` bytes (weights, KV
cache, activations), all read off the model's own operation list. The two times of a roofline meet where the
arithmetic intensity equals the ridge point R = peak / bandwidth:

    n(b) = (R / (f - R a)) (W / b + K),

which falls as 1/b towards a floor set by the KV cache. It is not logarithmic in b, whatever the theorem is called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive
from scylla_sim.ops.forward import forward_ops
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model

SPARSITY_GAIN = 2.0
"""Sparse over dense tensor peak in NVIDIA's datasheets (2:4 structured sparsity, which LLM weights do not have)."""


@dataclass(frozen=True)
class Roofline:
    """Two rates and nothing else: FLOP/s and bytes/s of one device, achieved fractions already in."""

    flop_per_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        positive("flop_per_s", self.flop_per_s)
        positive("bytes_per_s", self.bytes_per_s)

    @property
    def ridge_point(self) -> float:
        """FLOPs per byte above which compute, not memory, takes the time."""
        return self.flop_per_s / self.bytes_per_s


def roofline(
    hardware: Hardware,
    precision: str = "bf16",
    *,
    sparse: bool = False,
    compute_fraction: float = 1.0,
    bandwidth_fraction: float = 1.0,
) -> Roofline:
    """Roofline of a datasheet, with the dense (or the sparse) peak and achieved fractions."""
    share = {
        name: float(in_range(name, value, 0, above=True))
        for name, value in (("compute_fraction", compute_fraction), ("bandwidth_fraction", bandwidth_fraction))
    }
    peak = hardware.peak(precision) * (SPARSITY_GAIN if sparse else 1.0)
    return Roofline(share["compute_fraction"] * peak, share["bandwidth_fraction"] * hardware.memory_bytes_per_s)


@dataclass(frozen=True)
class Verification:
    """FLOPs and bytes of a verify pass, split by how they scale: all arrays broadcast over the grid.

    ``flops`` and ``token_bytes`` are per verified token of all sequences together, ``fixed_bytes`` does not depend
    on the number of tokens.
    """

    flops: FloatArray
    fixed_bytes: FloatArray
    token_bytes: FloatArray

    def intensity(self, tokens: ArrayLike) -> FloatArray:
        """FLOPs per byte of a pass over ``tokens`` tokens a sequence."""
        n = positive("tokens", tokens)
        return n * self.flops / (self.fixed_bytes + n * self.token_bytes)

    def seconds(self, tokens: ArrayLike, at: Roofline) -> tuple[FloatArray, FloatArray]:
        """Memory and compute seconds of a pass; the roofline takes the larger."""
        n = positive("tokens", tokens)
        memory = (self.fixed_bytes + n * self.token_bytes) / at.bytes_per_s
        return memory, n * self.flops / at.flop_per_s

    def turning_tokens(self, at: Roofline) -> FloatArray:
        """Tokens a sequence at which intensity reaches the ridge point; infinite if it never does."""
        gain = self.flops - at.ridge_point * self.token_bytes
        with np.errstate(divide="ignore"):
            return np.where(gain > 0, at.ridge_point * self.fixed_bytes / gain, np.inf)


def verification(
    model: Model, *, batch: ArrayLike, context: ArrayLike, dtype: str = "bfloat16", kv_dtype: str = "bfloat16"
) -> Verification:
    """Count a verify pass from the operation list; it is linear in the tokens, so two counts give it exactly.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> work = verification(catalog.model("llama-3.1-8b"), batch=[1.0, 8.0], context=1024)
    >>> bool(work.intensity(1)[1] > work.intensity(1)[0])
    True
    """
    if model.moe is not None:
        raise fail(
            "model", model.name, "is a mixture of experts", "its bytes are not linear in the verified tokens"
        )
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))

    def count(tokens: float) -> tuple[FloatArray, FloatArray]:
        ops = forward_ops(model, batch=b, context=s, tokens=tokens, dtype=dtype)
        kept = [op for op in ops if op.kind not in ("elementwise", "all_reduce")]
        moved = sum((op.memory_bytes(dtype, kv_dtype) for op in kept), np.zeros(b.shape))
        return sum((op.flops() for op in kept), np.zeros(b.shape)), moved

    (flops, one), (_, two) = count(1.0), count(2.0)
    return Verification(flops=flops, fixed_bytes=2.0 * one - two, token_bytes=two - one)


def inverse_law(model: Model, at: Roofline, *, context: float, dtype: str = "bfloat16") -> tuple[float, float]:
    """Coefficient and floor of ``n(b) = coefficient / b + floor``, from the weights and from the KV cache.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> h800 = roofline(catalog.hardware("h800-sxm"))
    >>> c, floor = inverse_law(catalog.model("qwen2.5-72b"), h800, context=10240)
    >>> round(c), round(floor, 1)
    (260, 6.1)
    """
    n = verification(model, batch=np.array([1.0, 2.0]), context=context, dtype=dtype).turning_tokens(at)
    if not np.isfinite(n).all():
        raise fail(
            "ridge_point", at.ridge_point, "is never reached by this model", "activations outweigh the weights"
        )
    coefficient = 2.0 * float(n[0] - n[1])
    return coefficient, float(n[0]) - coefficient


def tau_from_curve(
    k: ArrayLike, tokens_per_s: ArrayLike, work: Verification, at: Roofline, *, batch: float, extra_tokens: float
) -> FloatArray:
    """tau(k) that makes one throughput curve exact: the reading that is then scored on the other batches."""
    memory, compute = work.seconds(positive("k", k) + extra_tokens, at)
    return positive("tokens_per_s", tokens_per_s) * np.maximum(memory, compute) / batch
