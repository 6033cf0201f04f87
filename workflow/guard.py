"""What the Snakefile does before any rule is read: check the configuration, hash the code, clear a dead lock."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from scylla_sim.checks import InputError, fail
from scylla_sim.records import SUMS, check_sums, read_sums
from scylla_sim.specs import catalog

PACKAGES = ("scylla_sim", "gpu_validate", "paper")
DATA = {"scylla_sim": "scylla_sim/data/*.toml", "paper": "paper/published/*"}
"""Package -> data files that its modules read."""
_IMPORT = re.compile(rf"^\s*from ((?:{'|'.join(PACKAGES)})[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_TYPING_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n)+", re.MULTILINE)
"""Imports that only type checkers see; the public names of `scylla_sim` are such imports."""


def _explain(error: ValidationError, config: Mapping[str, Any]) -> str:
    """One line about the first thing that is wrong, with the setting's name, its value and the rule."""
    name = ".".join(str(part) for part in error.absolute_path)
    rule = error.validator_value
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        wrong = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"{wrong} is not a setting; {hint}"
    if error.validator == "required":
        return f"{next(key for key in rule if key not in error.instance)} is missing"
    value = f"{name or 'config'}={error.instance!r}"
    if error.validator == "enum":
        return f"{value} must be one of {', '.join(map(str, rule))}"
    if error.validator == "type":
        return f"{value} must be of type {rule}"
    return f"{value} is refused: {error.message}"


def check_config(config: Mapping[str, Any], schema_path: Path) -> None:
    """End the program with one line on stderr and exit code 2 when the configuration breaks its schema.

    Snakemake's own ``validate`` says the same in a page of text, and only after it has printed its header.
    """
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    # a typo in a name comes first: the setting that it hides is reported as missing or keeps its default
    order = {"additionalProperties": 0, "required": 1}
    errors = sorted(
        Draft202012Validator(schema).iter_errors(dict(config)),
        key=lambda error: (order.get(str(error.validator), 2), [str(part) for part in error.absolute_path]),
    )
    if errors:
        print(f"config: {_explain(errors[0], config)}", file=sys.stderr)
        raise SystemExit(2)


def check_records(config: Mapping[str, Any], folder: Path, suites: Sequence[str]) -> None:
    """End the program with one line when recorded measurements are asked for and one of them is not there.

    Snakemake's own page about a missing input does not say where records come from.
    """
    if config["measurements"] != "recorded":
        return
    name = config["recorded_device"]
    lost = [suite for suite in suites if not (folder / name / f"{suite}.json").is_file()]
    if not lost:
        return
    there = sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name != BLIND)
    known = f"recorded: {', '.join(there)}" if there else "no device is recorded yet"
    hint = f"gpu-validate measure --suite all --out {folder.as_posix()}/{name} makes them, or measurements: live"
    print(
        f"config: recorded_device={name!r} has no {lost[0]}.json in {folder.as_posix()}; {known}; {hint}",
        file=sys.stderr,
    )
    raise SystemExit(2)


BLIND = "blind"
"""Folder beside the records, with what was predicted before they were measured."""
GPU_SUITES = ("kernels", "step", "specdecode", "decode")
"""Suites whose committed records are scored for every GPU that has them."""


def gpu_suites(folder: Path) -> dict[str, list[str]]:
    """GPUs of the catalog that have committed records, each with its suites."""
    found = {
        name: [suite for suite in GPU_SUITES if (folder / name / f"{suite}.json").is_file()]
        for name in catalog.names("hardware")
    }
    return {name: suites for name, suites in found.items() if suites}


def check_blind(folder: Path) -> None:
    """End the program with one line when a prediction that was made before a measurement is not what was hashed."""
    try:
        for made in sorted(path for path in folder.glob("*") if path.is_dir()):
            known = read_sums(made)
            if not known:
                raise fail("folder", str(made), f"has no {SUMS}", "predictions without hashes prove nothing")
            there = {path.name for path in made.iterdir() if path.suffix in (".csv", ".json")}
            for name in sorted(there | set(known)):
                check_sums(made / name)
    except InputError as error:
        print(f"blind: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def check_gpu_records(folder: Path) -> None:
    """End the program with one line when a GPU's folder holds records of another GPU.

    The rows get the folder's name. A folder that is named like no GPU of the catalog is not in the tables; a line
    says so.
    """
    known = catalog.names("hardware")
    for made in sorted(path for path in folder.glob("*") if path.is_dir() and path.name not in ("cpu", BLIND)):
        records = [path for suite in GPU_SUITES if (path := made / f"{suite}.json").is_file()]
        if records and made.name not in known:
            close = difflib.get_close_matches(made.name.lower(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            print(f"recorded: {made.name} is no GPU of the catalog: not in the tables{hint}", file=sys.stderr)
            continue
        for path in records:
            try:
                said = json.loads(path.read_text(encoding="utf-8"))["provenance"]["device"]["hardware"]
            except (ValueError, KeyError, TypeError):
                print(f"recorded: {path} is no record of gpu-validate", file=sys.stderr)
                raise SystemExit(2) from None
            if said != made.name:
                print(f"recorded: {path} was measured on hardware={said!r}, not on {made.name}", file=sys.stderr)
                raise SystemExit(2)


def use_this_python() -> None:
    """Put the interpreter that runs Snakemake first: jobs call ``python``, also when no environment is active."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _file_of(module: str) -> Path | None:
    """Return the file of a module or of a package, ``None`` if there is neither."""
    base = Path(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@cache
def _imported(file: Path) -> frozenset[Path]:
    """Return the files of this project that a file imports, with the packages on the way to them."""
    found: set[Path] = set()
    text = _TYPING_ONLY.sub("", file.read_text(encoding="utf-8"))
    for base, names in _IMPORT.findall(text):
        parents = accumulate(base.split("."), "{}.{}".format)
        items = (f"{base}.{item.split()[0]}" for item in names.strip("()").split(",") if item.strip())
        found |= {path for name in (*parents, *items) if (path := _file_of(name)) is not None}
    return frozenset(found)


def code_files(package: str) -> list[Path]:
    """Return the files whose content decides what a package prints: its modules, their imports, and data files."""
    pending = set(Path(package).rglob("*.py"))
    found: set[Path] = set()
    while pending:
        file = pending.pop()
        found.add(file)
        pending |= _imported(file) - found
    packages = {path.parts[0] for path in found}
    data = (path for name, pattern in DATA.items() if name in packages for path in Path().glob(pattern))
    return sorted(found | {path for path in data if path.is_file()})


def code_hash(package: str) -> str:
    """Return a hash of `code_files`; rules take it as a parameter, as Snakemake ignores imported packages."""
    digest = hashlib.sha256()
    for file in code_files(package):
        digest.update(f"{file.as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _alive(pid: int) -> bool:
    """Whether another process with this id runs Snakemake (as far as the system tells)."""
    if pid == os.getpid():  # in a new container the ids begin again
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    cmdline = Path(f"/proc/{pid}/cmdline")
    return not cmdline.exists() or b"snakemake" in cmdline.read_bytes()


def release_stale_lock(folder: Path) -> None:
    """Remove the locks that a killed run on this machine left in ``.snakemake``, then claim the folder.

    Snakemake keeps a lock until somebody says ``--unlock``. Here the run writes host and process id beside it, so
    that the next one can tell a dead holder from a living one. A holder on another machine is never judged dead.
    """
    holder = folder / "holder"
    me = f"{socket.gethostname()} {os.getpid()}"
    host, _, pid = (holder.read_text(encoding="utf-8") if holder.exists() else me).partition(" ")
    if host != socket.gethostname() or (pid.isdigit() and _alive(int(pid))):
        return
    if holder.exists():
        shutil.rmtree(folder / "locks", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    holder.write_text(me, encoding="utf-8")
