"""Scores of served predictions that are kept in a file, and the check that a change does not worsen them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paper.sources import served_runs, served_scores
from paper.sources.results import Results
from scylla_sim.checks import fail
from scylla_sim.records import Row, format_csv, read_columns, write_text

FROZEN = Path(__file__).with_suffix(".csv")
"""Error and noise of every group, with the reason of its last change."""
COLUMNS = ("quantity", "grouping", "group", "n", "error", "noise", "reason")
LEAST_NOISE = 0.01
"""Smallest noise of an error, and that of a group with one run: one percentage point."""
DIGITS = 4

Key = tuple[str, str, str]


def fresh(results: Results) -> list[Row]:
    """Return the scores of the predictions in a results folder, without a reason."""
    runs = served_runs.rows(results)
    found = []
    for quantity in served_runs.QUANTITIES:
        for row in served_scores.table(runs, quantity):
            noise = max(row.get("noise") or 0.0, LEAST_NOISE)
            kept = {name: row[name] for name in COLUMNS[:4]}
            found.append({**kept, "error": round(row["error"], DIGITS), "noise": round(noise, DIGITS)})
    return found


def read(path: Path = FROZEN) -> list[Row]:
    """Return the frozen scores."""
    columns = read_columns(path, needed=COLUMNS)
    rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
    return [{**row, "n": int(row["n"]), "error": float(row["error"]), "noise": float(row["noise"])} for row in rows]


def _by_key(rows: Sequence[Row]) -> dict[Key, Row]:
    """Return rows by quantity, grouping and group."""
    return {(str(row["quantity"]), str(row["grouping"]), str(row["group"])): row for row in rows}


def worsened(now: Sequence[Row], frozen: Sequence[Row], *, statistic: str = "mean") -> list[str]:
    """Return one line for every group that is worse than frozen by more than its noise, or has other runs.

    ``statistic`` is the word for the error in these lines.

    Examples
    --------
    >>> kept = {"quantity": "speedup", "grouping": "all", "group": "all", "n": 9, "error": 0.08, "noise": 0.01}
    >>> worsened([kept | {"error": 0.089}], [kept])
    []
    >>> worsened([kept | {"error": 0.1}], [kept])
    ['speedup, all, all: mean error 10.0 % in place of 8.0 %, noise 1.0 %']
    """
    ours, theirs = _by_key(now), _by_key(frozen)
    lines = []
    for key in dict.fromkeys((*theirs, *ours)):
        label = ", ".join(key)
        new, old = ours.get(key), theirs.get(key)
        if new is None or old is None:
            lines.append(f"{label}: {'no runs any more' if new is None else 'no frozen score'}")
        elif new["n"] != old["n"]:
            lines.append(f"{label}: {new['n']} runs in place of {old['n']}")
        elif new["error"] > old["error"] + old["noise"]:
            was, noise = (f"{100 * old[name]:.1f} %" for name in ("error", "noise"))
            lines.append(f"{label}: {statistic} error {100 * new['error']:.1f} % in place of {was}, noise {noise}")
    return lines


def updated(now: Sequence[Row], frozen: Sequence[Row], reason: str) -> list[Row]:
    """Return the new frozen scores; a group whose numbers change takes the new reason.

    Raises
    ------
    InputError
        If the reason is empty.
    """
    if not reason.strip():
        raise fail("reason", reason, "must say why the scores change", "it is written beside each changed score")
    old = _by_key(frozen)
    found = []
    for key, row in _by_key(now).items():
        before = old.get(key, {})
        same = all(row[name] == before.get(name) for name in ("n", "error", "noise"))
        found.append({**row, "reason": before["reason"] if same else reason.strip()})
    return found


def check(results: Results, path: Path = FROZEN) -> list[str]:
    """Return the groups of a results folder that are worse than frozen; see `worsened`."""
    return worsened(fresh(results), read(path))


def write(now: Sequence[Row], reason: str, path: Path) -> Path:
    """Write scores as the frozen ones, and return the path."""
    write_text(path, format_csv(updated(now, read(path) if path.is_file() else [], reason)))
    return path


def update(results: Results, reason: str, path: Path = FROZEN) -> Path:
    """Write the scores of a results folder as the frozen ones, and return the path."""
    return write(fresh(results), reason, path)
