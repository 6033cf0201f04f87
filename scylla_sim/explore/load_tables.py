"""Seconds of prompts for the page, which computes latencies under load from them and from its grid.

The page repeats the closed form of `scylla_sim.serving` in ``load.js``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.explore.packing import packed
from scylla_sim.planning.traffic import MAX_LOAD
from scylla_sim.prediction.overheads import overhead_seconds, step_overhead_counts
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.configs import defaults_of
from scylla_sim.serving.iteration import OFFSETS
from scylla_sim.serving.iteration_parts import Prompts, draft_rows_seconds, prompts
from scylla_sim.specs.scheduler import SchedulerDefaults

TOKENS = np.array([*range(256), *range(256, 2048, 8), *range(2048, MAX_STEP_TOKENS + 1, 32)])
"""Prompt tokens of an iteration at which seconds are kept."""
LONGEST = 65_536.0
"""Earlier tokens of a prompt up to which the attention of a chunk is kept."""


@dataclass(frozen=True)
class LoadTables:
    """Seconds of prompts at `TOKENS`.

    Attributes
    ----------
    parts
        Seconds of the target's operations, by prompt tokens, sampled tokens and chunks.
    draft_rows_s
        Seconds in which the draft reads prompt tokens, shape (tokens,).
    host_s
        Seconds of the engine in an iteration without decodes.
    defaults
        Limits of the engine's scheduler, and how it schedules prompts.
    """

    parts: Prompts
    draft_rows_s: FloatArray
    host_s: float
    defaults: SchedulerDefaults

    def as_json(self) -> dict[str, Any]:
        """Return the tables as the page reads them."""
        parts = self.parts
        arrays = {
            "rows": parts.rows_s,
            "draft_rows": self.draft_rows_s,
            "head": parts.head_s,
            "least": parts.least_s,
            "attention": parts.attention_s,
        }
        return {
            "tokens": TOKENS.tolist(),
            "offsets": parts.offsets.tolist(),
            "host_s": self.host_s,
            "prefill_first": self.defaults.prefill_first,
            "budget": min(self.defaults.max_num_batched_tokens, MAX_STEP_TOKENS),
            "max_num_seqs": self.defaults.max_num_seqs,
            "highest": MAX_LOAD,
            **{name: packed(values) for name, values in arrays.items()},
        }


def load_tables(scenario: Scenario) -> LoadTables:
    """Return the seconds of prompts of a deployment."""
    model, (target, of_draft) = scenario.target_model(), scenario.deployments()
    found = prompts(
        model,
        target,
        max_tokens=MAX_STEP_TOKENS,
        max_rows=MAX_STEP_TOKENS,
        offsets=np.concatenate([[0.0], np.geomspace(256.0, LONGEST, OFFSETS - 1)]),
    )
    read = draft_rows_seconds(scenario.draft_model(), model, of_draft, np.maximum(TOKENS, 1.0))
    at = {name: getattr(found, name)[..., TOKENS] for name in ("rows_s", "head_s", "attention_s", "least_s")}
    return LoadTables(
        replace(found, **at),
        np.where(TOKENS > 0, read, 0.0),
        float(overhead_seconds(target.engine, step_overhead_counts(target.tp))),
        defaults_of(target),
    )
