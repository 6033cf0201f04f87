"""Reuse of large results, such as weights, by consecutive cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

P = ParamSpec("P")


T = TypeVar("T")


class LastResults(Generic[P, T]):
    """Function that keeps its last results and releases the oldest before it computes another.

    Consecutive cases share weights. A cache that kept old results until new ones are ready would need room for
    both.

    Parameters
    ----------
    make
        Function to call.
    max_results
        Number of results to keep.
    """

    _every: ClassVar[list[LastResults[Any, Any]]] = []

    def __init__(self, make: Callable[P, T], *, max_results: int = 1) -> None:
        self.make = make
        self.max_results = max_results
        self.last: dict[Any, T] = {}
        self._every.append(self)

    def __call__(self, *args: P.args, **options: P.kwargs) -> T:
        """Return the kept result for these arguments, or compute it."""
        key = (args, tuple(options.items()))
        if key in self.last:
            self.last[key] = self.last.pop(key)  # now the most recent
        else:
            while len(self.last) >= self.max_results:
                del self.last[next(iter(self.last))]
            self.last[key] = self.make(*args, **options)
        return self.last[key]

    def clear(self) -> None:
        """Release the results."""
        self.last.clear()

    @classmethod
    def clear_all(cls) -> None:
        """Release the results of every such function."""
        for kept in cls._every:
            kept.clear()
