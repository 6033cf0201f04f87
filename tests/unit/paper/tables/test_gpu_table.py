"""Facts that every table of measured GPUs shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpu_results import GPU, cycle, rewrite, without_gpu
from paper_results import only

from paper.tables.gpu_table import NOT_MEASURED
from paper.tables.index import TABLES
from scylla_sim.checks import InputError

GPU_TABLES = [name for name in TABLES if name.startswith("gpu-")]


@pytest.mark.parametrize("name", GPU_TABLES)
def test_a_table_names_the_gpu_and_the_software(finished_results: Path, name: str) -> None:
    table = only(finished_results, name)
    said = " ".join(table.notes)
    for words in ("Fake H100, GPU-0fake000,", "driver 580.1", "torch 2.11.0", "commit abcdef0", "1 cases failed"):
        assert words in said
    assert "Blind predictions of h100-sxm: commit fedcba9, calibration 5555555" in said
    assert table.evidence == "measured: recorded; blind: silicon; calibrated: recorded"
    assert {row["evidence"] for row in table.rows} == {"recorded"}


@pytest.mark.parametrize("name", GPU_TABLES)
def test_without_a_record_a_table_is_one_line(own_results: Path, name: str) -> None:
    table = only(without_gpu(own_results), name)
    assert table.rows == [] and table.footer() == [NOT_MEASURED]


def test_a_suite_without_measurement_names_the_gpu(own_results: Path) -> None:
    (own_results / "gpu" / GPU / "decode-rows.csv").unlink()
    assert only(own_results, "gpu-decode").footer() == [f"Not measured on {GPU} yet."]
    assert only(own_results, "gpu-cycles").rows


def test_predictions_made_after_the_measurement_are_refused(own_results: Path) -> None:
    path = own_results / "gpu" / GPU / "blind.json"
    blind = json.loads(path.read_text())
    blind["provenance"]["utc"] = "2026-02-01T12:00:01+00:00"
    path.write_text(json.dumps(blind))
    with pytest.raises(InputError, match=r"must not be after that of specdecode\.json"):
        only(own_results, "gpu-cycles")


@pytest.mark.parametrize("name", ["gpu-cycles", "gpu-energy"])
def test_rows_are_sorted_by_context_batch_and_draft_shape(own_results: Path, name: str) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rows = [cycle(8, 5, 1.1) | {"context_len": 2048}, cycle(64, 10, 1.2), cycle(8, 2, 1.5) | tree, cycle(8, 9, 1.4)]
    rewrite(own_results, "specdecode", rows)
    rewrite(own_results, "decode", [])
    shown = [(row["context"], row["batch"], row["drafting"]) for row in only(own_results, name).rows]
    wide = "tree 4 wide, 2 deep, 21 tokens"
    assert shown == [(512, 8, "9"), (512, 8, wide), (512, 64, "10"), (2048, 8, "5")]
