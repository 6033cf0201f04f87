"""Contexts beyond the positions of a model, and the notes on a model."""

import json

import pytest
from hf_configs import config_of

from scylla_sim import cli, predict
from scylla_sim.checks import InputError
from scylla_sim.prediction.model_notes import check_context, model_notes
from scylla_sim.specs import catalog

LLAMA = catalog.model("llama-3.1-8b")
RULE = "context=131073 exceeds the 131072 positions of llama-3.1-8b; allow it with --allow-long-context"


def test_context_up_to_the_positions_is_accepted():
    check_context(LLAMA, [1024, 131072])
    assert model_notes(LLAMA, 131072) == []
    with pytest.raises(InputError, match=RULE):
        check_context(LLAMA, [1024, 131073])


def test_predict_refuses_a_long_context_unless_it_is_allowed():
    with pytest.raises(InputError, match=RULE):
        predict("llama-3.1-8b", hardware="h100-sxm", context=131073)
    result = predict("llama-3.1-8b", hardware="h100-sxm", context=131073, allow_long_context=True)
    assert "context 131073 is beyond the 131072 positions of llama-3.1-8b" in result.notes


@pytest.mark.parametrize(
    "verb",
    [
        ["predict"],
        ["schedule", "--draft", "eagle3", "--acceptance", "0.7", "--batch", "1"],
        ["plan", "--tp", "1", "--batch", "1"],
        ["turning-points", "--batch", "8"],
        ["design", "--draft", "eagle3", "--batch", "1", "--train-tokens", "10B"],
    ],
    ids=lambda verb: verb[0],
)
def test_verbs_refuse_a_long_context_unless_it_is_allowed(verb, capsys):
    asked = [*verb, "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--context", "131073"]
    assert cli.main(asked) == 2
    assert capsys.readouterr().err.strip().endswith(RULE)
    assert cli.main([*asked, "--allow-long-context"]) == 0
    assert "note: context 131073 is beyond the 131072 positions" in capsys.readouterr().err


def test_assumptions_of_a_model_are_printed_once(tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_of("llama4_text")))
    assert cli.main(["predict", "--hardware", "h100-sxm", "--model", str(file), "--batch", "1,2"]) == 0
    assert capsys.readouterr().err.count("attention in chunks of 8192 tokens") == 1


@pytest.mark.parametrize("kind", ["qwen3_next", "deepseek_v32"])
def test_unmeasured_attention_is_theory_with_a_wide_interval(kind, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_of(kind)))
    result = predict(str(file), hardware="h100-sxm", batch=64, context=4096)
    (row,) = result.rows()
    assert "theory" in row["evidence_shares"]
    parts = {part.name: part for part in result.predictions[0].plain.parts}
    unmeasured = parts["linear_state" if kind == "qwen3_next" else "index_scores"]
    measured = parts["o_proj"]
    assert unmeasured.evidence == "theory"

    def width(part):
        return float((part.time.upper / part.time.lower).max())

    assert width(unmeasured) > 1.5 * width(measured)
    assert any("not measured" in note for note in result.notes)
