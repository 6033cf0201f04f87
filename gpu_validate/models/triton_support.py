"""Shared parts of the Triton kernels: the optional import and small helpers.

The CUDA builds of torch install Triton. Without it, the modules with kernels can still be imported, and
`triton_available` returns False.
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
        from triton.language import constexpr, tensor  # Triton reads the annotations of kernels
    except ImportError:
        triton = tl = constexpr = tensor = None

MIN_HEAD_DIM = 16
"""Smallest matrix side that tensor cores multiply."""


def triton_available(x: Tensor, head_dim: int = MIN_HEAD_DIM) -> bool:
    """Return whether Triton kernels can run on ``x``.

    This needs Triton, a tensor on a GPU, and a ``head_dim`` that is a power of two and at least `MIN_HEAD_DIM`.
    """
    fits = head_dim >= MIN_HEAD_DIM and not head_dim & (head_dim - 1)
    return triton is not None and x.is_cuda and fits


def jit(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that compiles a function with Triton, where Triton is installed."""

    def decorate(function: Callable[..., None]) -> Any:
        return function if triton is None else triton.jit(**options)(function)

    return decorate


def ceil_divide(count: int, size: int) -> int:
    """Return the number of pieces of ``size`` that cover ``count``."""
    return -(-count // size)


def next_power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least ``count``."""
    return 1 << max(count - 1, 0).bit_length()
