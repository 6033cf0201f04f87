"""Dependencies are said once in pyproject.toml: what conda users and `make` install follows it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running import ROOT

CONDA_NAMES = {"pytorch": "torch", "snakemake-minimal": "snakemake"}
"""conda-forge or bioconda name -> name on the Python package index."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared(project: dict[str, Any]) -> dict[str, Requirement]:
    """Everything the extra `test` needs, the project's own extras resolved."""
    extras = project["project"]["optional-dependencies"]
    found: dict[str, Requirement] = {}
    pending: list[str] = [*project["project"]["dependencies"], *extras["test"]]
    while pending:
        wanted = Requirement(pending.pop())
        if wanted.name == project["project"]["name"]:
            pending += [line for extra in wanted.extras for line in extras[extra]]
        else:
            assert found.setdefault(canonicalize_name(wanted.name), wanted) == wanted, f"{wanted} is said twice"
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    items = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(item.name): next(iter(item.specifier)).version for item in items}


def test_every_extra_is_part_of_what_the_tests_install(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    test = next(Requirement(line) for line in extras["test"] if line.startswith(project["project"]["name"]))
    assert test.extras == set(extras) - {"test"}


def test_the_pins_cover_and_satisfy_every_dependency(project: dict[str, Any]) -> None:
    pinned = pins()
    wanted = declared(project)
    assert set(wanted) <= set(pinned)
    wrong = [
        f"{name}=={pinned[name]}" for name, item in wanted.items() if not item.specifier.contains(pinned[name])
    ]
    assert wrong == []
    assert pinned["setuptools"].split(".")[0] >= "77"  # the build backend: installed, not fetched for each build


def test_the_pins_name_versions_that_any_index_has() -> None:
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9a-z.]+(; sys_platform == 'linux')?", line) for line in lines)
    assert [canonicalize_name(line.split("==")[0]) for line in lines] == sorted(pins())


def test_the_conda_environment_equals_pyproject(project: dict[str, Any]) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == project["project"]["name"]
    assert "conda-forge" in environment["channels"]
    lines: Iterable[str] = environment["dependencies"]
    named = [line for line in lines if isinstance(line, str)]
    named += next(line["pip"] for line in lines if isinstance(line, dict))
    found = {}
    for line in named:
        item = Requirement(line)
        found[canonicalize_name(CONDA_NAMES.get(item.name, item.name))] = str(item.specifier)
    assert found.pop("python") == project["project"]["requires-python"]
    assert found.pop("pip") == ""
    assert found == {name: str(item.specifier) for name, item in declared(project).items()}


def test_the_citation_names_this_version(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["project"]["version"]
    assert citation["license"] == project["project"]["license"]


def test_every_data_file_is_package_data(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]
    left_out = [
        path.relative_to(ROOT).as_posix()
        for package, known in patterns.items()
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(fnmatch(path.relative_to(ROOT / package).as_posix(), pattern) for pattern in known)
    ]
    assert left_out == []


def test_every_rule_names_the_conda_environment() -> None:
    for file in Path(ROOT / "workflow/rules").glob("*.smk"):
        text = file.read_text()
        assert text.count("shell:") == text.count('"../../environment.yml"'), file.name


def test_the_default_profile_lets_a_bare_snakemake_run_and_resume() -> None:
    profile = yaml.safe_load((ROOT / "profiles/default/profile.v9+.yaml").read_text())
    assert profile["cores"] == "all"
    assert profile["rerun-incomplete"] is True
    assert "gpu=1" in profile["resources"]
