"""Notes of ``scylla-sim design`` and ``turning-points`` on the head that they price."""

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
