"""Acceptance that a draft needs to be as fast as autoregressive decoding.

A cycle pays if its tokens take no longer than as many plain steps. Prefills of a served load take the same time per
token on both sides, so the break-even tokens per cycle are the seconds of a cycle over those of a plain step. A
static batch waits for its slowest sequence; the wait is that at the tokens per cycle of the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.uncertainty import with_interval
from scylla_sim.stats.estimate import Estimate, exact


@dataclass(frozen=True)
class BreakEven:
    """Tokens per cycle at which one candidate is as fast as the baseline.

    Attributes
    ----------
    batch_size, context_len
        Point of the grid.
    config
        The candidate.
    tokens_per_cycle, lower, upper
        Break-even tokens per cycle with their 90 % interval, that of kernels and engine. Above ``draft_len + 1``
        no acceptance is enough.
    """

    batch_size: int
    context_len: int
    config: SpeculativeConfig
    tokens_per_cycle: float
    lower: float
    upper: float

    def first_rates(self, law: PositionLaw) -> tuple[float | None, float | None, float | None]:
        """Return the rate of position 1 at the value and at both ends; ``None`` where no rate is enough.

        Parameters
        ----------
        law
            Law over positions of the draft's method.

        Raises
        ------
        ValueError
            For a tree, whose rates depend on the law over ranks as well.
        """
        if self.config.top_k > 1:
            raise ValueError("break-even rates are defined for chains")
        ends = np.array([self.tokens_per_cycle, self.lower, self.upper])
        within = ends <= self.config.draft_len + 1
        rates = law.first_rate(np.where(within, np.maximum(ends, 1.0), 1.0), self.config.draft_len)
        value, lower, upper = (float(rate) if possible else None for rate, possible in zip(rates, within.tolist()))
        return value, lower, upper


def break_even_tokens(out: Prediction) -> Estimate:
    """Return the break-even tokens per cycle of a prediction, with their interval, over its grid.

    Examples
    --------
    >>> from scylla_sim.acceptance.speculative_config import SpeculativeConfig
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.prediction.steps import Deployment
    >>> from scylla_sim.prediction.throughput import predict
    >>> from scylla_sim.specs import catalog
    >>> where = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.0, 2.0, 2.0)
    >>> out = predict(catalog.model("llama-3.1-8b"), config, where, batch=[8], context=1024)
    >>> needed = float(break_even_tokens(out).value[0])
    >>> bool(abs(2.0 / needed - out.speedup[0]) < 1e-9)
    True
    """
    cycle = replace(out.cycle.decoding, tokens_per_cycle=exact(1.0))
    plain = out.plain_cycle.decoding
    ratio = with_interval(plain.seconds / cycle.lasting_s, cycle, out.engine, plain)
    return Estimate(1.0 / ratio.value, 1.0 / ratio.upper, 1.0 / ratio.lower)


def break_evens(found: Sequence[Prediction]) -> list[BreakEven]:
    """Return the break-even of every drafting candidate at every point of a grid, in the order of the grid."""
    drafted = [out for out in found if out.config.draft_len > 0]
    needed = [break_even_tokens(out).broadcast_to(out.batch.shape) for out in drafted]
    return [
        BreakEven(
            int(out.batch[at]),
            int(out.context[at]),
            out.config,
            float(each.value[at]),
            float(each.lower[at]),
            float(each.upper[at]),
        )
        for at in np.ndindex(drafted[0].batch.shape)
        for out, each in zip(drafted, needed)
    ]
