"""Notes of ``scylla-sim design`` and ``turning-points`` on the head that they price."""

import json

import pytest
from command_line import run

from scylla_sim.text.digits import WIDTH

DESIGN = ["design", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--batch", "1"]
CROSSOVER = ["turning-points", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--batch", "1"]


@pytest.mark.parametrize("command", [DESIGN, CROSSOVER])
def test_a_head_in_fewer_than_16_bits_is_noted(capsys, command):
    note = "note: draft heads run in fp8, the precision of the target"
    assert note in run(capsys, *command, "--precision", "fp8")[2]
    assert note not in run(capsys, *command)[2]


def test_a_head_of_mtp_layers_that_the_model_lacks_is_noted(capsys):
    _, out, err = run(capsys, *DESIGN, "--draft", "mtp")
    assert max(map(len, out.splitlines())) <= WIDTH
    assert out.startswith("Best draft at batch 1, 1 layer and ")
    assert "the config of llama-3.1-8b has no MTP layers; the prediction is for a hypothetical MTP head" in err
    assert "MTP" not in run(capsys, *DESIGN)[2]


def test_little_pretraining_is_noted(capsys):
    note = "note: the budget allows 0.05 B tokens, and the law is stated from 1 B on"
    assert note in run(capsys, *DESIGN, "--train-tokens", "50M")[2]
    assert "the law is stated" not in run(capsys, *DESIGN, "--train-tokens", "1B")[2]


def test_traffic_adds_the_cost_of_training_and_its_return(capsys):
    _, out, _ = run(capsys, *DESIGN, "--train-tokens", "10B", "--traffic", "20k/s", "--format", "json")
    row = json.loads(out)["rows"][0]
    assert row["plain_gpus"] == pytest.approx(row["speedup"] * row["draft_gpus"])
    assert row["draft_gpus"] == pytest.approx(20_000 / row["tokens_per_s"])
    assert row["payback_days"] == pytest.approx(row["train_gpu_hours"] / row["saved_gpu_hours_per_day"])
    twice = run(capsys, *DESIGN, "--train-tokens", "10B", "--traffic", "20k/s", "--train-utilization", "0.2")[1]
    assert "at 20% of the" in twice and max(map(len, twice.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--traffic", "20k"], "traffic='20k' is not understood"),
        (["--train-utilization", "0.3"], "train_utilization=0.3 needs --traffic"),
        (["--traffic", "1/s", "--train-utilization", "2"], "train_utilization=2"),
    ],
)
def test_costs_that_cannot_be_computed_are_refused(capsys, options, message):
    code, _, err = run(capsys, *DESIGN, *options)
    assert code == 2 and message in err


def test_the_laws_that_the_figure_allows_recommend_other_layers(capsys):
    _, out, _ = run(
        capsys, *DESIGN, "--train-tokens", "10B", "--law", "theorems,bounded,product", "--format", "json"
    )
    rows = {row["law"]: row for row in json.loads(out)["rows"]}
    assert rows["theorems"]["layers"] == rows["bounded"]["layers"] == 1 < rows["product"]["layers"]
    low, high = rows["product"]["layers_range"]
    assert low <= rows["theorems"]["layers"] <= high
