"""The decoding cycle of a measured served run, for a fit of overheads, and the engine as a TOML table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail
from scylla_sim.engines.overhead_fit import Observation
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.engine_support import FITTED
from scylla_sim.stats.quantiles import Z_90
from scylla_sim.units import MICRO, MILLI

NOISE = 0.02
"""Relative standard deviation of a measured time; chosen, not derived."""
UNITS = {"token_s": ("us", MICRO), "launch_s": ("us", MICRO), "idle_draft": ("fraction", 1.0)}
"""Overhead -> unit of its table and the unit in SI; milliseconds for the others."""
DIGITS = 4
"""Significant digits of the table."""


def observation_of(out: Prediction, measured: MeasuredServing) -> tuple[Observation, str]:
    """Return the decoding cycle of a run, and from which measurement it was taken.

    The median time between two pieces of an answer is a cycle. A time per token is a cycle over its tokens, with
    the predicted prefills taken off. The mean time between pieces holds prefills as well.

    Parameters
    ----------
    out
        Prediction of the run, at one batch and context.
    measured
        What was measured.

    Raises
    ------
    InputError
        If no time was measured, or prefills are predicted to take all of it.
    """
    tau, load = out.config.tokens_per_cycle, out.cycle.load
    prefill, prefill_sd = _of(load.value), (_of(load.up) + _of(load.down)) / (2.0 * Z_90)
    doubts = []
    if measured.itl_median_s:
        seconds, words = measured.itl_median_s, "median ITL"
    elif measured.tpot_s or measured.tpot_median_s:
        seconds, words = float(measured.tpot_s or measured.tpot_median_s or 0.0) * tau - prefill, "TPOT"
        tau_sd = (out.config.tau_upper - out.config.tau_lower) / (2.0 * Z_90)
        doubts = [prefill_sd, (seconds + prefill) * tau_sd / tau]
    elif measured.itl_s:
        seconds, words = measured.itl_s - prefill, "mean ITL"
        doubts = [prefill_sd]
    else:
        rule = "must state a time per token or between pieces"
        raise fail(
            "fit_overhead", sorted(measured.as_dict()), rule, "throughput holds the wait for first tokens too"
        )
    if seconds <= 0.0:
        raise fail("fit_overhead", round(seconds, 6), "must be above 0 without the predicted prefills")
    kernels = [(_of(step.time.up) + _of(step.time.down)) / (2.0 * Z_90) for step in (out.draft, out.verify)]
    counts = {name: _of(count) for name, count in out.cycle.overhead_counts.items()}
    device = _of(out.draft.seconds) + _of(out.verify.seconds)
    sd = float(np.sqrt(np.square([*kernels, *doubts, NOISE * seconds]).sum()))
    return Observation(device, counts, seconds, sd), words


def _of(value: object) -> float:
    return float(np.ravel(np.asarray(value))[0])


def engine_table(engine: Engine, preset: Engine) -> str:
    """Return the TOML table of a fitted engine, which ``--engine FILE`` reads.

    Overheads that were not fitted come from the preset.

    Examples
    --------
    >>> fitted = Engine("x-fitted", host_s=2e-3, intervals={"host_s": (1e-3, 3e-3)}, sources={"host_s": "a run"})
    >>> print(engine_table(fitted, Engine("x", host_s=1e-3, intervals={"host_s": (0.0, 3e-3)})), end="")
    [x-fitted]
    inherits = "x"
    <BLANKLINE>
    [x-fitted.fitted_runs]
    value = 0
    unit = "count"
    source = "number of the runs below"
    <BLANKLINE>
    [x-fitted.host_s]
    value = 2.0
    lower = 1.0
    upper = 3.0
    unit = "ms"
    source = "a run"
    """
    name = engine.name
    lines = [f"[{name}]", f'inherits = "{preset.name.removesuffix(FITTED)}"', ""]
    lines += [f"[{name}.fitted_runs]", f"value = {engine.fitted_runs}", 'unit = "count"']
    lines += ['source = "number of the runs below"']
    for field in fitted_names(engine, preset):
        unit, size = UNITS.get(field, ("ms", MILLI))
        ends = (getattr(engine, field), *engine.intervals[field])
        value, lower, upper = (float(f"{end / size:.{DIGITS}g}") for end in ends)
        lines += ["", f"[{name}.{field}]", f"value = {value}", f"lower = {min(lower, value)}"]
        source = engine.sources.get(field, "").replace("\\", "/").replace('"', "'")
        lines += [f"upper = {max(upper, value)}", f'unit = "{unit}"', f'source = "{source}"']
    return "\n".join(lines) + "\n"


def fitted_names(engine: Engine, preset: Engine) -> Sequence[str]:
    """Return the overheads in which a fitted engine differs from its preset."""
    return [name for name, ends in engine.intervals.items() if ends != preset.intervals.get(name)]
