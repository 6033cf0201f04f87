"""Best number of verified tokens at each batch, from measured acceptance and measured forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.number_columns import AT_LEAST_ONE, COUNT, POSITIVE, line_of, parse_numbers

_STEPS_PER_OCTAVE = 16
"""Grid points per doubling of the number of verified tokens n."""


def curve(columns: Mapping[str, list[str]], path: Path | str) -> tuple[FloatArray, FloatArray]:
    """Return the acceptance curve of static trees at temperature 0.

    Parameters
    ----------
    columns
        CSV of ``curves --table acceptance``.
    path
        Its file, for error messages.

    Returns
    -------
    tokens, tau
        Verified tokens (nodes and root) and tokens per cycle, the mean over drafts and seeds. The first point is a
        plain step, which verifies and emits one token.

    Raises
    ------
    InputError
        If no row is of a tree at temperature 0, or a cell is not a number.
    """
    cells = zip(columns["drafting"], columns["temperature"])
    rows = [index for index, cell in enumerate(cells) if cell == ("tree", "0")]
    if not rows:
        raise InputError("acceptance has no row of drafting=tree at temperature=0")
    nodes, tau = (
        parse_numbers(name, columns[name], line_of(path), rule=rule, rows=rows)
        for name, rule in (("nodes", COUNT), ("tokens_per_cycle", AT_LEAST_ONE))
    )
    sizes = np.unique(nodes)
    means = [float(np.mean(tau[nodes == size])) for size in sizes]
    return np.array([1.0, *(sizes + 1.0)]), np.array([1.0, *means])


def optima(
    columns: Mapping[str, list[str]], path: Path | str, tokens: FloatArray, tau: FloatArray
) -> list[dict[str, Any]]:
    """Return the best number of verified tokens at each batch.

    The best number maximizes tau(n) / T(b, n). Both curves are interpolated along log n, the time T on a log scale.

    Parameters
    ----------
    columns
        CSV of ``curves --table verify``.
    path
        Its file, for error messages.
    tokens, tau
        Acceptance curve of `curve`.

    Returns
    -------
    list of dict
        One row per batch. ``inside`` says whether the optimum lies inside the range of both curves. ``gain`` is the
        throughput relative to verifying one token.

    Raises
    ------
    InputError
        If a number is unusable, appears twice, or the pass of one token is missing.
    """
    rows = []
    for batch, passes in sorted(_passes(columns, path).items()):
        if 1 not in passes:
            raise fail("batch_size", batch, "has no pass of tokens=1, the base of the gain")
        measured = np.array(sorted(passes.items()), dtype=np.float64)
        most = min(tokens[-1], measured[-1, 0])
        grid = np.geomspace(1.0, most, int(np.log2(most) * _STEPS_PER_OCTAVE) + 1)
        seconds = np.exp(np.interp(np.log(grid), np.log(measured[:, 0]), np.log(measured[:, 1])))
        value = np.interp(np.log(grid), np.log(tokens), tau)
        best = int(np.argmax(value / seconds))
        rows.append(
            {
                "batch_size": batch,
                "inverse_batch_size": 1.0 / batch,
                "k_opt": float(grid[best]),
                "inside": "yes" if 0 < best < grid.size - 1 else "no",
                "tokens_per_cycle": float(value[best]),
                "verify_s": float(seconds[best]),
                "gain": float(value[best] / seconds[best] * seconds[0]),
            }
        )
    return rows


def _passes(columns: Mapping[str, list[str]], path: Path | str) -> dict[int, dict[int, float]]:
    """Return the seconds of the measured passes by batch and tokens."""
    place = line_of(path)
    rules = {"batch_size": COUNT, "tokens": COUNT, "verify_s": POSITIVE}
    batches, counts, seconds = (
        parse_numbers(name, columns[name], place, rule=rule).tolist() for name, rule in rules.items()
    )
    found: dict[int, dict[int, float]] = {}
    for index, (batch, count, verify_s) in enumerate(zip(batches, counts, seconds)):
        passes = found.setdefault(int(batch), {})
        if count in passes:
            raise fail("tokens", int(count), f"appears twice for its batch {place(index)}")
        passes[int(count)] = verify_s
    if not found:
        raise InputError("verify has no row")
    return found
