"""Fit the device time of sampling and acceptance in the measured decoding loop, on one GPU.

Usage: ``python workflow/fit_loop.py STEPS CYCLES OUT``, with the rows of the suites ``step`` and ``specdecode``.

A cycle of the loop is one verify step, one draft step for each drafted token, and the kernels that choose tokens.
The rows hold the time of the cycle and of the steps alone. The difference is fitted as a time per cycle and a time
per draft pass. Only measurements enter, so the result holds no error of a prediction. OUT is an engine for
``--engine OUT``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.console import note
from scylla_sim.engines.served_observation import engine_table
from scylla_sim.records import read_columns, write_text
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.quantiles import Z_90

MAX_BATCH = 32
"""Largest batch. Above it, a verify step alone runs at lower clocks than in its cycle (docs/gpu-findings.md)."""
NAME = "measured-loop"
STEPS = ("role", "dtype", "batch", "context", "tokens", "graph", "latency_ms")
CYCLES = ("batch_size", "context_len", "draft_len", "top_k", "graph", "cycle_s")
"""Columns that are read."""


def _numbers(columns: dict[str, list[str]], *names: str) -> list[FloatArray]:
    return [np.array([float(cell or "nan") for cell in columns[name]]) for name in names]


def left_over(steps: dict[str, list[str]], cycles: dict[str, list[str]]) -> tuple[FloatArray, FloatArray]:
    """Return draft lengths and left-over seconds of the chains in CUDA graphs whose steps were measured alone."""
    alone: dict[tuple[str, float, float, float], float] = {}
    for role, dtype, *numbers in zip(steps["role"], steps["dtype"], *_numbers(steps, *STEPS[2:])):
        batch, context, tokens, graph, ms = numbers
        if graph == 1 and ms > 0.0 and dtype == "bfloat16" and role in ("draft", "plain", "verify"):
            alone[("draft" if role == "draft" else "target", batch, context, tokens)] = 1e-3 * ms
    found = []
    for batch, context, length, width, graph, cycle in zip(*_numbers(cycles, *CYCLES)):
        verify = alone.get(("target", batch, context, length + 1))
        draft = alone.get(("draft", batch, context, 1.0))
        if graph == 1 and width == 1 and cycle > 0.0 and batch <= MAX_BATCH and verify and draft:
            found.append((length, cycle - verify - length * draft))
    lengths, seconds = np.array(found).reshape(-1, 2).T
    return lengths, seconds


def fitted_loop(lengths: FloatArray, seconds: FloatArray, source: str) -> Engine:
    """Return the engine ``ideal`` with the two times, by least squares, with their 90 % intervals.

    The interval of the time per cycle is that of one cycle, and the interval of the time per draft pass that of the
    slope.
    """
    design = np.stack([np.ones_like(lengths), lengths], axis=1)
    values = np.linalg.lstsq(design, seconds, rcond=None)[0]
    scatter = float(np.sqrt(np.square(design @ values - seconds).sum() / max(len(seconds) - 2, 1)))
    slope_sd = scatter * float(np.sqrt(np.linalg.inv(design.T @ design)[1, 1]))
    names = ("draft_host_s", "draft_pass_host_s")
    each = dict(zip(names, np.maximum(values, 0.0).tolist()))
    reach = dict(zip(names, (Z_90 * scatter, Z_90 * slope_sd)))
    return replace(
        catalog.engine("ideal"),
        name=NAME,
        fitted_runs=len(seconds),
        intervals={name: (max(each[name] - reach[name], 0.0), each[name] + reach[name]) for name in names},
        sources=dict.fromkeys(names, source),
        **each,
    )


def main(steps: str, cycles: str, out: str) -> None:
    """Write the fitted engine, or one without overheads if a part of a campaign does not suffice for the fit."""
    lengths, seconds = left_over(read_columns(steps, needed=STEPS), read_columns(cycles, needed=CYCLES))
    gpu, ideal = Path(cycles).parent.name, catalog.engine("ideal")
    if len(set(lengths.tolist())) < 2:
        note(f"loop: {len(lengths)} cycles of {gpu} whose steps were measured alone; a fit needs two draft lengths")
        engine = replace(ideal, name=NAME)
    else:
        source = f"fitted by workflow/fit_loop.py: {len(seconds)} cycles of {gpu}"
        engine = fitted_loop(lengths, seconds, source)
    write_text(Path(out), engine_table(engine, ideal))


if __name__ == "__main__":
    main(*sys.argv[1:])
