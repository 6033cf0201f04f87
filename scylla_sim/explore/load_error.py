"""Error of the page's latencies under load: the closed form with the page's seconds, against the exact seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.explore.grid import DENSE, Grid, configs_of
from scylla_sim.explore.interpolate import DRAFT_SECONDS, VERIFY_SECONDS, smooth_at
from scylla_sim.explore.load_tables import TOKENS, LoadTables
from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.traffic import Traffic, steady_states
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import Curve
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.stats.estimate import exact

QUANTILES = (0.5, 0.95)
"""Quantiles of the latencies on the page."""
SHARES = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.9])
"""Shares of saturation at which the error is measured."""
LENGTHS = ((200, 100), (1000, 200), (4000, 500))
"""Tokens of prompts and answers at which the error is measured."""
TAU = 2.0
"""Tokens per cycle at which the error is measured; the page has them exactly."""


@dataclass(frozen=True)
class LoadError:
    """Largest relative errors of the latencies under load.

    Attributes
    ----------
    ttft, tpot
        Error of quantiles of the time to the first token, and of the time per output token.
    saturation
        Error of the highest rate.
    loads
        Number of loads.
    """

    ttft: float
    tpot: float
    saturation: float
    loads: int


def tabulated(
    made: IterationModel, grid: Grid, tables: LoadTables, shape: int, *, context: float
) -> IterationModel:
    """Return an iteration model with the seconds of the page at one context, and the limits of an exact one.

    Parameters
    ----------
    shape
        Index of the draft shape in the grid.
    """
    batch = np.arange(1.0, made.max_num_seqs + 1.0)

    def between(name: str, index: int) -> FloatArray:
        if name in DENSE:
            return np.asarray(np.interp(batch, grid.batches, grid.values[name][index]))
        return np.asarray(smooth_at(grid, name, batch, np.full(batch.shape, context))[index])

    def columns(values: FloatArray) -> FloatArray:
        return np.repeat(np.concatenate([[0.0], values])[:, None], 2, axis=1)

    names = (*VERIFY_SECONDS, *DRAFT_SECONDS, "overhead")
    cycles = [np.sum([between(name, index) for name in names], axis=0) for index in (0, shape)]
    waiting = between("verify_waiting", shape)
    verify = np.sum([between(name, shape) for name in ("gemm", "other", "attention")], axis=0) + waiting
    every, parts = np.arange(made.prompts.rows_s.size), tables.parts
    rows = parts.rows_s + (tables.draft_rows_s if shape else 0.0)
    return replace(
        made,
        decoding=replace(
            made.decoding,
            seconds=exact(columns(np.maximum(*cycles))),
            waiting_s=columns(waiting),
            beside_s=np.concatenate([[0.0], np.maximum(*cycles) - verify]),
        ),
        contexts=np.array([0.0, context]),
        prompts=replace(
            made.prompts,
            rows_s=np.interp(every, TOKENS, rows),
            head_s=np.interp(np.arange(made.prompts.head_s.size), TOKENS, parts.head_s),
            least_s=np.interp(every, TOKENS, parts.least_s),
            attention_s=np.stack([np.interp(every, TOKENS, row) for row in parts.attention_s]),
            offsets=parts.offsets,
        ),
    )


def _latencies(found: Curve, rates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return quantiles of both latencies at some rates, each of shape (quantiles, rates)."""
    at = found.at_rate(rates)
    ttft, tpot = ([quantile(p) for p in QUANTILES] for quantile in (at.ttft_quantile, at.tpot_quantile))
    return np.stack(ttft), np.stack(tpot)


def load_error(scenario: Scenario, grid: Grid, tables: LoadTables) -> LoadError:
    """Return the errors of the page at `LENGTHS` and `SHARES`, each length with another draft shape."""
    configs, model, where = configs_of(scenario), scenario.target_model(), scenario.deployments()
    shapes = np.unique(np.linspace(0, len(configs) - 1, len(LENGTHS)).astype(int))
    errors = []
    for shape, lengths in zip(shapes.tolist(), LENGTHS):
        load, tau = ServedLoad(*lengths), TAU if shape else 1.0
        config = replace(configs[shape], tokens_per_cycle=tau, tau_lower=tau, tau_upper=tau)
        traffic = Traffic(1.0, load)
        for one in candidates(model, [config], where, traffic):
            ours = tabulated(one.model, grid, tables, shape, context=float(load.context))
            found, full = steady_states(ours, where[0], traffic)
            rates = SHARES * one.saturation_per_s
            wrong = [
                float(np.abs(mine / exactly - 1.0).max())
                for mine, exactly in zip(_latencies(found, rates), _latencies(one.curve, rates))
            ]
            errors.append([*wrong, abs(float(full) / one.saturation_per_s - 1.0)])
    ttft, tpot, full_rate = np.max(errors, axis=0).tolist() if errors else (0.0, 0.0, 0.0)
    return LoadError(ttft, tpot, full_rate, len(errors) * SHARES.size)
