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

from gpu_validate.device import Device
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.records import EVIDENCE, dump_json, provenance, read_json, write_text

SCHEMA = "gpu-validate/record/1"
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
    """Read and check a record.

    Raises
    ------
    InputError
        In one line, for a file that is missing, truncated, of another schema, edited by hand, or not a record.
    """
    record = read_json(path, schema=SCHEMA)
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


@dataclass(frozen=True)
class Partial:
    """Results of a suite that is still running, one JSON object a line.

    ``key`` says under which conditions they were measured (device, versions, threads, plan); lines with another key
    are not taken up again.
    """

    path: Path
    key: str

    @staticmethod
    def of(folder: Path, suite: str, device: Device, conditions: Mapping[str, Any]) -> Partial:
        """The partial file of a suite in a folder."""
        facts = {"device": device.name, "threads": device.threads, **device.versions, **conditions}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        return Partial(folder / f"{suite}.partial.jsonl", digest)

    def load(self) -> dict[str, Result]:
        """Results by case; a line cut off by an interruption is measured again."""
        found = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["key"] == self.key:
                    found[entry["row"]["case"]] = (entry["row"], entry["summary"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def append(self, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Keep one result, flushed to the file before the next case starts."""
        line = json.dumps({"key": self.key, "row": dict(row), "summary": dict(summary)}, allow_nan=False)
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
