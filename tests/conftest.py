"""Fixtures that several folders share, and Hypothesis without a stopwatch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from paper_results import write_results
from reduced import complete
from running import ROOT

# a slow machine is no failure; with CI set, the examples are the same every time
settings.register_profile("checkout", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("checkout")


@pytest.fixture(scope="session")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of a finished run; tests only read it."""
    return write_results(tmp_path_factory.mktemp("run") / "results")


@pytest.fixture
def own_results(tmp_path: Path) -> Path:
    """A results folder that a test may change."""
    return write_results(tmp_path / "results")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that the last worker is not left alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _copy(folder: Path) -> Path:
    """A copy of the checkout without results."""
    left_out = (".git", ".venv", ".snakemake", "results", "build", "dist", "*cache*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    return folder


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which nothing has run yet."""
    return _copy(tmp_path_factory.mktemp("copy") / "checkout")


@pytest.fixture(scope="session")
def finished_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout after a reduced run of the whole workflow; takes most of a minute."""
    copy = _copy(tmp_path_factory.mktemp("finished") / "checkout")
    complete(copy)
    return copy
