"""Predicted and measured serving runs of ``scylla-sim served``, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper.sources.results import Results, value
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row

RUNS = "served/runs.json"
"""Result file of all published runs."""
ONE_LENGTH = "served/one-length.json"
"""The same with tokens per cycle from one measured length; see ``scylla-sim served --help``."""

QUANTITIES = ("speedup", "cycle", "plain step", "throughput")
"""Scored quantities."""

MAIN, LOW_BITS, STAND_IN, BLOCK, NGRAM, NOTHING, PLAIN = (
    "chain or tree",
    "4-bit weights or 8-bit KV",
    "stand-in for the draft",
    "block draft",
    "n-gram",
    "drafting nothing",
    "plain step",
)
"""Kinds of runs. `MAIN` has 16-bit or 8-bit weights, a 16-bit KV cache and a draft head of known shape."""

BATCHES = ((1, 1), (2, 7), (8, 31), (32, 63), (64, 10**6))
"""Ranges of the batch, both ends included."""

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Measured and predicted values of one quantity, element by element.

    Attributes
    ----------
    measured, predicted, lower, upper
        Arrays of shape (n,); NaN where the source or the prediction has no value.
    baselines
        Name of a baseline -> its values.
    """

    measured: FloatArray
    predicted: FloatArray
    lower: FloatArray
    upper: FloatArray
    baselines: dict[str, FloatArray]

    @property
    def known(self) -> BoolArray:
        """Whether a pair has both a measured and a predicted value."""
        return np.asarray(np.isfinite(self.measured) & np.isfinite(self.predicted))

    def at(self, keep: BoolArray) -> Pairs:
        """Return the pairs for which ``keep`` is true."""
        baselines = {name: values[keep] for name, values in self.baselines.items()}
        return Pairs(self.measured[keep], self.predicted[keep], self.lower[keep], self.upper[keep], baselines)


def rows(results: Results, path: str = RUNS) -> list[Row]:
    """Return the rows of a result file."""
    table = results.table(path)
    for row in table.rows:
        for name in ("source", "measured_speedup", "speedup", "tau_from", "draft_len"):
            value(row, name, path)
    return table.rows


def numbers(runs: Iterable[Row], name: str) -> FloatArray:
    """Return one column; NaN where a cell is empty or the column is absent."""
    return np.array([np.nan if row.get(name) is None else float(row[name]) for row in runs])


def kind(row: Row) -> str:
    """Return the kind of a run.

    Examples
    --------
    >>> row = {"draft": "eagle3", "draft_len": 3, "precision": "fp8", "kv_precision": "bf16", "assumed": "tp"}
    >>> kind(row), kind(row | {"draft_len": 0}), kind(row | {"draft": "none", "kv_precision": "fp8"})
    ('chain or tree', 'drafting nothing', '4-bit weights or 8-bit KV')
    """
    draft = str(row["draft"])
    low_bits = row["precision"] == "int4" or row["kv_precision"] == "fp8"
    if draft == "none":
        return LOW_BITS if low_bits else PLAIN
    if int(row["draft_len"]) == 0:
        return NOTHING
    if draft == "ngram":
        return NGRAM
    if "dspark" in draft:
        return BLOCK
    if "draft" in str(row["assumed"]).split(";"):
        return STAND_IN
    return LOW_BITS if low_bits else MAIN


def batch_range(batch: float) -> str:
    """Return the range of a batch in words.

    Examples
    --------
    >>> batch_range(1), batch_range(24), batch_range(256)
    ('1', '8-31', '64 and more')
    """
    low, high = next((low, high) for low, high in BATCHES if low <= batch <= high)
    return f"{low}" if low == high else f"{low} and more" if high == BATCHES[-1][1] else f"{low}-{high}"


def pairs(runs: Sequence[Row], quantity: str) -> Pairs:
    """Return measured and predicted values of one of `QUANTITIES`.

    A cycle or a plain step without a measured time is compared as time per token: the batch divided by the
    throughput, which holds prefill and ramp as the predicted rate does where lengths are known.
    """
    if quantity == "speedup":
        names = ("naive_speedup", "constant_speedup", "tau_constant_speedup")
        named = dict(zip(("roofline", "constant", "tau times constant"), names))
        return Pairs(*_named(runs, "speedup"), {label: numbers(runs, name) for label, name in named.items()})
    batch, tau = numbers(runs, "batch"), numbers(runs, "tokens_per_cycle")
    drafted = np.array([kind(row) not in (NOTHING, PLAIN) for row in runs])
    naive_cycle = numbers(runs, "naive_cycle_s")
    if quantity == "throughput":
        measured, rate, low, high = _named(runs, "tokens_per_s")
        measured = np.where(drafted, measured, np.nan)
        return Pairs(measured, rate, low, high, {"roofline": batch * tau / naive_cycle})
    name, tokens = ("cycle_s", batch * tau) if quantity == "cycle" else ("plain_step_s", batch)
    measured_rate, rate, low, high = _named(runs, "tokens_per_s" if quantity == "cycle" else "plain_tokens_per_s")
    times = _named(runs, name)
    inverse = (tokens / measured_rate, tokens / rate, tokens / high, tokens / low)
    timed = np.isfinite(times[0])
    measured, seconds, low, high = (np.where(timed, time, other) for time, other in zip(times, inverse))
    if quantity == "cycle":
        measured = np.where(drafted, measured, np.nan)
    return Pairs(measured, seconds, low, high, {"roofline": numbers(runs, f"naive_{name}")})


def _named(runs: Sequence[Row], name: str) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return measured, predicted, lower and upper values of a quantity."""
    lower, upper = numbers(runs, f"{name}_lower"), numbers(runs, f"{name}_upper")
    return numbers(runs, f"measured_{name}"), numbers(runs, name), lower, upper
