"""Theorem 1.3 from first principles: the compute-bound crossover of verification.

Verifying ``n`` tokens of each of ``b`` sequences costs ``n b f`` FLOPs and ``W + b K + n b a`` bytes (weights, KV
cache, activations). Both follow from the model's operation list. Memory and compute time are equal where the
arithmetic intensity equals the ridge point R = peak / bandwidth:

    n(b) = (R / (f - R a)) (W / b + K)

This falls as 1/b towards a floor set by the KV cache. It is not logarithmic in b, unlike the theorem's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive
from scylla_sim.kernels.operation import TENSOR_CORES
from scylla_sim.kernels.registry import op_kind
from scylla_sim.ops.forward import forward_ops
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model

SPARSITY_GAIN = 2.0
"""Sparse over dense tensor-core peak in NVIDIA's datasheets.

The sparse peak needs 2:4 structured sparsity, which LLM weights do not have.
"""


@dataclass(frozen=True)
class Roofline:
    """Attainable FLOP/s and bytes/s of one device."""

    flop_per_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        """Check the fields."""
        positive("flop_per_s", self.flop_per_s)
        positive("bytes_per_s", self.bytes_per_s)

    @property
    def ridge_point(self) -> float:
        """FLOPs per byte above which a kernel is compute-bound."""
        return self.flop_per_s / self.bytes_per_s


def roofline(
    hardware: Hardware,
    precision: str = "bf16",
    *,
    sparse: bool = False,
    compute_fraction: float = 1.0,
    bandwidth_fraction: float = 1.0,
) -> Roofline:
    """Return the roofline of a datasheet.

    Parameters
    ----------
    precision
        Precision of the tensor-core peak.
    sparse
        Use the sparse peak instead of the dense one.
    compute_fraction, bandwidth_fraction
        Achieved shares of peak and bandwidth, in (0, 1].
    """
    share = {
        name: float(in_range(name, value, 0, 1, above=True))
        for name, value in (("compute_fraction", compute_fraction), ("bandwidth_fraction", bandwidth_fraction))
    }
    peak = hardware.peak(precision) * (SPARSITY_GAIN if sparse else 1.0)
    return Roofline(share["compute_fraction"] * peak, share["bandwidth_fraction"] * hardware.memory_bytes_per_s)


@dataclass(frozen=True)
class VerifyWork:
    """FLOPs and bytes of a verification, split by their dependence on the verified tokens.

    Attributes
    ----------
    flops
        FLOPs per verified token, all sequences together.
    fixed_bytes
        Bytes that do not depend on the verified tokens: weights and KV cache.
    token_bytes
        Bytes per verified token, all sequences together.
    """

    flops: FloatArray
    fixed_bytes: FloatArray
    token_bytes: FloatArray

    def intensity(self, tokens: ArrayLike) -> FloatArray:
        """Return the FLOPs per byte of a pass over ``tokens`` tokens per sequence."""
        n = positive("tokens", tokens)
        return n * self.flops / (self.fixed_bytes + n * self.token_bytes)

    def seconds(self, tokens: ArrayLike, at: Roofline) -> tuple[FloatArray, FloatArray]:
        """Return memory and compute seconds of a pass; the roofline takes the larger."""
        n = positive("tokens", tokens)
        memory = (self.fixed_bytes + n * self.token_bytes) / at.bytes_per_s
        return memory, n * self.flops / at.flop_per_s

    def crossover_tokens(self, at: Roofline) -> FloatArray:
        """Return the tokens per sequence at which a pass becomes compute-bound; infinite if it never does."""
        gain = self.flops - at.ridge_point * self.token_bytes
        with np.errstate(divide="ignore"):
            return np.where(gain > 0, at.ridge_point * self.fixed_bytes / gain, np.inf)


def verify_work(
    model: Model, *, batch: ArrayLike, context: ArrayLike, dtype: str = "bfloat16", kv_dtype: str = "bfloat16"
) -> VerifyWork:
    """Count the FLOPs and bytes of a verification from the operation list.

    Both are linear in the verified tokens, so counts at one and two tokens determine them.

    Parameters
    ----------
    batch, context
        Sequences, and tokens in the KV cache of each; they broadcast.

    Raises
    ------
    InputError
        If the model is a mixture of experts, whose bytes are not linear in the verified tokens.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> work = verify_work(catalog.model("llama-3.1-8b"), batch=[1.0, 8.0], context=1024)
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
        kept = [op for op in ops if op_kind(op.kind).resource == TENSOR_CORES]
        moved = sum((op.memory_bytes(dtype, kv_dtype) for op in kept), np.zeros(b.shape))
        return sum((op.flops() for op in kept), np.zeros(b.shape)), moved

    (flops, one), (_, two) = count(1.0), count(2.0)
    return VerifyWork(flops=flops, fixed_bytes=2.0 * one - two, token_bytes=two - one)


def inverse_law(model: Model, at: Roofline, *, context: float, dtype: str = "bfloat16") -> tuple[float, float]:
    """Return coefficient and floor of ``n(b) = coefficient / b + floor``.

    The coefficient comes from the weights, the floor from the KV cache.

    Raises
    ------
    InputError
        If a verification of this model never becomes compute-bound.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> h800 = roofline(catalog.hardware("h800-sxm"))
    >>> c, floor = inverse_law(catalog.model("qwen2.5-72b"), h800, context=10240)
    >>> round(c), round(floor, 1)
    (260, 6.1)
    """
    n = verify_work(model, batch=np.array([1.0, 2.0]), context=context, dtype=dtype).crossover_tokens(at)
    if not np.isfinite(n).all():
        raise fail(
            "ridge_point", at.ridge_point, "is never reached by this model", "activations outweigh the weights"
        )
    coefficient = 2.0 * float(n[0] - n[1])
    return coefficient, float(n[0]) - coefficient


def tau_from_curve(
    k: ArrayLike, tokens_per_s: ArrayLike, work: VerifyWork, at: Roofline, *, batch: float, extra_tokens: float
) -> FloatArray:
    """Return the tau(k) that reproduces one measured throughput curve.

    Parameters
    ----------
    k
        Verified paths, shape (points,).
    tokens_per_s
        Measured throughput at each k.
    work
        Verification work at the batch of the curve.
    batch
        Batch of the curve.
    extra_tokens
        Tokens verified besides the k paths.
    """
    memory, compute = work.seconds(positive("k", k) + extra_tokens, at)
    return positive("tokens_per_s", tokens_per_s) * np.maximum(memory, compute) / batch
