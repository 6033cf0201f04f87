"""Published serving runs as equations that are linear in the overheads of their engine.

A run gives the seconds of its kernels and the number of times that each overhead occurs, so that seconds at other
overheads follow without a new prediction. MoE runs are predicted at several overlaps of experts, and the seconds
between them are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.served_runs import ServedRun, scenario
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.engine import Engine

FITTED = (
    *("host_s", "token_s", "draft_host_s", "draft_pass_host_s", "fused_pass_host_s", "tree_host_s"),
    *("tp_host_s", "tp_draft_host_s", "tp_draft_pass_s"),
)
"""Overheads that are fitted; the others rest on runs of one kind in one source each."""
NODES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Overlaps of experts at which MoE runs are predicted."""
CHAIN, TREE = "chain", "tree"
"""Kinds of overlap, as in ``scylla_sim/data/expert_overlap.toml``."""


@dataclass(frozen=True)
class Equation:
    """Seconds of one run, and its predictions.

    Attributes
    ----------
    predictions
        Prediction at each of `NODES`; one for a dense target.
    cycle_s, plain_s
        Seconds of the kernels and of the overheads that are not fitted: of a cycle at each node, and of a step.
    counts, plain_counts
        Number of times that each of `FITTED` occurs in a cycle, and in a step.
    load_s
        Seconds of prefills per output token.
    overlap
        `CHAIN`, `TREE`, or empty for a dense target.
    """

    predictions: tuple[Prediction, ...]
    cycle_s: FloatArray
    plain_s: float
    counts: FloatArray
    plain_counts: FloatArray
    load_s: float
    overlap: str


def _parts(counts: Mapping[str, FloatArray], engine: Engine) -> tuple[FloatArray, float]:
    """Return the counts of the fitted overheads, and the seconds of the others."""
    fitted = np.array([float(np.max(counts.get(name, np.asarray(0.0)))) for name in FITTED])
    rest = sum(getattr(engine, name) * float(np.max(n)) for name, n in counts.items() if name not in FITTED)
    return fitted, float(rest)


def equation(run: ServedRun, tokens_per_cycle: float) -> Equation:
    """Predict a run and return its equation."""
    base = scenario(run, tokens_per_cycle)
    moe = base.target_model().moe is not None and run.drafts
    each = [replace(base, expert_overlap=node) for node in NODES] if moe else [base]
    predictions = tuple(one.predict().predictions[0] for one in each)
    first = predictions[0]
    counts, rest = _parts(first.cycle.overhead_counts, first.engine)
    plain_counts, plain_rest = _parts(first.plain_cycle.overhead_counts, first.engine)
    return Equation(
        predictions=predictions,
        cycle_s=np.array([float(np.sum(one.draft.seconds + one.verify.seconds)) + rest for one in predictions]),
        plain_s=float(np.sum(first.plain.seconds)) + plain_rest,
        counts=counts,
        plain_counts=plain_counts,
        load_s=float(np.max(first.plain_cycle.load.value)),
        overlap=(TREE if run.top_k > 1 else CHAIN) if moe else "",
    )


@dataclass(frozen=True)
class System:
    """Equations of many runs, as arrays with one row per run.

    Attributes
    ----------
    cycle_s
        Shape (runs, nodes); equal at all nodes for a dense target.
    plain_s, load_s, tokens_per_cycle
        Shape (runs,).
    counts, plain_counts
        Shape (runs, overheads).
    tree
        Whether the overlap of trees applies; that of chains applies elsewhere.
    """

    cycle_s: FloatArray
    plain_s: FloatArray
    load_s: FloatArray
    tokens_per_cycle: FloatArray
    counts: FloatArray
    plain_counts: FloatArray
    tree: NDArray[np.bool_]

    @classmethod
    def of(cls, equations: Sequence[Equation], tokens_per_cycle: FloatArray) -> System:
        """Return the system of some equations."""
        return cls(
            np.array([np.broadcast_to(one.cycle_s, len(NODES)) for one in equations]),
            np.array([one.plain_s for one in equations]),
            np.array([one.load_s for one in equations]),
            tokens_per_cycle,
            np.array([one.counts for one in equations]),
            np.array([one.plain_counts for one in equations]),
            np.array([one.overlap == TREE for one in equations]),
        )

    def at(self, keep: NDArray[np.bool_]) -> System:
        """Return the equations for which ``keep`` is true."""
        return System(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def seconds(self, overheads: FloatArray, overlap: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
        """Return the seconds of a cycle and of a plain step, without prefills.

        Parameters
        ----------
        overheads
            Seconds of each of `FITTED` for every run, shape (runs, overheads).
        overlap
            Overlap of experts of `CHAIN` and of `TREE`.
        """
        chain, tree = (_between_nodes(self.cycle_s, overlap[kind]) for kind in (CHAIN, TREE))
        plain = self.plain_s + (self.plain_counts * overheads).sum(axis=1)
        cycle = np.where(self.tree, tree, chain) + (self.counts * overheads).sum(axis=1)
        return np.maximum(cycle, plain), plain


def _between_nodes(seconds: FloatArray, at: float) -> FloatArray:
    """Return seconds at one overlap, given those at all `NODES`."""
    right = int(np.clip(np.searchsorted(NODES, at), 1, len(NODES) - 1))
    share = (at - NODES[right - 1]) / (NODES[right] - NODES[right - 1])
    found: FloatArray = (1.0 - share) * seconds[:, right - 1] + share * seconds[:, right]
    return found
