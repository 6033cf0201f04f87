"""Reading ``results/``: whole files or one clear line that says which file is missing and how to make it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scylla_sim.checks import InputError, fail
from scylla_sim.records import Row, read_columns, read_json


@dataclass(frozen=True)
class Table:
    """Rows of one result file, the commit that made them, and the path under ``results/``."""

    path: str
    rows: list[Row]
    provenance: dict[str, Any]

    def column(self, name: str) -> list[Any]:
        """One column; a row without it is an error that names the file."""
        return [value(row, name, self.path) for row in self.rows]

    def levels(self) -> list[str]:
        """Levels of evidence of the rows, each once, in order of appearance."""
        return list(dict.fromkeys(str(row["evidence"]) for row in self.rows if row.get("evidence")))


@dataclass
class Results:
    """A ``results/`` folder. ``used`` remembers what was read, for the line under a table."""

    root: Path
    used: dict[str, Table] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        return (self.root / path).is_file()

    def matching(self, pattern: str) -> list[str]:
        """Paths under the root that match, sorted."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def table(self, path: str, make: str) -> Table:
        """Read a JSON table; ``make`` is the command that writes it."""
        self._present(path, make)
        if path not in self.used:
            content = read_json(self.root / path)
            rows, facts = content.get("rows"), content.get("provenance", {})
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise fail("rows", rows, f"must be a list of objects in {path}")
            if not rows:
                raise fail("rows", "[]", f"must not be empty in {path}", f"make it again with: {make}")
            self.used[path] = Table(path, rows, facts if isinstance(facts, dict) else {})
        return self.used[path]

    def record(self, path: str, make: str) -> dict[str, Any]:
        """Read a whole JSON object, for example a measured record."""
        self._present(path, make)
        return read_json(self.root / path)

    def columns(self, path: str, make: str, names: Sequence[str]) -> dict[str, list[str]]:
        """Read columns of a CSV file; one that is missing is an error that names it."""
        self._present(path, make)
        found = read_columns(self.root / path)
        for name in names:
            if name not in found:
                raise fail("column", name, f"is missing in {path}", f"make it again with: {make}")
        return {name: found[name] for name in names}

    def _present(self, path: str, make: str) -> None:
        if not self.root.is_dir():
            raise fail("results", str(self.root), "is no folder", "run the workflow first, or give --results DIR")
        if not self.has(path):
            raise InputError(f"file={str(self.root / path)!r} is missing; make it with: {make}")


def value(row: Row, name: str, path: str) -> Any:
    """A field of a row; one that is missing names field and file."""
    if name not in row:
        raise fail("field", name, f"is missing in {path}", "written by another version?")
    return row[name]


def commits(tables: Iterable[Table]) -> str:
    """Short commits that made some files: ``1a2b3c4``, with ``+`` when the checkout was not clean.

    Examples
    --------
    >>> commits([Table("a", [], {"git_sha": "0123456789", "git_dirty": True})])
    '0123456+'
    """
    found = set()
    for table in tables:
        sha = table.provenance.get("git_sha")
        found.add(f"{sha[:7]}{'+' if table.provenance.get('git_dirty') else ''}" if sha else "no commit")
    return ", ".join(sorted(found)) or "no result file"
