"""Command line of `paper`: written files, exit codes, and one line for every error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paper.cli import VERBS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "paper", *arguments], capture_output=True, text=True, check=False)


def test_tables_prints_the_written_paths(finished_results: Path, tmp_path: Path) -> None:
    done = run("tables", "--results", str(finished_results), "--out", str(tmp_path), "--only", "table5,theorem-1.2")
    assert done.returncode == 0 and done.stderr == ""
    printed = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(printed) == sorted(tmp_path.iterdir())
    assert len(printed) == 8


def test_claims_and_summary(finished_results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--results", str(finished_results), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "claims.md").read_text().startswith("# Claims of arXiv 2505.07858")
    assert main(["summary", "--results", str(finished_results)]) == 0
    assert "claims" in capsys.readouterr().out


def test_figures_can_be_chosen(finished_results: Path, tmp_path: Path) -> None:
    assert main(["figures", "--results", str(finished_results), "--out", str(tmp_path), "--only", "table5"]) == 0
    names = ["figure-table5.png", "figure-table5.svg", "thumbnail-table5.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([verb, "--help"])
    assert done.value.code == 0
    assert f"python -m paper {verb} --results results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tables", "--results", "nowhere", "--out", "out"], "results='nowhere' is not a folder"),
        (["tables", "--results", "{results}"], "--out"),
        (["tables", "--results", "{results}", "--out", "{out}", "--only", "table6"], "did you mean table5"),
        (["figures", "--results", "{results}", "--out", "{out}", "--only", "fig9"], "figure='fig9' is not known"),
        (["print"], "verb='print' is not known"),
        (["claims", "--results", "{results}", "--out", "{file}/sub"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    finished_results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    places = {"results": finished_results, "out": tmp_path / "out", "file": file}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and "Traceback" not in error


def test_a_missing_input_writes_nothing(
    own_results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_results / "steps/table5-plain.json").unlink()
    assert main(["tables", "--results", str(own_results), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "make it with: snakemake results/steps/table5-plain.json" in error
    assert not (tmp_path / "out").exists()
