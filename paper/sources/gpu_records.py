"""Committed records of measured GPUs in a results folder: rows, errors, and the facts printed under a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from paper.sources.results import Results, ResultTable
from scylla_sim.checks import fail
from scylla_sim.number_columns import number_or_text
from scylla_sim.records import Row, read_columns

PREDICTIONS = ("blind", "calibrated")
"""Predictions of a suite: made before the measurement, and made after a calibration on the GPU's own kernels."""
_UUID_DIGITS = 12
"""Number of characters of a GPU's UUID that a table shows, including ``GPU-``."""
_TEXT = ("op", "device", "dtype", "kv_dtype", "model", "draft", "role", "kernel_source", "framework", "version")
"""Columns that hold text even if a cell looks like a number."""


def _cell(name: str, text: str) -> float | str | None:
    """Return a CSV cell as a float, as text, or as ``None`` if it is empty."""
    if not text:
        return None
    return text if name in _TEXT else number_or_text(text)


def drafting(row: Row) -> str:
    """Return the draft shape of a row in words: its length for a chain, width and depth for a tree.

    Examples
    --------
    >>> drafting({"draft_len": 3.0, "top_k": 1.0, "verify_tokens": 4.0})
    '3'
    >>> drafting({"draft_len": 2.0, "top_k": 4.0, "verify_tokens": 21.0})
    'tree 4 wide, 2 deep, 21 tokens'
    """
    if row["top_k"] == 1:
        return f"{row['draft_len']:g}"
    return f"tree {row['top_k']:g} wide, {row['draft_len']:g} deep, {row['verify_tokens']:g} tokens"


def _order(row: Row) -> tuple[Any, ...]:
    """Return the sort key of cycles: context, batch, chains before trees, short drafts first."""
    names = ("context_len", "batch_size", "top_k", "draft_len", "verify_tokens")
    return (*(row[name] for name in names), str(row["draft"]))


def gemm_error(table: ResultTable) -> float | None:
    """Return the median error of the GEMMs in 16 bits of a comparison."""
    rows = [row for row in table.rows if (row.get("op"), row.get("dtype")) == ("gemm", "bfloat16")]
    return float(rows[0]["median_ape"]) if rows else None


def speedup_error(table: ResultTable) -> float | None:
    """Return the median error of the speed-up over all rows of a comparison."""
    rows = [row for row in table.rows if row["group"] == "all" and row["quantity"] == "speedup"]
    return float(rows[0]["median_ape"]) if rows else None


def decoding_error(rows: list[Row], column: str) -> float | None:
    """Return the median error over the steps in CUDA graphs that decode, draft or verify.

    ``column`` holds the predicted seconds.

    Examples
    --------
    >>> row = {"role": "plain", "graph": 1.0, "latency_ms": 10.0, "blind_predicted_s": 0.009}
    >>> round(decoding_error([row, row | {"role": "prefill", "blind_predicted_s": 0.005}], "blind_predicted_s"), 3)
    0.1
    """
    errors = [
        abs(1e3 * row[column] / row["latency_ms"] - 1.0)
        for row in rows
        if row["graph"] == 1 and row["role"] != "prefill" and row.get(column) is not None
    ]
    return median(errors) if errors else None


def _short_sha(provenance: dict[str, Any]) -> str:
    """Return the first digits of the commit in a provenance."""
    return str(provenance.get("git_sha") or "unknown")[:7]


@dataclass(frozen=True)
class Campaign:
    """Measurements of one GPU in a results folder."""

    results: Results
    gpu: str

    def has(self, suite: str) -> bool:
        """Return whether a suite was measured."""
        return self.results.has(f"gpu/{self.gpu}/{suite}-rows.csv")

    def rows(self, suite: str) -> list[Row]:
        """Return the measured rows of a suite with their predictions.

        An empty cell is ``None``. A suite that was not measured has no rows.
        """
        return self._read(f"{suite}-rows.csv")

    def _read(self, name: str) -> list[Row]:
        """Return the rows of a CSV file of this GPU, none if it is missing."""
        path = f"gpu/{self.gpu}/{name}"
        if not self.results.has(path):
            return []
        columns = read_columns(self.results.root / path)
        size = len(next(iter(columns.values())))
        return [{name: _cell(name, cells[index]) for name, cells in columns.items()} for index in range(size)]

    def graphed_cycles(self) -> list[Row]:
        """Return the cycles that ran in a CUDA graph, sorted by context, batch and draft shape.

        The drafting column names the draft model if there are several. Eager cycles have a table of their own.
        """
        rows = sorted((row for row in self.rows("specdecode") if row["graph"] == 1), key=_order)
        several = len({row["draft"] for row in rows}) > 1
        return [row | {"drafting": drafting(row) + (f", {row['draft']}" if several else "")} for row in rows]

    def generations(self) -> list[Row]:
        """Return the free-running generations, sorted by context, batch and draft shape."""
        return sorted(self.rows("decode"), key=_order)

    def parts(self) -> list[Row]:
        """Return the steps next to the summed times of their kernels, which were measured alone."""
        return self._read("step-parts.csv")

    def windows(self, suite: str) -> list[float]:
        """Return the seconds over which the energy of each case of a suite was counted, if recorded."""
        record = self.results.record(f"gpu/{self.gpu}/{suite}.json") if self.has(suite) else {}
        cases = zip(record.get("values", ()), record.get("samples", ()))
        return [
            sample["total_s"]
            for value, sample in cases
            if value.get("energy_j") is not None and "total_s" in sample
        ]

    def compared(self, suite: str) -> dict[str, ResultTable]:
        """Return the errors of each prediction of a suite by name, the blind one first."""
        paths = {name: f"compare/gpu-{self.gpu}-{suite}-{name}.json" for name in PREDICTIONS}
        return {name: self.results.table(path) for name, path in paths.items() if self.results.has(path)}

    def widths(self) -> dict[str, ResultTable]:
        """Return the errors of attention by kernel and number of query tokens, for each prediction."""
        return self.compared("widths")

    def facts(self, suite: str) -> str:
        """Return GPU, driver, torch and commit of a suite's record in a sentence, with what is missing."""
        provenance = self._provenance(suite)
        device = provenance.get("device", {})
        details = device.get("details", {})
        uuid = str(details.get("smi_id", "unknown"))[:_UUID_DIGITS]
        driver = details.get("nvidia_smi", {}).get("driver_version", "unknown")
        torch = provenance.get("versions", {}).get("torch", "unknown")
        day = str(provenance.get("utc", "an unknown day"))[:10]
        text = f"{self.gpu}: {device.get('name', 'unknown')}, {uuid}, driver {driver}, torch {torch}, "
        text += f"measured at commit {_short_sha(provenance)} on {day}"
        lacks = [f"{len(provenance[name])} cases {name}" for name in ("failed", "missing") if provenance.get(name)]
        unmatched = max((row.get("unmatched", 0) for table in self.blind(suite) for row in table.rows), default=0)
        lacks += [f"{unmatched} rows without a blind prediction"] if unmatched else []
        return f"{text}{'; ' if lacks else ''}{', '.join(lacks)}."

    def blind(self, suite: str) -> list[ResultTable]:
        """Return the errors of the blind prediction of a suite, or an empty list."""
        return [table for name, table in self.compared(suite).items() if name == PREDICTIONS[0]]

    def _provenance(self, suite: str) -> dict[str, Any]:
        """Return the provenance of a suite's record."""
        return dict(self.results.record(f"gpu/{self.gpu}/{suite}.json").get("provenance", {}))

    def level(self, name: str) -> str:
        """Return the evidence level of the kernels to which a prediction was calibrated."""
        path = f"gpu/{self.gpu}/blind.json"
        if name != PREDICTIONS[0] or not self.results.has(path):
            return "recorded"
        calibration = self.results.record(path).get("provenance", {}).get("calibration", {})
        return str(calibration.get("evidence", "silicon"))

    def blind_facts(self, suite: str) -> str:
        """Return time and commit of the blind predictions in a sentence, or an empty string.

        Raises
        ------
        InputError
            If the predictions were made after the measurement.
        """
        path = f"gpu/{self.gpu}/blind.json"
        if not self.results.has(path):
            return ""
        provenance = self.results.record(path).get("provenance", {})
        made, measured = provenance.get("utc", ""), self._provenance(suite).get("utc", "")
        if made and measured and datetime.fromisoformat(made) > datetime.fromisoformat(measured):
            raise fail("utc", made, f"of {path} must not be after that of {suite}.json, {measured}", "not blind")
        calibration = str(provenance.get("calibration", {}).get("sha256") or "none")[:7]
        commit = _short_sha(provenance) + ("+" if provenance.get("git_dirty") else "")
        text = f"commit {commit}, calibration {calibration}, {made or 'at an unknown time'}"
        return f"Blind predictions of {self.gpu}: {text}."


def campaigns(results: Results) -> list[Campaign]:
    """Return the measured GPUs of a results folder, sorted by name."""
    names = sorted({path.split("/")[1] for path in results.matching("gpu/*/*-rows.csv")})
    return [Campaign(results, name) for name in names]
