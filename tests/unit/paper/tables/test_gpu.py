"""Tables and verdicts of a measured GPU, from results in round numbers, and without any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from gpu_results import GPU, attention, cycle, step

from paper import summary
from paper.claims import gpu, index
from paper.claims.rules import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED
from paper.render.table import Table
from paper.sources.gpu_records import campaigns
from paper.sources.results import Results
from paper.tables.gpu_cycles import best_lengths
from paper.tables.gpu_steps import NOT_MEASURED
from paper.tables.index import TABLES, build
from scylla_sim.checks import InputError
from scylla_sim.records import format_csv

GPU_TABLES = [name for name in TABLES if name.startswith("gpu-")]


def only(folder: Path, name: str) -> Table:
    return build(Results(folder), [name])[0]


def rewrite(folder: Path, suite: str, rows: list[dict[str, object]]) -> Results:
    (folder / "gpu" / GPU / f"{suite}-rows.csv").write_text(format_csv(rows) if rows else "op\n")
    return Results(folder)


def without_gpu(folder: Path) -> Path:
    shutil.rmtree(folder / "gpu")
    for path in (folder / "compare").glob("gpu-*"):
        path.unlink()
    return folder


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


def test_a_suite_that_was_not_reached_is_said_of_the_gpu(own_results: Path) -> None:
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


def test_kernels_and_steps_show_both_predictions(finished_results: Path) -> None:
    kernels = {row["kernel_source"]: row for row in only(finished_results, "gpu-kernels").rows}
    assert kernels["triton_split_kv"]["blind_median_ape"] == 0.05 and kernels["torch_linear"]["op"] == "GEMM"
    steps = only(finished_results, "gpu-steps").rows
    assert [(row["role"], row["batch"], row["measured"]) for row in steps] == [
        ("plain", 1, "6.00"),
        ("plain", 64, "9.00"),
        ("verify", 1, "6.30"),
        ("verify", 64, "15.00"),
        ("draft", 1, "1.50"),
    ]


def test_verify_attention_is_relative_to_one_token_of_the_same_kernel(finished_results: Path) -> None:
    (row,) = only(finished_results, "gpu-verify-attention").rows
    assert row["one_ms"] == 0.01 and row["heads"] == "32/8"
    assert (row["measured_4"], row["measured_64"]) == (pytest.approx(1.1), pytest.approx(3.0))
    assert row["blind_4"] == pytest.approx(1.1) and "measured_8" not in row


def test_cycles_are_those_in_a_graph_with_signed_errors(finished_results: Path) -> None:
    rows = only(finished_results, "gpu-cycles").rows
    assert len(rows) == 6
    assert rows[0]["blind_error"] == pytest.approx(0.02) and rows[0]["calibrated_error"] == pytest.approx(0.01)
    assert [row["blind_inside"] for row in rows] == [True] * 4 + [False, True]
    assert rows[0]["blind_interval"] == "1.19 to 1.46"


def test_the_best_choice_may_be_plain_and_regret_is_against_the_measured_best(own_results: Path) -> None:
    one, many = only(own_results, "gpu-best-k").rows
    assert (one["best"], one["blind_best"], one["blind_regret"]) == ("3", "3", 0.0)
    assert (many["best"], many["blind_best"], many["calibrated_best"]) == ("1", "3", "1")
    assert many["blind_regret"] == pytest.approx(1 - 1.1 / 1.2)
    assert many["always_5_regret"] == pytest.approx(1 - 0.9 / 1.2)
    notes = " ".join(only(own_results, "gpu-best-k").notes)
    assert "blind: the predicted best is the measured best in 1 of 2 situations" in notes
    rewrite(own_results, "specdecode", [cycle(64, 3, 0.8), cycle(64, 5, 0.7)])
    (slow,) = only(own_results, "gpu-best-k").rows
    assert (slow["best"], slow["speedup"], slow["always_3_regret"]) == ("0", 1.0, pytest.approx(0.2))


def test_two_drafts_are_told_apart(own_results: Path) -> None:
    rewrite(own_results, "specdecode", [cycle(1, 3, 1.4), cycle(1, 3, 1.2) | {"draft": "eagle3"}])
    (row,) = only(own_results, "gpu-best-k").rows
    assert row["best"] == "3, llama-3.2-1b"


def test_energy_is_of_a_token_that_is_kept(finished_results: Path) -> None:
    generation, first, *others = only(finished_results, "gpu-energy").rows
    assert first["token_j"] == pytest.approx(12 / 1.3 / 2) and first["plain_j"] == 6.0
    assert others[-1]["token_j"] == pytest.approx(12 / 0.9 / 2 / 64)
    assert first["cycle_w"] == pytest.approx(600)
    assert (generation["what"], first["what"]) == ("generation", "single cycle (indicative)")
    assert generation["token_j"] == pytest.approx(12 / 1.5 / 2.01) and generation["context"] == 512


def test_energy_says_its_noise_floor_and_how_long_it_was_counted(own_results: Path) -> None:
    noise = {0: 1.02, 1: 0.9, 2: 1.3}
    rows = [
        cycle(8, length, 1.5) | {"again_energy_j": noise[length] * 8.0, "again_plain_energy_j": 6.0}
        for length in noise
    ]
    rewrite(own_results, "specdecode", [*rows, cycle(64, 3, 1.1)])
    table = only(own_results, "gpu-energy")
    said = " ".join(table.notes)
    assert "from 3 that a second pass repeated: energy median 10.0 %, p90 26.0 %; plain energy median 0.0 %" in said
    assert "their ratio median 10.0 %, p90 26.0 %" in said
    assert "energy was counted: generations 0.2 to 0.2 s, cycles 0.2 to 0.2 s" in said
    assert [row.get("again") for row in table.rows[1:]] == [
        *(pytest.approx(share - 1) for share in noise.values()),
        None,
    ]


def test_the_ratio_of_energies_has_a_second_pass_of_its_own(finished_results: Path) -> None:
    rows = [row for row in only(finished_results, "gpu-energy").rows if row["batch"] == 1 and "again" in row]
    assert len(rows) == 3
    for row in rows:
        assert row["again"] == pytest.approx(0.1) and row["again_ratio"] == pytest.approx(0, abs=1e-9)


def test_power_of_a_cycle_is_set_beside_that_of_its_generation(finished_results: Path) -> None:
    said = " ".join(only(finished_results, "gpu-energy").notes)
    assert "power of a single cycle over that of the same generation: 1.00 at batch 1." in said


@pytest.mark.parametrize("name", ["gpu-cycles", "gpu-energy"])
def test_rows_are_sorted_by_context_batch_and_drafting(own_results: Path, name: str) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rows = [cycle(8, 5, 1.1) | {"context_len": 2048}, cycle(64, 10, 1.2), cycle(8, 2, 1.5) | tree, cycle(8, 9, 1.4)]
    rewrite(own_results, "specdecode", rows)
    rewrite(own_results, "decode", [])
    shown = [(row["context"], row["batch"], row["drafting"]) for row in only(own_results, name).rows]
    wide = "tree 4 wide, 2 deep, 21 tokens"
    assert shown == [(512, 8, "9"), (512, 8, wide), (512, 64, "10"), (2048, 8, "5")]


def test_situations_and_attention_are_sorted_by_context_first(own_results: Path) -> None:
    rows = [cycle(batch, 3, 1.2) | {"context_len": size} for batch, size in ((64, 512), (1, 2048), (1, 512))]
    rewrite(own_results, "specdecode", rows)
    places = [(row["context"], row["batch"]) for row in only(own_results, "gpu-best-k").rows]
    assert places == [(512, 1), (512, 64), (2048, 1)]
    shapes = [(batch, size, width) for batch in (64, 1) for size in (2048, 512) for width in (1, 4)]
    rewrite(own_results, "kernels", [attention(*shape, 0.01) for shape in shapes])
    places = [(row["context"], row["batch"]) for row in only(own_results, "gpu-verify-attention").rows]
    assert places == [(512, 1), (512, 64), (2048, 1), (2048, 64)]


def test_parts_of_a_step_say_where_a_prediction_is_wrong(finished_results: Path) -> None:
    table = only(finished_results, "gpu-breakdown")
    assert [(row["context"], row["batch"], row["tokens"]) for row in table.rows] == [
        *((512, 1, 1), (512, 1, 4)),
        *((512, 64, 8), (2048, 1, 4)),
    ]
    for row in table.rows:
        assert row["gemm_s"] + row["attention_s"] + row["rest_s"] == pytest.approx(row["step_s"])
    said = " ".join(table.notes)
    parts = "GEMMs 0 % (0.0 % of the step), attention 67 % (+10.0 % of the step), rest 33 % (-5.0 % of the step)"
    assert f"blind, 3 steps at 1881 MHz and more: median share of the error, and median error, of {parts}" in said
    assert f"blind, 1 steps at lower clocks: median share of the error, and median error, of {parts}" in said
    assert (
        "calibrated, 3 steps at 1881 MHz and more: median share of the error, and median error, of GEMMs 0 %"
        in said
    )


def test_errors_of_attention_are_said_by_width(finished_results: Path) -> None:
    said = " ".join(only(finished_results, "gpu-kernels").notes)
    assert (
        "blind: median error of triton_split_kv by number of tokens (all batches and contexts): 1: 5.0 %, 64"
        in said
    )
    assert (
        "calibrated: median error of triton_split_kv by number of tokens (those that were held out): 1: 5.0 %"
        in said
    )


def test_generations_are_compared_by_the_wall_clock(finished_results: Path) -> None:
    (row,) = only(finished_results, "gpu-decode").rows
    assert (row["context"], row["new_tokens"], row["tokens_per_s"], row["seen"]) == (512, 256, 150, 2.01)
    assert row["blind_tokens_per_s"] == pytest.approx(153)


def test_the_host_costs_what_an_eager_run_takes_longer(finished_results: Path) -> None:
    rows = {row["what"]: row for row in only(finished_results, "gpu-host").rows}
    assert rows["cycle, drafting 3"]["ratio"] == pytest.approx(1.6 / 1.25)
    assert rows["cycle, drafting 3"]["eager_speedup"] == 1.25
    assert rows["plain step, 1 tokens"]["eager_s"] == pytest.approx(0.01)


def test_a_tree_that_was_tried_at_some_batches_only_is_no_choice_of_a_length(own_results: Path) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rows = [cycle(1, 1, 1.3), cycle(1, 2, 1.5) | tree, cycle(1, 8, 1.4), cycle(64, 1, 1.2), cycle(64, 2, 1.1)]
    results = rewrite(own_results, "specdecode", rows)
    assert best_lengths(campaigns(results)[0]) == {512: [(1, 1), (64, 1)]}
    assert gpu.best_falls(results).status == CONTRADICTED


def test_verdicts_follow_their_rules(own_results: Path) -> None:
    results = Results(own_results)
    assert gpu.speedup(results).status == PARTLY  # 5 of 6 inside
    assert gpu.best_falls(results).status == REPRODUCED
    assert gpu.verify_is_flat(results).status == REPRODUCED
    wrong = rewrite(own_results, "specdecode", [cycle(1, 1, 1.3, blind=2.0), cycle(64, 5, 1.4, blind=2.0)])
    assert gpu.speedup(wrong).status == CONTRADICTED
    assert gpu.best_falls(wrong).status == CONTRADICTED
    steep = rewrite(own_results, "step", [step("plain", 1, 1, 6.0), step("verify", 1, 4, 9.0)])
    assert gpu.verify_is_flat(steep).status == CONTRADICTED


def test_without_a_record_claims_and_summary_say_so(own_results: Path) -> None:
    results = Results(without_gpu(own_results))
    rows = [row for row in index.judged(results) if "measured GPU" in row["claim"] or row["where"] == "simulator"]
    assert len(rows) == 3
    for row in rows:
        assert (row["status"], row["finding"]) == (NOT_CHECKED, "not measured: no GPU record")
    assert any(NOT_MEASURED in line for line in summary.lines(results))


def test_local_cycles_are_those_in_a_graph_where_there_are_some(own_results: Path) -> None:
    path = own_results / "compare/local-specdecode.json"
    content = json.loads(path.read_text())
    content["rows"] += [row | {"group": "1", "n": 3} for row in content["rows"]]
    path.write_text(json.dumps(content))
    assert {row["n"] for row in only(own_results, "local-cycles").rows} == {3}
