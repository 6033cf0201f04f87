"""Kernels and cycles of this machine."""

from __future__ import annotations

import json
from pathlib import Path

from paper_results import only


def test_the_local_table_names_the_device_and_the_level(finished_results: Path) -> None:
    table = only(finished_results, "local")
    assert "Test CPU, cpu, 1 thread)" in table.caption
    assert "measured: live" in table.evidence
    assert any("intervals of the measurements" in note for note in table.notes)


def test_cycles_have_every_part_and_the_choice_of_the_draft_shape(finished_results: Path) -> None:
    table = only(finished_results, "local-cycles")
    assert [row["part"] for row in table.rows] == [
        "plain step",
        "drafting",
        "verification",
        "whole cycle",
        "throughput",
        "speed-up",
    ]
    assert any("measured best in 50 % of 2 situations, and within" in note for note in table.notes)
    assert any("at scale ci" in note and "not judged" in note for note in table.notes)
    assert "difference of repeats (%)" in [column.title for column in table.columns]


def test_cycles_are_judged_above_scale_ci_and_busy_cores_are_named(own_results: Path) -> None:
    record = own_results / "measure/specdecode.json"
    record.write_text(record.read_text().replace('"ci"', '"small"'))
    compared = own_results / "compare/local-specdecode.json"
    compared.write_text(compared.read_text().replace('"median_ape": 0.05', '"median_ape": 0.12'))
    (said,) = (
        note for note in only(own_results, "local-cycles").notes if note.startswith("Median errors at scale small")
    )
    assert "plain step 12.0 % (limit 15 %)" in said
    assert "speed-up 12.0 % (limit 10 %: exceeded)" in said
    assert "1 of 2 cases shared their core" in said


def test_local_cycles_are_those_in_a_graph_where_there_are_some(own_results: Path) -> None:
    path = own_results / "compare/local-specdecode.json"
    content = json.loads(path.read_text())
    content["rows"] += [row | {"group": "1", "n": 3} for row in content["rows"]]
    path.write_text(json.dumps(content))
    assert {row["n"] for row in only(own_results, "local-cycles").rows} == {3}
