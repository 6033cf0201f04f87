"""Wrong formulas as data: one text of one file replaced by another, and the tests that must then fail."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "mutations"
"""Folder of the TOML files; each has an array of tables ``mutation``."""


@dataclass(frozen=True)
class Mutation:
    """One wrong formula.

    Attributes
    ----------
    name
        Unique name.
    file
        File to change, relative to the checkout.
    old, new
        Text to replace, which the file contains exactly once, and its replacement.
    why
        What is wrong after the replacement.
    tests
        Test files or single tests, at least one of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]

    def changed(self, text: str) -> str:
        """Return the text of the file with the wrong formula.

        Raises
        ------
        ValueError
            The text does not contain ``old`` exactly once, or the result is no Python.
        """
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: old text is {count} times in {self.file}, must be once; update it")
        if self.old == self.new:
            raise ValueError(f"{self.name}: old and new text are equal")
        wrong = text.replace(self.old, self.new)
        if self.file.endswith(".py"):
            try:
                compile(wrong, self.file, "exec")
            except SyntaxError as error:
                raise ValueError(f"{self.name}: {error}") from error
        return wrong

    def key(self, root: Path) -> str:
        """Return a hash of the mutation, of the file that it changes and of the tests that it names."""
        found = hashlib.sha256(repr(self).encode())
        for name in sorted({self.file, *(test.split("::")[0] for test in self.tests)}):
            path = root / name
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            for item in files:
                found.update(item.read_bytes())
        return found.hexdigest()[:16]


def mirrored_test(file: str) -> str:
    """Return the test of a module by the layout of this repository.

    Examples
    --------
    >>> mirrored_test("scylla_sim/kernels/gemm.py")
    'tests/unit/scylla_sim/kernels/test_gemm.py'
    """
    path = Path("tests/unit") / file
    return str(path.with_name(f"test_{path.name}"))


def load(folder: Path = FOLDER) -> list[Mutation]:
    """Return the mutations of all TOML files of a folder; tests default to those of the changed module.

    Raises
    ------
    ValueError
        A name occurs twice, or a table has other keys than a mutation.
    """
    found: list[Mutation] = []
    for path in sorted(folder.glob("*.toml")):
        for table in tomllib.loads(path.read_text())["mutation"]:
            tests: Sequence[str] = table.pop("tests", None) or [mirrored_test(table["file"])]
            try:
                found.append(Mutation(**table, tests=tuple(tests)))
            except TypeError as error:
                raise ValueError(f"{path.name}: {table.get('name', table)}: {error}") from error
    names = [item.name for item in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"names must be unique: {', '.join(twice)}")
    return found


def problems(mutations: Sequence[Mutation], root: Path) -> list[str]:
    """Return one line for each mutation that no longer applies, or whose tests do not exist."""
    found = []
    for item in mutations:
        try:
            item.changed((root / item.file).read_text())
        except (OSError, ValueError) as error:
            found.append(f"{item.name}: {error}" if isinstance(error, OSError) else str(error))
        found += [
            f"{item.name}: no test file {test}" for test in item.tests if not (root / test.split("::")[0]).exists()
        ]
    return found
