"""The committed records of the GPUs: verdicts of their claims, and the figures that pages quote from them.

Records and blind predictions never change, so neither do these figures unless the comparison does.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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

GPUS = {"h100-sxm": "H100", "h200-sxm": "H200"}
"""Folder of records -> its name on the pages."""
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
    "speed-up of cycles": ("specdecode", "all", "speedup"),
}
"""Row of the table of the accuracy page -> suite, group and quantity of a comparison."""


def run(*arguments: str) -> None:
    assert cli.main(list(arguments)) == 0


@dataclass(frozen=True)
class Recorded:
    """Rows and errors of the blind predictions of one GPU, as the workflow leaves them."""

    gpu: str
    folder: Path

    def errors(self, suite: str, group: str, quantity: str) -> dict[str, Any]:
        (row,) = [row for row in self.compared(suite) if (row["group"], row["quantity"]) == (group, quantity)]
        return dict(row)

    def compared(self, suite: str) -> list[dict[str, Any]]:
        path = self.folder / f"compare/gpu-{self.gpu}-{suite}-blind.json"
        return list(json.loads(path.read_text())["rows"])

    def decoding_steps(self) -> list[dict[str, str]]:
        with (self.folder / f"gpu/{self.gpu}/step-rows.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if row["role"] != "prefill" and row["graph"] == "1"]


@pytest.fixture(scope="module", params=GPUS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    here, name = tmp_path_factory.mktemp("recorded"), str(request.param)
    gpu = here / "gpu" / name
    gpu.mkdir(parents=True)
    (gpu / "blind.json").write_bytes((RECORDED / "blind" / name / "provenance.json").read_bytes())
    facts = ["--device", name, "--evidence", "recorded"]
    for suite, options in COMPARED.items():
        record, blind = RECORDED / name / f"{suite}.json", str(RECORDED / "blind" / name / f"{suite}.csv")
        rows, again = str(gpu / f"{suite}.csv"), str(gpu / f"{suite}-again.csv")
        (gpu / record.name).write_bytes(record.read_bytes())
        run("rows", "--record", str(record), *facts, "--repeat", again, "--out", rows)
        beside = ["--measured", rows, "--repeat", again]
        run("merge", *beside, "--predicted", f"blind={blind}", "--out", str(gpu / f"{suite}-rows.csv"))
        errors = str(here / "compare" / f"gpu-{name}-{suite}-blind.json")
        run("compare", "--predicted", blind, *beside, *options, "--format", "json", "--out", errors)
    return Recorded(name, here)


def table_rows(page: Path, gpu: str) -> dict[str, list[str]]:
    """First cell of a Markdown row -> the cells after the GPU; an empty first cell repeats the one above."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found, first = {}, ""
    for row in cells:
        first = row[0] or first
        if len(row) > 1 and row[1] == GPUS[gpu]:
            found[first] = row[2:]
    return found


def shown(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def test_every_case_of_the_campaign_was_predicted_and_none_failed(recorded: Recorded) -> None:
    for suite in COMPARED:
        about = json.loads((RECORDED / recorded.gpu / f"{suite}.json").read_text())["provenance"]
        assert about["failed"] == [] and about["missing"] == [] and about["complete"]
        assert {row["unmatched"] for row in recorded.compared(suite)} == {0}


CLAIMS = {
    "h100-sxm": (
        "h100-sxm: 72 % of 78 speed-ups in their 90 % interval, median error 4.6 %, largest 21.7 %",
        "context 512: 3 at batch 1, 2 at batch 8 to 64, 1 at batch 128, 0 (autoregressive decoding) at batch 256",
        {512: 7, 2048: 6},
        "median ratio 1.012 of 19 verify steps (1.00 to 1.07)",
    ),
    "h200-sxm": (
        "h200-sxm: 50 % of 84 speed-ups in their 90 % interval, median error 6.1 %, largest 22.4 %",
        "context 512: 2 at batch 1 to 32, 1 at batch 64 to 128, 0 (autoregressive decoding) at batch 256",
        {512: 7, 2048: 7},
        "median ratio 1.015 of 19 verify steps (1.01 to 1.11)",
    ),
}
"""GPU -> findings of its claims, and batches by context."""


def test_claims_about_a_measured_gpu(recorded: Recorded) -> None:
    results, (inside, best, batches, ratio) = Results(recorded.folder), CLAIMS[recorded.gpu]
    speedup = claims_gpu.speedup(results)
    assert (speedup.status, speedup.evidence) == (PARTLY, "recorded")
    assert speedup.finding == inside
    falls = claims_gpu.best_falls(results)
    assert falls.status == REPRODUCED
    assert best in falls.finding
    lengths = best_lengths(campaigns(results)[0])
    assert {context: len(some) for context, some in lengths.items()} == batches
    flat = claims_gpu.verify_is_flat(results)
    assert (flat.status, flat.finding) == (REPRODUCED, ratio)


@pytest.mark.parametrize("name", ACCURACY_ROWS)
def test_the_accuracy_page_quotes_the_errors_of_the_blind_predictions(recorded: Recorded, name: str) -> None:
    row = recorded.errors(*ACCURACY_ROWS[name])
    count, blind, roofline, _ = table_rows(ROOT / "docs/accuracy.md", recorded.gpu)[name]
    assert (int(count), blind, roofline) == (row["n"], shown(row["median_ape"]), shown(row["naive_median_ape"]))


@pytest.mark.parametrize("page", ["docs/accuracy.md", "docs/gpu-findings.md"])
def test_pages_quote_the_regret_of_the_best_draft_length(recorded: Recorded, page: str) -> None:
    notes = build(Results(recorded.folder), ["gpu-best-k"])[0].notes
    (note,) = [note for note in notes if "situations" in note]
    right, total, *lost = re.findall(r"\d+\.\d(?= %)|\d+(?= of| situations)", note)
    (quoted,) = [
        row
        for row in re.findall(r"^\| (H\d+) \|(.*)\|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        if row[0] == GPUS[recorded.gpu]
    ]
    cells = [cell.strip() for cell in quoted[1].split("|")]
    assert cells == [total, right, *(f"{value} %" for value in lost)]


def test_pages_quote_the_errors_of_whole_steps(recorded: Recorded) -> None:
    steps = recorded.decoding_steps()
    measured = [1e-3 * float(row["latency_ms"]) for row in steps]
    errors = [
        median(abs(float(row[name]) / seconds - 1) for row, seconds in zip(steps, measured))
        for name in ("blind_predicted_s", "blind_naive_s")
    ]
    expected = [str(len(steps)), *map(shown, errors)]
    for page in ("docs/accuracy.md", "docs/gpu-findings.md"):
        assert table_rows(ROOT / page, recorded.gpu)["whole steps"][:3] == expected


def test_the_list_of_committed_records_is_complete() -> None:
    listed = (RECORDED / "README.md").read_text(encoding="utf-8")
    for path in RECORDED.iterdir():
        if path.is_dir() and path.name != "blind":
            assert f"`{path.name}/`" in listed
