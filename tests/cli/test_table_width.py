"""No table of the command line is wider than 100 columns: the examples in the help of every verb, as tables."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

from scylla_sim import cli
from scylla_sim.text.digits import WIDTH

NO_TABLE = {"blind", "explore"}
"""Verbs that write files or serve a page."""
ELSEWHERE = {"calibrate", "design"}
"""Verbs whose examples take long: `test_calibrate_cli` and `test_design_cli` check shorter ones."""
TO_PASTE = re.compile(r"\s*(vllm|python|trtllm-serve|sglang|llama-server|--|['\"{}]|enable|  )")
"""Lines with settings of an engine, which stay whole."""


def examples(verb: str) -> list[list[str]]:
    """Return the commands in the help of a verb as words; notes behind a command are left out."""
    epilog = importlib.import_module(f"scylla_sim.cli.{verb.replace('-', '_')}").EPILOG
    lines = re.sub(r"\\\n\s*", "", epilog).splitlines()
    starts = ("scylla-sim", "printf", "echo", "head")
    return [shlex.split(re.split(r"\s{4,}", line.strip())[0]) for line in lines if line.strip().startswith(starts)]


def as_table(words: list[str]) -> list[str]:
    """Return a command that prints a table on stdout."""
    text = re.sub(r"--format (csv|json)", "--format table", shlex.join(words))
    return shlex.split(re.sub(r"--out \S+", "", text)) if words[1] in ("laws", "ingest") else shlex.split(text)


def can_run(words: list[str]) -> bool:
    """Return whether a command reads only files that the commands before it made."""
    return all(Path(word).exists() for word in words[2:] if re.fullmatch(r"\w+\.(log|txt|csv|json)", word))


@pytest.mark.parametrize("verb", sorted(set(cli.VERBS) - NO_TABLE - ELSEWHERE))
def test_the_examples_of_a_verb_fit_the_terminal(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper").symlink_to(ROOT / "paper")
    ran = 0
    for words in examples(verb):
        if words[0] != "scylla-sim":
            subprocess.run(shlex.join(words).replace("'>'", ">").replace("'>>'", ">>"), shell=True, check=True)
        elif can_run(words):
            ran += 1
            assert cli.main(as_table(words)[1:]) == 0, words
            lines = capsys.readouterr().out.splitlines()
            assert [line for line in lines if len(line) > WIDTH and not TO_PASTE.match(line)] == [], words
    assert ran, "the help has no example that runs"
