"""Tables of serving runs, published cycles and transfer: arithmetic on round numbers, nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import cycle, put

from paper.sources import published
from paper.sources.results import Results
from paper.tables import cycles, serving
from paper.tables.cycles import CYCLES
from scylla_sim.checks import InputError


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    rows = [cycle(b, 512, verify_tokens=4, verify_s=7e-3 + 1e-5 * b * 4, evidence="silicon") for b in (8, 32, 64)]
    put(tmp_path, "steps/llama-8b-verify.json", rows)
    return Results(tmp_path)


def test_runs_faster_than_the_datasheet_are_counted_and_no_cell_is_left_out(results: Results) -> None:
    rows = {row["engine"]: row for row in serving.serving_runs(results).rows}
    assert set(rows) == {"vllm", "sglang"}
    assert (rows["vllm"]["impossible"], rows["vllm"]["least_share"]) == (0, pytest.approx(0.9))
    assert (rows["sglang"]["impossible"], rows["sglang"]["least_share"]) == (1, pytest.approx(1.25))


def test_both_halves_stand_beside_the_scalars(results: Results) -> None:
    rows = serving.serving_runs_fitted(results).rows
    assert [(row["half"], row["engine"], row["share"]) for row in rows] == [
        ("fit", "vllm", 1.0),
        ("fit", "sglang", 0.5),
        ("held out", "vllm", 1.0),
        ("held out", "sglang", 0.5),
    ]
    assert {(row["device"], row["chosen"], row["host_s"]) for row in rows} == {("h100-sxm", "bf16", 1e-3)}


def test_cycles_are_summed_over_operations_and_scored_off_the_tasks_of_the_preset(results: Results) -> None:
    rows = cycles.specbundle(results).rows
    chain = next(row for row in rows if (row["draft_len"], row["top_k"]) == (5, 1))
    assert chain["predicted_s"] == pytest.approx(9e-3)
    cells = published.rows("specbundle_cycles", draft_len=5, top_k=1)
    scored = sorted(9e-3 / row["cycle_s"] - 1 for row in cells if row["task"] != "mtbench")
    assert chain["n"] == len(scored) == 12
    assert chain["mape"] == pytest.approx(sum(map(abs, scored)) / 12)
    assert chain["bias"] == pytest.approx((scored[5] + scored[6]) / 2)
    naive = sorted(abs(4e-3 / row["cycle_s"] - 1) for row in cells if row["task"] != "mtbench")
    assert chain["naive_median_ape"] == pytest.approx((naive[5] + naive[6]) / 2)
    assert 0 < chain["floor_median"] < 0.02


def test_the_ladder_fits_one_tau_and_says_what_a_reported_one_would_give(results: Results) -> None:
    table = cycles.sglang_ladder(results)
    # predicted shape is flat (6 ms over 9 ms), so the best one level is a speed-up that was reported
    levels = {round(row["sglang"], 9) for row in table.rows}
    assert len(levels) == 1
    assert levels <= {row["reported"] for row in table.rows}
    assert any("2.91 tokens per cycle" in note for note in table.notes)


def test_the_gap_of_verification_is_per_token_and_only_from_128_tokens(results: Results) -> None:
    rows = cycles.verify_gap(results).rows
    assert [row["tokens"] for row in rows] == [128, 256]
    for row in rows:
        reported = cycles.published_step_s("forward", row["tokens"], row["tokens"] / 4 * 512)
        assert row["gap_s"] == pytest.approx(reported - 7e-3 - 1e-5 * row["tokens"])
        assert row["per_token_s"] == pytest.approx(row["gap_s"] / row["tokens"])
        assert row["with_term_error"] == pytest.approx(row["error"] + 1e-5 * row["tokens"] / reported)


def test_transfer_names_what_each_row_was_calibrated_on(results: Results) -> None:
    rows = serving.transfer(results).rows
    assert [(row["device"], row["fit"], row["dtype"]) for row in rows] == [
        ("b200-sxm", "H100 and priors, datasheet peaks", "bf16"),
        ("b200-sxm", "H100 and priors, datasheet peaks", "fp8"),
        ("h100-sxm", "32 rows of its own", "bf16"),
        ("h100-sxm", "32 rows of its own", "fp8"),
    ]


@pytest.mark.parametrize(
    ("make", "missing", "said"),
    [
        (serving.serving_runs, "compare/endtoend-h100-sxm-all-unfitted.json", "make it with: snakemake"),
        (cycles.specbundle, "endtoend/specbundle-3-1.json", "scylla-sim predict .*--draft-len 3"),
        (cycles.sglang_ladder, "endtoend/ladder-plain-vllm.json", "--engine vllm"),
        (cycles.verify_gap, "steps/llama-8b-verify.json", "scylla-sim predict"),
    ],
)
def test_a_missing_file_says_how_to_make_it(results: Results, make, missing: str, said: str) -> None:  # type: ignore[no-untyped-def]
    (results.root / missing).unlink()
    with pytest.raises(InputError, match=said):
        make(Results(results.root))


def test_without_any_transfer_the_line_says_so(results: Results) -> None:
    for path in results.root.glob("compare/transfer-*"):
        path.unlink()
    with pytest.raises(InputError, match="transfer"):
        serving.transfer(Results(results.root))


def test_every_cycle_command_is_one_that_the_program_accepts(tmp_path: Path) -> None:
    from scylla_sim import cli

    for path, command in CYCLES.items():
        out = tmp_path / Path(path).name
        assert cli.main([*command.split()[1:], "--format", "json", "--out", str(out)]) == 0
        assert {"batch_size", "seconds", "datasheet_s", "evidence"} <= set(json.loads(out.read_text())["rows"][0])


def test_the_published_cycle_is_tokens_per_cycle_over_tokens_per_second() -> None:
    cells = published.rows("specbundle_cycles")
    assert len(cells) == 77
    for row in cells:
        assert row["cycle_s"] == pytest.approx(row["tokens_per_cycle"] / row["tokens_per_s"], rel=1e-5)
        assert (row["preset_from"] == "yes") == (row["task"] == "mtbench")
    assert len(published.rows("eagle3_sglang_ladder")) == 9
