"""Sequences whose KV caches fit in memory, by draft configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.ops.memory import MemoryPlan, max_sequences
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model

Ends = tuple[FloatArray, FloatArray]
"""Lower and upper end of an array of quantities."""


@dataclass(frozen=True)
class MemoryLimits:
    """A target, where it and its draft run, and the tokens in each KV cache."""

    target: Model
    deployment: Deployment
    draft_deployment: Deployment
    context: FloatArray

    def max_sequences(self, config: SpeculativeConfig | None = None) -> Ends:
        """Return the sequences that fit with a draft, or without one: the ends of a range over engine settings."""
        where, draft = self.deployment, self.draft_deployment
        plan = MemoryPlan(
            self.target,
            Draft("none", "none"),
            tp=where.tp,
            dtype=where.dtype,
            draft_dtype=draft.dtype,
            kv_dtype=where.kv_dtype,
            draft_tp=draft.tp,
            op_dtypes=where.op_dtypes,
        )
        if config is not None:
            plan = replace(plan, draft=config.draft, slots=config.verify_tokens)
        hardware, use = where.calibration.hardware, where.engine.memory
        return max_sequences(plan, hardware=hardware, use=use, context=self.context)
