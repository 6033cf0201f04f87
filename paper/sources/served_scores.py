"""Scores of served predictions: errors, intervals and verdicts, by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paper.sources import served_runs
from paper.sources.served_runs import BoolArray, Pairs
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row

SLOW = 0.95
"""Speed-up at most this counts as measured slower."""
SLOWER_ABOVE, FASTER_BELOW = 0.7, 0.3
"""Probability of being slower above which a run is called slower, and below which it is called faster."""
ALL = "all"
MACRO = "macro over sources"

GROUPINGS: dict[str, Callable[[Row], str]] = {
    "kind": served_runs.kind,
    "source": lambda row: str(row["source"]),
    "engine": lambda row: str(row["engine"]),
    "hardware": lambda row: str(row["hardware"]).rpartition("/")[2],
    "target": lambda row: str(row["target"]),
    "batch": lambda row: served_runs.batch_range(float(row["batch"])),
    "lengths": lambda row: str(row["lengths"]),
    "part": lambda row: "fitted" if row.get("fitted") else "scored",
}
"""Name of a grouping -> group of a run. ``part`` says whether something was fitted on the run."""


def score(pairs: Pairs) -> Row:
    """Return the errors of predictions and baselines, and the coverage and width of the intervals.

    Returns
    -------
    dict
        ``n``, ``error`` (mean absolute), ``bias`` (mean signed), ``p90``, ``noise`` (standard error of ``error``
        over rows; NaN for one row), ``coverage``, ``width`` (median upper / lower), and ``error_NAME`` of each
        baseline. All but ``n`` and ``width`` are fractions. Empty without a pair.
    """
    if not pairs.known.any():
        return {}
    kept = pairs.at(pairs.known)
    signed = kept.predicted / kept.measured - 1.0
    size = np.abs(signed)
    found: Row = {"n": size.size, "error": float(size.mean()), "bias": float(signed.mean())}
    found["p90"] = float(np.quantile(size, 0.9))
    found["noise"] = float(size.std(ddof=1) / np.sqrt(size.size)) if size.size > 1 else None
    found["coverage"] = float(((kept.lower <= kept.measured) & (kept.measured <= kept.upper)).mean())
    found["width"] = float(np.median(kept.upper / kept.lower))
    for name, values in kept.baselines.items():
        finite = np.isfinite(values)
        error = np.abs(values[finite] / kept.measured[finite] - 1.0)
        found[f"error_{name.replace(' ', '_')}"] = float(error.mean()) if finite.any() else None
    return found


def verdicts(measured: FloatArray, p_slower: FloatArray) -> Row:
    """Return how often the verdict on slower runs is right.

    Parameters
    ----------
    measured
        Measured speed-ups.
    p_slower
        Predicted probabilities of a speed-up below 1.

    Returns
    -------
    dict
        ``slow``: runs measured at most `SLOW`. ``not_faster`` and ``called_slower``: shares of them that are not
        called faster, and that are called slower. ``wrong``: share of all runs that are called slower but are
        faster, or called faster but are slow. Shares are None without a run.

    Examples
    --------
    >>> verdicts(np.array([0.9, 0.9, 1.2, 1.2]), np.array([0.8, 0.1, 0.9, 0.0]))
    {'slow': 2, 'not_faster': 0.5, 'called_slower': 0.5, 'wrong': 0.5}
    """
    known = np.isfinite(measured) & np.isfinite(p_slower)
    measured, p_slower = measured[known], p_slower[known]
    slow = measured <= SLOW
    wrong = ((p_slower > SLOWER_ABOVE) & (measured > 1.0)) | ((p_slower < FASTER_BELOW) & slow)
    return {
        "slow": int(slow.sum()),
        "not_faster": _share(p_slower[slow] >= FASTER_BELOW),
        "called_slower": _share(p_slower[slow] > SLOWER_ABOVE),
        "wrong": _share(wrong),
    }


def _share(true: BoolArray) -> float | None:
    """Return the share of true values."""
    return float(true.mean()) if true.size else None


def macro(scores: Sequence[Row]) -> Row:
    """Return the mean over groups of every number but ``n``, which is their sum.

    ``noise`` is the standard error of the mean error over groups. A number that some group lacks is the mean of the
    others.

    Examples
    --------
    >>> macro([{"n": 3, "error": 0.25}, {"n": 1, "error": 0.75}])
    {'n': 4, 'error': 0.5, 'noise': 0.25}
    """
    found: Row = {"n": sum(row["n"] for row in scores)}
    for name in dict.fromkeys(key for row in scores for key in row):
        values = [row[name] for row in scores if row.get(name) is not None]
        if name not in ("n", "noise") and values:
            found[name] = float(np.mean(values))
    errors = np.array([row["error"] for row in scores])
    found["noise"] = float(errors.std(ddof=1) / np.sqrt(errors.size)) if errors.size > 1 else None
    return found


def groups(runs: Sequence[Row], grouping: str) -> Iterator[tuple[str, BoolArray]]:
    """Yield each group of a grouping, in order of appearance, with its runs."""
    names = np.array([GROUPINGS[grouping](row) for row in runs])
    for name in dict.fromkeys(names.tolist()):
        yield name, names == name


def scored_part(runs: Sequence[Row]) -> list[Row]:
    """Return the runs that count in totals: those that drafted, with bf16 or 8-bit weights, in a chain or tree."""
    return [row for row in runs if served_runs.kind(row) == served_runs.MAIN]


def table(runs: Sequence[Row], quantity: str) -> list[Row]:
    """Return one row per group and quantity.

    The groupings by kind and by source hold all runs. The others and the totals hold `scored_part`, or the plain
    steps too where ``quantity`` is ``plain step``.
    """
    main = scored_part(runs) if quantity != "plain step" else [*runs]
    found = []
    for grouping in GROUPINGS:
        members = runs if grouping == "kind" else main
        for name, keep in groups(members, grouping):
            found.append(_row([row for row, kept in zip(members, keep) if kept], quantity, grouping, name))
    sources = [row for row in found if row["grouping"] == "source" and "error" in row]
    found.append(_row(main, quantity, ALL, ALL))
    if sources:
        numbers = [{key: cell for key, cell in row.items() if key not in _LABELS} for row in sources]
        found.append({"quantity": quantity, "grouping": ALL, "group": MACRO, **macro(numbers)})
    return [row for row in found if "error" in row]


_LABELS = ("quantity", "grouping", "group", "fitted")


def _row(members: Sequence[Row], quantity: str, grouping: str, group: str) -> Row:
    """Return the score of one group."""
    row: Row = {"quantity": quantity, "grouping": grouping, "group": group}
    pairs = served_runs.pairs(members, quantity)
    fitted = np.array([bool(member.get("fitted")) for member in members])
    row["fitted"] = int((fitted & pairs.known).sum())
    row |= score(pairs)
    if quantity == "speedup":
        measured = served_runs.numbers(members, "measured_speedup")
        row |= verdicts(measured, served_runs.numbers(members, "p_slower"))
    return row
