"""``scylla-sim serve-sim``: output, assumptions and refusals."""

import json

import pytest
from command_line import refused, rows, run

SHORT = ["serve-sim", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--max-num-seqs", "8"]
SHORT += ["--requests", "60", "--seeds", "2"]
LOAD = ["--rate", "5/s", "--input-len", "300", "--output-len", "40"]


def test_the_table_answers_first_and_states_what_is_assumed(capsys):
    code, out, _ = run(capsys, *SHORT, *LOAD, "--ttft", "p95:500ms")
    assert code == 0
    assert out.startswith("5.00 requests/s are ")
    assert "TTFT p95 <= 500 ms is met." in " ".join(out.split())
    for text in ("TTFT, ms", "ITL, ms", "goodput, requests/s", "not modelled: tokenizing", "max_num_seqs 8"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 100


def test_json_has_one_row_for_each_statistic(capsys):
    found = rows(capsys, *SHORT, *LOAD)
    by_key = {(row["metric"], row["statistic"]): row for row in found}
    assert {("ttft_s", "p99"), ("e2e_s", "mean"), ("kv_use", "max"), ("output_tokens_per_s", "mean")} <= set(by_key)
    first = by_key["ttft_s", "p50"]
    assert 0 < first["lower"] < first["value"] < first["upper"]
    assert first["fast_steps"] < first["slow_steps"]


def test_a_draft_is_compared_with_none(capsys):
    code, out, _ = run(
        capsys,
        *SHORT,
        *LOAD,
        "--draft",
        "eagle3",
        "--schedule",
        "1:3,5:0",
        "--acceptance",
        "0.7",
        "--format",
        "json",
    )
    found = json.loads(out)["provenance"]
    assert code == 0
    assert [one["metric"] for one in found["gains_over_no_draft"]] == ["TPOT", "TTFT", "E2E", "rate at saturation"]
    assert any("draft_len 3 from batch 1, 0 from batch 5" in text for text in found["assumptions"])


def test_traces_classes_and_a_closed_loop(capsys, tmp_path):
    trace, classes, plot = (tmp_path / name for name in ("t.csv", "c.toml", "p.svg"))
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,100,5\n1,200,9\n2,50,3\n")
    classes.write_text(
        '[[class]]\nname = "a"\nshare = 2\ninput_len = 100\noutput_len = "uniform:5,9"\n'
        '[[class]]\nname = "b"\ninput_len = "lognormal:300,1"\noutput_len = 7\nprefix_hit = 0.5\n'
    )
    code, out, _ = run(capsys, *SHORT, "--trace", trace, "--plot", plot)
    assert code == 0
    assert "arrivals of the trace" in out
    assert plot.read_text().startswith("<?xml")
    code, out, _ = run(capsys, *SHORT, "--classes", classes, "--concurrency", "4")
    assert code == 0
    assert out.startswith("Closed loop of 4 clients")
    assert "class b (share 1)" in out


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--rate", "5", "--input-len", "9", "--output-len", "9"], "rate='5' is not understood"),
        ([*LOAD, "--concurrency", "3"], "rate=5 must not be given beside concurrency"),
        (["--rate", "5/s", "--input-len", "9"], "output_len must be given"),
        (["--trace", "t.csv", "--input-len", "9"], "input_len='9' must not be given beside a trace"),
        ([*LOAD, "--ttft", "p97:1s"], "ttft='p97' is not known"),
        ([*LOAD, "--tpot", "40"], "must have a unit"),
        ([*LOAD, "--schedule", "1:2"], "schedule={1: 2} needs a draft"),
        ([*LOAD, "--schedule", "two"], "schedule='two' must be NAME=VALUE"),
        ([*LOAD, "--ep", "2"], "ep=2 must be 1; expert parallelism is not modelled"),
        ([*LOAD, "--nodes", "2"], "nodes=2 must be 1; several nodes is not modelled"),
        ([*LOAD, "--disaggregation-mode", "decode"], "disaggregation_mode='decode' must not be given: prefill and"),
        ([*LOAD, "--memory-share", "0.2"], "must hold the largest request"),
        ([*LOAD, "--max-num-batched-tokens", "4"], "max_num_batched_tokens=4 must be at least 8"),
        ([*LOAD, "--warmup", "2"], "warmup=2 must lie in [0, 0.9]"),
        ([*LOAD, "--warmup", "0.6", "--cooldown", "0.4"], "cooldown=0.4 must leave requests that count"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(capsys, extra, line):
    assert line in refused(capsys, *SHORT, *extra)


def test_a_closed_loop_needs_several_requests_of_each_client(capsys):
    lengths = ["--input-len", "300", "--output-len", "40", "--concurrency", "40"]
    assert "requests=60 must be at least 200" in refused(capsys, *SHORT, *lengths)


def test_each_class_may_have_its_own_acceptance(capsys, tmp_path):
    """A class whose drafts are accepted more often has the lower time per token."""
    classes = tmp_path / "classes.toml"
    table = '[[class]]\nname = "{}"\ninput_len = 100\noutput_len = 50\nacceptance = {}\n'
    tpot = {}
    for rate in (0.2, 0.9):
        classes.write_text(table.format("a", rate) + table.format("b", rate))
        options = ["--classes", classes, "--concurrency", "4", "--draft", "eagle3", "--draft-len", "3"]
        (row,) = (
            one for one in rows(capsys, *SHORT, *options) if (one["metric"], one["statistic"]) == ("tpot_s", "mean")
        )
        tpot[rate] = row["value"]
    assert tpot[0.9] < 0.6 * tpot[0.2]


def test_requests_that_arrive_and_end_together_have_a_rate(capsys, tmp_path):
    trace = tmp_path / "burst.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + "0,100,20\n" * 8)
    found = {(one["metric"], one["statistic"]): one["value"] for one in rows(capsys, *SHORT, "--trace", trace)}
    assert found["output_tokens_per_s", "mean"] == pytest.approx(20 * found["requests_per_s", "mean"])
    assert found["busy", "mean"] == pytest.approx(1.0)
    assert 6.0 < found["running", "mean"] <= 8.0


@pytest.mark.parametrize("engine", ["trtllm", "vllm"])
def test_an_engine_that_schedules_otherwise_is_named(capsys, engine):
    verbs = (SHORT, ["plan", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--tp", "1", "--finalists", "0"])
    for verb in verbs:
        err = run(capsys, *verb, *LOAD, "--engine", engine)[2]
        assert ("TensorRT-LLM starts a request only if the KV pool holds its whole answer" in err) == (
            engine == "trtllm"
        )
