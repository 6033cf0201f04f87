"""Simulator runs of ``config/scenarios.yaml`` as command lines for the rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from guard import check_schema

HERE = Path(__file__).parent
PUBLISHED = "paper/published"
"""Folder with the points of every section but ``small-scale``."""


def load() -> dict[str, dict[str, Any]]:
    """Return section -> name -> scenario, without the entries of shared options.

    Raises
    ------
    SystemExit
        With exit code 2 when the file breaks its schema; one line on stderr names the entry.
    """
    content = yaml.safe_load((HERE / "config/scenarios.yaml").read_text(encoding="utf-8"))
    check_schema(content, HERE / "schemas/scenarios.schema.yaml", label="scenarios")
    return {section: entries for section, entries in content.items() if not section.startswith(".")}


def _option(name: str, value: Any) -> str:
    """Return an option as it is typed; ``True`` is an option without a value."""
    return f"--{name}" if value is True else f"--{name} {value}"


def command(scenario: Mapping[str, Any], points: str = "") -> str:
    """Return verb, points and options of a scenario, without the program.

    Examples
    --------
    >>> command({"verb": "laws", "options": {"x": "layers", "by": "series"}}, "points.csv")
    'laws points.csv --x layers --by series'
    """
    options = (_option(name, value) for name, value in scenario["options"].items())
    return " ".join(word for word in (scenario["verb"], points, *options) if word)


def points(scenario: Mapping[str, Any]) -> str:
    """Return the path of the published points that a scenario reads, empty without any."""
    return f"{PUBLISHED}/{scenario['points']}" if "points" in scenario else ""


def inputs(scenario: Mapping[str, Any]) -> list[str]:
    """Return the published files that a scenario reads: its points, and files named by options."""
    words = [word for value in scenario["options"].values() for word in str(value).split(",")]
    named = [word for word in words if word.startswith(f"{PUBLISHED}/")]
    return [path for path in (points(scenario), *named) if path]


def result(section: str, name: str) -> str:
    """Return the result file of a scenario, relative to ``results``.

    Examples
    --------
    >>> result("steps", "readme")
    'steps/readme.json'
    """
    return f"{section}/{name}.json"
