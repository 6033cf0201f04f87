"""Measured records: JSON files with rows, summaries of their samples and provenance, checked when they are read.

A record has the keys schema, suite, values, samples, stopping_reason, evidence, provenance and sha256. ``values``
are rows, and ``samples`` are the summaries of their samples in the same order. The checksum covers all other keys:
a record that was edited or truncated is refused. A running suite appends its results to a partial file, from which
an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_validate.device.facts import Device
from gpu_validate.records.record_types import check_provenance, check_rows
from scylla_sim.checks import fail, one_of, unwritable
from scylla_sim.records import EVIDENCE, dump_json, provenance, read_json, write_text

SCHEMA = "gpu-validate/record/1"
PARTIAL = ".partial.jsonl"
"""End of the name of a partial file."""
Result = tuple[dict[str, Any], dict[str, Any]]
"""Row of a case, and the summary of its samples."""
REASONS = ("converged", "time_limit", "max_samples")
_KEYS = ("schema", "suite", "values", "samples", "stopping_reason", "evidence", "provenance", "sha256")
TRAINING = "smallscale"
"""Suite whose values are means over decoding cycles instead of times."""
_VALUE_KEYS = {"": ("case", "op", "dtype", "latency_ms"), TRAINING: ("case", "op")}
_SAMPLE_KEYS = {
    "": ("case", "median_s", "interval_low_s", "interval_high_s", "count", "stopping_reason", "floor_s"),
    TRAINING: ("case", "count", "stderr", "stopping_reason"),
}


def checksum(record: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of a record in canonical form, without its checksum."""
    body = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def complete_rows(path: Path | str) -> Iterator[None]:
    """Name the record if its rows lack a key that their use needs.

    Raises
    ------
    InputError
        Instead of a `KeyError`.
    """
    try:
        yield
    except KeyError as missing:
        raise fail("record", str(path), f"lacks {missing}", "it was written by another version") from None


def _reason(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return the stopping reason of a suite: ``converged`` only if all its cases converged."""
    return next(
        reason for reason in (*REASONS[1:], REASONS[0]) if any(s["stopping_reason"] == reason for s in samples)
    )


def build(
    suite: str,
    results: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    device: Device,
    *,
    evidence: str = "live",
    **facts: Any,
) -> dict[str, Any]:
    """Return a record.

    Parameters
    ----------
    suite
        Name of the suite.
    results
        Row and summary of each case, at least one.
    device
        Measured device.
    evidence
        Level of evidence.
    **facts
        Further entries of the provenance.

    Raises
    ------
    InputError
        If there is no result, or the level of evidence is unknown.
    """
    if not results:
        raise fail("cases", 0, "must be at least one")
    samples = [{"case": row["case"], **summary} for row, summary in results]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "suite": suite,
        "values": [dict(row) for row, _ in results],
        "samples": samples,
        "stopping_reason": _reason(samples),
        "evidence": one_of("evidence", evidence, EVIDENCE),
        "provenance": provenance(
            utc=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=device.versions,
            device=device.row(),
            drifting=[sample["case"] for sample in samples if sample.get("drift", "steady") != "steady"],
            **facts,
        ),
    }
    return {**record, "sha256": checksum(record)}


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record atomically."""
    write_text(path, dump_json(record))


def read(path: Path | str) -> dict[str, Any]:
    """Read and check a record, or a partial file of an interrupted run.

    Raises
    ------
    InputError
        If the file is missing, truncated, edited, of another schema, or not a record.
    """
    record = of_partial(path) if str(path).endswith(PARTIAL) else read_json(path, schema=SCHEMA)
    for key in _KEYS:
        if key not in record:
            raise fail("record", str(path), f"lacks {key!r}")
    if record["sha256"] != checksum(record):
        raise fail("record", str(path), "does not match its checksum", "it was edited; measure again")
    one_of("evidence", str(record["evidence"]), EVIDENCE)
    values, samples = record["values"], record["samples"]
    if not isinstance(record["suite"], str):
        raise fail("suite", record["suite"], f"must be text in {path}")
    kind = record["suite"] if record["suite"] in _VALUE_KEYS else ""
    for name, rows, keys in (("values", values, _VALUE_KEYS[kind]), ("samples", samples, _SAMPLE_KEYS[kind])):
        check_rows(rows, name, str(path))
        for row in rows:
            missing = [key for key in keys if key not in row]
            if missing:
                raise fail("record", str(path), f"has {name} without {missing[0]!r}")
    if [row["case"] for row in values] != [row["case"] for row in samples]:
        raise fail("record", str(path), "has samples that do not belong to its values")
    check_provenance(record["provenance"], str(path))
    return record


def earlier(path: Path, key: str, *, complete: bool = False) -> dict[str, Result]:
    """Return the results of an earlier, incomplete record by case.

    Parameters
    ----------
    path
        Record; the result is empty if the file does not exist.
    key
        Conditions of `Partial`; the result is empty if the record has other conditions.
    complete
        Whether to return the results of a complete record too.
    """
    if not path.is_file():
        return {}
    record = read(path)
    about = record["provenance"]
    if about.get("key") != key or (about.get("complete", True) and not complete):
        return {}
    samples = [{name: value for name, value in sample.items() if name != "case"} for sample in record["samples"]]
    return {row["case"]: (row, sample) for row, sample in zip(record["values"], samples)}


def check_conditions(path: Path, key: str) -> None:
    """Refuse a folder whose record was measured under other conditions, instead of overwriting it.

    Raises
    ------
    InputError
        If the record or its partial file has another key.
    """
    partial = path.with_name(f"{path.stem}{PARTIAL}")
    others = {str(entry.get("key")) for entry in _lines(partial) if "row" in entry} - {key}
    if (path.is_file() and read(path)["provenance"].get("key") != key) or others:
        rule = "holds results of another kind of device, other versions or another plan"
        raise fail("out", str(path.parent), rule, "choose another folder")


def failed_cases(path: Path) -> dict[str, str]:
    """Return the errors of a record by case; empty if the file does not exist."""
    if not path.is_file():
        return {}
    return {failed["case"]: failed["error"] for failed in read(path)["provenance"].get("failed", [])}


@dataclass(frozen=True)
class Partial:
    """Partial file of a running suite, one JSON object per line.

    A line ``begin`` holds the device and the facts of the run. From it, `read` builds a record on any machine,
    wherever the run was interrupted.

    Attributes
    ----------
    path
        The file.
    key
        Hash of the conditions: device, versions, threads and plan. Lines with another key are ignored.
    """

    path: Path
    key: str

    @staticmethod
    def of(folder: Path, suite: str, device: Device, conditions: Mapping[str, Any]) -> Partial:
        """Return the partial file of a suite in a folder."""
        facts = {"device": device.name, "threads": device.threads, **device.versions, **conditions}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        return Partial(folder / f"{suite}{PARTIAL}", digest)

    def _entries(self) -> list[dict[str, Any]]:
        """Return the complete lines of this key."""
        return [entry for entry in _lines(self.path) if entry.get("key") == self.key]

    def load(self) -> dict[str, Result]:
        """Return the results by case."""
        return {
            entry["row"]["case"]: (entry["row"], entry["summary"])
            for entry in self._entries()
            if "case" in entry.get("row", {}) and "summary" in entry
        }

    def failures(self) -> dict[str, str]:
        """Return the errors by case."""
        return {entry["failed"]: entry["error"] for entry in self._entries() if "failed" in entry}

    def begin(self, suite: str, device: Device, facts: Mapping[str, Any]) -> None:
        """Write the line ``begin``."""
        self._write({"begin": suite, "device": device.row(), "facts": dict(facts)})

    def append(self, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Append one result and close the file, so that an interruption cannot lose it."""
        self._write({"row": dict(row), "summary": dict(summary)})

    def append_failure(self, case: str, error: str) -> None:
        """Append the error of a case."""
        self._write({"failed": case, "error": error})

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps({"key": self.key, **entry}, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._cut_off() else "") + line + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _cut_off(self) -> bool:
        """Return whether the file ends in the middle of a line."""
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"

    def remove(self) -> None:
        """Delete the file, once the record is written."""
        self.path.unlink(missing_ok=True)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a partial file; empty if it does not exist."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def of_partial(path: Path | str) -> dict[str, Any]:
    """Return the record of an interrupted run from its partial file.

    Raises
    ------
    InputError
        If the file is missing, is not a partial file, or holds no result.
    """
    if not Path(path).is_file():
        raise fail("file", str(path), "cannot be read (no such file)")
    begun = [entry for entry in _lines(Path(path)) if "begin" in entry]
    if not begun:
        raise fail("record", str(path), "is not a partial file of measure", "it has no line 'begin'")
    last = begun[-1]
    try:
        partial = Partial(Path(path), str(last["key"]))
        device = Device(**last["device"])
        found = list(partial.load().values())
        facts = dict(last["facts"])
    except (KeyError, TypeError, AttributeError):
        raise fail("record", str(path), "is not a partial file of measure", "its lines are incomplete") from None
    if not found:
        raise fail("record", str(path), "holds no measured case yet")
    failed = [{"case": case, "error": error} for case, error in partial.failures().items()]
    return build(
        str(last["begin"]),
        found,
        device,
        **facts,
        left_out=[],
        failed=failed,
        complete=False,
        partial=True,
    )
