"""Result files with their provenance, and rows as CSV.

A result table is one JSON object ``{"schema", "rows", "provenance"}``. A measured record adds samples, stopping
reasons and device facts; see `gpu_validate.records.record_file`. Files are written atomically. Every number has one
of the evidence levels in `EVIDENCE`, and levels are never mixed. Numbers in CSV columns are parsed by
`scylla_sim.number_columns`.

Most commands need neither hashes nor git nor temporary files, so the functions that do import those modules.
Text tables are in `scylla_sim.text`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from scylla_sim import __version__
from scylla_sim.checks import fail, unwritable
from scylla_sim.text.blocks import Cells, csv_blocks
from scylla_sim.text.formats import parse_json

EVIDENCE = ("live", "recorded", "silicon", "published", "small-scale", "theory")
"""Evidence levels.

===============  ==================================================================
Level            Source of the number
===============  ==================================================================
``live``         measured by this run on this machine
``recorded``     measured earlier by gpu_validate and committed
``silicon``      kernel measurements of a third party (aiconfigurator-core)
``published``    printed in a paper, repository or blog
``small-scale``  trained and measured here at reduced size
``theory``       computed only
===============  ==================================================================
"""

COMMIT_VARIABLE = "SCYLLA_SIM_COMMIT"
"""Environment variable with the commit of a copied checkout; it takes precedence over ``.git``."""

Row = dict[str, Any]


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


SUMS = "SHA256SUMS"
"""File with the hashes of the other files of its folder, in the format of ``sha256sum --check``."""


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the file `SUMS` for some files of a folder."""
    write_text(folder / SUMS, "".join(f"{sha256_of(folder / name)}  {name}\n" for name in sorted(names)))


def read_sums(folder: Path) -> dict[str, str]:
    """Return the hashes in a folder's `SUMS` by file name; empty without that file."""
    sums = folder / SUMS
    if not sums.is_file():
        return {}
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise fail("file", str(sums), "cannot be read as lines of hashes and names") from None
    return {name.lstrip(" *"): digest for digest, _, name in (line.partition(" ") for line in lines)}


def check_sums(path: Path) -> None:
    """Check a file against the hash in its folder's `SUMS`; a folder without that file passes.

    Raises
    ------
    InputError
        If the file is not listed, or if its hash differs.
    """
    known = read_sums(path.parent)
    sums = path.parent / SUMS
    if not sums.is_file():
        return
    if path.name not in known:
        raise fail("file", str(path), f"is not listed in {sums}", "it was added after the others were hashed")
    if not path.is_file() or known[path.name] != sha256_of(path):
        raise fail("file", str(path), f"does not match its hash in {sums}", "it was edited after it was hashed")


@cache
def git_state() -> dict[str, Any]:
    """Return the commit and the dirty flag of the checkout that runs this package.

    A copy without ``.git`` takes its commit from the variable `COMMIT_VARIABLE` or from a file ``COMMIT`` at its
    root. Its dirty flag is ``None``. Both values are ``None`` if the commit is unknown.
    """
    root = Path(__file__).resolve().parent.parent
    state: dict[str, Any] = {"git_sha": None, "git_dirty": None}
    given, file = os.environ.get(COMMIT_VARIABLE, "").strip(), root / "COMMIT"
    if not given and not (root / ".git").exists() and file.is_file():
        given = file.read_text(encoding="utf-8").strip()
    if given or not (root / ".git").exists():
        return state | {"git_sha": given or None}
    import subprocess

    try:
        call = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        lines = subprocess.run(call, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return state
    for line in lines:
        if line.startswith("# branch.oid "):
            state["git_sha"] = line.split()[2]
    state["git_dirty"] = any(not line.startswith("#") for line in lines)
    return state


def provenance(*, inputs: Iterable[Path | str] = (), **facts: Any) -> dict[str, Any]:
    """Return the origin of a result: version, commit, command line, hashes of input files, and ``facts``.

    Files are named without their folders, so a record does not depend on the location of the checkout.
    """
    hashes = {Path(path).name: sha256_of(Path(path)) for path in inputs}
    argv = [Path(arg).name if os.sep in arg else arg for arg in sys.argv]
    return {"version": __version__, **git_state(), "argv": argv, "inputs": hashes, **facts}


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically, like `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file atomically; see `write_chunks`."""
    write_chunks(path, [data])


def write_chunks(path: Path | str, chunks: Iterable[bytes]) -> None:
    """Write a file atomically: readers get the old file or the new one, never a part.

    Chunks that are made one after another never lie in memory together.

    Links are followed and an existing file keeps its mode. Devices and pipes are written directly.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    import tempfile

    try:
        target = Path(path).resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself, or a name with a null character
        raise fail("out", str(path), "cannot be written (too many levels of links, or not a name)") from None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("wb") as special:
                special.writelines(chunks)
            return
        mode = target.stat().st_mode & 0o777 if target.is_file() else None
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask if mode is None else mode)
        Path(name).replace(target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from None
        raise


def read_text(path: Path | str, *, option: str = "file") -> str:
    """Return the UTF-8 text of a file, without its byte order mark; ``option`` names it in error messages.

    Raises
    ------
    InputError
        If the file cannot be read or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise fail(option, str(path), f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # bytes that are not UTF-8, or a name with a null character
        raise fail(option, str(path), f"cannot be read ({error})") from None


CUT_OFF = "if the workflow wrote it, delete it and run again"
"""Hint for a file that is cut off or otherwise damaged."""


def dump_json(value: Any) -> str:
    """Return a value as JSON text with all digits and the order of keys; NaN raises `ValueError`."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_json(path: Path | str, *, schema: str | None = None) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or has another schema.
    """
    value = parse_json(read_text(path), str(path), hint=CUT_OFF)
    if not isinstance(value, dict):
        raise fail("file", str(path), "must hold a JSON object", CUT_OFF)
    if schema is not None and value.get("schema") != schema:
        raise fail("schema", value.get("schema"), f"must be {schema!r} in {path}", "written by another version?")
    return value


def table(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> dict[str, Any]:
    """Return a result table as one JSON object; ``name`` is its schema, such as ``scylla-sim/predict/1``."""
    return {"schema": name, "rows": [dict(row) for row in rows], "provenance": provenance(**facts)}


def format_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV text; the columns are all keys in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_columns(columns: Mapping[str, Cells]) -> str:
    """Return columns of one length as CSV text; numbers keep all digits."""
    return "".join(csv_blocks(columns))


READ_BLOCK = 4096
"""Lines of a CSV file that are converted to columns at once."""
MAX_KNOWN = 1 << 16
"""Distinct cells of a CSV file that are kept as one object."""


def _dialect(start: bytes) -> tuple[str, str]:
    """Return the encoding and the separator of CSV text from its first bytes; spreadsheets also write UTF-16."""
    encoding = "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    first = start.decode(encoding, "ignore").split("\n", 1)[0]
    return encoding, max(",;\t", key=first.count)


def read_columns(path: Path | str, *, needed: Iterable[str] = ()) -> dict[str, list[str]]:
    """Read a CSV file into columns of text, in file order.

    The first line decides whether commas, semicolons or tabs separate the columns.

    Parameters
    ----------
    needed
        Columns that the file must have.

    Raises
    ------
    InputError
        If the file is missing or empty, a column is missing, blank or repeated, or a line has another length.
    """
    lines = 0
    try:
        with Path(path).open("rb") as raw:
            encoding, separator = _dialect(raw.peek(READ_BLOCK))
            file = io.TextIOWrapper(raw, encoding=encoding, newline="")
            reader = csv.reader(file, strict=True, delimiter=separator)
            header = [name.strip() for name in next(reader, [])]
            width = len(header)
            columns: list[list[str]] = [[] for _ in header]
            filled = filter(None, reader)
            # one object for equal cells: columns repeat their cells, and a million texts need 60 bytes each
            known: dict[str, str] = {}
            # block by block, because a million live lists slow the garbage collector down
            while block := list(islice(filled, READ_BLOCK)):
                if set(map(len, block)) != {width}:
                    break
                for column, cells in zip(columns, zip(*block)):
                    same = known.setdefault if len(known) < MAX_KNOWN else known.get
                    column.extend(map(same, cells, cells))
                lines += len(block)
    except OSError as error:
        raise fail("file", str(path), f"cannot be read ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise fail("file", str(path), f"is not CSV text ({error})", CUT_OFF) from None
    if not header or not all(header):
        raise fail("file", str(path), "must begin with a line of column names", CUT_OFF)
    if len(set(header)) != width:
        twice = next(name for name in header if header.count(name) > 1)
        raise fail("column", twice, f"appears twice in {path}")
    if block:
        at = next(i for i, line in enumerate(block) if len(line) != width)
        rule = f"has {len(block[at])} fields, not {width}, in {path}"
        raise fail("line", lines + at + 2, rule, f"is a comma missing? {CUT_OFF}")
    for name in needed:
        if name not in header:
            raise fail("column", name, f"is missing from {path}", f"columns: {', '.join(header)[:300]}")
    return dict(zip(header, columns))
