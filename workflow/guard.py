"""Steps of the Snakefile before its rules: check the configuration, hash the code, remove stale locks."""

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
"""Package -> pattern of the data files that its modules read."""
_IMPORT = re.compile(rf"^\s*from ((?:{'|'.join(PACKAGES)})[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_TYPING_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n)+", re.MULTILINE)
"""Imports that only type checkers see; the public names of `scylla_sim` are such imports."""


def _explain(error: ValidationError) -> str:
    """Return one line about an error of a schema: the setting's name, its value and the rule."""
    name = ".".join(str(part) for part in error.absolute_path)
    rule = error.validator_value
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        wrong = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(wrong), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"{'.'.join(filter(None, (name, str(wrong))))} is not a setting; {hint}"
    if error.validator == "required":
        missing = next(key for key in rule if key not in error.instance)
        return f"{'.'.join(filter(None, (name, str(missing))))} is missing"
    value = f"{name or 'content'}={error.instance!r}"
    if error.validator == "enum":
        return f"{value} must be one of {', '.join(map(str, rule))}"
    if error.validator == "contains":
        return f"{value} must contain {rule['const']}"
    if error.validator == "type":
        return f"{value} must be of type {rule if isinstance(rule, str) else ' or '.join(rule)}"
    return f"{value} is refused: {error.message}"


def check_schema(content: Any, schema_path: Path, *, label: str) -> None:
    """End the program with one line on stderr and exit code 2 when a file breaks its schema.

    Snakemake's own ``validate`` prints a page of text instead, after its header.
    """
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    # report a typo in a name first: the setting that it hides is missing or keeps its default
    order = {"additionalProperties": 0, "required": 1}
    errors = sorted(
        Draft202012Validator(schema).iter_errors(content),
        key=lambda error: (order.get(str(error.validator), 2), [str(part) for part in error.absolute_path]),
    )
    if errors:
        print(f"{label}: {_explain(errors[0])}", file=sys.stderr)
        raise SystemExit(2)


def check_config(config: Mapping[str, Any], schema_path: Path) -> None:
    """End the program with one line on stderr and exit code 2 when the configuration breaks its schema."""
    check_schema(dict(config), schema_path, label="config")


def check_records(config: Mapping[str, Any], folder: Path, suites: Sequence[str]) -> None:
    """End the program with one line and exit code 2 when a requested record is missing.

    Parameters
    ----------
    config : mapping
        Settings of the workflow.
    folder : Path
        Folder with one subfolder of records for each device.
    suites : sequence of str
        Suites that the workflow reads.
    """
    if config["measurements"] != "recorded":
        return
    name = config["recorded_device"]
    missing = [suite for suite in suites if not (folder / name / f"{suite}.json").is_file()]
    if not missing:
        return
    devices = sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name != BLIND)
    known = f"recorded: {', '.join(devices)}" if devices else "no device is recorded yet"
    hint = f"run gpu-validate measure --suite all --out {folder.as_posix()}/{name}, or set measurements: live"
    print(
        f"config: recorded_device={name!r} has no {missing[0]}.json in {folder.as_posix()}; {known}; {hint}",
        file=sys.stderr,
    )
    raise SystemExit(2)


BLIND = "blind"
"""Folder next to the records with the predictions that were made before the measurements."""
GPU_SUITES = ("kernels", "step", "specdecode", "decode")
"""Suites whose committed records are scored for every GPU."""


def gpu_suites(folder: Path) -> dict[str, list[str]]:
    """Return the GPUs of the catalog that have committed records, each with its suites."""
    found = {
        name: [suite for suite in GPU_SUITES if (folder / name / f"{suite}.json").is_file()]
        for name in catalog.names("hardware")
    }
    return {name: suites for name, suites in found.items() if suites}


FIRST_LOOP = "h100-sxm"
"""GPU whose loop is preferred for fitting the device time of sampling: it was measured first."""


def loop_gpu(suites: dict[str, list[str]]) -> str | None:
    """Return the GPU whose steps and cycles give the device time of sampling and acceptance in the loop.

    Examples
    --------
    >>> loop_gpu({"a100-sxm": ["step", "specdecode"], "l40s": ["step"]}), loop_gpu({})
    ('a100-sxm', None)
    """
    able = [gpu for gpu, some in suites.items() if {"step", "specdecode"} <= set(some)]
    return min(able, key=lambda gpu: (gpu != FIRST_LOOP, gpu), default=None)


def check_blind(folder: Path) -> None:
    """End the program with one line and exit code 2 when a blind prediction does not match its hash."""
    try:
        for made in sorted(path for path in folder.glob("*") if path.is_dir()):
            known = read_sums(made)
            if not known:
                raise fail("folder", str(made), f"has no {SUMS}", "blind predictions need hashes")
            found = {path.name for path in made.iterdir() if path.suffix in (".csv", ".json")}
            for name in sorted(found | set(known)):
                check_sums(made / name)
    except InputError as error:
        print(f"blind: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def check_gpu_records(folder: Path) -> None:
    """End the program with one line and exit code 2 when a GPU's folder holds records of another GPU.

    The tables use the name of the folder as the name of the GPU. A folder whose name is not in the catalog gets a
    warning and is left out.
    """
    known = catalog.names("hardware")
    for made in sorted(path for path in folder.glob("*") if path.is_dir() and path.name not in ("cpu", BLIND)):
        records = [path for suite in GPU_SUITES if (path := made / f"{suite}.json").is_file()]
        if records and made.name not in known:
            close = difflib.get_close_matches(made.name.lower(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            print(
                f"recorded: {made.name} is not in the catalog and is left out of the tables{hint}", file=sys.stderr
            )
            continue
        for path in records:
            try:
                hardware = json.loads(path.read_text(encoding="utf-8"))["provenance"]["device"]["hardware"]
            except (ValueError, KeyError, TypeError):
                print(f"recorded: {path} is not a record of gpu-validate", file=sys.stderr)
                raise SystemExit(2) from None
            if hardware != made.name:
                print(
                    f"recorded: {path} was measured on hardware={hardware!r}, not on {made.name}", file=sys.stderr
                )
                raise SystemExit(2)


def use_this_python() -> None:
    """Put the interpreter that runs Snakemake first on ``PATH``, because jobs call ``python``."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@cache
def _file_of(module: str) -> Path | None:
    """Return the file of a module or package, or ``None``."""
    base = Path(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@cache
def _imported(file: Path) -> frozenset[Path]:
    """Return the files of this project that a file imports, including parent packages."""
    found: set[Path] = set()
    text = _TYPING_ONLY.sub("", file.read_text(encoding="utf-8"))
    for base, names in _IMPORT.findall(text):
        parents = accumulate(base.split("."), "{}.{}".format)
        items = (f"{base}.{item.split()[0]}" for item in names.strip("()").split(",") if item.strip())
        found |= {path for name in (*parents, *items) if (path := _file_of(name)) is not None}
    return frozenset(found)


def code_files(package: str) -> list[Path]:
    """Return the files that the output of a package depends on: its modules, their imports, and data files."""
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
    """Return a hash of `code_files`, a parameter of rules because Snakemake ignores imported packages."""
    digest = hashlib.sha256()
    for file in code_files(package):
        digest.update(f"{file.as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _alive(pid: int) -> bool:
    """Return whether another process with this id runs Snakemake, as far as the system shows."""
    if pid == os.getpid():  # process ids start again in a new container
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    cmdline = Path(f"/proc/{pid}/cmdline")
    return not cmdline.exists() or b"snakemake" in cmdline.read_bytes()


def release_stale_lock(folder: Path) -> bool:
    """Remove the locks that a killed run on this machine left in ``.snakemake``, then claim the folder.

    Return whether the folder was claimed.

    Snakemake keeps a lock until ``snakemake --unlock``. A run therefore writes its host and process id next to the
    lock, and the next run checks whether that process is alive. A lock of another machine is never removed.
    """
    holder = folder / "holder"
    me = f"{socket.gethostname()} {os.getpid()}"
    host, _, pid = (holder.read_text(encoding="utf-8") if holder.exists() else me).partition(" ")
    if host != socket.gethostname() or (pid.isdigit() and _alive(int(pid))):
        return False
    if holder.exists():
        shutil.rmtree(folder / "locks", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    holder.write_text(me, encoding="utf-8")
    return True
