"""What a run says about the GPUs that have committed records: rows, errors, and the facts under a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paper.sources.results import Results, Table
from scylla_sim.checks import fail
from scylla_sim.records import Row, read_columns

SUITES = ("kernels", "step", "specdecode", "decode")
PREDICTIONS = ("blind", "calibrated")
_UUID_DIGITS = 12
"""Characters of a UUID that a table shows, its ``GPU-`` included."""
_TEXT = ("op", "device", "dtype", "kv_dtype", "model", "draft", "role", "kernel_source", "framework", "version")
"""Columns that are never read as numbers."""


def _cell(name: str, text: str) -> Any:
    if not text:
        return None
    if name in _TEXT:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def drafting(row: Row) -> str:
    """Drafting of a row in words: its length for a chain, width and depth for a tree.

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


def _place(row: Row) -> tuple[Any, ...]:
    """Order of cycles in a table: context, batch, chains before trees, shorter drafts first."""
    names = ("context_len", "batch_size", "top_k", "draft_len", "verify_tokens")
    return (*(row[name] for name in names), str(row["draft"]))


def errors(table: Table, suite: str) -> float | None:
    """Median error of all rows of a comparison; of cycles that of the speed-up."""
    quantity = "speedup" if suite in ("specdecode", "decode") else "latency"
    rows = [row for row in table.rows if row["group"] == "all" and row["quantity"] == quantity]
    return float(rows[0]["median_ape"]) if rows else None


@dataclass(frozen=True)
class Campaign:
    """Records of one GPU in a results folder."""

    results: Results
    gpu: str

    def has(self, suite: str) -> bool:
        """Whether a suite of it was measured."""
        return self.results.has(f"gpu/{self.gpu}/{suite}-rows.csv")

    def rows(self, suite: str) -> list[Row]:
        """Measured rows of a suite with their predictions; an empty cell is ``None``, no suite no rows."""
        return self._read(f"{suite}-rows.csv")

    def _read(self, name: str) -> list[Row]:
        path = f"gpu/{self.gpu}/{name}"
        if not self.results.has(path):
            return []
        columns = read_columns(self.results.root / path)
        size = len(next(iter(columns.values())))
        return [{name: _cell(name, cells[index]) for name, cells in columns.items()} for index in range(size)]

    def graphed_cycles(self) -> list[Row]:
        """Cycles in a CUDA graph by context, batch and drafting, the draft's name where there are several.

        What Python adds to eager cycles is a table of its own.
        """
        rows = sorted((row for row in self.rows("specdecode") if row["graph"] == 1), key=_place)
        several = len({row["draft"] for row in rows}) > 1
        return [row | {"drafting": drafting(row) + (f", {row['draft']}" if several else "")} for row in rows]

    def generations(self) -> list[Row]:
        """Free-running generations by context, batch and drafting."""
        return sorted(self.rows("decode"), key=_place)

    def parts(self) -> list[Row]:
        """Steps with the sums of their kernels that were measured alone."""
        return self._read("step-parts.csv")

    def windows(self, suite: str) -> list[float]:
        """Seconds over which the energy of each case of a suite was counted, where its record says so."""
        record = self.results.record(f"gpu/{self.gpu}/{suite}.json", "snakemake") if self.has(suite) else {}
        cases = zip(record.get("values", ()), record.get("samples", ()))
        return [
            sample["total_s"]
            for value, sample in cases
            if value.get("energy_j") is not None and "total_s" in sample
        ]

    def compared(self, suite: str) -> dict[str, Table]:
        """Errors of each prediction of a suite, the blind one first."""
        paths = {name: f"compare/gpu-{self.gpu}-{suite}-{name}.json" for name in PREDICTIONS}
        return {
            name: self.results.table(path, "snakemake") for name, path in paths.items() if self.results.has(path)
        }

    def widths(self) -> dict[str, Table]:
        """Errors of attention by kernel and tokens, of each prediction."""
        return self.compared("widths")

    def facts(self, suite: str) -> str:
        """GPU, driver, torch and commit of a suite's record, and what it lacks."""
        provenance = self._provenance(suite)
        device = provenance.get("device", {})
        details = device.get("details", {})
        uuid = str(details.get("smi_id", "unknown"))[:_UUID_DIGITS]
        driver = details.get("nvidia_smi", {}).get("driver_version", "unknown")
        torch = provenance.get("versions", {}).get("torch", "unknown")
        commit = str(provenance.get("git_sha") or "unknown")[:7]
        day = str(provenance.get("utc", "an unknown day"))[:10]
        said = f"{self.gpu}: {device.get('name', 'unknown')}, {uuid}, driver {driver}, torch {torch}, "
        said += f"measured at commit {commit} on {day}"
        lacks = [f"{len(provenance[name])} cases {name}" for name in ("failed", "missing") if provenance.get(name)]
        unmatched = max((row.get("unmatched", 0) for table in self.blind(suite) for row in table.rows), default=0)
        lacks += [f"{unmatched} rows without a blind prediction"] if unmatched else []
        return f"{said}{'; ' if lacks else ''}{', '.join(lacks)}."

    def blind(self, suite: str) -> list[Table]:
        """Errors of the blind prediction of a suite, if there is one."""
        return [table for name, table in self.compared(suite).items() if name == PREDICTIONS[0]]

    def _provenance(self, suite: str) -> dict[str, Any]:
        record = self.results.record(f"gpu/{self.gpu}/{suite}.json", "snakemake")
        return dict(record.get("provenance", {}))

    def level(self, name: str) -> str:
        """Level of evidence of a prediction: what its kernels were fitted to."""
        path = f"gpu/{self.gpu}/blind.json"
        if name != PREDICTIONS[0] or not self.results.has(path):
            return "recorded"
        calibration = self.results.record(path, "snakemake").get("provenance", {}).get("calibration", {})
        return str(calibration.get("evidence", "silicon"))

    def blind_facts(self, suite: str) -> str:
        """When and from which commit the blind predictions were made; nothing without any.

        Raises
        ------
        InputError
            When they were made after the measurement.
        """
        path = f"gpu/{self.gpu}/blind.json"
        if not self.results.has(path):
            return ""
        provenance = self.results.record(path, "snakemake").get("provenance", {})
        made, measured = provenance.get("utc", ""), self._provenance(suite).get("utc", "")
        if made and measured and datetime.fromisoformat(made) > datetime.fromisoformat(measured):
            raise fail("utc", made, f"of {path} must not be after that of {suite}.json, {measured}", "not blind")
        calibration = str(provenance.get("calibration", {}).get("sha256") or "none")[:7]
        commit = str(provenance.get("git_sha") or "unknown")[:7] + ("+" if provenance.get("git_dirty") else "")
        said = f"commit {commit}, calibration {calibration}, {made or 'at an unknown time'}"
        return f"Blind predictions of {self.gpu}: {said}."


def campaigns(results: Results) -> list[Campaign]:
    """GPUs with records, sorted by name."""
    names = sorted({path.split("/")[1] for path in results.matching("gpu/*/*-rows.csv")})
    return [Campaign(results, name) for name in names]
