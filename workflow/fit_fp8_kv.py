"""Fit attention over an fp8 KV cache on GPUs without fp8 arithmetic, and the host work of its backend.

Usage: ``python workflow/fit_fp8_kv.py``. It prints the values for ``attention_backends.toml`` and ``engines.toml``.

Each pair of published runs differs in the type of the KV cache alone. The difference of two steps, or of two
cycles, is therefore that of attention and of host work. The pairs of Llama-3.1-8B with 16-bit weights on gsm8k and
on 7.4 thousand tokens are fitted. Those with 4-bit weights and those on humaneval only show the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import target_step
from scylla_sim.records import Row, read_columns
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model
from scylla_sim.text.tables import text_table
from scylla_sim.units import MICRO, MILLI

RUNS = Path("paper/published/served_runs.csv")
SOURCE, MODEL = "a100-factorial", "llama-3.1-8b"
PLAIN, CYCLE = "plain_ms", "cycle_ms"
START = (25.0, 1.2, 3.5, 1.4)
"""First microseconds per call, slowdown of one and of several query tokens, and milliseconds per draft pass."""


@dataclass(frozen=True)
class Pair:
    """A run with a 16-bit cache and one with an fp8 cache.

    ``kind`` is `PLAIN` or `CYCLE`, ``added_s`` the measured seconds of the second run minus those of the first, and
    ``attention_s`` the predicted seconds of their attention by the fitted kernel.
    """

    label: str
    kind: str
    batch: int
    passes: int
    layers: int
    fitted: bool
    measured_s: float
    added_s: float
    attention_s: tuple[float, float]


def rows() -> list[dict[str, str]]:
    """Return the runs of the source."""
    columns = read_columns(str(RUNS), needed=["source"])
    each = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
    return [row for row in each if row["source"] == SOURCE]


def attention_s(model: Model, row: dict[str, str], kv_dtype: str, tokens: int) -> float:
    """Return the seconds of the target's attention by the fitted kernel, in FlashAttention-2 for 16 bits."""
    where = Scenario(MODEL, hardware=row["hardware"], engine=row["engine"]).deployments()[0]
    engine = where.engine if kv_dtype == "bfloat16" else replace(where.engine, framework="")
    where = replace(where, engine=engine, kv_dtype=kv_dtype)
    step = target_step(
        model, where, batch=int(row["running"] or row["batch"]), context=int(row["context"]), tokens=tokens
    )
    return float(sum(np.sum(part.seconds) for part in step.parts if part.name == "attention"))


def pairs() -> Iterator[Pair]:
    """Yield the pairs of steps and of cycles."""
    model, runs = catalog.model(MODEL), rows()
    key = ("precision", "hardware", "task", "batch", "draft", "draft_len", "table_figure")
    partners = {tuple(row[name] for name in key): row for row in runs if row["kv_precision"] == "bf16"}
    for row in runs:
        other = partners.get(tuple(row[name] for name in key))
        if row["kv_precision"] != "fp8" or other is None:
            continue
        passes = int(row["draft_len"])
        for kind, tokens in ((PLAIN, 1), (CYCLE, passes + 1)):
            if row[kind] and other[kind]:
                yield Pair(
                    f"{row['task']}, {row['precision']}, {row['hardware']}",
                    kind,
                    int(row["batch"]),
                    passes,
                    model.num_layers,
                    bool(row["fitted"]),
                    float(row[kind]) * MILLI,
                    (float(row[kind]) - float(other[kind])) * MILLI,
                    (attention_s(model, other, "bfloat16", tokens), attention_s(model, row, "fp8", tokens)),
                )


def added_s(values: FloatArray, pair: Pair) -> float:
    """Return the predicted seconds that the fp8 cache adds."""
    call_us, one, several, pass_ms = (float(value) for value in values)
    half, fp8 = pair.attention_s
    slower = several if pair.kind == CYCLE else one
    found = fp8 * slower + pair.layers * call_us * MICRO - half
    return found + (pair.passes * (pass_ms * MILLI + call_us * MICRO) if pair.kind == CYCLE else 0.0)


def main() -> None:
    """Fit, and print the values and the error of every group of pairs."""
    from scipy.optimize import least_squares

    found = list(pairs())

    def residual(values: FloatArray) -> list[float]:
        return [(added_s(values, one) - one.added_s) / one.measured_s for one in found if one.fitted]

    best = least_squares(residual, START, bounds=(0.0, np.inf), x_scale=START).x
    for name, value in zip(("call_s, us", "one_token_slowdown", "slowdown", "piecewise_pass_s, ms"), best.tolist()):
        print(f"{name}: {value:.3g}")
    table: list[Row] = []
    for label, kind in dict.fromkeys((one.label, one.kind) for one in found):
        own = [one for one in found if (one.label, one.kind) == (label, kind)]
        errors = [100.0 * (added_s(best, one) - one.added_s) / one.measured_s for one in own]
        row: Row = {"runs": label, "time": kind, "fitted": "yes" if own[0].fitted else "", "n": len(own)}
        table.append({**row, "mean error, %": float(np.mean(np.abs(errors))), "largest, %": max(errors, key=abs)})
    print(text_table(table))


if __name__ == "__main__":
    main()
