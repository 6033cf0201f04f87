"""The direction of imports: measuring never sees a prediction, printing sees files only, predicting needs numpy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from running import ROOT

PACKAGES = ("scylla_sim", "gpu_validate", "paper")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

RANKS = {
    **dict.fromkeys(("units", "checks", "specs"), 0),
    **dict.fromkeys(("acceptance", "catalog", "costs", "forms", "kernels", "laws", "trees"), 1),
    "steps": 2,
    "throughput": 3,
    **dict.fromkeys(("design", "plan", "serving"), 4),
    "cli": 5,
}
"""Layers: a module may use those of its own and below, also through modules that are not named here."""

MEASURING_MAY_USE = {"catalog", "checks", "console", "costs", "experts", "records", "specs", "trees", "units"}
PRINTING_MAY_USE = {"checks", "console", "records", "units"}
LAZY = {"scipy": {"aggregated", "calibrate", "engine_fit", "fit"}, "matplotlib": {"drawing"}}
"""Libraries that the simulator may import inside a function, and the modules that do."""


def name_of(path: Path) -> str:
    """Dotted module name of a file relative to the root."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def _statements(path: Path) -> Iterator[tuple[ast.stmt, bool]]:
    """Import statements of a file, and whether each runs when the module is imported."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse((ROOT / path).read_text()), True)]
    while pending:
        node, early = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, early
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending += [(child, early and not inside) for child in ast.iter_child_nodes(node)]


@cache
def imports(module: str, early_only: bool = False) -> frozenset[str]:
    """Modules that a module imports: of this project by their own name, libraries by their first name."""
    found = set()
    for statement, early in _statements(MODULES[module]):
        if early_only and not early:
            continue
        if isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            assert statement.level == 0, f"{module}: relative import; write {base} in full"
            names = [
                f"{base}.{item.name}" if f"{base}.{item.name}" in MODULES else base for item in statement.names
            ]
        else:
            assert isinstance(statement, ast.Import)
            names = [item.name for item in statement.names]
        found |= {name if name.split(".")[0] in PACKAGES else name.split(".")[0] for name in names}
    return frozenset(found - {"__future__"})


def reached(module: str) -> set[str]:
    """Modules of this project that a module imports, directly or not."""
    seen: set[str] = set()
    pending = [module]
    while pending:
        for name in imports(pending.pop()):
            if name in MODULES and name not in seen:
                seen.add(name)
                pending.append(name)
    return seen


def libraries(module: str, early_only: bool = False) -> set[str]:
    return {name for name in imports(module, early_only) if name.split(".")[0] not in PACKAGES} - set(
        sys.stdlib_module_names
    )


def parts_used(package: str) -> dict[str, set[str]]:
    """Module of a package -> parts of the simulator that it imports itself."""
    return {
        module: {name.split(".")[1] for name in imports(module) if name.startswith("scylla_sim.")}
        for module in MODULES
        if module.split(".")[0] == package
    }


def test_every_module_was_read() -> None:
    assert {"scylla_sim.prediction.steps", "gpu_validate.device.timer", "paper.tables.index"} <= set(MODULES)
    assert imports("scylla_sim.prediction.steps") >= {"numpy", "scylla_sim.ops.forward"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "gpu_validate"))
def test_a_measurement_never_sees_a_prediction(module: str) -> None:
    assert parts_used("gpu_validate")[module] <= MEASURING_MAY_USE
    assert not any(name.startswith("paper") for name in imports(module))
    seen = {name.split(".")[1] for name in reached(module) if name.startswith("scylla_sim.")}
    assert not seen & {"kernels", "forms", "laws", "steps", "throughput", "calibrate", "plan", "serving"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "paper"))
def test_printing_reads_files_only(module: str) -> None:
    assert parts_used("paper")[module] <= PRINTING_MAY_USE
    assert not any(name.startswith("gpu_validate") for name in imports(module))


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "scylla_sim"))
def test_the_simulator_stands_alone(module: str) -> None:
    assert not any(name.startswith(("gpu_validate", "paper")) for name in imports(module))
    assert libraries(module, early_only=True) <= {"numpy"}
    name = module.removeprefix("scylla_sim.")
    for library in libraries(module) - {"numpy"}:
        assert name in LAZY.get(library, set()), f"{module} imports {library}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "scylla_sim"))
def test_layers_point_downwards(module: str) -> None:
    rank = RANKS.get(module.split(".")[1], max(RANKS.values())) if "." in module else max(RANKS.values())
    above = {name for name in reached(module) if RANKS.get(name.split(".")[1] if "." in name else "", 0) > rank}
    assert above == set()


def test_no_package_knows_the_workflow() -> None:
    assert {module for module in MODULES if "snakemake" in imports(module)} == set()


def test_the_workflow_reruns_measurements_when_anything_they_import_changes() -> None:
    sys.path.insert(0, str(ROOT / "workflow"))
    import guard

    sys.path.pop(0)
    for package in PACKAGES:
        hashed = {path for pattern in guard.SOURCES[package] for path in ROOT.glob(pattern)}
        used = {name for module in MODULES if module.split(".")[0] == package for name in reached(module)}
        files = {ROOT / MODULES[name] for name in used}
        assert files <= hashed, f"workflow/guard.py: SOURCES[{package!r}] leaves out {sorted(files - hashed)}"
