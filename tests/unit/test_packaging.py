"""Packaging: the pins, the conda environment and the citation agree with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scylla_sim

CONDA_NAMES = {"pytorch": "torch", "snakemake-minimal": "snakemake"}
"""Name on conda-forge or bioconda -> name on the Python package index."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared(project: dict[str, Any]) -> dict[str, Requirement]:
    """Return everything that the extra `test` needs, with the project's own extras resolved."""
    extras = project["project"]["optional-dependencies"]
    found: dict[str, Requirement] = {}
    pending: list[str] = [*project["project"]["dependencies"], *extras["test"]]
    while pending:
        wanted = Requirement(pending.pop())
        if wanted.name == project["project"]["name"]:
            pending += [line for extra in wanted.extras for line in extras[extra]]
        else:
            assert found.setdefault(canonicalize_name(wanted.name), wanted) == wanted, f"{wanted} is declared twice"
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    items = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(item.name): next(iter(item.specifier)).version for item in items}


def test_the_lock_holds_the_pins_with_their_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    lines = re.sub(r"^#.*\n|\\\n", "", text, flags=re.MULTILINE).splitlines()
    locked = {}
    for line in lines:
        item, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(item)
        assert hashes and all(re.fullmatch(r"[0-9a-f]{64}", one.strip()) for one in hashes), item
        locked[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    assert {name: locked.get(name) for name in pins()} == pins()


def test_the_extra_test_includes_every_extra(project: dict[str, Any]) -> None:
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
    assert (
        pinned["setuptools"].split(".")[0] >= "77"
    )  # the build backend is installed and not fetched for each build


def test_the_packages_of_the_site_take_the_pins_of_the_environment() -> None:
    lines = [line for line in (ROOT / "requirements-docs.txt").read_text().splitlines() if line[0] != "#"]
    items = {canonicalize_name(item.name): item for item in map(Requirement, lines)}
    assert {name for name, item in items.items() if not item.specifier} == items.keys() & pins().keys()
    assert "torch" not in items


def test_the_pins_are_plain_versions_in_order() -> None:
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


def test_the_package_names_this_version(project: dict[str, Any]) -> None:
    assert scylla_sim.__version__ == project["project"]["version"]


def test_the_citation_names_this_version(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["project"]["version"]
    assert citation["license"] == project["project"]["license"]


def test_the_changelog_describes_this_version(project: dict[str, Any]) -> None:
    assert f"## {project['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("package", ["scylla_sim", "gpu_validate", "paper"])
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_continuous_integration_tests_every_supported_python(project: dict[str, Any]) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    named = [line.rsplit(" ", 1)[1] for line in project["project"]["classifiers"] if "Python :: 3." in line]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert any("make test" in step.get("run", "") for step in workflow["jobs"]["test"]["steps"])


def test_every_rule_names_the_conda_environment() -> None:
    for file in Path(ROOT / "workflow/rules").glob("*.smk"):
        text = file.read_text()
        assert text.count("shell:") == text.count('"../../environment.yml"'), file.name


def test_the_default_profile_lets_a_bare_snakemake_run_and_resume() -> None:
    profile = yaml.safe_load((ROOT / "profiles/default/profile.v9+.yaml").read_text())
    assert profile["cores"] == "all"
    assert profile["rerun-incomplete"] is True
    assert "gpu=1" in profile["resources"]
