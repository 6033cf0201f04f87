"""Types of the values in records that somebody else wrote, with a right checksum."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gpu_validate.records import curves, record_file
from scylla_sim.checks import InputError

RECORDED = Path(__file__).parents[4] / "gpu_validate/recorded"


def record(name: str = "cpu/kernels") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found | {"values": found["values"][:2], "samples": found["samples"][:2]}


def written(value: dict[str, Any], folder: Path) -> Path:
    path = folder / "record.json"
    path.write_text(json.dumps(value | {"sha256": record_file.checksum(value)}))
    return path


def test_committed_records_have_the_stated_types() -> None:
    paths = sorted(path for path in RECORDED.glob("*/*.json") if path.parent.name != "blind")
    assert len(paths) >= 10
    for path in paths:
        record_file.read(path)


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("values", "latency_ms", "../../up", "latency_ms='../../up' must be a number above 0 in"),
        ("values", "latency_ms", 0.0, "latency_ms=0 must be a number above 0"),
        ("values", "latency_ms", 1e300 * 10, "latency_ms=1e\\+301"),
        ("values", "model", ["x"], "model=.* must be text"),
        ("values", "device", "\ud800", "device=.* must be text"),
        ("values", "graph", "1", "graph='1' must be a whole number of at least 0"),
        ("values", "pass", True, "pass=True must be a whole number of at least 1"),
        ("values", "flop", None, "flop=None must be a number"),
        ("samples", "count", 1.5, "count=1.5 must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_named(part: str, key: str, value: object, message: str, tmp_path: Path) -> None:
    found = record()
    found[part][1][key] = value
    with pytest.raises(InputError, match=message):
        record_file.read(written(found, tmp_path))


@pytest.mark.parametrize("value", [None, [], "x", {"versions": {}}, {"versions": [], "device": {}, "utc": ""}])
def test_a_provenance_of_another_type_is_named(value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="provenance|versions"):
        record_file.read(written(record() | {"provenance": value}, tmp_path))


@pytest.mark.parametrize("name", ["../../escaped", "a/b", "..", "", "a\\b", None, "x" * 200])
def test_a_record_does_not_choose_the_folder_of_its_models(name: object, tmp_path: Path) -> None:
    found = copy.deepcopy(record("cpu/trained"))
    found["provenance"]["specs"][0]["name"] = name
    read = record_file.read(written(found, tmp_path))
    with pytest.raises(InputError, match="must be one component of a path"):
        curves.write_models(read, tmp_path / "inner" / "models")
    assert not list(tmp_path.rglob("config.json"))


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks 'arm'"), record_file.complete_rows("r.json"):
        curves.acceptance_rows({"values": [{"op": "acceptance"}]})
