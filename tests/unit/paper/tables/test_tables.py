"""Every table from result files: right numbers, or one line that says what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from paper_results import law, log_law, put

from paper.sources import published
from paper.sources.inputs import COMMANDS, how_to_make
from paper.sources.results import Results
from paper.tables.index import TABLES, build, write
from paper.tables.laws import coefficients, significant
from paper.tables.steps import published_step_s
from paper.tables.turning_points import command, quoted_optimum
from scylla_sim.checks import InputError


def only(folder: Path, name: str):  # type: ignore[no-untyped-def]
    return build(Results(folder), [name])[0]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_carries_evidence_and_says_what_made_it(finished_results: Path, name: str) -> None:
    table = only(finished_results, name)
    assert table.name == name
    assert all(row.get("evidence") for row in table.rows)
    assert table.commits == "0123456" or name in ("acceptance", "small-scale-rates"), "made of committed files"


def test_writing_twice_gives_the_same_bytes(finished_results: Path, tmp_path: Path) -> None:
    first = write(Results(finished_results), tmp_path / "a")
    second = write(Results(finished_results), tmp_path / "b")
    assert len(first) == 4 * len(TABLES)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("path", COMMANDS)
def test_a_missing_input_is_one_line_with_the_command_that_makes_it(own_results: Path, path: str) -> None:
    (own_results / path).unlink()
    if path == "steps/readme.json":  # the figure's
        return
    with pytest.raises(InputError) as caught:
        build(Results(own_results))
    text = str(caught.value)
    assert path in text and how_to_make(path) in text and "\n" not in text
    assert text.startswith("table ")


def test_a_row_without_a_field_names_field_and_file(own_results: Path) -> None:
    path = own_results / "steps/table5-eagle2.json"
    content = json.loads(path.read_text())
    del content["rows"][0]["tokens_per_s"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="field='tokens_per_s' is missing in steps/table5-eagle2.json"):
        only(own_results, "table5")


def test_a_missing_batch_is_not_half_a_table(own_results: Path) -> None:
    path = own_results / "steps/table5-scylla.json"
    content = json.loads(path.read_text())
    content["rows"] = [row for row in content["rows"] if row["batch_size"] != 40]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="batch_size=40 has no row in steps/table5-scylla.json"):
        only(own_results, "table5")


def test_table5_errors_are_predicted_over_reported(finished_results: Path) -> None:
    rows = {row["batch_size"]: row for row in only(finished_results, "table5").rows}
    assert rows[1]["plain_error"] == pytest.approx(90 / 60 - 1)
    assert rows[64]["eagle2_error"] == pytest.approx((50 + 20 * 64) / 980 - 1)
    assert rows[8]["scylla_range"] == f"{370 * 4.0 / 4.5:.0f} to {370 * 5.0 / 4.5:.0f}"


def test_steps_between_the_batches_of_the_published_fit_are_summed_up_apart(own_results: Path) -> None:
    path = own_results / "steps/llama-8b-plain.json"
    content = json.loads(path.read_text())
    plain = content["rows"][0]
    content["rows"] = [
        plain
        | {
            "batch_size": b,
            "context_len": 512,
            "plain_step_s": (1 + error) * published_step_s("forward", b, 512 * b),
        }
        for b, error in ((1, 0.01), (2, 0.3), (4, -0.2), (8, -0.03), (64, 0.05))
    ]
    path.write_text(json.dumps(content))
    table = only(own_results, "llama-8b-plain")
    assert [row["batch_measured"] for row in table.rows] == ["yes", "no", "no", "yes", "yes"]
    fitted, other, everything = table.notes[:3]
    assert fitted.endswith("(1, 8, 16, 32, 64): mean error 3.0 %, median 3.0 %, largest 5.0 %.")
    assert other.endswith("mean error 25.0 %, median 25.0 %, largest 30.0 %.")
    assert everything == "Over all cells: mean error 11.8 %, median 5.0 %, largest 30.0 %."


def test_table5_states_its_assumptions_and_what_does_not_fit(finished_results: Path) -> None:
    notes = " ".join(only(finished_results, "table5").notes)
    for words in (
        "all 27 cells",
        "10240 tokens",
        "61 tokens verified",
        "4.5 (at batch 1: 4.00 to 5.00)",
        "batch 64",
    ):
        assert words in notes


def test_the_ablation_takes_acceptance_and_tree_apart(finished_results: Path) -> None:
    row = only(finished_results, "table5-ablation").rows[-1]
    assert row["acceptance_gain"] == pytest.approx((50 + 25 * 64) / (50 + 20 * 64))
    assert row["tree_gain"] == pytest.approx((50 + 30 * 64) / (50 + 20 * 64))


def test_the_published_fit_of_a_step_is_linear_in_both_token_counts() -> None:
    assert published_step_s("forward", 0, 0) == pytest.approx(5.88591e-3)
    extra = published_step_s("forward", 64, 64 * 1024) - published_step_s("forward", 0, 0)
    assert extra == pytest.approx(64 * 21.0103e-6 + 64 * 1024 * 39.2646e-9, rel=1e-5)


def test_the_quoted_layer_law_is_reported_as_not_reproducing_fig1(finished_results: Path) -> None:
    table = only(finished_results, "theorem-1.2")
    assert table.rows[0]["r2"] < 0
    notes = " ".join(table.notes)
    assert "0.74 lies outside" in notes and "4.61 lies outside" in notes and "up to 0.48" in notes


def test_the_quoted_token_law_lies_inside_with_the_zero_point(finished_results: Path) -> None:
    notes = only(finished_results, "theorem-1.1").notes
    assert any("0.08 lies inside" in note and "log1p" in note for note in notes)


def test_offsets_of_series_are_not_shown_as_parameters(finished_results: Path) -> None:
    (row,) = only(finished_results, "layers-elsewhere").rows
    assert "series" not in row["coefficients"] and row["coefficients"].startswith("a = 0.9")
    assert row["r2"] == 0.9


def test_decay_errors_are_means_of_absolute_errors_per_collection(finished_results: Path) -> None:
    rows = only(finished_results, "decay").rows
    assert [(row["series"], row["known"]) for row in rows] == [(2, "3"), (2, "1, 3")] * 3
    assert rows[0]["iid_error"] == pytest.approx(0.6) and rows[0]["error"] == pytest.approx(0.06)
    assert all(row["n"] == 4 and row["inside"] == 1.0 for row in rows)


def test_every_pair_of_the_decay_is_listed_with_all_that_was_known(finished_results: Path) -> None:
    rows = only(finished_results, "decay-pairs").rows
    assert [(row["series"], row["known"], row["draft_len"]) for row in rows] == [
        ("a", "1, 3", 5),
        ("a", "1, 3", 7),
        ("b", "1, 3", 5),
        ("b", "1, 3", 7),
    ] * 3
    assert rows[0]["interval"] == "2.50 to 3.30"


def test_slopes_per_series_say_which_way_they_go(finished_results: Path) -> None:
    table = only(finished_results, "positions-by-series")
    assert [row["trend"] for row in table.rows] == ["falls", "rises", "cannot tell"]
    assert any("do not share one slope: a slope each is better by 10 AICc" in note for note in table.notes)
    assert any("do not share one slope" in note for note in only(finished_results, "positions").notes)


def test_the_rival_is_judged_against_the_logarithm(finished_results: Path, own_results: Path) -> None:
    table = only(finished_results, "rival-law")
    assert sum("the rival is better than the logarithm by 5 AICc" in note for note in table.notes) == 7
    for score, verdict in ((-33.5, "cannot tell logarithm from rival"), (None, "too few points to tell")):
        rows = [law("sdsl", "a P + c", 8, a=-0.03, c=5.6, aicc=-33.0), log_law(8, 0.08, 5.07, (), aicc=score)]
        put(own_results, "laws/rival-tokens.json", rows)
        assert any(verdict in note for note in only(own_results, "rival-law").notes)


def test_pretraining_beyond_fig_1_is_held_against_every_law(finished_results: Path) -> None:
    rows = {row["law"].partition(":")[0]: row for row in only(finished_results, "pretraining-elsewhere").rows}
    assert [rows[name]["verdict"] for name in ("sdsl", "log1p", "saturating-exponential")] == [
        "holds it",
        "too much",
        "too little",
    ]
    assert rows["sdsl"]["measured"] == pytest.approx(0.03) and rows["log1p"]["gain"] == pytest.approx(0.14)
    known = published.series("pretraining_elsewhere", "pretrain_tokens_b", "tokens_per_cycle")
    assert known.keys() == {84, 462}
    for tokens, tau in known.items():
        assert f"--tokens-per-cycle {tau:g} " in COMMANDS[f"laws/osprey-{tokens:g}.json"]


def test_trees_are_predicted_from_the_published_rates(finished_results: Path) -> None:
    rows = only(finished_results, "trees-from-rates").rows
    assert [row["dynamic_error"] for row in rows] == [pytest.approx(4.2 / 4.05 - 1), pytest.approx(4.2 / 6.13 - 1)]
    assert rows[0]["chain"] == pytest.approx(2.735, abs=1e-3)
    for name, series in (("eagle", "EAGLE MT-Bench"), ("eagle-3", "EAGLE-3 MT-Bench")):
        words = COMMANDS[f"laws/tree-{name}-dynamic.json"].split()
        given = [float(rate) for rate in words[words.index("--acceptance") + 1].split(",")]
        assert given == list(
            published.series("rates_by_position", "position", "acceptance_rate", series=series).values()
        )


def test_forms_that_did_not_converge_are_left_out(finished_results: Path) -> None:
    laws = [row["law"] for row in only(finished_results, "theorem-1.1").rows]
    assert not any("logistic" in law for law in laws)
    assert laws[0].startswith("quoted")


def test_turning_points_at_the_edge_of_the_figure_have_no_error(finished_results: Path) -> None:
    rows = {row["batch_size"]: row for row in only(finished_results, "theorem-1.3").rows}
    assert rows[1]["quoted_error"] is None and rows[4]["paper_error"] is None
    assert rows[8]["paper_error"] == pytest.approx((470 / 8 + 7) / 66 - 1)
    assert quoted_optimum(64) == pytest.approx(14.4, abs=0.05)


@pytest.mark.parametrize(
    "program", ["__main__.py", "scylla-sim"]
)  # python -m scylla_sim, and the installed command
def test_the_command_of_a_file_is_one_that_a_reader_can_type(finished_results: Path, program: str) -> None:
    table = Results(finished_results).table("steps/fig5-paper.json", "")
    made = replace(table, provenance={"argv": [program, "turning-points", "--peak", "dense"]})
    assert command(made) == "scylla-sim turning-points --peak dense"
    assert command(replace(table, provenance={})) == "not recorded"


def test_fig5_errors_compare_points_of_equal_batch_and_k(finished_results: Path) -> None:
    row = next(row for row in only(finished_results, "fig5").rows if row["batch_size"] == 8)
    reported = published.series("fig5_curves", "k", "tokens_per_s", batch_size=8.0)
    ours = {k: min(20.0 * 8, 470 / 4) * k / (k + 10) for k in (6, 8, 40, 80)}
    assert row["paper_error"] == pytest.approx(sum(abs(y / reported[k] - 1) for k, y in ours.items()) / 4)


def test_kernel_groups_are_named_in_words(finished_results: Path) -> None:
    groups = [row["group"] for row in only(finished_results, "silicon-gemm").rows]
    ours = ["vLLM, bf16, small batch", "vLLM, fp8, small batch", "all"]
    assert groups[:6] == [*ours, "SGLang, bf16, small batch", "SGLang, fp8, small batch", "all"]
    pooled = only(finished_results, "silicon-gemm-pooled").rows
    assert [(row["dtype"], row["regime"]) for row in pooled] == [
        ("bf16", "small batch"),
        ("bf16", "any batch"),
        ("fp8", "small batch"),
        ("fp8", "any batch"),
    ]
    reduced = [row["group"] for row in only(finished_results, "silicon-all-reduce").rows][:5]
    assert reduced == ["vLLM, eager", "vLLM, CUDA graph", "all", "SGLang, eager", "SGLang, CUDA graph"]


def test_latent_attention_stands_beside_the_dense_kernel_in_its_place(finished_results: Path) -> None:
    table = only(finished_results, "silicon-latent-attention")
    assert [row["group"] for row in table.rows][:3] == ["KV fp8, beyond L2", "KV fp8, in L2", "all"]
    assert {(row["median_ape"], row["stand_in_median_ape"]) for row in table.rows} == {(0.05, 0.25)}
    assert "dense kernel in its place: median" in [column.heading for column in table.columns]


def test_the_local_table_names_the_device_and_the_level(finished_results: Path) -> None:
    table = only(finished_results, "local")
    assert "Test CPU, cpu, 1 thread)" in table.caption
    assert "measured: live" in table.evidence
    assert any("own intervals" in note for note in table.notes)


def test_no_silicon_comparison_at_all_is_an_error(own_results: Path) -> None:
    for path in (own_results / "compare").glob("silicon-*-gemm.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"silicon-\*-gemm.json.*is missing"):
        only(own_results, "silicon-gemm")


def test_a_truncated_file_is_one_line(own_results: Path) -> None:
    (own_results / "laws/theorem-1.2.json").write_text('{"schema": ')
    with pytest.raises(InputError, match="is not JSON"):
        only(own_results, "theorem-1.2")


@pytest.mark.parametrize(("number", "digits", "text"), [(0.0, 2, "0"), (-23.66, 4, "-23.66"), (154.4, 2, "154")])
def test_significant_digits_without_exponent(number: float, digits: int, text: str) -> None:
    assert significant(number, digits) == text


def test_coefficients_carry_their_standard_error() -> None:
    row = {"a": 0.0645, "a_stderr": 0.0104, "r2": 0.9, "c": 5.142, "c_stderr": 0.0288}
    assert coefficients(row) == "a = 0.06450 ± 0.010, c = 5.142 ± 0.029"


def test_the_closed_loop_names_each_part_and_the_choice_of_the_draft(finished_results: Path) -> None:
    table = only(finished_results, "local-cycles")
    assert [row["part"] for row in table.rows] == [
        "plain step",
        "drafting",
        "verification",
        "whole cycle",
        "throughput",
        "speed-up",
    ]
    assert any("measured best in 50 % of 2 situations, and as good within" in note for note in table.notes)
    assert any(note.startswith("Shown, not judged, at scale ci") for note in table.notes)
    assert "repeat to repeat (%)" in [column.title for column in table.columns]


def test_the_closed_loop_is_judged_above_scale_ci_and_says_what_else_ran(own_results: Path) -> None:
    record = own_results / "measure/specdecode.json"
    record.write_text(record.read_text().replace('"ci"', '"small"'))
    compared = own_results / "compare/local-specdecode.json"
    compared.write_text(compared.read_text().replace('"median_ape": 0.05', '"median_ape": 0.12'))
    (said,) = (note for note in only(own_results, "local-cycles").notes if note.startswith("At scale small"))
    assert "plain step 12.0 % (15 % asked)" in said
    assert "speed-up 12.0 % (10 % asked: missed)" in said
    assert "1 of 2 cases shared their core" in said


@pytest.mark.parametrize(
    ("rows", "begins"),
    [
        ([("log-linear", 0.0, 0.1), ("linear", 9.0, 0.1)], "Log-linear is the best form"),
        (
            [("log-linear", 1.0, 0.1), ("linear", 0.0, 0.1)],
            "Log-linear holds, but the points cannot tell it from linear",
        ),
        ([("log-linear", 9.0, 0.1), ("linear", 0.0, 0.1)], "Log-linear does not hold: linear is better by 9"),
        ([("log-linear", 0.0, -0.1), ("linear", 0.5, 0.1)], "No trend"),
    ],
)
def test_the_verdict_on_a_law_follows_from_aicc_and_slope(
    rows: list[tuple[str, float, float]], begins: str
) -> None:
    from paper.tables.laws import _verdict

    given = [{"form": form, "delta_aicc": delta, "a_lower": low, "a_upper": 1.0} for form, delta, low in rows]
    assert _verdict(given).startswith(begins)
