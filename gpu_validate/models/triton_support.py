"""What Triton kernels of this package share: the import that may be missing, and when they can run.

Triton comes with torch for a GPU. Without it the modules that hold kernels still import, and `triton_available` says no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    triton: Any
    tl: Any
    constexpr: TypeAlias = Any
    tensor: TypeAlias = Any
else:
    try:
        import triton
        import triton.language as tl
        from triton.language import constexpr, tensor  # annotations of kernels, which Triton reads
    except ImportError:
        triton = tl = constexpr = tensor = None

MIN_HEAD_DIM = 16
"""Tensor cores multiply no narrower matrices."""


def triton_available(x: Tensor, head_dim: int = MIN_HEAD_DIM) -> bool:
    """Whether Triton kernels can run on ``x``.

    Triton is there, ``x`` is on a GPU, and ``head_dim`` is a power of two from `MIN_HEAD_DIM` on.
    """
    fits = head_dim >= MIN_HEAD_DIM and not head_dim & (head_dim - 1)
    return triton is not None and x.is_cuda and fits


def jit(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Have Triton compile a function at its first launch; without Triton it stays as it is."""

    def decorate(function: Callable[..., None]) -> Any:
        return function if triton is None else triton.jit(**options)(function)

    return decorate


def ceil_divide(count: int, size: int) -> int:
    """Pieces of ``size`` that hold ``count``."""
    return -(-count // size)


def next_power_of_two(count: int) -> int:
    """The smallest one that is at least ``count``."""
    return 1 << max(count - 1, 0).bit_length()
