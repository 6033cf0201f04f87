"""``scylla-sim plan --rate``: GPUs for a load, changes, the front, and refusals."""

import json
import re
import shlex

import pytest
from command_line import refused, rows, run

EXAMPLE = ["plan", "--model", "llama-3.3-70b", "--precision", "fp8", "--hardware", "h100-sxm", "--tp", "4"]
EXAMPLE += ["--rate", "200/s", "--input-len", "2k", "--output-len", "300", "--finalists", "0"]
SMALL = ["plan", "--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--tp", "1"]
LENGTHS = ["--input-len", "1000", "--output-len", "200"]
LOAD = [*SMALL, "--rate", "20/s", *LENGTHS]


def test_the_example_lies_near_another_planner(capsys):
    """Another model needs 124-128 GPUs for a mean of 40 ms; 25 % more or less is a sanity check."""
    (row,) = rows(capsys, *EXAMPLE, "--tpot", "40ms", "--price", "h100-sxm=2.5")
    assert 0.75 * 124 <= row["gpus"] <= 1.25 * 128
    assert row["gpus_lower"] <= row["gpus"] <= row["gpus_upper"]
    assert row["tpot_mean_s"] <= 0.04
    assert row["binds"] == "TPOT mean <= 40 ms"
    assert row["cost_per_million_tokens"] == pytest.approx(2.5 * row["gpus"] / 3600 / (200 * 300) * 1e6)
    assert (row["evidence"], row["method"], row["doubts"]) == ("silicon", "formula", "")


def test_the_answer_comes_first_and_every_assumption_is_printed(capsys):
    code, out, err = run(capsys, *EXAMPLE, "--tpot", "40ms")
    assert code == 0
    assert out.startswith("Fewest GPUs: 140 GPUs [")
    assert max(map(len, out.splitlines())) <= 100
    flat = " ".join(out.split())
    for text in (
        *(
            "200 requests/s (Poisson",
            "2000 in, 300 out",
            "engine vllm",
            "KV cache bf16",
            "max_num_batched_tokens 8192 (default of vllm-2026)",
            "max_num_seqs 1024 (default of vllm-2026) or what memory holds",
        ),
        *("No limit on TTFT", "load <= 90 % of saturation", "No spare replicas", "A step 1 % slower"),
    ):
        assert text in flat
    assert "1 configurations: 1 feasible" in err


def test_the_answer_says_what_the_load_takes_without_a_draft(capsys):
    options = [*LOAD, "--tpot", "p95:30ms", "--finalists", "0"]
    (plain,) = rows(capsys, *options)
    _, out, _ = run(capsys, *options, "--draft", "eagle3", "--draft-len", "2", "--acceptance", "0.7")
    said = re.search(
        r"Without a draft the same load takes (\d+) of these GPUs; TPOT ([\d.]+) ms, p95 ([\d.]+)",
        " ".join(out.split()),
    )
    assert said is not None
    assert [int(said[1]), float(said[2]), float(said[3])] == pytest.approx(
        [plain["gpus"], 1e3 * plain["tpot_mean_s"], 1e3 * plain["tpot_p95_s"]], rel=5e-3
    )
    assert "Without a draft" not in run(capsys, *options)[1]


def test_a_limit_that_leaves_little_room_is_named(capsys):
    where = ["plan", "--hardware", "a100-sxm", "--tp", "8", "--model", "llama-3.1-70b", "--precision", "int4"]
    load = ["--rate", "2/s", "--input-len", "2000", "--output-len", "300", "--finalists", "0"]

    def named(limit):
        return "% of saturation only; --what-if ttft=" in " ".join(
            run(capsys, *where, *load, "--ttft", limit)[1].split()
        )

    assert named("p95:500ms") and not named("p95:2s")


def test_best_of_each_deployment_with_the_gain_over_plain_decoding(capsys):
    drafts = ["--draft", "none,eagle3,medusa", "--draft-len", "1,3", "--acceptance", "eagle3=0.7,0.6,medusa=0.2"]
    options = [*LOAD, "--tp", "1,2", "--tpot", "p95:30ms", "--ttft", "p95:1s", *drafts, "--finalists", "0"]
    found = rows(capsys, *options)
    assert len({(row["hardware"], row["tp"]) for row in found}) == len(found) == 2
    assert [row["gpus"] for row in found] == sorted(row["gpus"] for row in found)
    every = rows(capsys, *options, "--all", "--top", "0")
    assert {(row["draft"], row["draft_len"]) for row in every} >= {("none", 0), ("eagle3", 1), ("medusa", 3)}
    for row in every:
        assert row["gain_lower"] <= row["gain"] <= row["gain_upper"]
        assert row["tpot_p95_s"] <= 0.03 * 1.001
        assert row["verdict"] in ("faster", "slower", "undecided", "baseline")
    worse = next(row for row in every if (row["draft"], row["draft_len"], row["tp"]) == ("medusa", 3, 1))
    assert worse["gain"] < 1.0


def test_a_gain_below_its_error_is_called_undecided(capsys):
    options = [*SMALL, "--hardware", "a100-sxm", "--rate", "10/s", "--input-len", "700", "--output-len", "256"]
    options += ["--draft", "eagle3", "--draft-len", "3", "--tpot", "p95:40ms", "--finalists", "0"]
    (row,) = rows(capsys, *options)
    assert row["gain_lower"] < 1.0 < row["gain_upper"]
    assert row["verdict"] == "undecided"
    _, out, _ = run(capsys, *options)
    assert "Speculation is undecided here: its gain over plain decoding is below the error." in " ".join(
        out.split()
    )
    assert "Undecided whether speculation raises the rate: 1x a100-sxm eagle3." in " ".join(out.split())


def test_a_gpu_that_cannot_run_a_candidate_is_skipped_and_counted(capsys):
    options = [*LOAD, "--hardware", "h100-sxm,rtx-4090", "--tp", "1,3,16", "--finalists", "0"]
    code, out, err = run(capsys, *options)
    assert code == 0
    assert "h100-sxm" in out
    assert "1 skipped: h100-sxm, tp=3 must divide num_heads=32" in err
    assert "1 skipped: h100-sxm, tp=16 must be at most 8" in err


def test_candidates_without_a_row_are_named(capsys):
    options = [*LOAD, "--hardware", "h100-sxm,rtx-4090", "--precision", "fp32", "--finalists", "0"]
    _, _, err = run(capsys, *options)
    assert "do not fit in memory: 1x rtx-4090 fp32" in err
    facts = json.loads(run(capsys, *options, "--format", "json")[1])["provenance"]
    assert facts["left_out"]["do not fit in memory"] == ["1x rtx-4090 fp32"]


def test_a_plan_ends_with_commands_that_run(capsys):
    options = [*LOAD, "--tpot", "p95:30ms", "--draft", "eagle3", "--acceptance", "0.6", "--finalists", "0"]
    facts = json.loads(run(capsys, *options, "--format", "json")[1])["provenance"]["commands"]
    simulate, settings = (shlex.split(facts[name].replace("\\\n", " ")) for name in ("simulate", "settings"))
    assert simulate[:2] == ["scylla-sim", "serve-sim"]
    assert settings[:2] == ["scylla-sim", "schedule"]
    code, out, _ = run(capsys, *simulate[1:], "--requests", "60", "--seeds", "1", "--max-num-seqs", "32")
    assert code == 0
    assert "TPOT p95 <= 30 ms" in " ".join(out.split())
    code, out, _ = run(capsys, *settings[1:], "--batch", "1,8")
    assert code == 0
    assert "num_speculative_tokens" in out


def test_draft_lengths_up_to_the_measured_one_are_tried(capsys):
    options = [*LOAD, "--tpot", "p95:30ms", "--draft", "eagle3", "--finalists", "0", "--all", "--top", "0"]
    every = rows(capsys, *options, "--acceptance", "0.7")
    assert sorted(row["draft_len"] for row in every) == [1, 2, 3, 4, 5, 6, 7]
    measured = rows(capsys, *options, "--acceptance", "0.7,0.6")
    assert sorted(row["draft_len"] for row in measured) == [1, 2]


def test_finalists_are_simulated_and_so_are_their_gains(capsys):
    options = [*SMALL, "--rate", "40/s", *LENGTHS, "--tp", "1,2", "--tpot", "p95:20ms", "--ttft", "p95:1s"]
    found = rows(
        capsys, *options, "--draft", "eagle3", "--draft-len", "3", "--acceptance", "0.7", "--finalists", "2"
    )
    assert [(row["method"], row["gain_method"]) for row in found] == 2 * [("simulation", "simulation")]
    assert found[0]["gain_lower"] < found[0]["gain"] < found[0]["gain_upper"]
    assert all(row["gpus"] >= found[0]["gpus"] for row in found)


def test_changes_are_compared_with_the_plan(capsys):
    changes = ["rate=2x", "context=32k", "hardware=l4", "tpot=p95:20ms", "tp=16"]
    options = [*LOAD, "--tpot", "30ms", "--ttft", "p95:500ms", "--finalists", "0"]
    found = rows(capsys, *options, *(part for change in changes for part in ("--what-if", change)))
    assert [row["change"] for row in found] == ["as asked", *changes]
    asked, double, longer, other, _, refusal = found
    assert asked["gpus"] < double["gpus"] <= 2 * asked["gpus"] + 1
    assert double["gpus_change"].startswith("+")
    assert "no candidate meets the limits" in longer["problem"]
    assert "no candidate meets the limits" in other["problem"]
    assert "tp=16 must be at most 8" in refusal["problem"]
    _, out, _ = run(capsys, *options, "--what-if", "context=32k")
    assert "context=32k: no candidate meets the limits; without load" in " ".join(out.split())


def test_the_front_falls_from_fast_users_to_busy_gpus(capsys, tmp_path):
    drawn = tmp_path / "front.svg"
    found = rows(capsys, *LOAD, "--tp", "1,2,4", "--pareto", "--plot", str(drawn))
    users = [row["tokens_per_s_per_user"] for row in found]
    gpus = [row["tokens_per_s_per_gpu"] for row in found]
    assert users == sorted(users, reverse=True)
    assert gpus == sorted(gpus)
    assert len({row["where"] for row in found}) > 1
    assert drawn.read_text(encoding="utf-8").startswith("<?xml")


def test_prices_of_a_file_may_name_other_hardware(capsys, tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text("h100-sxm = 2.5\nl4 = 0.8\n", encoding="utf-8")
    (row,) = rows(capsys, *LOAD, "--finalists", "0", "--price", str(file))
    assert row["cost_per_million_tokens"] == pytest.approx(2.5 * row["gpus"] / 3600 / (20 * 200) * 1e6)
    file.write_text("l4 = 0.8\n", encoding="utf-8")
    assert "must name one of h100-sxm" in refused(capsys, *LOAD, "--price", str(file))
    file.write_text("h100-sxm is cheap", encoding="utf-8")
    assert "is not TOML" in refused(capsys, *LOAD, "--price", str(file))


def test_no_candidate_states_the_closest_latency(capsys):
    code, out, err = run(capsys, *LOAD, "--tpot", "1ms")
    assert code == 0
    assert out.startswith("No candidate meets the limits: without load")
    assert "GPUs [90 %]" not in out
    assert "KV cache bf16" in out
    assert "1 miss a limit without any load" in err
    assert "without load, the fastest take 6.2" in err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([*SMALL, "--rate", "5", *LENGTHS], "rate='5' is not understood ('5' is not a rate such as 5/s"),
        ([*SMALL, "--rate", "5/s"], "rate='5/s' needs input_len; give --input-len and --output-len"),
        ([*LOAD, "--what-if", "rate=-2x"], "what_if='rate=-2x' must have a factor above 0"),
        ([*LOAD, "--burstiness", "1e-9"], "burstiness=1e-09 must be at least 0.01; at 0.01 the gaps vary by ten"),
        ([*LOAD, "--plot", "x.gif"], "format of the figure='gif' is not known; known: svg, png, pdf"),
        ([*LOAD, "--tpot", "40"], "'40' must have a unit, such as 40ms or 40s"),
        ([*SMALL, "--tpot", "40"], "'40' must have a unit, such as 40ms or 40s"),
        ([*SMALL, "--tpot", "p95:40ms"], "must limit the mean, because decoding alone has no percentiles"),
        ([*SMALL, "--ttft", "1s"], "ttft='1s' needs rate; give --rate, for example --rate 5/s"),
        ([*SMALL, *LENGTHS], "input_len='1000' needs rate"),
        ([*SMALL, "--what-if", "rate=2x"], "needs rate"),
        ([*LOAD, "--batch", "8"], "batch='8' must not be given with rate; the load decides it"),
        ([*LOAD, "--output-len", "1"], "output_len=1 must be at least 2; one token has no time per token"),
        ([*LOAD, "--ep", "2"], "ep=2 must be 1; expert parallelism is not modelled"),
        ([*LOAD, "--nodes", "2"], "nodes=2 must be 1; several nodes is not modelled"),
        ([*LOAD, "--pp", "2"], "pp=2 must be 1; pipeline parallelism is not modelled"),
        (
            [*LOAD, "--disaggregated"],
            "disaggregated=True must not be given; prefill on GPUs of its own is not modelled",
        ),
        ([*SMALL, "--disaggregated"], "prefill on GPUs of its own is not modelled"),
        ([*LOAD, "--max-load", "1.2"], "max_load=1.2 must lie in (0, 1]"),
        ([*LOAD, "--what-if", "rate"], "what_if='rate' must be NAME=VALUE; for example rate=2x"),
        ([*LOAD, "--what-if", "colour=red"], "what_if='colour' is not known"),
        ([*LOAD, "--what-if", "hardware=2x"], "what_if='hardware=2x' must not be a factor"),
        (
            [*LOAD, "--draft", "eagle3", "--acceptance", "medusa=0.5"],
            "acceptance='medusa' is not known; known: eagle3",
        ),
        ([*LOAD, "--draft", "eagle3", "--acceptance", "0.7,eagle3=0.5"], "acceptance='0.7' must be DRAFT=RATES"),
        ([*LOAD, "--precision", "fp7"], "precision='fp7' is not known"),
        ([*LOAD, "--draft", "none", "--draft-schedule"], "draft_schedule=True needs a draft"),
        ([*LOAD, "--tp", "3"], "tp=3 must divide num_heads=32 of llama-3.1-8b"),
    ],
)
def test_nonsense_is_refused_in_one_line(capsys, options, line):
    assert line in refused(capsys, *options)


def test_decoding_only_says_so_and_derives_its_batches(capsys):
    code, out, err = run(capsys, *SMALL, "--context", "512")
    assert code == 0
    assert "DECODING ONLY: prompts are not counted" in " ".join(out.split())
    assert "batches considered: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32," in err
    (row,) = json.loads(run(capsys, *SMALL, "--context", "512", "--format", "json")[1])["rows"]
    assert row["batch_size"] > 512


def test_the_front_is_drawn_as_text(capsys):
    code, out, _ = run(capsys, *LOAD, "--draw", "--finalists", "0")
    assert code == 0
    assert "tokens/s of a GPU" in out and "tokens/s of a user" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "draw=True must be given with --format table" in refused(capsys, *LOAD, "--draw", "--format", "csv")


def test_a_server_of_one_seat_needs_a_replica_for_each_request_that_runs(capsys):
    (one,) = rows(capsys, *LOAD, "--finalists", "0", "--max-num-seqs", "1")
    alone = 1e-3 * 21.0 + 199 * one["tpot_mean_s"]
    assert one["saturation_per_s"] == pytest.approx(1.0 / alone, rel=0.02)


def test_almost_no_load_takes_one_replica(capsys):
    (row,) = rows(capsys, *SMALL, "--rate", "1e-9/s", *LENGTHS, "--finalists", "0")
    assert (row["replicas"], row["gpus"]) == (1, 1)
    assert row["replicas_lower"] == row["replicas_upper"] == 1


def test_a_budget_below_the_tokens_of_one_request_is_no_lack_of_memory(capsys):
    few = (*LOAD, "--draft", "eagle3", "--acceptance", "0.7", "--draft-len", "3", "--max-num-batched-tokens", "3")
    assert "max_num_batched_tokens=3 must be at least 4" in refused(capsys, *few)


def test_options_of_drafts_are_named_where_no_candidate_drafts(capsys):
    code, _, err = run(capsys, *LOAD, "--finalists", "0", "--acceptance", "0.7", "--draft-len", "3")
    assert code == 0
    assert "acceptance is not used without a draft" in err and "draft_len is not used without a draft" in err


def test_an_answer_by_a_formula_that_does_not_hold_says_so(capsys):
    options = ["--model", "llama-3.1-8b", "--hardware", "l4", "--tp", "2", "--rate", "20/s"]
    lengths = ["--input-len", "100", "--output-len", "2000", "--finalists", "0"]
    code, out, _ = run(capsys, "plan", *options, *lengths)
    answer = " ".join(out.partition("GPUs [90 %]")[0].split())
    assert code == 0
    assert "estimates by formula, which does not hold here (KV pool): simulate them, with --finalists 1." in answer
    code, out, _ = run(capsys, *LOAD, "--finalists", "0")
    assert "does not hold here" not in out


@pytest.mark.parametrize("change", ["hardware=nope", "ttft=5", "precision=bf17", "rate=5"])
def test_a_mistake_in_a_change_is_refused_and_is_no_outcome(capsys, change):
    options = ["--finalists", "0", "--what-if", "rate=2x", "--what-if", change]
    code, out, err = run(capsys, *LOAD, *options)
    assert (code, out) == (2, "")
    assert f"what_if='{change}' is a mistake" in err.splitlines()[-1]


def test_a_change_that_cannot_run_is_an_outcome(capsys):
    code, out, _ = run(capsys, *LOAD, "--finalists", "0", "--what-if", "context=200k", "--what-if", "tp=3")
    assert code == 0
    assert "context=200k: context=200" in out and "tp=3: " in out


def test_lengths_of_any_spread_are_simulated(capsys):
    """A drawn length beyond the tables of the plan ended in a traceback."""
    lengths = ["--input-len", "lognormal:620,1.9", "--output-len", "100"]
    code, out, _ = run(capsys, *SMALL, "--rate", "2/s", *lengths, "--finalists", "1")
    assert code == 0
    assert "by simulation" in out
    assert "Lengths that a thousandth exceed are cut to those." in out
