"""Result files of a run, with one error line for a file that is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scylla_sim.checks import InputError, fail
from scylla_sim.number_columns import line_of, parse_numbers
from scylla_sim.records import Row, read_columns, read_json


def how_to_make(path: str) -> str:
    """Return the command that writes ``results/PATH``.

    Examples
    --------
    >>> how_to_make("steps/table5-plain.json")
    'snakemake results/steps/table5-plain.json'
    """
    return f"snakemake results/{path}"


def make_again(path: str) -> str:
    """Return the hint for a result file that exists but lacks something.

    Examples
    --------
    >>> make_again("laws/decay.json")
    'make it again with: snakemake --force results/laws/decay.json'
    """
    return f"make it again with: snakemake --force results/{path}"


@dataclass(frozen=True)
class ResultTable:
    """Rows of one JSON result file.

    Attributes
    ----------
    path : str
        Path relative to the results folder.
    rows : list of Row
        Rows as written, at least one.
    provenance : dict
        Commit, command line and inputs of the file.
    """

    path: str
    rows: list[Row]
    provenance: dict[str, Any]

    def column(self, name: str) -> list[Any]:
        """Return one column.

        Raises
        ------
        InputError
            If a row lacks the column; the message names the file.
        """
        return [value(row, name, self.path) for row in self.rows]

    def levels(self) -> list[str]:
        """Return the distinct evidence levels of the rows, in order of appearance."""
        return list(dict.fromkeys(str(row["evidence"]) for row in self.rows if row.get("evidence")))


@dataclass(frozen=True)
class Results:
    """A results folder.

    Attributes
    ----------
    root : Path
        The folder.
    used : dict
        Tables that were read, by path. The page of claims prints their commits.
    """

    root: Path
    used: dict[str, ResultTable] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Return whether a result file exists."""
        return (self.root / path).is_file()

    def matching(self, pattern: str) -> list[str]:
        """Return the sorted paths, relative to the root, that match a glob pattern."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def require(self, pattern: str) -> list[str]:
        """Return `matching` paths.

        Raises
        ------
        InputError
            If no path matches.
        """
        paths = self.matching(pattern)
        if not paths:
            raise InputError(f"file={str(self.root / pattern)!r} is missing; make it with: snakemake")
        return paths

    def table(self, path: str) -> ResultTable:
        """Read a JSON table, or return it from an earlier read.

        Raises
        ------
        InputError
            If the file is missing, is not a table or has no rows.
        """
        if path not in self.used:
            content = self.record(path)
            rows, facts = content.get("rows"), content.get("provenance", {})
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise fail("rows", rows, f"must be a list of objects in {path}", make_again(path))
            if not rows:
                raise fail("rows", "[]", f"must not be empty in {path}", make_again(path))
            self.used[path] = ResultTable(path, rows, facts if isinstance(facts, dict) else {})
        return self.used[path]

    def record(self, path: str) -> dict[str, Any]:
        """Read a whole JSON object, for example a measured record.

        Raises
        ------
        InputError
            If the file is missing or is not JSON.
        """
        self._check_present(path)
        return read_json(self.root / path)

    def columns(self, path: str, names: Sequence[str]) -> dict[str, list[str]]:
        """Read columns of a CSV file as text.

        Raises
        ------
        InputError
            If the file or a column is missing.
        """
        self._check_present(path)
        found = read_columns(self.root / path)
        for name in names:
            if name not in found:
                raise fail("column", name, f"is missing in {path}", make_again(path))
        return {name: found[name] for name in names}

    def numbers(
        self, path: str, names: Sequence[str], *, rows: Sequence[int] | None = None
    ) -> dict[str, list[float]]:
        """Read columns of a CSV file as numbers, from all rows or from those with the indices ``rows``.

        Raises
        ------
        InputError
            If the file or a column is missing, or a cell is not a number.
        """
        place = line_of(path)
        return {
            name: parse_numbers(name, cells, place, rows=rows).tolist()
            for name, cells in self.columns(path, names).items()
        }

    def _check_present(self, path: str) -> None:
        """Raise an `InputError` if a result file is missing."""
        if not self.root.is_dir():
            raise fail(
                "results", str(self.root), "is not a folder", "run the workflow first, or give --results DIR"
            )
        if not self.has(path):
            raise InputError(f"file={str(self.root / path)!r} is missing; make it with: {how_to_make(path)}")


def value(row: Row, name: str, path: str) -> Any:
    """Return a field of a row.

    Raises
    ------
    InputError
        If the row lacks the field; the message names the file.
    """
    if name not in row:
        raise fail("field", name, f"is missing in {path}", "was it written by another version?")
    return row[name]


def commits(tables: Iterable[ResultTable]) -> str:
    """Return the short commits that made some files, each with ``+`` if the checkout had uncommitted changes.

    Examples
    --------
    >>> commits([ResultTable("a", [], {"git_sha": "0123456789", "git_dirty": True})])
    '0123456+'
    """
    found = set()
    for table in tables:
        sha = table.provenance.get("git_sha")
        found.add(f"{sha[:7]}{'+' if table.provenance.get('git_dirty') else ''}" if sha else "no commit")
    return ", ".join(sorted(found)) or "no result file"


def command_of(table: ResultTable) -> str:
    """Return the command line that made a file, from its provenance.

    Examples
    --------
    >>> command_of(ResultTable("a", [], {"argv": ["__main__.py", "predict", "--batch", "1"]}))
    'scylla-sim predict --batch 1'
    """
    program, *options = map(str, table.provenance.get("argv") or ["not recorded"])
    return " ".join(["scylla-sim" if program == "__main__.py" else program, *options])
