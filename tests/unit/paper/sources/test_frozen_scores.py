"""Frozen scores: a planted worsening is found, and a change needs a reason."""

import json

import pytest
from checkout import ROOT
from paper_results import put
from served_results import run, served_rows, write_served

from paper import cli
from paper.sources import frozen_scores
from paper.sources.results import Results
from scylla_sim import cli as simulator
from scylla_sim.checks import InputError


@pytest.fixture
def frozen(tmp_path):
    """A results folder, and the file of its frozen scores."""
    write_served(tmp_path, put)
    path = frozen_scores.update(Results(tmp_path), "first", tmp_path / "frozen.csv")
    return tmp_path, path


def test_the_same_predictions_pass(frozen):
    folder, path = frozen
    assert frozen_scores.check(Results(folder), path) == []


def test_a_worse_group_is_named_with_its_numbers(frozen):
    folder, path = frozen
    rows = served_rows()
    rows[0] |= {"speedup": 3.0}  # measured 1.5
    put(folder, "served/runs.json", rows)
    lines = frozen_scores.check(Results(folder), path)
    assert "speedup, source, a: mean error 43.3 % in place of 10.0 %, noise 7.6 %" in lines
    assert not [line for line in lines if line.startswith(("cycle", "throughput"))]


def test_a_worsening_within_the_noise_passes(frozen):
    folder, path = frozen
    rows = served_rows()
    rows[0] |= {"speedup": 1.5 * 1.2}  # the mean error of three runs rises from 10.0 % by less than 7.6 points
    put(folder, "served/runs.json", rows)
    assert not [line for line in frozen_scores.check(Results(folder), path) if "source, a" in line]


def test_a_better_group_passes(frozen):
    folder, path = frozen
    rows = served_rows()
    rows[3] |= {"speedup": 0.8}
    put(folder, "served/runs.json", rows)
    assert frozen_scores.check(Results(folder), path) == []


def test_other_runs_must_be_frozen_again(frozen):
    folder, path = frozen
    put(folder, "served/runs.json", [*served_rows(), run("d")])
    lines = frozen_scores.check(Results(folder), path)
    assert "speedup, source, d: no frozen score" in lines
    assert "speedup, all, all: 5 runs in place of 4" in lines


def test_only_changed_groups_take_the_new_reason(frozen):
    folder, path = frozen
    rows = served_rows()
    rows[3] |= {"speedup": 0.8}
    put(folder, "served/runs.json", rows)
    frozen_scores.update(Results(folder), "b is right", path)
    reasons = {(row["quantity"], row["group"]): row["reason"] for row in frozen_scores.read(path)}
    assert reasons["speedup", "b"] == "b is right"
    assert reasons["speedup", "a"] == reasons["cycle", "b"] == "first"


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_change_needs_a_reason(frozen, reason):
    folder, path = frozen
    with pytest.raises(InputError, match="must say why the scores change"):
        frozen_scores.update(Results(folder), reason, path)


def test_the_command_compares_and_freezes(frozen, monkeypatch, capsys):
    folder, path = frozen
    monkeypatch.setattr(frozen_scores, "FROZEN", path)
    monkeypatch.setattr(frozen_scores.check, "__defaults__", (path,))
    monkeypatch.setattr(frozen_scores.update, "__defaults__", (path,))
    assert cli.main(["scores", "--results", str(folder)]) == 0
    assert capsys.readouterr().out == "no group is worse than frozen by more than its noise\n"
    put(folder, "served/runs.json", [run("a", speedup=9.0)])
    assert cli.main(["scores", "--results", str(folder)]) == 1
    assert "runs in place of" in capsys.readouterr().out
    assert cli.main(["scores", "--results", str(folder), "--freeze", "why"]) == 0
    assert cli.main(["scores", "--results", str(folder)]) == 0


def test_the_committed_scores_hold(tmp_path):
    """Predict the published runs afresh. See CONTRIBUTING.md if this fails."""
    runs, out = ROOT / "paper/published/served_runs.csv", tmp_path / "served/runs.json"
    out.parent.mkdir()
    assert simulator.main(["served", "--runs", str(runs), "--format", "json", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["rows"]
    assert frozen_scores.check(Results(tmp_path)) == []
