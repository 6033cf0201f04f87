"""Scenarios: names and objects resolve to the same prediction, and bad values raise one line."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim import cli
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.prediction.predict import predict
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs import catalog

EAGLE3 = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3", acceptance=0.62, engine="vllm")
PLAIN = Scenario("llama-3.1-8b", hardware="h100-sxm")


def test_objects_give_the_rows_of_their_names():
    (config,), _ = EAGLE3.speculative_configs()
    by_object = Scenario(
        catalog.model("llama-3.1-8b"),
        hardware=catalog.hardware("h100-sxm"),
        draft=config,
        engine=catalog.engine("vllm"),
        calibration=device_calibration.shipped("h100-sxm"),
    )
    assert by_object.predict().rows() == EAGLE3.predict().rows()
    assert replace(by_object, calibration=None).predict().rows() == EAGLE3.predict().rows()
    by_draft = replace(EAGLE3, draft=catalog.draft("eagle3"))
    assert by_draft.predict().rows() == EAGLE3.predict().rows()


def test_options_beside_a_complete_configuration_are_refused():
    (config,), _ = EAGLE3.speculative_configs()
    with pytest.raises(InputError, match=r"acceptance=0.62 must not be given beside a SpeculativeConfig"):
        replace(EAGLE3, draft=config).predict()


def test_changed_hardware_keeps_its_kernels_with_a_wider_interval():
    faster = replace(catalog.hardware("h100-sxm"), memory_bytes_per_s=5e12)
    (row,), (known,) = replace(PLAIN, hardware=faster).predict().rows(), PLAIN.predict().rows()
    assert row["plain_step_s"] < known["plain_step_s"]
    assert row["evidence"] == "transferred"


def test_acceptance_accepts_numbers_text_and_files(tmp_path):
    file = tmp_path / "acceptance.json"
    file.write_text(json.dumps({"acceptance_rate": [0.8, 0.5, 0.5], "kind": "conditional"}))
    rows = [
        replace(EAGLE3, acceptance=acceptance, acceptance_kind=kind).predict().rows()
        for acceptance, kind in (
            ([0.8, 0.5, 0.5], "conditional"),
            (np.array([0.8, 0.4, 0.2]), "cumulative"),
            ("0.8,0.5,0.5", "conditional"),
            (file, "conditional"),
        )
    ]
    taus = [row["tokens_per_cycle"] for (row,) in rows]
    assert taus == pytest.approx([1 + 0.8 + 0.4 + 0.2] * 4)


def test_verify_tokens_per_batch():
    tree = replace(EAGLE3, draft="eagle2", batch=[1, 64], verify_tokens=[61, 15])
    assert [row["verify_tokens"] for row in tree.predict().rows()] == [61, 15]
    theorem = replace(tree, verify_tokens="theorem-1.3").predict()
    assert [row["verify_tokens"] for row in theorem.rows()] == [61, 15]
    assert any("theorem-1.3" in note for note in theorem.notes)


def test_result_has_each_note_once():
    (note,) = replace(EAGLE3, acceptance=[0.8, 0.5], draft_len=[3, 4], batch=[1, 8]).predict().notes
    assert "acceptance is given for 2 positions" in note
    assert replace(PLAIN, acceptance=0.5).predict().notes == ("acceptance is not used without a draft",)
    ignored = replace(PLAIN, draft_len=3, tokens_per_cycle=2.0).predict().notes
    assert ignored == ("draft_len is not used without a draft", "tokens_per_cycle is not used without a draft")
    both = replace(PLAIN, draft="eagle3", acceptance=0.5, tokens_per_cycle=2.0).predict()
    assert both.notes == ("acceptance is not used, because tokens_per_cycle determines tau",)
    fp8 = replace(PLAIN, model="qwen3-30b-a3b", precision="fp8").predict()
    assert "fp8_block" in fp8.notes[0]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"batch": []}, "batch=[] must be one value or a list with at least one value"),
        ({"batch": "many"}, "batch='many' must be a number"),
        ({"engine": None}, "engine='None' is not known"),
        ({"draft": None}, "draft='None' is not known"),
        ({"precision": 16}, "precision='16' is not known"),
        ({"draft": "eagle3", "draft_train_tokens": "10B"}, "train_tokens='10B' must be a number"),
        (
            {"draft": "eagle3", "acceptance": 0.7, "acceptance_kind": "any"},
            "acceptance_kind='any' is not known",
        ),
        (
            {"draft": "eagle2", "acceptance": 0.7, "verify_tokens": "many"},
            "verify_tokens='many' is not known",
        ),
        ({"hardware": "local"}, "hardware='local' needs a calibration"),
        ({"batch": None}, "batch=None must be a number"),
        ({"batch": [[1, 2], [3, 4]]}, "batch=[[1, 2], [3, 4]] must be one value or a list"),
        ({"tp": [1, 2]}, "tp=[1 2] must be one number"),
        ({"eager": "yes"}, "eager='yes' must be True or False"),
        ({"engine": "vLM"}, "engine='vLM' is not known; did you mean vllm?"),
        ({"draft": ""}, "draft='' is not known"),
        ({"draft": "eagle3", "draft_layers": "one"}, "draft_layers='one' must be a number"),
        ({"draft": "eagle3", "tokens_per_cycle": [2, 3]}, "tokens_per_cycle=[2, 3] must be one number"),
        ({"draft": "eagle3", "acceptance": [[0.5, 0.4]]}, "acceptance=[[0.5, 0.4]] must be one rate"),
        ({"draft": "eagle3", "acceptance": 0.5, "acceptance_kind": None}, "acceptance_kind=None is not known"),
        ({"draft": "eagle3", "acceptance": 0.5, "draft_train_tokens": -1}, "draft_train_tokens=-1 must be at"),
        (
            {"draft": "eagle3", "reference_tokens_per_cycle": [3, 4, 5]},
            "reference_tokens_per_cycle=3 must lie between its ends 4 and 5",
        ),
    ],
)
def test_values_of_the_wrong_type_are_bad_input(options, line):
    with pytest.raises(InputError, match=re.escape(line)):
        predict(**{"model": "llama-3.1-8b", "hardware": "h100-sxm"} | options)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"batch": -1}, ["--batch", "-1"]),
        ({"batch": 1.5}, ["--batch", "1.5"]),
        ({"context": 0}, ["--context", "0"]),
        ({"tp": 3}, ["--tp", "3"]),
        ({"tp": 16}, ["--tp", "16"]),
        ({"precision": "fp7"}, ["--precision", "fp7"]),
        ({"engine": "vlm"}, ["--engine", "vlm"]),
        ({"eager": True, "engine": "ideal"}, ["--eager", "--engine", "ideal"]),
        ({"draft": "eagle4"}, ["--draft", "eagle4"]),
        ({"draft": "llama-68m"}, ["--draft", "llama-68m"]),
        ({"draft": "eagle3", "task": "poems"}, ["--draft", "eagle3", "--task", "poems"]),
        ({"draft": "eagle3", "acceptance": 1.2}, ["--draft", "eagle3", "--acceptance", "1.2"]),
        ({"draft": "eagle3", "tokens_per_cycle": 9.0}, ["--draft", "eagle3", "--tokens-per-cycle", "9"]),
        (
            {"draft": "eagle3", "acceptance": 0.5, "draft_len": -1},
            ["--draft", "eagle3", "--acceptance", "0.5", "--draft-len", "-1"],
        ),
        ({"calibration": "no.json"}, ["--calibration", "no.json"]),
        ({"draft": "scylla-3l", "draft_layers": 2}, ["--draft", "scylla-3l", "--draft-layers", "2"]),
    ],
)
def test_bad_input_has_the_line_of_the_command_line(capsys, options, arguments):
    with pytest.raises(InputError) as raised:
        predict("llama-3.1-8b", hardware="h100-sxm", **options)
    assert cli.main(["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", *arguments]) == 2
    assert capsys.readouterr().err == f"scylla-sim: error: {raised.value}\n"


def test_other_names_and_foreign_kernels_are_reported_once():
    result = Scenario("meta-llama/Llama-3.1-8B-Instruct", hardware="MI300X").predict()
    assert result.notes[0] == "hardware=MI300X is read as mi300x"
    assert result.notes[1] == "model=meta-llama/Llama-3.1-8B-Instruct is read as llama-3.1-8b"
    assert "times use kernels fitted on h100-sxm" in result.notes[2]
    assert len(result.notes) == 3


@pytest.mark.parametrize("name", ["mi300x", "mi355x", "h20"])
def test_gpus_without_a_similar_one_are_theory_with_a_wide_interval(name):
    (row,) = replace(PLAIN, hardware=name).predict().rows()
    assert row["evidence"] == "theory"
    assert row["plain_step_upper_s"] / row["plain_step_lower_s"] > 1.5


@pytest.mark.parametrize("name", ["h100-nvl", "gh200", "a10g", "rtx-a6000", "rtx-5090"])
def test_gpus_similar_to_a_measured_one_are_transferred(name):
    result = replace(PLAIN, hardware=name).predict()
    assert result.rows()[0]["evidence"] == "transferred"
    assert result.notes == ()


def test_a_cut_down_card_uses_the_kernels_of_its_base(tmp_path):
    file = tmp_path / "gpu.toml"
    file.write_text(
        '[slow-h100]\nbase = "h100-sxm"\n'
        'memory_bandwidth = { value = 2.0, unit = "TB/s", source = "measured at 350 W" }\n'
    )
    slow = replace(PLAIN, hardware=str(file)).predict()
    (row,), (known,) = slow.rows(), PLAIN.predict().rows()
    assert (row["hardware"], row["evidence"]) == ("slow-h100", "transferred")
    assert 1.2 < row["plain_step_s"] / known["plain_step_s"] < 3.35 / 2.0


def test_rows_state_how_many_sequences_fit_with_and_without_the_draft():
    scenario = replace(EAGLE3, engine="vllm", context=8192)
    (row,) = scenario.predict().rows()
    assert 0 < row["max_sequences_lower"] < row["max_sequences_upper"]
    assert row["max_sequences_lower"] < row["plain_max_sequences_lower"]
    most = row["max_sequences_lower"]
    fits = replace(scenario, batch=[most, most + 1]).predict()
    assert [item["fits_memory"] for item in fits.rows()] == [True, False]
    assert f"batch {most + 1} at context 8192 fits in memory only in part of the range" in fits.notes[-1]
    assert fits.notes[-1].endswith("; memory_share narrows it")
    (row,) = replace(scenario, memory_share=0.9).predict().rows()
    stated = replace(scenario, memory_share=0.9, batch=row["max_sequences_lower"] + 1).predict()
    assert stated.notes[-1].endswith(f"{row['max_sequences_upper']} sequences")


def test_memory_share_replaces_the_range_of_the_engine():
    (row,) = replace(PLAIN, engine="sglang", memory_share=0.93).predict().rows()
    (wide,) = replace(PLAIN, engine="sglang").predict().rows()
    assert wide["max_sequences_lower"] < row["max_sequences_lower"]
    assert wide["max_sequences_upper"] == row["max_sequences_upper"]
    with pytest.raises(InputError, match="memory_share=93"):
        replace(PLAIN, memory_share=93.0).predict()
