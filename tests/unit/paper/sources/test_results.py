"""Result files: one error line for a missing file, field or row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from paper_results import only

from paper.sources.results import Results, command_of
from scylla_sim.checks import InputError


def test_a_row_without_a_field_names_field_and_file(own_results: Path) -> None:
    path = own_results / "steps/table5-eagle2.json"
    content = json.loads(path.read_text())
    del content["rows"][0]["tokens_per_s"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="field='tokens_per_s' is missing in steps/table5-eagle2.json"):
        only(own_results, "table5")


def test_a_truncated_file_is_one_line(own_results: Path) -> None:
    (own_results / "laws/theorem-1.2.json").write_text('{"schema": ')
    with pytest.raises(InputError, match="is not JSON"):
        only(own_results, "theorem-1.2")


@pytest.mark.parametrize(
    "program", ["__main__.py", "scylla-sim"]
)  # python -m scylla_sim, and the installed command
def test_the_command_of_a_file_can_be_typed(finished_results: Path, program: str) -> None:
    table = Results(finished_results).table("steps/fig5-paper.json")
    made = replace(table, provenance={"argv": [program, "turning-points", "--peak", "dense"]})
    assert command_of(made) == "scylla-sim turning-points --peak dense"
    assert command_of(replace(table, provenance={})) == "not recorded"
