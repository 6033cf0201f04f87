"""Seconds of an iteration as plain lists, for a loop that calls no numpy function."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.serving.iteration_parts import Decoding, Prompts

Rows = list[list[float]]
"""Values by batch and cell of the context."""


@dataclass(frozen=True)
class StepLists:
    """Look-ups of an `IterationModel`.

    Attributes
    ----------
    base, slope
        Seconds of an iteration of decodes at ``x``, the mean context over ``context_step``, in cell ``j = int(x)``:
        ``base[batch][j] + slope[batch][j] * x``. Batch 0 is the host's work.
    busy_base, busy_slope
        The same without waiting for launches.
    beside
        Seconds beside the target's step, by batch.
    rows, head, least
        As in `scylla_sim.serving.iteration_parts.Prompts`.
    attention, offsets
        Seconds of a chunk by earlier tokens and tokens, and these earlier tokens.
    width
        Tokens that the decodes of an iteration score, by batch.
    context_step
        Width of a cell of the context.
    """

    base: Rows
    slope: Rows
    busy_base: Rows
    busy_slope: Rows
    beside: list[float]
    rows: list[float]
    head: list[float]
    least: list[float]
    attention: Rows
    offsets: list[float]
    width: list[int]
    context_step: float

    def chunk_s(self, tokens: int, offset: int) -> float:
        """Return the seconds of the operations of one prompt's chunk, as `IterationModel.attention_s`."""
        if not offset:
            return self.attention[0][tokens]
        offsets = self.offsets
        at = min(bisect_right(offsets, offset) - 1, len(offsets) - 2)
        share = min((offset - offsets[at]) / (offsets[at + 1] - offsets[at]), 1.0)
        low = self.attention[at][tokens]
        return low + share * (self.attention[at + 1][tokens] - low)

    def mixed_s(self, batch: int, x: float, *, tokens: int, chunks_s: float, sampled: int) -> float:
        """Return the seconds of an iteration with prompts, as `IterationModel.seconds`.

        Parameters
        ----------
        batch, x
            Decodes, and their mean context over ``context_step``.
        tokens, chunks_s, sampled
            Prompt tokens, the sum of `chunk_s`, and prompts that end in the iteration.
        """
        cell, before = int(x), self.width[batch]
        added = self.rows[before + tokens] - self.rows[before]
        busy = self.busy_base[batch][cell] + self.busy_slope[batch][cell] * x + chunks_s
        busy += (added if added > 0.0 else 0.0) + self.head[before + sampled] - self.head[before]
        least = self.beside[batch] + self.least[before + tokens]
        return busy if busy > least else least


def _cells(table: FloatArray) -> tuple[Rows, Rows]:
    """Return base and slope of each cell; the last value holds beyond the last context."""
    slope = np.diff(table, axis=1)
    base = table[:, :-1] - slope * np.arange(slope.shape[1])
    return (
        np.concatenate([base, table[:, -1:]], axis=1).tolist(),
        np.concatenate([slope, np.zeros_like(table[:, :1])], axis=1).tolist(),
    )


def step_lists(decoding: Decoding, prompts: Prompts, *, host_s: float, context_step: float) -> StepLists:
    """Return the look-ups of the parts of an iteration model; see `scylla_sim.serving.iteration.IterationModel`.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.prediction.steps import Deployment
    >>> from scylla_sim.serving.iteration import iteration_model
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> model = iteration_model(catalog.model("llama-3.1-8b"), None, deployment, max_context=2048, max_num_seqs=4)
    >>> lists, x = model.lists, 700 / model.context_step
    >>> found = lists.base[3][int(x)] + lists.slope[3][int(x)] * x
    >>> abs(found / float(model.decode_s(3, 700)) - 1) < 1e-12
    True
    """
    d, p = decoding, prompts
    seconds = d.seconds.value.copy()
    seconds[0] = host_s
    base, slope = _cells(seconds)
    busy = (base, slope) if not d.waiting_s.any() else _cells(seconds - d.waiting_s)
    return StepLists(
        base,
        slope,
        *busy,
        beside=[host_s, *d.beside_s[1:].tolist()],
        rows=p.rows_s.tolist(),
        head=p.head_s.tolist(),
        least=p.least_s.tolist(),
        attention=p.attention_s.tolist(),
        offsets=p.offsets.tolist(),
        width=(d.verify_tokens * np.arange(d.verify_tokens.size)).astype(int).tolist(),
        context_step=context_step,
    )
