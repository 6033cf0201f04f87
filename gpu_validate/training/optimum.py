"""Best number of verified tokens at each batch, from measured acceptance and measured forward passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail

_STEPS_PER_OCTAVE = 16
"""Grid points per doubling of the number of verified tokens n."""


def _number(columns: dict[str, list[str]], name: str, index: int, low: float) -> float:
    """Return a cell as a positive finite number of at least ``low``."""
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
    """Return a cell as a whole number of at least 1."""
    value = _number(columns, name, index, 1.0)
    if value != int(value):
        raise fail(name, columns[name][index], f"must be a whole number in row {index + 1}")
    return int(value)


def curve(columns: dict[str, list[str]]) -> tuple[FloatArray, FloatArray]:
    """Return the acceptance curve of static trees at temperature 0.

    Parameters
    ----------
    columns
        CSV of ``curves --table acceptance``.

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
    found: dict[int, list[float]] = {}
    for index, drafting in enumerate(columns["drafting"]):
        if drafting == "tree" and columns["temperature"][index] == "0":
            count = _count(columns, "nodes", index)
            found.setdefault(count, []).append(_number(columns, "tokens_per_cycle", index, 1.0))
    if not found:
        raise InputError("acceptance has no row of drafting=tree at temperature=0")
    nodes = np.array([0, *sorted(found)], dtype=np.float64)
    return nodes + 1.0, np.array([1.0, *(float(np.mean(found[n])) for n in sorted(found))])


def optima(columns: dict[str, list[str]], tokens: FloatArray, tau: FloatArray) -> list[dict[str, Any]]:
    """Return the best number of verified tokens at each batch.

    The best number maximises tau(n) / T(b, n). Both curves are interpolated along log n, the time T on a log scale.

    Parameters
    ----------
    columns
        CSV of ``curves --table verify``.
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
    for batch, passes in sorted(_passes(columns).items()):
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


def _passes(columns: dict[str, list[str]]) -> dict[int, dict[int, float]]:
    """Return the seconds of the measured passes by batch and tokens."""
    found: dict[int, dict[int, float]] = {}
    for index in range(len(columns["batch_size"])):
        passes = found.setdefault(_count(columns, "batch_size", index), {})
        count = _count(columns, "tokens", index)
        if count in passes:
            raise fail("tokens", count, f"appears twice for its batch in row {index + 1}")
        passes[count] = _number(columns, "verify_s", index, 0.0)
    if not found:
        raise InputError("verify has no row")
    return found
