"""Seconds of prompts on the page: the closed form with them is that of the package."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.explore import grid as grids
from scylla_sim.explore.load_error import load_error
from scylla_sim.explore.load_tables import TOKENS, LoadTables, load_tables
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.scenario import Scenario

CHAIN = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3")


@pytest.fixture(scope="module")
def grid() -> grids.Grid:
    return grids.build(CHAIN)


@pytest.fixture(scope="module")
def tables() -> LoadTables:
    return load_tables(CHAIN)


def test_latencies_with_the_tables_are_those_of_the_package(grid: grids.Grid, tables: LoadTables) -> None:
    error = load_error(CHAIN, grid, tables)
    assert error.loads == 18
    assert max(error.ttft, error.tpot, error.saturation) < 0.02


def test_wrong_seconds_of_prompts_are_noticed(grid: grids.Grid, tables: LoadTables) -> None:
    slower = replace(tables, parts=replace(tables.parts, rows_s=1.2 * tables.parts.rows_s))
    assert load_error(CHAIN, grid, slower).ttft > 0.05


def test_tables_hold_every_budget_and_the_reading_of_the_draft(tables: LoadTables) -> None:
    assert TOKENS[0] == 0 and TOKENS[-1] == MAX_STEP_TOKENS
    assert tables.parts.attention_s.shape == (tables.parts.offsets.size, TOKENS.size)
    assert tables.draft_rows_s[0] == 0.0 and np.all(tables.draft_rows_s[1:] > 0.0)
    assert not tables.defaults.prefill_first
    assert load_tables(replace(CHAIN, engine="sglang")).defaults.prefill_first
