"""Fixtures that several folders share, and Hypothesis without a stopwatch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from paper_results import write_results
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


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without results, to change and to run in."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    left_out = (".git", ".venv", ".snakemake", "results", "build", "dist", "*cache*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    return copy
