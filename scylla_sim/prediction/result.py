"""Result of a prediction over many configurations: rows, a short table, a data frame, and a breakdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError
from scylla_sim.prediction.breakdown import operations
from scylla_sim.prediction.report import report
from scylla_sim.prediction.served_load import CONTINUOUS, STATIC
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.verdict import verdict
from scylla_sim.records import Row
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import exact
from scylla_sim.text.digits import WIDTH

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
        return [row for prediction in self.predictions for row in operations(prediction)]

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
        """Return the answer, a table, and the deployment and its evidence under it.

        Parameters
        ----------
        max_rows
            Number of rows to print; default: all.
        max_width
            Width of the text in characters.
        """
        return report(self.rows(), self.predictions, max_rows=max_rows, width=max_width)

    def __repr__(self) -> str:
        """Return a short table, as wide as the terminal, and the notes."""
        import shutil

        text = self.to_text(MAX_PRINTED_ROWS, min(shutil.get_terminal_size(fallback=(WIDTH, 0)).columns, WIDTH))
        return text + "".join(f"note: {note}\n" for note in self.notes)


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
        "prefill_share": prediction.cycle.load.value / prediction.cycle.lasting_s,
        "plain_prefill_share": prediction.plain_cycle.load.value / prediction.plain_cycle.seconds,
        "plain_tpot_s": prediction.plain_tpot_s,
    }


def _wait_columns(prediction: Prediction) -> dict[str, FloatArray]:
    """Return the wait for the slowest sequence of a batch, by row key; 1 if the batch is refilled."""
    wait = exact(1.0) if prediction.wait is None else prediction.wait
    return {"batch_wait": wait.value, "batch_wait_lower": wait.lower, "batch_wait_upper": wait.upper}


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
        "batch_mode": repeat(CONTINUOUS if prediction.wait is None else STATIC),
        **_flat(_wait_columns(prediction), shape),
    }
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
