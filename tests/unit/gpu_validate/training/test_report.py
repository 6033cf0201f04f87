"""Rows of a joint plan: the same tree and the whole rank profile at every point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_validate.training import report
from gpu_validate.training.acceptance import Outcome
from gpu_validate.training.outcomes import Snapshot
from gpu_validate.training.plans import plan_of
from scylla_sim.acceptance.trees import tokens_per_cycle

WINDOWS, ANCHORS, LENGTH = 8, 500, 6


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """A draft of the plan of scale ci whose ranks are independent draws."""
    rng = np.random.default_rng(0)
    ranks = np.minimum(rng.geometric(0.6, (WINDOWS, ANCHORS, LENGTH)) - 1, 60).astype(np.int16)
    task = plan_of("ci", "joint").tasks[0]
    return Snapshot(task, 0, task.grid[0], 100, Outcome((ranks, ranks), rng.random(ranks.shape)))


def test_a_fixed_tree_gives_the_tokens_of_its_profile_if_ranks_are_independent(snapshot: Snapshot) -> None:
    domains = np.repeat(np.arange(4), 2)
    rows = [row for row, _ in report.fixed_tree_results([snapshot], domains) if row["temperature"] == 0]
    profile = np.tile(0.6 * 0.4 ** np.arange(8), (LENGTH, 1))
    for row in rows:
        expected = float(tokens_per_cycle(report.fixed_tree(row["nodes"], LENGTH), profile))
        assert row["tokens_per_cycle"] == pytest.approx(expected, abs=0.06)
    assert [row["nodes"] for row in rows] == list(report.FIXED_NODES)


def test_the_tree_does_not_depend_on_the_draft(snapshot: Snapshot) -> None:
    worse = replace(snapshot, outcome=Outcome((snapshot.outcome.ranks[0] + 1,) * 2, snapshot.outcome.passed))
    domains = np.repeat(np.arange(4), 2)
    first, second = (next(report.fixed_tree_results([s], domains))[0] for s in (snapshot, worse))
    assert first["nodes"] == second["nodes"] and second["tokens_per_cycle"] < first["tokens_per_cycle"]


def test_profiles_come_by_temperature_and_domain_with_the_cycles_that_reached_them(snapshot: Snapshot) -> None:
    domains = np.repeat(np.arange(4), 2)
    rows = [row for row, _ in report.profile_tables([snapshot], domains)]
    assert [(row["temperature"], row["domain"]) for row in rows][:2] == [(0, "all"), (0, "code")]
    assert len({row["case"] for row in rows}) == len(rows) == 6
    whole = rows[0]
    assert whole["reached"][0] == WINDOWS * ANCHORS
    assert np.array(whole["profile"])[0, 0] == pytest.approx(0.6, abs=0.03)
    by_domain = [row["profile"][0][0] for row in rows if row["temperature"] == 0 and row["domain"] != "all"]
    assert np.mean(by_domain) == pytest.approx(whole["profile"][0][0], abs=1e-5)
