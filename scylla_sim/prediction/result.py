"""Result of a prediction over many configurations: rows, a short table, a data frame, and a breakdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError
from scylla_sim.prediction.evidence import overhead_evidence
from scylla_sim.prediction.footer import footer, interval_coverage
from scylla_sim.prediction.step_time import LAUNCH
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.verdict import verdict
from scylla_sim.records import Row
from scylla_sim.specs.model import Model
from scylla_sim.text.digits import WIDTH, wrapped
from scylla_sim.text.tables import Column, fold, text_table

TABLE_COLUMNS = (
    Column("hardware", "GPU", fold=True),
    Column("tp", "TP", fold=True),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("draft_len", "K", fold=True),
    Column("top_k", "top-k", fold=True),
    Column("verify_tokens", "verified", fold=True),
    Column("batch_size", "batch"),
    Column("context_len", "context", fold=True),
    Column("tokens_per_cycle", "tokens/cycle", fold=True),
    Column("tpot_s", "ms/token", scale=1e3),
    Column("plain_tpot_s", "plain ms", scale=1e3),
    Column("tokens_per_s", "tokens/s"),
    Column("plain_tokens_per_s", "plain t/s"),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("p_slower", "P(slower)", decimals=2),
    Column("bound", "limited by", fold=True),
    Column("fits_memory", "fits", fold=True),
)
"""Columns of the printed table. Those that `fold` stand in its caption where all rows agree."""
MAX_PRINTED_ROWS = 20
"""Rows that ``repr`` of a result prints."""


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Predictions of one or several configurations of a model on a deployment.

    Two results are equal if their rows and notes are equal.

    Attributes
    ----------
    model, deployment
        Target model, and where it runs.
    precision
        Precision of the target's weights, by its name on the command line.
    predictions
        Arrays over batch and context: one `Prediction` per configuration, or one per configuration and batch
        where the number of verified tokens depends on the batch.
    notes
        Assumptions behind the numbers, each once.
    draft_tp
        TP ranks of the draft; ``None`` where they are those of the target.

    Examples
    --------
    >>> import scylla_sim
    >>> result = scylla_sim.predict("llama-3.1-8b", hardware="h100-sxm", batch=[1, 8])
    >>> [(row["batch_size"], row["bound"]) for row in result.rows()]
    [(1, 'memory'), (8, 'memory')]
    """

    model: Model
    deployment: Deployment
    precision: str
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...] = ()
    draft_tp: int | None = None

    def __eq__(self, other: object) -> bool:
        """Return whether rows and notes are equal."""
        if not isinstance(other, Result):
            return NotImplemented
        return self.rows() == other.rows() and self.notes == other.notes

    def rows(self) -> list[Row]:
        """Return one row per configuration, batch and context; times in seconds, rates in tokens per second."""
        head = {
            "hardware": self.deployment.calibration.hardware.name,
            "model": self.model.name,
            "tp": self.deployment.tp,
            "precision": self.precision,
            "engine": self.deployment.engine.name,
        }
        tail = {"draft_tp": self.deployment.tp if self.draft_tp is None else self.draft_tp}
        return [row for prediction in self.predictions for row in _rows(prediction, head, tail)]

    def breakdown(self) -> list[Row]:
        """Return one row per operation and per overhead of every cycle, with its seconds and its share."""
        return [row for prediction in self.predictions for row in _breakdown(prediction)]

    def to_pandas(self) -> Any:
        """Return `rows` as a ``pandas.DataFrame``.

        Raises
        ------
        InputError
            When pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise InputError("to_pandas needs pandas, which is not installed; pip install pandas") from None
        return pandas.DataFrame(self.rows())

    def to_text(self, max_rows: int | None = None, max_width: int = WIDTH) -> str:
        """Return a table, with the deployment and its evidence under it.

        Parameters
        ----------
        max_rows
            Number of rows to print; default: all.
        max_width
            Width of the text in characters.
        """
        rows = self.rows()
        kept, same = fold(rows, TABLE_COLUMNS)
        table = text_table(rows[:max_rows], [replace(column, fold=False) for column in kept], width=max_width)
        more = f"... {len(rows) - max_rows} more rows\n" if max_rows is not None and len(rows) > max_rows else ""
        length = rows[0]["draft_len"] if any(text.startswith("K ") for text in same) else None
        under = footer(rows, self._shares(), self._coverage(), draft_len=length)
        return f"{table}{more}{wrapped(under, width=max_width)}"

    def _shares(self) -> list[dict[str, float]]:
        """Return the shares of every cycle by level of evidence, in the order of `rows`."""
        return [shares for prediction in self.predictions for shares in prediction.evidence_shares]

    def _coverage(self) -> str:
        """Return what the 90 % intervals cover."""
        configs = [prediction.config for prediction in self.predictions]
        uncertain = any(config.tau_lower < config.tau_upper for config in configs)
        acceptance = None if all(config.draft_len == 0 for config in configs) else uncertain
        load = self.predictions[0].load is not None
        return interval_coverage(self.deployment.engine, tp=self.deployment.tp, acceptance=acceptance, load=load)

    def __repr__(self) -> str:
        """Return a short table, as wide as the terminal, and the notes."""
        import shutil

        text = self.to_text(MAX_PRINTED_ROWS, min(shutil.get_terminal_size(fallback=(WIDTH, 0)).columns, WIDTH))
        return text + "".join(f"note: {note}\n" for note in self.notes)


def _at(array: Any, prediction: Prediction, point: int) -> float:
    """Return the value of an array at one point of the flattened grid."""
    return float(np.broadcast_to(array, prediction.batch.shape).reshape(-1)[point])


def _columns(prediction: Prediction) -> dict[str, FloatArray]:
    """Return the columns of numbers, by row key."""
    return {
        "draft_s": prediction.draft.seconds,
        "verify_s": prediction.verify.seconds,
        "overhead_s": prediction.overhead_s,
        "cycle_s": prediction.cycle_s,
        "plain_step_s": prediction.plain.seconds,
        "plain_overhead_s": prediction.plain_overhead_s,
        "tpot_s": prediction.tpot_s,
        "tokens_per_s": prediction.tokens_per_s,
        "plain_tokens_per_s": prediction.plain_tokens_per_s,
        "speedup": prediction.speedup,
        "speedup_lower": prediction.speedup_estimate.lower,
        "speedup_upper": prediction.speedup_estimate.upper,
    }


def _interval_columns(prediction: Prediction) -> dict[str, FloatArray]:
    """Return the columns of the other 90 % intervals, by row key; they come last in a row."""
    return {
        "plain_step_lower_s": prediction.plain.time.lower,
        "plain_step_upper_s": prediction.plain.time.upper,
        "tokens_per_cycle_lower": np.asarray(prediction.config.tau_lower),
        "tokens_per_cycle_upper": np.asarray(prediction.config.tau_upper),
        "tokens_per_s_lower": prediction.tokens_per_s_estimate.lower,
        "tokens_per_s_upper": prediction.tokens_per_s_estimate.upper,
        "plain_tokens_per_s_lower": prediction.plain_tokens_per_s_estimate.lower,
        "plain_tokens_per_s_upper": prediction.plain_tokens_per_s_estimate.upper,
        "p_slower": prediction.p_slower,
        "prefill_per_token_s": prediction.plain_cycle.load.value,
        "prefill_share": prediction.cycle.load.value / prediction.cycle.seconds,
        "plain_prefill_share": prediction.plain_cycle.load.value / prediction.plain_cycle.seconds,
        "plain_tpot_s": prediction.plain_tpot_s,
    }


def _memory_columns(prediction: Prediction) -> dict[str, FloatArray]:
    """Return the columns of the sequences that fit in memory, by row key; they end a row."""
    ends = {"max_sequences": prediction.max_sequences, "plain_max_sequences": prediction.plain_max_sequences}
    return {
        f"{name}_{end}": values.astype(int)
        for name, pair in ends.items()
        for end, values in zip(("lower", "upper"), pair)
    }


def _flat(columns: Mapping[str, FloatArray], shape: tuple[int, ...]) -> dict[str, list[Any]]:
    """Return the values of columns over the flattened grid."""
    return {name: np.broadcast_to(column, shape).reshape(-1).tolist() for name, column in columns.items()}


def _same(values: Mapping[str, Any]) -> dict[str, Iterator[Any]]:
    """Return columns with one value in all rows."""
    return {name: repeat(value) for name, value in values.items()}


def _rows(prediction: Prediction, head: Row, tail: Row) -> list[Row]:
    """Return the rows of one prediction, with the keys that scripts rely on between those of head and tail."""
    config, shape = prediction.config, prediction.batch.shape
    intervals = _flat(_interval_columns(prediction) | _memory_columns(prediction), shape)
    backend, speculates = prediction.verify.attention_backend, config.draft.kind != "none"
    columns: dict[str, Iterable[Any]] = {
        **_same(head),
        **_flat({"batch_size": prediction.batch.astype(int), "context_len": prediction.context.astype(int)}, shape),
        "draft": repeat(config.draft.name),
        "draft_len": repeat(config.draft_len),
        "top_k": repeat(config.top_k),
        "verify_tokens": repeat(config.verify_tokens),
        "tokens_per_cycle": repeat(config.tokens_per_cycle),
        **_flat(_columns(prediction), shape),
        "bound": prediction.bound(),
        "fits_memory": prediction.fits_memory.reshape(-1).tolist(),
        "evidence": prediction.evidence,
        **intervals,
        "evidence_shares": prediction.evidence_in_words,
        "verdict": [verdict(each, speculates=speculates) for each in intervals["p_slower"]],
        "acceptance_evidence": repeat(config.acceptance_evidence),
        "verify_attention": repeat(backend.kernels if backend else ""),
        **_same(tail),
    }
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def _breakdown(prediction: Prediction) -> Iterator[Row]:
    """Yield a row for every operation of draft and verify, and for every overhead, at each point of the grid."""
    for point in range(prediction.batch.size):
        where = {
            "batch_size": int(_at(prediction.batch, prediction, point)),
            "context_len": int(_at(prediction.context, prediction, point)),
        }
        for row in (*_op_rows(prediction, point), *_overhead_rows(prediction, point)):
            yield {**where, **row}


def _op_rows(prediction: Prediction, point: int) -> Iterator[Row]:
    """Yield a row for every operation; launches that add nothing are left out."""
    cycle = _at(prediction.cycle_s, prediction, point)
    for phase, step in (("draft", prediction.draft), ("verify", prediction.verify)):
        for part in step.parts:
            seconds = _at(part.seconds, prediction, point)
            if part.kind == LAUNCH and seconds == 0.0:
                continue
            yield {
                "phase": phase,
                "op": part.name,
                "kind": part.kind,
                "count": part.count,
                "seconds": seconds,
                "share": seconds / cycle,
                "datasheet_s": _at(np.maximum(part.memory_s, part.compute_s), prediction, point),
                "evidence": part.evidence,
                "kernels": part.backend.kernels if part.backend else "",
            }


def _overhead_rows(prediction: Prediction, point: int) -> Iterator[Row]:
    """Yield a row for every overhead of the engine that costs time."""
    cycle = _at(prediction.cycle_s, prediction, point)
    for name, number in prediction.cycle.overhead_counts.items():
        number_at, cost = _at(number, prediction, point), getattr(prediction.engine, name)
        seconds = number_at * cost
        if seconds > 0.0:
            yield {
                "phase": "overhead",
                "op": name.removesuffix("_s"),
                "kind": "overhead",
                "count": 1 if name == "idle_draft" else int(number_at),
                "seconds": seconds,
                "share": seconds / cycle,
                "datasheet_s": None,
                "evidence": overhead_evidence(prediction.engine, name),
                "kernels": "",
            }
