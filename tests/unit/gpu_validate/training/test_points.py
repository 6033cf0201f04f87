"""Rows of a joint plan: trees that all drafts share, and the rank profiles, at every point."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpu_validate.records.fixed_trees import FIXED_NODES, fixed_tree
from gpu_validate.training import points
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


DOMAINS = np.repeat(np.arange(4), 2)


def rows(snapshot: Snapshot, op: str) -> list[dict[str, Any]]:
    return [row for row, _ in points.point_results([snapshot], DOMAINS) if row["op"] == op]


def test_a_fixed_tree_gives_the_tokens_of_its_profile_if_ranks_are_independent(snapshot: Snapshot) -> None:
    row = rows(snapshot, "fixed-tree")[0]
    profile = np.tile(0.6 * 0.4 ** np.arange(8), (LENGTH, 1))
    assert row["tree_nodes"] == list(FIXED_NODES)
    for nodes, tau in zip(row["tree_nodes"], row["tree_tokens"]):
        expected = float(tokens_per_cycle(fixed_tree(nodes, LENGTH), profile))
        assert tau == pytest.approx(expected, abs=0.06)


def test_the_tree_does_not_depend_on_the_draft(snapshot: Snapshot) -> None:
    worse = replace(snapshot, outcome=Outcome((snapshot.outcome.ranks[0] + 1,) * 2, snapshot.outcome.passed))
    first, second = (rows(s, "fixed-tree")[0] for s in (snapshot, worse))
    assert first["tree_nodes"] == second["tree_nodes"]
    assert np.all(np.less(second["tree_tokens"], first["tree_tokens"]))


def test_profiles_come_by_temperature_and_domain_with_the_cycles_that_reached_them(snapshot: Snapshot) -> None:
    found = rows(snapshot, "profile")
    assert [(row["temperature"], row["domain"]) for row in found][:2] == [(0, "all"), (0, "code")]
    assert len({row["case"] for row in found}) == len(found) == 6
    whole = found[0]
    assert whole["reached"][0] == WINDOWS * ANCHORS
    assert np.array(whole["profile"])[0, 0] == pytest.approx(0.6, abs=0.03)
    by_domain = [row["profile"][0][0] for row in found if row["temperature"] == 0 and row["domain"] != "all"]
    assert np.mean(by_domain) == pytest.approx(whole["profile"][0][0], abs=1e-5)


def test_a_side_branch_has_the_profile_of_its_own_cycles(snapshot: Snapshot) -> None:
    whole = rows(snapshot, "profile")[0]
    assert whole["branch_reached"][0] == 0
    # independent ranks: the first two choices, and those of side branches, have the same probabilities
    assert np.array(whole["branch_profile"])[1:, :2] == pytest.approx(np.array(whole["profile"])[1:, :2], abs=0.08)
    left = np.array([[1, 0, 0], [1, 0, 3], [9, 0, 0]], dtype=np.int16)
    profile, cycles = points.branch_profile(left, 8)
    assert cycles.tolist() == [0, 2, 2]
    assert profile[2, [0, 3]].tolist() == [0.5, 0.5]
