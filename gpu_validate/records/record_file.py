"""The measured record: what was timed, how well, on what; checked when it is read.

The keys are schema, suite, values, samples, stopping_reason, evidence, provenance and sha256: ``values`` are rows,
``samples`` the summaries of their samples in the same order. The checksum covers everything else, so a record that
was edited by hand is refused, as is one that was cut off. While a suite runs, results are appended to a partial
file; a second run takes them from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_validate.device.facts import Device
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.records import EVIDENCE, dump_json, provenance, read_json, write_text

SCHEMA = "gpu-validate/record/1"
PARTIAL = ".partial.jsonl"
"""End of the name of a file of results while they are measured."""
Result = tuple[dict[str, Any], dict[str, Any]]
"""Row of a case and the summary of its samples."""
REASONS = ("converged", "time_limit", "max_samples")
_KEYS = ("schema", "suite", "values", "samples", "stopping_reason", "evidence", "provenance", "sha256")
TRAINING = "smallscale"
"""The suite whose values are means over decoding cycles, not times."""
_VALUE_KEYS = {"": ("case", "op", "dtype", "latency_ms"), TRAINING: ("case", "op")}
_SAMPLE_KEYS = {
    "": ("case", "median_s", "interval_low_s", "interval_high_s", "count", "stopping_reason", "floor_s"),
    TRAINING: ("case", "count", "stderr", "stopping_reason"),
}


def checksum(record: Mapping[str, Any]) -> str:
    """Hex sha256 over the record without its checksum, in a canonical form."""
    body = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _reason(samples: Sequence[Mapping[str, Any]]) -> str:
    """The worst stopping reason of a suite: one case that did not converge is said at the top."""
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
    """A record from ``(row, summary)`` pairs; ``facts`` go into its provenance."""
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
    """Write a record whole or not at all."""
    write_text(path, dump_json(record))


def read(path: Path | str) -> dict[str, Any]:
    """Read and check a record, or the partial file of one that was cut off.

    Raises
    ------
    InputError
        In one line, for a file that is missing, truncated, of another schema, edited by hand, or not a record.
    """
    record = of_partial(path) if str(path).endswith(PARTIAL) else read_json(path, schema=SCHEMA)
    for key in _KEYS:
        if key not in record:
            raise fail("record", str(path), f"lacks {key!r}")
    if record["sha256"] != checksum(record):
        raise fail("record", str(path), "does not match its checksum", "it was edited; measure again")
    one_of("evidence", str(record["evidence"]), EVIDENCE)
    values, samples = record["values"], record["samples"]
    kind = str(record["suite"]) if record["suite"] in _VALUE_KEYS else ""
    for name, rows, keys in (("values", values, _VALUE_KEYS[kind]), ("samples", samples, _SAMPLE_KEYS[kind])):
        if not isinstance(rows, list) or not rows:
            raise fail("record", str(path), f"has no {name}")
        for row in rows:
            missing = [key for key in keys if key not in row]
            if missing:
                raise fail("record", str(path), f"has {name} without {missing[0]!r}")
    if [row["case"] for row in values] != [row["case"] for row in samples]:
        raise fail("record", str(path), "has samples that do not belong to its values")
    for key in ("versions", "device", "utc"):
        if key not in record["provenance"]:
            raise fail("record", str(path), f"has no provenance.{key}")
    return record


def earlier(path: Path, key: str, *, complete: bool = False) -> dict[str, Result]:
    """Results of an incomplete record that was measured under the conditions of ``key``; nothing of another.

    ``complete`` takes those of a complete record too.
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
    """Refuse to go on from, and so to write over, a record that was measured under other conditions."""
    partial = path.with_name(f"{path.stem}{PARTIAL}")
    others = {str(entry.get("key")) for entry in _lines(partial) if "row" in entry} - {key}
    if (path.is_file() and read(path)["provenance"].get("key") != key) or others:
        rule = "holds what was measured on another kind of device, with other versions or another plan"
        raise fail("out", str(path.parent), rule, "choose another folder")


def failed_cases(path: Path) -> dict[str, str]:
    """Errors by case of a record; nothing where there is none."""
    if not path.is_file():
        return {}
    return {failed["case"]: failed["error"] for failed in read(path)["provenance"].get("failed", [])}


@dataclass(frozen=True)
class Partial:
    """Results of a suite that is still running, one JSON object a line.

    ``key`` says under which conditions they were measured (device, versions, threads, plan); lines with another key
    are not taken up again. A line ``begin`` says on what and how, so that `read` makes a record of the file on any
    machine, whenever the run was cut off.
    """

    path: Path
    key: str

    @staticmethod
    def of(folder: Path, suite: str, device: Device, conditions: Mapping[str, Any]) -> Partial:
        """The partial file of a suite in a folder."""
        facts = {"device": device.name, "threads": device.threads, **device.versions, **conditions}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        return Partial(folder / f"{suite}{PARTIAL}", digest)

    def _entries(self) -> list[dict[str, Any]]:
        """Whole lines of this key; one cut off by an interruption is passed over."""
        return [entry for entry in _lines(self.path) if entry.get("key") == self.key]

    def load(self) -> dict[str, Result]:
        """Results by case."""
        return {
            entry["row"]["case"]: (entry["row"], entry["summary"])
            for entry in self._entries()
            if "case" in entry.get("row", {}) and "summary" in entry
        }

    def failures(self) -> dict[str, str]:
        """Errors by case."""
        return {entry["failed"]: entry["error"] for entry in self._entries() if "failed" in entry}

    def begin(self, suite: str, device: Device, facts: Mapping[str, Any]) -> None:
        """Say what is measured on what."""
        self._write({"begin": suite, "device": device.row(), "facts": dict(facts)})

    def append(self, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Keep one result, flushed to the file before the next case starts."""
        self._write({"row": dict(row), "summary": dict(summary)})

    def append_failure(self, case: str, error: str) -> None:
        """Keep the error of a case."""
        self._write({"failed": case, "error": error})

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps({"key": self.key, **entry}, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._cut_off() else "") + line + "\n")
        except OSError as error:
            raise InputError(f"out={self.path} cannot be written ({error.strerror})") from None

    def _cut_off(self) -> bool:
        """Whether the file ends in the middle of a line."""
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"

    def remove(self) -> None:
        """Forget the partial results, once the record is written."""
        self.path.unlink(missing_ok=True)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a partial file; nothing of a file that is not there."""
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
    """The record of a run that was cut off, from its partial file."""
    if not Path(path).is_file():
        raise fail("file", str(path), "cannot be read (no such file)")
    begun = [entry for entry in _lines(Path(path)) if "begin" in entry]
    if not begun:
        raise fail("record", str(path), "is no partial file of measure", "it has no line 'begin'")
    last = begun[-1]
    try:
        partial = Partial(Path(path), str(last["key"]))
        device = Device(**last["device"])
        found = list(partial.load().values())
        facts = dict(last["facts"])
    except (KeyError, TypeError, AttributeError):
        raise fail("record", str(path), "is no partial file of measure", "its lines lack what they need") from None
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
