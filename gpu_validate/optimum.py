"""The verb ``optimum``: the best number of verified tokens at each batch, from measured acceptance and passes.

Theorem 1.3 asks how many tokens a cycle should verify when verification alone is counted: the n that maximises
b tau(n) / T(b, n). Both are measured; between measured points tau and T are interpolated along log n.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import note
from scylla_sim.records import format_csv, read_columns, write_text

EPILOG = """example:
  gpu-validate optimum --acceptance acceptance.csv --verify verify.csv --out optimum.csv
"""

_STEPS_PER_OCTAVE = 16
"""Resolution of the search along log n."""


def curve(columns: dict[str, list[str]]) -> tuple[FloatArray, FloatArray]:
    """Verified tokens (nodes and root) and mean tokens per cycle of static trees at temperature 0.

    The mean is over drafts and seeds; no tree at all verifies one token and emits one.
    """
    found: dict[int, list[float]] = {}
    for index, drafting in enumerate(columns["drafting"]):
        if drafting == "tree" and columns["temperature"][index] == "0":
            found.setdefault(int(columns["nodes"][index]), []).append(float(columns["tokens_per_cycle"][index]))
    if not found:
        raise fail("acceptance", "", "has no row of drafting=tree at temperature=0")
    nodes = np.array([0, *sorted(found)], dtype=np.float64)
    return nodes + 1.0, np.array([1.0, *(float(np.mean(found[n])) for n in sorted(found))])


def optima(columns: dict[str, list[str]], tokens: FloatArray, tau: FloatArray) -> list[dict[str, Any]]:
    """One row a batch: the best number of verified tokens, and whether it lies inside the grid of both curves."""
    batches = sorted({int(batch) for batch in columns["batch_size"]})
    rows = []
    for batch in batches:
        at = [index for index, value in enumerate(columns["batch_size"]) if int(value) == batch]
        measured = np.array(sorted((float(columns["tokens"][i]), float(columns["verify_s"][i])) for i in at))
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--acceptance", metavar="FILE", required=True, help="of curves --table acceptance")
    parser.add_argument("--verify", metavar="FILE", required=True, help="of curves --table verify")
    parser.add_argument("--out", metavar="FILE", required=True, help="CSV file")


def execute(args: argparse.Namespace) -> None:
    needed = ("drafting", "temperature", "nodes", "tokens_per_cycle")
    tokens, tau = curve(read_columns(args.acceptance, needed=needed))
    rows = optima(read_columns(args.verify, needed=("batch_size", "tokens", "verify_s")), tokens, tau)
    write_text(args.out, format_csv(rows))
    note(f"wrote {len(rows)} rows to {args.out}")
