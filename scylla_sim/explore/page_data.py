"""Data of the page as JSON values: the packed grid of a deployment, its law of acceptance, and texts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scylla_sim.acceptance import positions
from scylla_sim.acceptance.profiles import RANK_EXPONENT
from scylla_sim.explore.grid import DENSE, SMOOTH, Grid, build
from scylla_sim.explore.interpolate import refined
from scylla_sim.explore.load_error import load_error
from scylla_sim.explore.load_tables import load_tables
from scylla_sim.explore.measured import nearest_rows
from scylla_sim.explore.packing import packed
from scylla_sim.explore.settings import settings_of
from scylla_sim.kernels.device_rates import rates
from scylla_sim.prediction.evidence import overhead_evidence
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs.dtypes import precision_name


def _grid_values(grid: Grid) -> dict[str, Any]:
    return {
        "batches": grid.batches.astype(int).tolist(),
        "nodes": grid.nodes.astype(int).tolist(),
        "contexts": grid.contexts.astype(int).tolist(),
        "shapes": [[shape.draft_len, shape.top_k, shape.verify_tokens] for shape in grid.shapes],
        "dense": {name: packed(grid.values[name]) for name in DENSE},
        "smooth": {name: packed(grid.values[name]) for name in SMOOTH},
        "most": grid.most.astype(int).tolist(),
        "most_upper": grid.most_upper.astype(int).tolist(),
    }


def _law(scenario: Scenario) -> dict[str, Any]:
    law = positions.law_of(scenario.draft_model().method_name, scenario.position_exponent)
    return {
        "exponent": law.exponent,
        "spread": law.spread,
        "later": law.later_rate,
        "ranks": RANK_EXPONENT,
        "text": law.describe(),
    }


def asked_precision(scenario: Scenario) -> str:
    """Return the precision of a scenario as a visitor would choose it.

    A device may run it with 16-bit arithmetic; `Scenario.precision_notes` says so.
    """
    return scenario.precision or precision_name(scenario.deployments()[0].dtype)


def quick_data(scenario: Scenario, grid: Grid) -> dict[str, Any]:
    """Return what the page needs to draw one deployment. `details` completes it.

    Parameters
    ----------
    scenario
        Model, hardware, TP ranks, precisions, engine and draft.
    grid
        Grid of the scenario.

    Raises
    ------
    InputError
        For a scenario that cannot be predicted.
    """
    deployment = scenario.deployments()[0]
    hardware, engine = deployment.calibration.hardware, deployment.engine
    draft = scenario.draft_model()
    return {
        "model": scenario.target_model().name,
        "hardware": hardware.name,
        "tp": deployment.tp,
        "precision": asked_precision(scenario),
        "draft": draft.name,
        "engine": engine.name,
        "options": _options(scenario),
        "grid": _grid_values(grid),
        "law": _law(scenario),
        "undecided": list(grid.undecided),
        "idle_draft": engine.idle_draft,
        "evidence": {"kernels": grid.evidence, "engine": overhead_evidence(engine, "host_s")},
        "device": {
            "peak_flop_per_s": rates(hardware, deployment.dtype).flop_per_s,
            "bytes_per_s": hardware.memory_bytes_per_s,
        },
        "error": None,
        "notes": list(dict.fromkeys([*scenario.name_notes(), *scenario.precision_notes()])),
        "settings": settings_of(scenario),
        "measured": None,
    }


def details(scenario: Scenario, grid: Grid, *, runs: str | None = None) -> dict[str, Any]:
    """Return what completes `quick_data`: the error of the grid, a finer grid if it needs one, and measured rows.

    Parameters
    ----------
    runs
        CSV file of published serving runs, for the nearest measured row; ``None`` for none.
    """
    finer, error = refined(grid, scenario)
    return {
        "error": {"speedup": error.speedup, "band": error.band, "points": error.points},
        "measured": nearest_rows(scenario, runs),
        **({} if finer is grid else {"grid": _grid_values(finer)}),
    }


def page_data(scenario: Scenario, *, runs: str | None = None) -> dict[str, Any]:
    """Return everything that the page needs for one deployment; see `quick_data` and `details`."""
    grid = build(scenario)
    return quick_data(scenario, grid) | details(scenario, grid, runs=runs)


def load_data(scenario: Scenario, *, checked: bool) -> dict[str, Any]:
    """Return what the page needs for latencies under load.

    Parameters
    ----------
    checked
        Whether to measure the error of the page too, which takes a second or more.
    """
    tables = load_tables(scenario)
    error = asdict(load_error(scenario, build(scenario), tables)) if checked else None
    return {**tables.as_json(), "error": error}


def _options(scenario: Scenario) -> dict[str, Any]:
    """Return the options of the ``predict`` command that describe the deployment, without default values."""
    given = {
        "model": scenario.model,
        "hardware": scenario.hardware,
        "draft": scenario.draft,
        "engine": scenario.engine,
        "tp": scenario.tp if scenario.tp != 1 else None,
        "precision": scenario.precision,
        "kv-precision": scenario.kv_precision,
        "draft-precision": scenario.draft_precision,
    }
    return {name: value for name, value in given.items() if value is not None}
