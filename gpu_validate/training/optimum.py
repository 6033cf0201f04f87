"""Best number of verified tokens at each batch, from measured acceptance and verification passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail

_STEPS_PER_OCTAVE = 16
"""Resolution of the search along log n."""


def _number(columns: dict[str, list[str]], name: str, index: int, low: float) -> float:
    """A finite number of at least ``low`` (above 0 where that is 0), naming the line of what is none."""
    text = columns[name][index]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and value >= low and value > 0):
        rule = f"at least {low:g}" if low else "above 0"
        raise InputError(f"{name}={text!r} must be a number {'of ' * bool(low)}{rule} in row {index + 1}")
    return value


def _count(columns: dict[str, list[str]], name: str, index: int) -> int:
    value = _number(columns, name, index, 1.0)
    if value != int(value):
        raise fail(name, columns[name][index], f"must be a whole number in row {index + 1}")
    return int(value)


def curve(columns: dict[str, list[str]]) -> tuple[FloatArray, FloatArray]:
    """Verified tokens (nodes and root) and mean tokens per cycle of static trees at temperature 0.

    The mean is over drafts and seeds; no tree at all verifies one token and emits one.
    """
    found: dict[int, list[float]] = {}
    for index, drafting in enumerate(columns["drafting"]):
        if drafting == "tree" and columns["temperature"][index] == "0":
            nodes_here = _count(columns, "nodes", index)
            found.setdefault(nodes_here, []).append(_number(columns, "tokens_per_cycle", index, 1.0))
    if not found:
        raise InputError("acceptance has no row of drafting=tree at temperature=0")
    nodes = np.array([0, *sorted(found)], dtype=np.float64)
    return nodes + 1.0, np.array([1.0, *(float(np.mean(found[n])) for n in sorted(found))])


def optima(columns: dict[str, list[str]], tokens: FloatArray, tau: FloatArray) -> list[dict[str, Any]]:
    """One row a batch: the best number of verified tokens, and whether it lies inside the grid of both curves."""
    timed: dict[int, dict[int, float]] = {}
    for index in range(len(columns["batch_size"])):
        passes = timed.setdefault(_count(columns, "batch_size", index), {})
        count = _count(columns, "tokens", index)
        if count in passes:
            raise fail("tokens", count, f"appears twice for its batch in row {index + 1}")
        passes[count] = _number(columns, "verify_s", index, 0.0)
    if not timed:
        raise InputError("verify has no row")
    rows = []
    for batch in sorted(timed):
        if 1 not in timed[batch]:
            raise fail("batch_size", batch, "has no pass of tokens=1, over which the gain is counted")
        measured = np.array(sorted(timed[batch].items()), dtype=np.float64)
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
