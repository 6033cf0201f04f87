"""Fixtures that several folders share, and the Hypothesis profile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from checkout import ROOT
from hypothesis import HealthCheck, settings
from paper_results import write_results
from reduced_workflow import complete

# no limit of time, because a slow machine is not a failure; with CI set, the examples are the same in every run
settings.register_profile(
    "checkout",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("checkout")


@pytest.fixture(scope="session")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a finished run, which tests only read."""
    return write_results(tmp_path_factory.mktemp("run") / "results")


@pytest.fixture
def own_results(tmp_path: Path) -> Path:
    """Results folder that a test may change."""
    return write_results(tmp_path / "results")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long files first, so that no worker runs one alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _copy(folder: Path) -> Path:
    """Copy the checkout without results."""
    left_out = (".git", ".venv", ".snakemake", "results", "build", "dist", "*cache*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    return folder


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the checkout before any run."""
    return _copy(tmp_path_factory.mktemp("copy") / "checkout")


@pytest.fixture(scope="session")
def finished_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the checkout after a reduced run of the whole workflow, which takes most of a minute."""
    copy = _copy(tmp_path_factory.mktemp("finished") / "checkout")
    complete(copy)
    return copy
