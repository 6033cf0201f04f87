"""The committed record of the H100: verdicts of its claims, and the figures that pages quote from it.

Record and blind predictions never change, so neither do these figures unless the comparison does.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from gpu_validate import cli
from paper.claims import gpu as claims_gpu
from paper.claims.verdict import PARTLY, REPRODUCED
from paper.sources.gpu_records import campaigns
from paper.sources.results import Results
from paper.tables.gpu_best_k import best_lengths
from paper.tables.index import build

GPU = "h100-sxm"
RECORDED = ROOT / "gpu_validate/recorded"
COMPARED = {
    "kernels": ["--by", "op,dtype,kernel_source"],
    "step": ["--by", "role,model,dtype,batch", "--where", "graph=1"],
    "specdecode": ["--columns", "cycle_s,speedup", "--best", "speedup", "--where", "graph=1"],
}
ACCURACY_ROWS = {
    "bf16 GEMM": ("kernels", "gemm,bfloat16,torch_linear", "latency"),
    "attention of 1 to 64 tokens, Triton kernel": (
        "kernels",
        "decode_attention,bfloat16,triton_split_kv",
        "latency",
    ),
    "fp8 GEMM of torch": ("kernels", "gemm,fp8,torch_scaled_mm", "latency"),
    "whole steps": ("step", "all", "latency"),
    "speed-up of cycles": ("specdecode", "all", "speedup"),
}
"""Row of the table of the accuracy page -> suite, group and quantity of a comparison."""


def run(*arguments: str) -> None:
    assert cli.main(list(arguments)) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows and errors of the blind predictions, as the workflow leaves them."""
    here = tmp_path_factory.mktemp("recorded")
    gpu = here / "gpu" / GPU
    gpu.mkdir(parents=True)
    (gpu / "blind.json").write_bytes((RECORDED / "blind" / GPU / "provenance.json").read_bytes())
    for suite, options in COMPARED.items():
        record, blind = RECORDED / GPU / f"{suite}.json", str(RECORDED / "blind" / GPU / f"{suite}.csv")
        rows, again = str(gpu / f"{suite}.csv"), str(gpu / f"{suite}-again.csv")
        (gpu / record.name).write_bytes(record.read_bytes())
        run(
            "rows",
            "--record",
            str(record),
            "--device",
            GPU,
            "--evidence",
            "recorded",
            "--repeat",
            again,
            "--out",
            rows,
        )
        beside = ["--measured", rows, "--repeat", again]
        run("merge", *beside, "--predicted", f"blind={blind}", "--out", str(gpu / f"{suite}-rows.csv"))
        errors = str(here / "compare" / f"gpu-{GPU}-{suite}-blind.json")
        run("compare", "--predicted", blind, *beside, *options, "--format", "json", "--out", errors)
    return here


def errors(folder: Path, suite: str, group: str, quantity: str) -> dict[str, Any]:
    rows = json.loads((folder / f"compare/gpu-{GPU}-{suite}-blind.json").read_text())["rows"]
    (row,) = [row for row in rows if (row["group"], row["quantity"]) == (group, quantity)]
    return dict(row)


def table_rows(page: Path) -> dict[str, list[str]]:
    """First cell of a Markdown row -> the other cells."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_every_case_of_the_campaign_was_predicted_and_none_failed(folder: Path) -> None:
    for suite in COMPARED:
        about = json.loads((RECORDED / GPU / f"{suite}.json").read_text())["provenance"]
        assert about["failed"] == [] and about["missing"] == [] and about["complete"]
        assert {row["unmatched"] for row in json.loads(_compared(folder, suite))["rows"]} == {0}


def _compared(folder: Path, suite: str) -> str:
    return (folder / f"compare/gpu-{GPU}-{suite}-blind.json").read_text()


def test_claims_about_a_measured_gpu(folder: Path) -> None:
    results = Results(folder)
    speedup = claims_gpu.speedup(results)
    assert (speedup.status, speedup.evidence) == (PARTLY, "recorded")
    assert speedup.finding == "72 % of 78 speed-ups in their 90 % interval, median error 4.6 %, largest 21.7 %"
    falls = claims_gpu.best_falls(results)
    assert falls.status == REPRODUCED
    assert (
        "context 512: 3 at batch 1, 2 at batch 8 to 64, 1 at batch 128, 0 (autoregressive decoding) at batch 256"
        in (falls.finding)
    )
    assert {context: len(some) for context, some in best_lengths(campaigns(results)[0]).items()} == {
        512: 7,
        2048: 6,
    }
    flat = claims_gpu.verify_is_flat(results)
    assert (flat.status, flat.finding) == (REPRODUCED, "median ratio 1.012 of 19 verify steps (1.00 to 1.07)")


@pytest.mark.parametrize("name", ACCURACY_ROWS)
def test_the_accuracy_page_quotes_the_errors_of_the_blind_predictions(folder: Path, name: str) -> None:
    row = errors(folder, *ACCURACY_ROWS[name])
    count, blind, roofline, _ = table_rows(ROOT / "docs/accuracy.md")[name]
    assert (int(count), blind) == (row["n"], f"{row['median_ape']:.1%}".replace("%", " %"))
    assert roofline == f"{row['naive_median_ape']:.1%}".replace("%", " %")


def test_pages_quote_the_regret_of_the_best_draft_length(folder: Path) -> None:
    (note,) = [note for note in build(Results(folder), ["gpu-best-k"])[0].notes if "situations" in note]
    share, *lost = re.findall(r"\d+ of \d+|\d+\.\d(?= %)", note)
    for page in ("docs/accuracy.md", "docs/gpu-findings.md"):
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert f"in {share} situations" in text and f"loses {lost[0]} % on average" in text
        assert f"length 3 loses {lost[1]} %" in text and f"length 5 loses {lost[2]} %" in text


def test_the_page_of_findings_quotes_the_direction_of_errors(folder: Path) -> None:
    text = (ROOT / "docs/gpu-findings.md").read_text(encoding="utf-8")
    with (folder / f"gpu/{GPU}/step-rows.csv").open() as file:
        steps = [float(row["blind_predicted_s"]) * 1e3 < float(row["latency_ms"]) for row in csv.DictReader(file)]
    assert f"{sum(steps)} of {len(steps)} steps" in text
    quoted = table_rows(ROOT / "docs/gpu-findings.md")["whole steps"]
    row = errors(folder, "step", "all", "latency")
    shown = [row[name] for name in ("median_ape", "naive_median_ape")]
    assert quoted[:3] == [str(row["n"]), *(f"{value:.1%}".replace("%", " %") for value in shown)]


def test_the_list_of_committed_records_is_complete() -> None:
    listed = (RECORDED / "README.md").read_text(encoding="utf-8")
    for path in RECORDED.iterdir():
        if path.is_dir() and path.name != "blind":
            assert f"`{path.name}/`" in listed
