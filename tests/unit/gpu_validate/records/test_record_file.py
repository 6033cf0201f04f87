"""Records: written whole, checked when read, resumed after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gemm_results import DEVICE, RESULTS, result

from gpu_validate.records import record_file
from scylla_sim.checks import InputError


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "kernels.json"
    record_file.write(path, record_file.build("kernels", RESULTS, DEVICE, scale="ci"))
    return path


def test_a_record_reads_back_as_it_was_written(record: Path) -> None:
    value = record_file.read(record)
    assert len(value["values"]) == len(value["samples"]) == len(RESULTS)
    assert value["evidence"] == "live"
    assert value["stopping_reason"] == "converged"
    assert value["provenance"]["versions"]["torch"] == "2.6"
    assert value["provenance"]["device"]["name"] == DEVICE.name


def _edit_latency(value: dict[str, Any]) -> None:
    value["values"][0]["latency_ms"] /= 2


def _other_schema(value: dict[str, Any]) -> None:
    value["schema"] = "gpu-validate/record/0"


def _no_samples(value: dict[str, Any]) -> None:
    del value["samples"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_edit_latency, "checksum"), (_other_schema, "gpu-validate/record/1"), (_no_samples, "lacks 'samples'")],
)
def test_a_spoilt_record_is_refused_in_one_line(
    record: Path, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    value = json.loads(record.read_text())
    spoil(value)
    record.write_text(json.dumps(value))
    with pytest.raises(InputError, match=said) as error:
        record_file.read(record)
    assert "\n" not in str(error.value)


def test_a_truncated_record_is_refused(record: Path) -> None:
    record.write_text(record.read_text()[:-200])
    with pytest.raises(InputError, match="is not JSON"):
        record_file.read(record)


def test_a_record_whose_samples_belong_elsewhere_is_refused_even_with_a_fresh_checksum(record: Path) -> None:
    value = json.loads(record.read_text())
    value["samples"].reverse()
    value["sha256"] = record_file.checksum(value)
    record.write_text(json.dumps(value))
    with pytest.raises(InputError, match="do not belong"):
        record_file.read(record)


def test_one_case_that_did_not_converge_is_said_at_the_top() -> None:
    row, summary = result(2, 256, 512)
    value = record_file.build("kernels", [RESULTS[0], (row, {**summary, "stopping_reason": "time_limit"})], DEVICE)
    assert value["stopping_reason"] == "time_limit"


def test_partial_results_are_taken_up_under_the_same_conditions_only(tmp_path: Path) -> None:
    partial = record_file.Partial.of(tmp_path, "kernels", DEVICE, {"scale": "ci"})
    for row, summary in RESULTS[:3]:
        partial.append(row, summary)
    assert list(partial.load()) == [row["case"] for row, _ in RESULTS[:3]]
    assert not record_file.Partial.of(tmp_path, "kernels", DEVICE, {"scale": "full"}).load()
    partial.remove()
    assert not partial.load()


def test_a_line_cut_off_by_an_interruption_costs_that_case_only(tmp_path: Path) -> None:
    partial = record_file.Partial.of(tmp_path, "kernels", DEVICE, {})
    for row, summary in RESULTS[:2]:
        partial.append(row, summary)
    partial.path.write_text(partial.path.read_text()[:-30])
    assert list(partial.load()) == [RESULTS[0][0]["case"]]
    partial.append(*RESULTS[2])
    assert list(partial.load()) == [RESULTS[0][0]["case"], RESULTS[2][0]["case"]]
