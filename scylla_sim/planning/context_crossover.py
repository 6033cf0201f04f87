"""The contexts at which speculation pays, at one batch.

Context acts both ways. A long context makes a plain step slower, so that verified tokens are cheaper in proportion,
but a draft with a cache of its own slows down too. The contexts at which the best candidate is faster can therefore
start, end, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.stats.estimate import Estimate

SHORTEST = 128
"""First context of the search."""
LONGEST = 131_072
"""Last context of the search for a model without a stated limit, and for models with a longer one."""
NODES = 41
"""Contexts that are predicted; between them the logarithm of the speed-up is linear in that of the context."""

Range = tuple[int, int]
"""First and last context."""


@dataclass(frozen=True)
class ContextCrossover:
    """Contexts at which the best candidate is faster than the baseline at one batch.

    Attributes
    ----------
    batch_size
        Sequences decoded together.
    faster
        Ranges of contexts where the speed-up is above 1.
    surely, possibly
        The same for the lower and the upper end of its 90 % interval.
    searched_from, searched_to
        First and last context of the search; ``searched_to`` is 0 if nothing fits in memory.
    limit
        Reason for the end of the search: ``memory`` or ``context``, the positions of the model.
    """

    batch_size: int
    faster: tuple[Range, ...]
    surely: tuple[Range, ...]
    possibly: tuple[Range, ...]
    searched_from: int
    searched_to: int
    limit: str

    def in_words(self) -> str:
        """Return where drafting pays, as text.

        Examples
        --------
        >>> ContextCrossover(256, ((1900, 8192),), (), (), 128, 8192, "memory").in_words()
        'from context 1900 on'
        """
        if not self.searched_to:
            return "at no context, because no draft fits in memory"
        if not self.faster:
            return "at no context"
        parts = []
        for first, last in self.faster:
            opens, closes = first <= self.searched_from, last >= self.searched_to
            if opens and closes:
                return f"at every context up to {self.searched_to}"
            parts.append(
                f"up to context {last}" if opens else f"from context {first} {'on' if closes else f'to {last}'}"
            )
        return " and ".join(parts)


def nodes(max_context: int) -> FloatArray:
    """Return the contexts to predict for a model with this limit; 0 stands for no limit.

    Examples
    --------
    >>> found = nodes(4096)
    >>> int(found[0]), int(found[-1]), found.size
    (128, 4096, 41)
    """
    last = min(max_context or LONGEST, LONGEST)
    return np.unique(np.round(np.geomspace(min(SHORTEST, last), last, NODES)))


def faster_ranges(context: FloatArray, speedup: FloatArray) -> tuple[Range, ...]:
    """Return the ranges of contexts where a speed-up is above 1.

    Parameters
    ----------
    context, speedup
        Increasing contexts, and the speed-up at each, shape (contexts,).

    Examples
    --------
    >>> faster_ranges(np.array([100.0, 400.0, 1600.0]), np.array([0.5, 2.0, 2.0]))
    ((200, 1600),)
    >>> faster_ranges(np.array([100.0, 400.0]), np.array([0.9, 1.0]))
    ()
    """
    log = np.log(speedup)
    above = log > 0.0
    edges = np.flatnonzero(above[1:] != above[:-1])
    share = log[edges] / (log[edges] - log[edges + 1])
    steps = np.log(context[edges + 1] / context[edges])
    crossings = np.round(context[edges] * np.exp(share * steps)).astype(int).tolist()
    bounds = [*([int(context[0])] if above[:1].any() else []), *crossings]
    bounds += [int(context[-1])] if above[-1:].any() else []
    return tuple(zip(bounds[::2], bounds[1::2]))


def context_crossovers(found: Sequence[Prediction]) -> list[ContextCrossover]:
    """Return the contexts at which the best candidate pays, for each batch of a grid of (batches, contexts).

    Parameters
    ----------
    found
        Predictions of all candidates on the grid of `nodes`; those without a draft are left out.
    """
    drafted = [out for out in found if out.config.draft_len > 0]
    shape = drafted[0].batch.shape
    fits: NDArray[np.bool_] = np.stack([out.fits_memory for out in drafted])
    speedups = [out.speedup_estimate.broadcast_to(shape) for out in drafted]
    best = Estimate(
        *(
            np.where(fits, [getattr(one, end) for one in speedups], 0.0).max(axis=0)
            for end in ("value", "lower", "upper")
        )
    )
    return [
        _at(int(drafted[0].batch[i, 0]), drafted[0].context[i], best, i, size)
        for i, size in enumerate(np.logical_or.reduce(fits).sum(axis=1).tolist())
    ]


def _at(batch: int, context: FloatArray, best: Estimate, row: int, size: int) -> ContextCrossover:
    """Return the crossover of one batch, of whose contexts the first ``size`` fit in memory."""
    if size == 0:
        return ContextCrossover(batch, (), (), (), int(context[0]), 0, "memory")
    value, lower, upper = (
        faster_ranges(context[:size], end[row, :size]) for end in (best.value, best.lower, best.upper)
    )
    limit = "context" if size == context.size else "memory"
    return ContextCrossover(batch, value, lower, upper, int(context[0]), int(context[size - 1]), limit)
