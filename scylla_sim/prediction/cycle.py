"""One draft-verify cycle: its tokens, steps, overheads and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.operation import LINK
from scylla_sim.kernels.registry import op_kind
from scylla_sim.prediction.step_time import EMPTY, LAUNCH, Step
from scylla_sim.stats.estimate import Estimate, exact

BOUNDS = ("memory", "compute", "communication", "overhead")
"""Resources that can take the largest share of a cycle."""


NO_LOAD = exact(0.0)
"""Seconds of prefills where only decoding is predicted."""


@dataclass(frozen=True)
class Cycle:
    """One decoding cycle; the autoregressive baseline is a cycle without a draft.

    Attributes
    ----------
    tokens_per_cycle
        Tokens that a sequence gains per cycle; 1 for the autoregressive baseline.
    verify, verify_tokens
        The target's step, and the tokens that it scores per sequence.
    draft, draft_width
        The draft's passes, and the candidates per sequence in one of them.
    overhead_counts
        Name of each overhead of the engine -> number of times that it occurs in the cycle.
    seconds
        Seconds of the whole cycle, overheads and prefills included.
    load
        Seconds of prefills of the served load per cycle, which ``seconds`` includes.
    wait
        Seconds until the last sequence of a batch without refill ends, relative to its mean number of cycles at
        full size; ``None`` if the batch is refilled. See `scylla_sim.prediction.ragged_batch.wait`.
    """

    tokens_per_cycle: Estimate
    verify: Step
    verify_tokens: int
    draft: Step
    draft_width: int
    overhead_counts: Mapping[str, FloatArray]
    seconds: FloatArray
    load: Estimate = NO_LOAD
    wait: Estimate | None = None

    @property
    def lasting_s(self) -> FloatArray:
        """Seconds per mean cycle of a sequence, with the wait for the slowest sequence of the batch."""
        if self.wait is None:
            return self.seconds
        found: FloatArray = (self.seconds - self.load.value) * self.wait.value + self.load.value
        return found

    @property
    def decoding(self) -> Cycle:
        """The cycle without prefills."""
        return replace(self, seconds=self.seconds - self.load.value, load=NO_LOAD)


EXACT = Cycle(exact(1.0), EMPTY, 1, EMPTY, 1, {}, np.asarray(1.0))
"""A cycle of one token and one second without error; a ratio to it is a rate."""


def bound(steps: Sequence[Step], overhead_s: FloatArray) -> list[str]:
    """Return the resource that takes the largest share of a cycle, element by element.

    The seconds of an operation count as memory or compute, whichever is larger in its datasheet roofline.

    Parameters
    ----------
    steps
        Steps of the cycle.
    overhead_s
        Seconds that the engine adds.

    Returns
    -------
    list of str
        One of `BOUNDS` for each point of the flattened grid.
    """
    shape = np.broadcast_shapes(overhead_s.shape, *(step.seconds.shape for step in steps))
    share = {name: np.zeros(shape) for name in BOUNDS}
    share["overhead"] = share["overhead"] + overhead_s
    for part in (part for step in steps for part in step.parts):
        if part.kind == LAUNCH:
            share["overhead"] = share["overhead"] + part.seconds
            continue
        if op_kind(part.kind).resource == LINK:
            share["communication"] = share["communication"] + part.seconds
            continue
        math = part.compute_s > part.memory_s
        share["compute"] = share["compute"] + np.where(math, part.seconds, 0.0)
        share["memory"] = share["memory"] + np.where(math, 0.0, part.seconds)
    most = np.argmax(np.stack([share[name] for name in BOUNDS]), axis=0)
    return [BOUNDS[i] for i in most.reshape(-1).tolist()]
