"""All tables: evidence, reproducible bytes, and one error line for a missing file."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from paper.sources.results import Results, how_to_make
from paper.tables.index import TABLES, build, write
from scylla_sim.checks import InputError


@pytest.mark.parametrize("name", TABLES)
def test_every_table_states_evidence_and_commit(finished_results: Path, name: str) -> None:
    table = only(finished_results, name)
    assert table.name == name
    assert all(row.get("evidence") for row in table.rows)
    assert table.commits == "0123456" or name in ("acceptance", "small-scale-rates"), "made of committed files"


def test_writing_twice_gives_the_same_bytes(finished_results: Path, tmp_path: Path) -> None:
    first = write(Results(finished_results), tmp_path / "a")
    second = write(Results(finished_results), tmp_path / "b")
    assert len(first) == 4 * len(TABLES)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    "path", ["laws/theorem-1.1.json", "steps/table5-plain.json", "endtoend/specbundle-3-1.json"]
)
def test_a_missing_input_is_one_line_with_the_command_that_makes_it(own_results: Path, path: str) -> None:
    (own_results / path).unlink()
    with pytest.raises(InputError) as caught:
        build(Results(own_results))
    text = str(caught.value)
    assert path in text and how_to_make(path) in text and "\n" not in text
    assert text.startswith("table ")


def test_every_scenario_is_read_by_a_table_or_a_figure(finished_results: Path) -> None:
    results = Results(finished_results)
    build(results)
    written = {path for section in ("laws", "steps", "endtoend") for path in results.matching(f"{section}/*.json")}
    assert written - set(results.used) == {"steps/readme.json"}, "read by the figure of the speed-up"
