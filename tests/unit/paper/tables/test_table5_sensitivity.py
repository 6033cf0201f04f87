"""Table 5 under other assumptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from paper.claims.verdict import STATUSES
from paper.tables.table5_sensitivity import VERDICTS, a_column_holds


def test_the_plain_column_decides_nothing() -> None:
    assert not a_column_holds({"plain": 0.0, "eagle2": 0.2, "scylla": 0.2})
    assert a_column_holds({"plain": 0.9, "eagle2": 0.1, "scylla": 0.2})
    assert set(VERDICTS.values()) <= set(STATUSES)


def test_each_assumption_moves_the_errors_as_its_files_say(finished_results: Path) -> None:
    rows = {row["assumption"]: row for row in only(finished_results, "table5-sensitivity").rows}
    base = rows["as in Table 5 of this run"]
    (table5,) = [only(finished_results, "table5").rows]
    errors = [abs(row["eagle2_error"]) for row in table5]
    assert base["eagle2_error"] == pytest.approx(sum(errors) / len(errors))
    inside = sum(
        row[f"{m}_lower"] <= row[f"{m}_reported"] <= row[f"{m}_upper"]
        for row in table5
        for m in ("eagle2", "scylla")
    )
    assert base["in_range"] == f"{inside} of 18"
    # half of a cycle is communication: without it, throughput doubles, as at half of the context
    assert rows["0 times the communication"]["plain_error"] == pytest.approx(
        rows["context of 5120 tokens"]["plain_error"]
    )
    assert rows["links of an H100 instead of an H800"]["scylla_error"] == base["scylla_error"]
    assert rows["lowest published tokens per cycle"]["in_range"] is None
