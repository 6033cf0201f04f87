"""The wrong formulas of `make prove`: all still apply, and the runner tells killed from surviving ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkout import ROOT

from proof import forked_pytest, mutation, prove


def test_every_mutation_still_applies_and_names_a_test() -> None:
    found = mutation.load()
    assert len(found) >= 250
    assert mutation.problems(found, ROOT) == []


def test_a_mutation_that_no_longer_applies_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    for old, new, problem in (
        ("z = 1", "z = 2", "old text is 0 times in a.py"),
        (" = 1", " = 2", "old text is 2 times in a.py"),
        ("x = 1", "x = 1", "old and new text are equal"),
        ("x = 1", "x = (1", "'(' was never closed"),
    ):
        one = mutation.Mutation("m", "a.py", old, new, "why", ("a.py",))
        assert problem in mutation.problems([one], tmp_path)[0]
    lost = mutation.Mutation("m", "a.py", "x = 1", "x = 2", "why", ("tests/b.py::test_c",))
    assert mutation.problems([lost], tmp_path) == ["m: no test file tests/b.py::test_c"]


def test_names_are_unique_and_tests_default_to_the_mirror(tmp_path: Path) -> None:
    table = '[[mutation]]\nname = "m"\nfile = "scylla_sim/units.py"\nold = "a"\nnew = "b"\nwhy = "c"\n'
    (tmp_path / "one.toml").write_text(table)
    assert mutation.load(tmp_path)[0].tests == ("tests/unit/scylla_sim/test_units.py",)
    (tmp_path / "two.toml").write_text(table)
    with pytest.raises(ValueError, match="names must be unique: m"):
        mutation.load(tmp_path)


def test_an_outcome_is_used_again_until_the_file_or_a_test_changes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "t.py").write_text("def test(): pass\n")
    one = mutation.Mutation("m", "a.py", "x = 1", "x = 2", "why", ("t.py::test",))
    keys = [one.key(tmp_path)]
    for file in ("a.py", "t.py"):
        (tmp_path / file).write_text("y = 3\n")
        keys.append(one.key(tmp_path))
    assert len(set(keys)) == 3
    log = tmp_path / "outcomes.jsonl"
    log.write_text(json.dumps({"key": "k", "outcome": "killed"}) + "\n" + '{"key": "cut')
    assert prove.known_outcomes(log) == {"k": {"key": "k", "outcome": "killed"}}


def test_a_summary_counts_by_folder_and_lists_survivors() -> None:
    rows = [
        {"name": "a", "file": "p/x.py", "why": "w", "outcome": "killed", "by": "t", "seconds": 1.0},
        {"name": "b", "file": "p/y.py", "why": "w", "outcome": "survived", "by": "", "seconds": 2.0},
    ]
    found = prove.summary(rows, "abc")
    assert (found["killed"], found["survived"], found["seconds"], found["commit"]) == (1, 1, 3.0, "abc")
    assert found["folders"] == {"p": {"killed": 1, "survived": 1}}
    assert found["survivors"] == [{"name": "b", "file": "p/y.py", "why": "w"}]


def test_a_fork_tells_passed_failed_and_endless_runs_apart(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    text = "import time\ndef test_good(): pass\ndef test_bad(): assert False\ndef test_long(): time.sleep(60)\n"
    (tmp_path / "test_it.py").write_text(text)
    runs = {
        name: forked_pytest.run_tests(tmp_path, [f"test_it.py::test_{name}"], timeout_s=limit)
        for name, limit in (("good", 60.0), ("bad", 60.0), ("long", 1.5))
    }
    assert {name: run.outcome for name, run in runs.items()} == {
        "good": forked_pytest.PASSED,
        "bad": forked_pytest.FAILED,
        "long": forked_pytest.TIMED_OUT,
    }
    assert runs["bad"].failed == ("test_it.py::test_bad",)
