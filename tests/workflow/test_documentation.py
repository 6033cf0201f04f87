"""Pages for readers: run every command, compare its output, and check that links and paths exist.

A block that opens with more than a language, such as ``sh on-your-records``, needs files of the reader.
The tests do not run it.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import shutil
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from checkout import ROOT, run_in

import gpu_validate.cli
import paper.cli
import scylla_sim.cli

MAINS = {"scylla_sim": scylla_sim.cli.main, "gpu_validate": gpu_validate.cli.main, "paper": paper.cli.main}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "command-line.md"),
]
MAPS = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / name for name in ("architecture.md", "extend.md"))]
MAPS += sorted((ROOT / "docs/theory").glob("*.md"))
"""Pages that name files and modules of this repository."""


def title_of(page: Path) -> str:
    """Return the path of a page relative to the root."""
    return page.relative_to(ROOT).as_posix()


SHELL = ("sh", "bash", "console", "shell")
OURS = re.compile(r"(scylla-sim|gpu-validate|python -m (scylla_sim|gpu_validate|paper)|printf)\b")


@dataclass(frozen=True)
class Block:
    """One fenced block, and the output that the page shows below it, if any."""

    page: str
    line: int
    language: str
    text: str
    output: str | None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page. A ``text`` block right below another one is its output."""
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
    """Return the commands of this project in a shell block, without prompts and comments."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    shown = (re.sub(r"\s+#.*$", "", line).removeprefix("$ ").strip() for line in lines)
    return [line for line in shown if OURS.match(line)]


def quick(command: str) -> str:
    """Return the command, with ``--dry-run`` if it would measure for minutes."""
    words = shlex.split(command)
    verb = {*words[1:2], *words[3:4]}  # the verb follows the command, or python -m package
    measures = {"measure", "train", "campaign"} & verb and not {"--help", "--dry-run"} & set(words)
    return f"{command} --dry-run" if measures else command


def run(folder: Path, command: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command; one without a pipe runs in this process."""
    words = shlex.split(command)
    package, given = (words[2], words[3:]) if words[0] == "python" else (words[0].replace("-", "_"), words[1:])
    if package not in MAINS or re.search(r"[|<>;&$*]", command):
        done = run_in(folder, "bash", "-c", command)
        return done.returncode, done.stdout, done.stderr
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        try:
            code = MAINS[package](given)
        except SystemExit as end:  # of --help
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def shown(page: Path, *, python: bool) -> list[Block]:
    """Return the blocks of a page to run: Python examples, or shell blocks with commands of this project."""
    if python:
        return [block for block in blocks(page) if block.language == "python"]
    return [block for block in blocks(page) if block.language in SHELL and commands(block)]


def defined(module: Path) -> set[str]:
    """Return the names that a module defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        names.add(getattr(node, "name", ""))
    return names


WITH_COMMANDS = [page for page in PAGES if shown(page, python=False)]
WITH_PYTHON = [page for page in PAGES if shown(page, python=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, finished_results: Path) -> Path:
    """Return a folder with the packages and the results of a finished run."""
    here = tmp_path_factory.mktemp("pages")
    for package in ("scylla_sim", "gpu_validate", "paper"):
        (here / package).symlink_to(ROOT / package, target_is_directory=True)
    shutil.copytree(finished_results, here / "results")
    return here


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=title_of)
def test_commands_print_the_output_of_the_page(page: Path, folder: Path) -> None:
    for block in shown(page, python=False):
        said = ""
        for command in commands(block):
            code, out, err = run(folder, quick(command))
            assert code == 0, f"{page.name}, line {block.line}: {command}\n{err}"
            said += out
        if block.output is not None:
            assert said == block.output, f"{page.name}, line {block.line}: the output has changed"


@pytest.mark.parametrize("page", WITH_PYTHON, ids=title_of)
def test_python_examples_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # Hypothesis then waits for a slow machine
    for block in shown(page, python=True):
        done = run_in(folder, sys.executable, "-c", block.text)
        assert done.returncode == 0, f"{page.name}, line {block.line}:\n{done.stderr}"
        if block.output is not None:
            assert done.stdout == block.output, f"{page.name}, line {block.line}: the output has changed"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_links_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            linked = page.parent / target if target else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def test_the_site_lists_every_page_of_docs() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2])
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in PAGES if path.is_relative_to(ROOT / "docs")}
    assert sorted(named) == sorted(pages | {"command-line.md"})


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", MAPS, ids=title_of)
def test_named_files_and_modules_exist(page: Path) -> None:
    named = re.findall(r"`([\w./]+)`", page.read_text(encoding="utf-8"))
    paths = {name for name in named if "/" in name and "NAME" not in name and not name.startswith(".")}
    assert {name for name in paths - {"results/"} if not (ROOT / name).exists()} == set()
    modules = {name for name in named if re.match(r"(scylla_sim|gpu_validate|paper)\.\w", name)}
    files = {name: (ROOT / name.replace(".", "/")).with_suffix(".py") for name in modules}
    assert {name for name, file in files.items() if not file.exists() and not file.with_suffix("").is_dir()} <= {
        "scylla_sim.predict"
    }


def test_named_symbols_exist() -> None:
    named = [
        (page, symbol, path)
        for page in MAPS
        for symbol, path in re.findall(r"`(\w+)`\s+in\s+`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
    ]
    assert named
    for page, symbol, path in named:
        assert symbol in defined(ROOT / path), f"{page.name}: {path} has no {symbol}"


def test_blocks_and_commands_are_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    shell = "```sh\n$ scylla-sim predict --batch 1 \\\n    --tp 2   # why\nmake test\n```\n"
    page.write_text(shell + "\n```text\n1\n```\n```python\n1\n```\n")
    first, second = blocks(page)
    assert commands(first) == ["scylla-sim predict --batch 1 --tp 2"]
    assert (first.output, second.language, second.output) == ("1\n", "python", None)
