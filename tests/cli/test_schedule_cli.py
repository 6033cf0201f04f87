"""``scylla-sim schedule``: choices, crossovers, engine settings, and one line for every mistake."""

import csv
import io
import json
import re

import pytest
from command_line import refused, run

COMMAND = ["schedule", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--draft", "eagle3"]
RATES = [*COMMAND, "--acceptance", "0.4", "--context", "256"]


def result(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--format", "json")
    assert code == 0
    value = json.loads(out)
    assert value["schema"] == "scylla-sim/schedule/1"
    assert value["provenance"]["version"]
    return value


def test_rows_have_choice_interval_and_crossover(capsys):
    value = result(capsys, *RATES, "--batch", "1,64,256")
    small, _, large = value["rows"]
    assert (small["draft_len"] > 0, large["best"], large["draft_len"]) == (True, "plain", 0)
    assert small["speedup_lower"] < small["speedup"] < small["speedup_upper"]
    assert small["best"] in small["may_be_best"].split()
    assert small["verify_tokens"] == small["draft_len"] + 1
    best = next(row for row in value["crossovers"] if row["drafting"] == "best")
    assert best["crossover_lower"] <= best["crossover_batch"] <= best["crossover_upper"] <= best["searched_to"]
    for row in value["rows"]:
        assert (row["best"] == "plain") == (row["batch_size"] >= best["crossover_batch"])
        assert row["crossover_batch"] == best["crossover_batch"]
        assert row["evidence"] in ("silicon", "published")
        assert "silicon" in row["evidence_shares"]


def test_choice_has_the_numbers_of_predict(capsys):
    (row,) = result(capsys, *RATES, "--batch", "16")["rows"]
    _, out, _ = run(
        capsys,
        *("predict", *RATES[1:], "--batch", "16", "--engine", "vllm", "--draft-len", row["draft_len"]),
        *("--format", "json"),
    )
    (same,) = json.loads(out)["rows"]
    for name in ("tokens_per_cycle", "tpot_s", "tokens_per_s", "plain_tokens_per_s", "speedup", "speedup_lower"):
        assert row[name] == pytest.approx(same[name], rel=1e-12)


def test_settings_are_ready_to_paste(capsys):
    vllm = result(capsys, *RATES)["settings"]
    assert [item["scope"] for item in vllm] == ["fixed", "by batch", "adaptive"]
    option, _, quoted = vllm[1]["options"].partition(" ")
    assert option == "--speculative-config"
    ranges = json.loads(quoted.strip("'"))["num_speculative_tokens_per_batch_size"]
    assert ranges[0][0] == 1
    assert ranges[-1][2] == 0
    both = result(capsys, *RATES, "--engine", "ideal")["settings"]
    assert {item["engine"] for item in both} == {"vllm", "sglang", "trtllm"}


def test_table_prints_crossovers_evidence_and_settings(capsys):
    code, out, _ = run(capsys, *RATES, "--batch", "1", "--max-batch", "60", "--draft-len", "1,5")
    assert code == 0
    first, second, *_ = out.splitlines()
    assert re.fullmatch(r"Draft 1 token up to batch 60; the search ends at batch 60\.", first)
    assert re.fullmatch(r"Speed-up over plain decoding: 1\.\d\d \[1\.\d\d-1\.\d\d\] at batch 1\.", second)
    assert "Plain decoding wins: from batch" in out and "never with K = 1 (up to batch 60)" in out
    assert "\nEvidence: silicon " in out and "(engine overhead)" in out
    assert "90 % intervals: kernels, engine versions, deployments, acceptance." in out
    assert "<path-of-your-draft>" in out
    code, everything, _ = run(capsys, *RATES, "--batch", "1", "--max-batch", "60", "--draft-len", "1,5", "--all")
    assert "none to 60" in everything and "vllm, adaptive" in everything and "vllm, adaptive" not in out


@pytest.mark.parametrize("extra", [[], ["--all", "--break-even"], ["--context", "256,4096"]])
@pytest.mark.parametrize("where", [["--batch", "1,16,256"], ["--input-len", "600", "--output-len", "256"]])
def test_every_line_fits_100_columns(capsys, where, extra):
    code, out, _ = run(capsys, *COMMAND, "--acceptance", "0.6", "--max-batch", "256", *where, *extra)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert ("prefills" in out.split("Plain decoding")[0]) == (where[0] == "--input-len")


def test_not_speculating_is_an_answer(capsys):
    command = [*COMMAND, "--acceptance", "0.02", "--batch", "1,64", "--max-batch", "128"]
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert out.startswith(
        "Do not speculate: plain decoding is faster on balance up to batch 128; the best draft, K ="
    )
    assert "leave speculation off" in out
    found = result(capsys, *command)
    assert found["answer"].startswith("Do not speculate")
    assert {item["options"] for item in found["settings"]} == {""}


def test_break_even_agrees_with_the_speed_up(capsys):
    found = result(capsys, *COMMAND, "--acceptance", "0.6", "--batch", "1,64", "--draft-len", "1,3", "--break-even")
    assert len(found["break_even"]) == 4
    for row in found["break_even"]:
        low, need, high = (row[f"break_even{end}"] for end in ("_lower", "_tokens_per_cycle", "_upper"))
        assert low < need < high
        argv = [*COMMAND[1:], "--batch", row["batch_size"], "--draft-len", row["drafting"]]
        _, out, _ = run(capsys, "predict", *argv, "--tokens-per-cycle", need, "--format", "json")
        assert json.loads(out)["rows"][0]["speedup"] == pytest.approx(1.0, abs=1e-9)
    _, out, _ = run(capsys, *COMMAND, "--acceptance", "0.6", "--batch", "1,64", "--break-even")
    assert "acceptance needed [90 %]" in out


def test_contexts_where_drafting_pays_agree_with_predict(capsys):
    command = [*COMMAND, "--acceptance", "0.4", "--draft-len", "1", "--batch", "200"]
    (item,) = result(capsys, *command)["contexts"]
    ((first, last),) = item["faster"]
    assert item["searched_from"] < first < last == item["searched_to"]
    for context, faster in ((round(0.9 * first), False), (round(1.1 * first), True)):
        argv = [*command[1:-1], "200", "--context", context, "--format", "json"]
        (row,) = json.loads(run(capsys, "predict", *argv)[1])["rows"]
        assert (row["speedup"] > 1) == faster


def test_trees_are_candidates_only_where_the_engine_can_verify_them(capsys):
    tree = ["schedule", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--draft", "eagle2"]
    tree += ["--acceptance", "0.7", "--batch", "1", "--max-batch", "8"]
    _, out, err = run(capsys, *tree, "--engine", "vllm", "--format", "json")
    assert {item["drafting"] for item in json.loads(out)["crossovers"]} == {"best", *map(str, range(1, 8))}
    assert "note: candidates are chains: vLLM drafts chains only" in err
    assert "top_k=4 must be 1 for engine=vllm; vLLM drafts chains only" in refused(
        capsys, *tree, "--engine", "vllm", "--top-k", "1,4"
    )
    assert "verify_tokens=12 must not be given for engine=vllm" in refused(
        capsys, *tree, "--engine", "vllm", "--verify-tokens", "12"
    )


def test_the_last_batch_is_that_of_the_server(capsys):
    small = [
        "schedule",
        "--hardware",
        "l40s",
        "--model",
        "llama-3.2-1b",
        "--draft",
        "eagle3",
        "--acceptance",
        "0.6",
    ]
    found = result(capsys, *small, "--batch", "1", "--context", "256")
    assert {item["search_limit"] for item in found["crossovers"]} == {"max_num_seqs"}
    assert {item["searched_to"] for item in found["crossovers"]} == {256}
    assert "the server runs at most 256 sequences (max_num_seqs)" in found["answer"]
    _, _, err = run(capsys, *small, "--batch", "300", "--context", "256")
    assert "batch 300 is above the 256 sequences that vllm-2026 runs by default on this GPU" in err
    line = refused(capsys, *small, "--batch", "300", "--max-num-seqs", "128")
    assert "batch=300 must be at most max_num_seqs=128; the server runs no more sequences" in line


def test_longer_drafts_from_one_measured_length_follow_the_position_law(capsys):
    # vllm-project/speculators #563, EAGLE-3 of Qwen3-8B, coding: 3.22 tokens at length 5, 3.33 at 7.
    command = ["schedule", "--hardware", "h100-sxm", "--model", "qwen3-8b", "--draft", "eagle3", "--batch", "1"]
    command += [
        "--tokens-per-cycle",
        "2.80",
        "--measured-draft-len",
        "3",
        "--draft-len",
        "1,3,5,7",
        "--max-batch",
        "8",
    ]
    found = result(capsys, *command, "--break-even")
    measured = {"5": 3.22, "7": 3.33}
    for row in found["break_even"]:
        if row["drafting"] in measured:
            assert row["tokens_per_cycle"] == pytest.approx(measured[row["drafting"]], rel=0.06)
    assert "5" in found["rows"][0]["may_be_best"].split()


def test_csv_has_the_rows_and_a_note(capsys, tmp_path):
    code, out, err = run(capsys, *RATES, "--batch", "1,256", "--format", "csv")
    assert code == 0
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["best"] == "plain" for line in lines] == [False, True]
    assert int(lines[0]["crossover_batch"]) > 1
    assert "--format table and json" in err
    code, out, err = run(capsys, *RATES, "--format", "json", "--out", tmp_path / "s.json")
    assert (code, out) == (0, "")
    assert json.loads((tmp_path / "s.json").read_text())["settings"]


def test_acceptance_file_gives_provenance_and_interval(capsys, tmp_path):
    file = tmp_path / "acceptance.json"
    content = {"acceptance_rate": [0.8, 0.5], "kind": "conditional", "tokens_per_cycle": 2.2}
    content |= {"tokens_per_cycle_lower": 2.0, "tokens_per_cycle_upper": 2.4}
    file.write_text(json.dumps(content))
    value = result(capsys, *COMMAND, "--acceptance", file, "--batch", "1")
    assert value["provenance"]["inputs"]["acceptance.json"]
    (exact,) = result(capsys, *COMMAND, "--acceptance", "0.8,0.5", "--batch", "1")["rows"]
    (row,) = value["rows"]
    assert row["speedup"] == exact["speedup"]
    assert row["speedup_lower"] < exact["speedup_lower"]


def test_measured_tokens_per_cycle_are_transferred_to_other_lengths(capsys):
    measured = [*COMMAND, "--tokens-per-cycle", "2.44", "--measured-draft-len", "2", "--batch", "1,200"]
    measured += ["--position-exponent", "0"]
    by_rate = [*COMMAND, "--acceptance", "0.8", "--position-exponent", "0", "--batch", "1,200"]
    for a, b in zip(result(capsys, *measured)["rows"], result(capsys, *by_rate)["rows"]):
        assert a["best"] == b["best"]
        assert a["tokens_per_cycle"] == pytest.approx(b["tokens_per_cycle"], rel=1e-6)


def test_tree_drafts_consider_trees(capsys):
    tree = ["schedule", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--draft", "eagle2"]
    tree += ["--reference-tokens-per-cycle", "4.3", "--engine", "ideal", "--max-batch", "16"]
    (row,) = result(capsys, *tree, "--batch", "1")["rows"]
    assert row["top_k"] > 1
    assert row["best"] == f"{row['draft_len']}x{row['top_k']}/{row['verify_tokens']}"
    given = result(capsys, *tree, "--draft-len", "3", "--top-k", "1,4", "--verify-tokens", "8,12", "--batch", "1")
    assert [item["drafting"] for item in given["crossovers"]] == ["best", "3", "3x4/8", "3x4/12"]


def test_a_model_that_does_not_fit_gets_no_settings(capsys):
    large = [
        "schedule",
        "--hardware",
        "l40s",
        "--model",
        "llama-3.1-70b",
        "--draft",
        "eagle3",
        "--acceptance",
        "0.7",
    ]
    found = result(capsys, *large, "--batch", "1")
    assert not found["rows"][0]["fits_memory"]
    assert {item["options"] for item in found["settings"]} == {""}
    assert {note for item in found["settings"] for note in item["notes"]} == {
        "target, draft and one sequence do not fit in memory"
    }


def test_memory_that_only_the_draft_lacks_is_named(capsys):
    where = ["--hardware", "l4", "--model", "llama-3.1-8b", "--draft", "llama-3.2-1b", "--acceptance", "0.7"]
    code, out, _ = run(capsys, "schedule", *where, "--draft-len", "2", "--batch", "1,64", "--max-batch", "64")
    assert code == 0
    words = " ".join(out.split())
    assert words.startswith(
        "The draft may not fit in memory: by the settings of the engine, 0 to 16 sequences do with it"
    )
    assert "(see --memory-share); without the draft, batches up to 9 do." in words
    assert "no draft is sure to fit in memory: batch 1 (context 1024)" in words
    assert "may not fit in memory: batch 64 (context 1024)" in words
    assert "-37 %" not in out, "a gain over a setting that does not fit"


def test_a_length_that_rises_with_the_batch_says_why(capsys):
    where = ["--hardware", "h100-sxm", "--model", "qwen3-30b-a3b", "--draft", "eagle3", "--acceptance", "0.7"]
    _, out, _ = run(capsys, "schedule", *where, "--draft-len", "3,5", "--batch", "1", "--format", "table")
    words = " ".join(out.split())
    assert "Draft 3 tokens up to batch 11, 5 up to 59" in words
    assert "memory with the draft (63 without)" in words
    assert "K rises again from batch 12 on: sequences share more of the experts" in words


def test_moe_model_on_a_gpu_without_data_has_its_evidence(capsys):
    moe = ["schedule", "--hardware", "h100-pcie", "--model", "gpt-oss-20b", "--router-skew", "0.5"]
    moe += ["--draft", "eagle3", "--acceptance", "0.7", "--draft-len", "1,3", "--max-batch", "16"]
    (row,) = result(capsys, *moe, "--batch", "8")["rows"]
    assert row["evidence"] in ("transferred", "theory")
    assert row["speedup_lower"] < row["speedup"] < row["speedup_upper"]


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--draft", "none"], "draft='none' leaves nothing to schedule"),
        (["--draft", "llama-68m"], "draft='llama-68m' has no published acceptance"),
        (["--acceptance", "0.7", "--draft-len", "0"], "draft_len=0 must be at least 1"),
        (["--acceptance", "0.7", "--batch", "0"], "batch=0 must be at least 1"),
        (["--acceptance", "0.7", "--max-batch", "0"], "max_batch=0 must lie in [1, 16384]"),
        (["--acceptance", "0.7", "--batch", "20000"], "batch=20000 must lie in [1, 16384]"),
        (["--tokens-per-cycle", "2"], "tokens_per_cycle=2 holds at one draft length; give --measured-draft-len"),
        (["--acceptance", "0.7", "--measured-draft-len", "2"], "measured_draft_len=2 goes with --tokens-per-cycle"),
        (["--tokens-per-cycle", "9", "--measured-draft-len", "2"], "tokens_per_cycle=9 must lie in [1, 3]"),
        (["--acceptance", "0.7", "--pp", "2"], "pp=2 must be 1; pipeline parallelism is not modelled"),
        (["--acceptance", "0.7", "--engine", "trt"], "engine='trt' is not known"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(capsys, extra, line):
    assert line in refused(capsys, *COMMAND, *extra)


def test_schedule_without_acceptance_uses_published_values(capsys):
    published = [
        "schedule",
        "--hardware",
        "h100-sxm",
        "--model",
        "llama-3.1-8b",
        "--draft",
        "eagle3",
        "--batch",
        "1",
    ]
    found = result(capsys, *published)
    assert found["rows"][0]["acceptance_evidence"] == "published"


def test_measured_plain_tpot_scales_the_throughput_and_no_choice(capsys):
    options = [*RATES, "--batch", "8,64", "--max-batch", "64", "--format", "json"]
    before = result(capsys, *options)["rows"]
    code, out, err = run(capsys, *options, "--measured-plain-tpot", "7ms,20ms")
    assert code == 0
    assert "the measured plain TPOT of 20 ms at batch 64" in err
    for old, row, tpot in zip(before, json.loads(out)["rows"], (0.007, 0.020)):
        for name in ("best", "speedup", "may_be_best", "loss_at_most", "p_slower"):
            assert row[name] == pytest.approx(old[name])
        assert row["tokens_per_s"] == pytest.approx(row["batch_size"] / tpot * row["speedup"])
    assert "must have a unit" in refused(capsys, *options, "--measured-plain-tpot", "7,20")


def test_verdicts_are_named_under_the_table_and_beside_the_fixed_length(capsys):
    code, out, _ = run(capsys, *RATES, "--batch", "1,200,256", "--draft-len", "1", "--max-batch", "256")
    assert code == 0
    rows = result(capsys, *RATES, "--batch", "1,200,256", "--draft-len", "1", "--max-batch", "256")["rows"]
    undecided = [row["batch_size"] for row in rows if row["verdict"] == "undecided"]
    assert all(row["p_slower"] == 0 for row in rows if row["verdict"] == "baseline")
    assert ("undecided whether the draft helps at batch" in out) == bool(undecided)
    assert "One setting for all batches: K = 1" in out
    assert "slower at batch" in out or "undecided at batch" in out


def test_draw_shows_the_main_candidates(capsys):
    command = [*COMMAND, "--acceptance", "0.6", "--draft-len", "1,3", "--batch", "1", "--max-batch", "32"]
    code, out, _ = run(capsys, *command, "--draw")
    assert code == 0 and max(map(len, out.splitlines())) <= 100
    assert "speed-up over plain decoding" in out
    assert "draw=True must be given with --format table" in refused(capsys, *command, "--draw", "--format", "csv")


def test_a_static_batch_has_the_numbers_of_predict_and_drafts_no_more_than_a_refilled_one(capsys):
    static = ("--output-len", "64", "--batch-mode", "static", "--batch", "16")
    (row,), (refilled,) = (result(capsys, *RATES, *more)["rows"] for more in (static, ("--batch", "16")))
    _, out, err = run(
        capsys, "predict", *RATES[1:], *static, "--draft-len", str(row["draft_len"]), "--format", "json"
    )
    (same,) = json.loads(out)["rows"]
    for name in ("tpot_s", "speedup", "speedup_lower", "batch_wait"):
        assert row[name] == pytest.approx(same[name], rel=1e-12)
    assert row["batch_mode"] == "static" and row["batch_wait"] > refilled["batch_wait"] == 1.0
    assert row["speedup"] < refilled["speedup"]
    assert "static batch: all sequences start together" in err


def test_a_static_batch_says_so_under_the_table(capsys):
    _, out, _ = run(capsys, *RATES, "--batch", "16", "--output-len", "64", "--batch-mode", "static")
    assert "static batches" in out and "differences between prompts" in " ".join(out.split())
    assert refused(capsys, *RATES, "--batch-mode", "static").startswith(
        "scylla-sim: error: batch_mode='static' needs"
    )


def test_a_shorter_draft_may_be_best_where_passes_are_slow(capsys):
    """EAGLE-3 of Qwen3-8B, tokens per cycle measured at lengths 3 and 5 (vllm-project/speculators #563).

    With the slow passes of vLLM in 2025, both lengths tie at the measured tokens per cycle, so transferring the
    value at 3 must leave 3 among the best.
    """
    where = ("--hardware", "h100-sxm", "--model", "qwen3-8b", "--draft", "eagle3", "--engine", "vllm-2025")
    for tau, lengths in (("2.80", "1,3,5,7"), ("2.95", "3,5,7")):
        known = ("--tokens-per-cycle", tau, "--measured-draft-len", "3", "--draft-len", lengths, "--batch", "1")
        (row,) = result(capsys, "schedule", *where, *known)["rows"]
        assert {"3", "5"} <= set(row["may_be_best"].split())
    speeds = []
    for length, tau in (("3", "2.80"), ("5", "3.22")):
        given = ("--draft-len", length, "--tokens-per-cycle", tau)
        _, out, _ = run(capsys, "predict", *where, *given, "--format", "json")
        speeds.append(json.loads(out)["rows"][0]["tokens_per_s"])
    assert speeds[0] == pytest.approx(speeds[1], rel=0.03)


def test_rates_may_name_the_draft_as_in_predict(capsys):
    one, named = (
        run(capsys, *COMMAND, "--batch", "8", "--format", "csv", "--acceptance", rates)
        for rates in ("0.7", "eagle3=0.7")
    )
    assert named == one
    assert "acceptance='mtp' is not known" in refused(capsys, *COMMAND, "--acceptance", "mtp=0.7")
