"""The first page of the results: every claim, bars from the tables, and nothing loaded from elsewhere."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest

from paper.claims.index import CLAIMS, judged
from paper.overview import accuracy
from paper.overview.accuracy import SERVED, bars
from paper.overview.index import FIGURES, QUESTIONS, topic_of, write
from paper.sources.results import Results
from paper.tables.index import TABLES, build

PIXEL = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@pytest.fixture(scope="module")
def text(finished_results: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    (folder / "figure-fig1.svg").write_text(PIXEL)
    (folder / "thumbnail-fig1.png").write_bytes(b"small")
    return write(Results(finished_results), folder)[0].read_text()


def test_every_claim_has_its_short_form_and_status(finished_results: Path, text: str) -> None:
    for row in judged(Results(finished_results)):
        assert row["short"] in text.replace("&#x27;", "'")
        assert f'<span class="chip {row["status"].replace(" ", "-")}">' in text
        for name in ("brief", "claim", "finding", "rule"):
            assert html.escape(row[name]) in text
    assert all(len(claim.short.split()) <= 8 for claim in CLAIMS)


def test_the_strip_counts_the_statuses(finished_results: Path, text: str) -> None:
    statuses = [row["status"] for row in judged(Results(finished_results))]
    counted = re.findall(r'style="flex:(\d+)">(\d+) ([a-z ]+)</b>', text)
    assert {name: int(count) for _, count, name in counted} == {name: statuses.count(name) for name in statuses}
    assert all(share == count for share, count, _ in counted)


def test_the_page_loads_nothing(text: str) -> None:
    assert not re.search(r'(src|href)="(?!data:|#|table-|claims\.md|report\.html)', text)
    assert text.count("data:image/svg+xml") == text.count("data:image/png") == 1
    assert len(re.findall(r'href="#fig1"', text)) == 1 and 'id="small-scale"' not in text


def test_tables_of_the_questions_are_folded_and_the_others_linked(text: str) -> None:
    shown = {name for names in QUESTIONS.values() for name in names}
    assert shown <= set(TABLES)
    assert text.count("<details>") == len(shown) == 10
    assert all(topic_of(name) for name in TABLES if name not in shown)
    assert 'href="table-silicon-all-reduce.html"' in text and 'href="table-silicon-gemm.html"' not in text


def test_bars_are_the_errors_of_the_tables(finished_results: Path) -> None:
    results = Results(finished_results)
    found = {bar.label: bar for bar in bars(results)}
    gemm = next(row for row in build(results, ["silicon-gemm"])[0].rows if row["dtype"] == "bfloat16")
    bar = found["bf16 GEMM, h100-sxm"]
    assert (bar.error, bar.roofline) == (gemm["median_ape"], gemm["naive_median_ape"])
    assert "this machine: kernels" in found
    steps = found["whole steps, h100-sxm, blind"]  # 5 % too fast, and so is the roofline by 30 %
    assert (steps.error, steps.roofline) == (pytest.approx(0.05), pytest.approx(0.3))


def test_the_row_of_all_attention_is_the_first_one_as_in_readme() -> None:
    rows = [{"device": "h100-sxm", "group": "all", "n": n, "naive_median_ape": 0.9} for n in (1, 2)]
    assert accuracy._row(rows, {"group": "all"}) is rows[0]
    assert accuracy._row(rows, {}) is rows[1]


def test_latencies_of_served_models_stand_by_engine(finished_results: Path) -> None:
    results = Results(finished_results)
    rows = [row for row in build(results, ["serving-runs"])[0].rows if row["device"] == "all"]
    assert rows
    found = {bar.label: bar for bar in bars(results)}
    for row in rows:
        if (row["quantity"], row["framework"]) in {(quantity, engine) for _, quantity, engine in SERVED}:
            label = next(label for label, *key in SERVED if key == [row["quantity"], row["framework"]])
            bar = found[f"{label}, {row['framework']}" + (" engines" if row["framework"] == "all" else "")]
            assert (bar.error, bar.roofline) == (row["median_ape"], row["naive_median_ape"])


def test_what_a_run_lacks_is_left_out(finished_results: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_results, tmp_path / "results")
    for path in (tmp_path / "results").glob("compare/silicon-*-latent_attention.json"):
        path.unlink()
    page = write(Results(tmp_path / "results"), tmp_path)[0].read_text()
    assert ">MLA, h100-sxm<" not in page and ">bf16 GEMM, h100-sxm<" in page


def test_figures_are_those_of_the_package() -> None:
    from paper.figures.index import FIGURES as DRAWN

    assert set(FIGURES) == set(DRAWN)
