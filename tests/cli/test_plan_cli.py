"""``scylla-sim plan``: ranking and refusals."""

import json

import pytest
from command_line import refused, rows, run


def test_plan_ranks_and_counts_what_is_left_out(capsys):
    arguments = [
        "plan",
        "--model",
        "llama-3.1-70b",
        "--hardware",
        "h100-sxm,l40s",
        "--tp",
        "2,4",
        "--context",
        "2048",
    ]
    draft = ["--draft", "none,eagle3", "--draft-len", "2,4", "--acceptance", "0.7", "--tpot", "40ms"]
    code, out, err = run(capsys, *arguments, *draft, "--format", "json")
    found = json.loads(out)["rows"]
    assert code == 0
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    assert all(row["tpot_s"] <= 0.04 for row in found)
    assert "do not fit in memory" in err
    costs = rows(capsys, *arguments, *draft, "--price", "h100-sxm=2,l40s=1")
    assert [row["cost_per_million_tokens"] for row in costs] == sorted(
        row["cost_per_million_tokens"] for row in costs
    )


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--tpot", "soon"], "tpot='soon' is not understood"),
        (["--tpot=-1ms"], "tpot=-0.001 must be above 0"),
        (["--price", "h200-sxm=2"], "price='h200-sxm' is not known"),
        (["--price", "l4=cheap"], "price='l4=cheap' must be NAME=NUMBER"),
        (["--price", "l4=-2"], "price=-2 must lie in (0, 1e+09]"),
    ],
)
def test_plan_refuses_bad_limits_and_prices(capsys, extra, line):
    assert line in refused(capsys, "plan", "--model", "llama-3.2-1b", "--hardware", "l4", *extra)


@pytest.mark.parametrize(
    ("model", "limit", "line"),
    [
        ("llama-3.1-70b", "30ms", "No configuration fits in memory."),
        ("llama-3.1-8b", "3ms", "No configuration meets the limit; the fastest takes "),
    ],
)
def test_a_plan_without_an_answer_says_why_instead_of_an_empty_table(capsys, model, limit, line):
    _, out, _ = run(
        capsys, "plan", "--model", model, "--hardware", "l4", "--tp", "1", "--draft", "none", "--tpot", limit
    )
    assert out.startswith(line)
    assert "ms/token" not in out


def test_other_names_of_hardware_keep_their_price_and_are_reported(capsys):
    arguments = ["plan", "--model", "Qwen/Qwen3-8B", "--hardware", "h100", "--price", "h100=2", "--format", "json"]
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert all(row["cost_per_million_tokens"] > 0 for row in json.loads(out)["rows"])
    assert "note: hardware=h100 is read as h100-sxm\nnote: model=Qwen/Qwen3-8B is read as qwen3-8b\n" in err


def test_plan_and_predict_agree_on_a_draft_with_its_own_precision_and_ranks(capsys):
    """A 4-bit target on two GPUs leaves its draft in 16 bits, on both GPUs or on one."""
    shared = ["--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--tp", "2", "--precision", "int4"]
    shared += ["--draft", "eagle3", "--draft-len", "3", "--acceptance", "0.7", "--engine", "vllm", "--batch", "8"]
    times = []
    for extra in ([], ["--draft-tp", "1"], ["--draft-precision", "int4"]):
        (point,) = rows(capsys, "plan", *shared, *extra)
        (row,) = rows(capsys, "predict", *shared, *extra)
        assert point["tpot_s"] == row["tpot_s"]
        times.append(point["tpot_s"])
    both, one, low = times
    assert one > both > low


def test_plan_reports_the_precision_of_drafts(capsys):
    arguments = ["--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--tp", "1", "--precision", "int4"]
    code, _, err = run(capsys, "plan", *arguments, "--draft", "eagle3", "--acceptance", "0.7")
    assert code == 0
    assert "the weights of draft eagle3 are taken as bf16" in err
