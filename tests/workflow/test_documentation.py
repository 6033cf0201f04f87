"""README and docs/: every command in them is run, and prints what they say it prints."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import ROOT, run_in

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]

PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
SHELL = ("sh", "bash", "console", "shell")
OURS = re.compile(r"(scylla-sim|gpu-validate|python -m (scylla_sim|gpu_validate|paper)|printf)\b")


@dataclass(frozen=True)
class Block:
    """One fenced block: the commands or the program in it, and the output printed under it, if any."""

    page: str
    line: int
    language: str
    text: str
    output: str | None


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page; a block of ``text`` right under another is that one's output."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    ends = -1
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        language, body = match.groups()
        if language == "text" and found and not text[ends : match.start()].strip():
            found[-1] = Block(**{**found[-1].__dict__, "output": body})
        else:
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page.name, line, language, body, None))
        ends = match.end()
    return found


def commands(block: Block) -> list[str]:
    """Commands of this project in a shell block, continued lines joined, prompts and comments removed."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    shown = (re.sub(r"\s+#.*$", "", line).removeprefix("$ ").strip() for line in lines)
    return [line for line in shown if OURS.match(line)]


def quick(command: str) -> str:
    """The command itself; a measurement is listed instead of made, since it would take minutes."""
    words = shlex.split(command)
    measures = "measure" in words[:4] and "--help" not in words and "--dry-run" not in words
    return f"{command} --dry-run" if measures else command


def page_of(name: str) -> Path:
    return next(path for path in PAGES if path.name == name)


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_commands_run_and_print_what_the_page_says(name: str, finished_checkout: Path) -> None:
    shown = [block for block in blocks(page_of(name)) if block.language in SHELL and commands(block)]
    if not shown:
        pytest.skip(f"{name} has no command of this project")
    for block in shown:
        said = ""
        for command in commands(block):
            done = run_in(finished_checkout, "bash", "-c", quick(command))
            assert done.returncode == 0, f"{name}, line {block.line}: {command}\n{done.stderr}"
            said += done.stdout
        if block.output is not None:
            assert said.split("\n") == block.output.split("\n"), (
                f"{name}, line {block.line}: the output has changed"
            )


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_python_examples_run(name: str, finished_checkout: Path) -> None:
    shown = [block for block in blocks(page_of(name)) if block.language == "python"]
    if not shown:
        pytest.skip(f"{name} has no Python example")
    for block in shown:
        done = run_in(finished_checkout, sys.executable, "-c", block.text)
        assert done.returncode == 0, f"{name}, line {block.line}:\n{done.stderr}"
        if block.output is not None:
            assert done.stdout == block.output, f"{name}, line {block.line}: the output has changed"


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_links_lead_somewhere(name: str) -> None:
    page = page_of(name)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_reader_of_pages_finds_commands(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    shell = "```sh\n$ scylla-sim predict --batch 1 \\\n    --tp 2   # why\nmake test\n```\n"
    page.write_text(shell + "\n```text\n1\n```\n```python\n1\n```\n")
    first, second = blocks(page)
    assert commands(first) == ["scylla-sim predict --batch 1 --tp 2"]
    assert (first.output, second.language, second.output) == ("1\n", "python", None)
    assert quick("gpu-validate measure --out a") == "gpu-validate measure --out a --dry-run"
