"""The direction of imports: measuring imports no prediction, printing no model, predicting only numpy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

PACKAGES = ("scylla_sim", "gpu_validate", "paper")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

RANKS = {
    "scylla_sim": {
        **dict.fromkeys(("checks", "units"), 0),
        "text": 1,
        **dict.fromkeys(("records", "number_columns", "stats"), 2),
        "console": 3,
        "specs": 4,
        **dict.fromkeys(("laws", "ops"), 5),
        **dict.fromkeys(("acceptance", "kernels"), 6),
        "calibration": 7,
        "prediction": 8,
        "serving": 9,
        "planning": 10,
        "engines": 11,
        **dict.fromkeys(("testing", "explore"), 12),
        "cli": 13,
    },
    "gpu_validate": {
        "device": 0,
        **dict.fromkeys(("models", "records", "comparison", "silicon"), 1),
        **dict.fromkeys(("decoding", "training"), 2),
        "suites": 3,
        "cli": 4,
    },
    "paper": {
        "sources": 0,
        "render": 1,
        "tables": 2,
        **dict.fromkeys(("figures", "claims"), 3),
        **dict.fromkeys(("summary", "overview"), 4),
        "cli": 5,
    },
}
"""Package -> rank of each folder and top-level module. Imports point to lower ranks, or stay in the folder."""

NEVER = {
    ("acceptance", "ops"),
    ("kernels", "laws"),
    ("calibration", "laws"),
    ("calibration", "acceptance"),
    ("prediction", "laws"),
}
"""(folder, folder) of the simulator that a rank allows and the design forbids.

Laws and acceptance are one wing, operations, kernels and calibration the other; they meet in prediction.
"""

GROUND = {"checks", "console", "number_columns", "records", "text", "units"}
MEASURING_MAY_USE = GROUND | {"specs", "ops", "stats"}
MEASURING_MAY_USE_MODULES = {f"scylla_sim.acceptance.{name}" for name in ("profiles", "trees", "tree_search")}
LAZY = {
    "scipy": {
        "calibration.posterior_mode",
        "engines.overhead_fit",
        "laws.joint",
        "laws.variable_projection",
    },
    "matplotlib": {"cli._plot"},
    "pandas": {"prediction.result"},
    "plotly": {"explore.html"},
}
"""Libraries that the simulator may import inside a function, and the modules that do."""


STRATEGIES = "testing.strategies"
"""The one module that imports Hypothesis, and that no other module imports."""


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


def folder_of(module: str) -> str:
    """Folder or top-level module of a package that holds a module; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def of(package: str) -> list[str]:
    return sorted(name for name in MODULES if name.split(".")[0] == package)


def used(module: str, package: str) -> set[str]:
    """Modules of a package that a module imports itself."""
    return {name for name in imports(module) if name.startswith(f"{package}.")}


def test_every_module_was_read() -> None:
    assert {"scylla_sim.prediction.steps", "gpu_validate.device.timer", "paper.tables.index"} <= set(MODULES)
    assert imports("scylla_sim.prediction.steps") >= {"numpy", "scylla_sim.ops.forward"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_has_a_rank(package: str) -> None:
    folders = {folder_of(module) for module in of(package)} - {"", "__main__"}
    assert folders == set(RANKS[package]), "give a new folder its rank in RANKS"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_to_lower_ranks(module: str) -> None:
    package, folder = module.split(".")[0], folder_of(module)
    if folder in ("", "__main__"):
        return
    for name in used(module, package) - {package}:
        other = folder_of(name)
        assert (folder, other) not in NEVER, f"{module} imports {name}"
        assert other == folder or RANKS[package][other] < RANKS[package][folder], f"{module} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_import_each_other(package: str) -> None:
    for module in of(package):
        assert module not in reached(module) - {package}, f"{module} imports itself through others"


@pytest.mark.parametrize("module", of("gpu_validate"))
def test_a_measurement_never_sees_a_prediction(module: str) -> None:
    for name in used(module, "scylla_sim"):
        assert folder_of(name) in MEASURING_MAY_USE or name in MEASURING_MAY_USE_MODULES, f"{module} imports {name}"
    assert not used(module, "paper")
    seen = {folder_of(name) for name in reached(module) if name.startswith("scylla_sim.")}
    assert not seen & {"kernels", "laws", "calibration", "prediction", "planning", "engines", "cli"}


@pytest.mark.parametrize("module", of("paper"))
def test_printing_reads_files_only(module: str) -> None:
    assert {folder_of(name) for name in used(module, "scylla_sim")} <= GROUND
    assert not used(module, "gpu_validate")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_tests_use_what_is_made_for_tests(module: str) -> None:
    inside = module.startswith("scylla_sim.testing")
    assert inside or not {name for name in imports(module) if name.startswith("scylla_sim.testing")}
    assert module == f"scylla_sim.{STRATEGIES}" or f"scylla_sim.{STRATEGIES}" not in imports(module)


@pytest.mark.parametrize("module", of("scylla_sim"))
def test_the_simulator_imports_no_other_package(module: str) -> None:
    assert not used(module, "gpu_validate") | used(module, "paper")
    name = module.removeprefix("scylla_sim.")
    allowed = {"numpy", "hypothesis"} if name == STRATEGIES else {"numpy"}
    assert libraries(module, early_only=True) <= allowed
    for library in libraries(module) - allowed:
        assert name in LAZY.get(library, set()), f"{module} imports {library}"


def test_no_package_knows_the_workflow() -> None:
    assert {module for module in MODULES if "snakemake" in imports(module)} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_workflow_hashes_what_a_package_imports(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "workflow"))
    monkeypatch.chdir(ROOT)
    import guard

    files = {MODULES[name] for module in of(package) for name in {module, *reached(module)}}
    assert files <= set(guard.code_files(package))


@pytest.mark.parametrize(("package", "most"), [("scylla_sim", 24), ("gpu_validate", 13), ("paper", 12)])
def test_the_top_level_of_a_package_is_short(package: str, most: int) -> None:
    entries = [path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    assert len(entries) <= most


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_are_short(module: str) -> None:
    assert len((ROOT / MODULES[module]).read_text().splitlines()) <= 350
