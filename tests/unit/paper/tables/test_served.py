"""Tables of served runs: groups, baselines, roles and regret."""

import pytest
from paper_results import only, put
from served_results import run, write_served

from scylla_sim.checks import InputError


@pytest.fixture
def folder(tmp_path):
    write_served(tmp_path, put)
    return tmp_path


def row(table, **match):
    (found,) = (row for row in table.rows if all(row.get(name) == value for name, value in match.items()))
    return found


def test_the_table_of_speed_ups_has_errors_baselines_and_verdicts(folder):
    found = row(only(folder, "served-speedup"), grouping="source", group="b")
    assert found["error"] == pytest.approx(0.25)
    assert found["error_constant"] == pytest.approx(1.5 / 0.8 - 1)
    assert (found["slow"], found["called_slower"], found["wrong"], found["fitted"]) == (1, 0.0, 1.0, 1)


def test_a_note_names_the_sources_that_something_was_fitted_on(folder):
    footer = "\n".join(only(folder, "served-cycle").footer())
    assert "something was fitted on: b." in footer


def test_the_table_of_plain_steps_holds_plain_runs(folder):
    assert row(only(folder, "served-plain-step"), group="all")["n"] == 5
    assert row(only(folder, "served-throughput"), group="all")["n"] == 4


def test_regret_is_by_source(folder):
    found = row(only(folder, "served-regret"), source="a")
    assert found["n"] == 1
    assert found["followed_mean"] == found["one_length_median"] == pytest.approx(0.2)
    assert found["always_3_mean"] == 0.0


def test_a_result_file_without_a_column_is_named(folder):
    rows = [run("a")]
    del rows[0]["tau_from"]
    put(folder, "served/runs.json", rows)
    with pytest.raises(InputError, match=r"tau_from.*served/runs.json"):
        only(folder, "served-speedup")


def test_the_table_without_the_source_has_a_row_for_each_source_and_their_mean(folder):
    table = only(folder, "served-left-out")
    found = [row(table, quantity="speedup", grouping="left out", group=name)["error"] for name in "ab"]
    assert found[1] == pytest.approx(0.25)
    macro = row(table, quantity="speedup", group="macro over sources")
    assert macro["error"] == pytest.approx(sum(found) / 2)
    assert row(table, quantity="speedup", group="all")["n"] == 4
