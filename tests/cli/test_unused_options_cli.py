"""No option is ignored in silence: each is used, refused, or named in a note."""

import json

import pytest
from command_line import EAGLE3, PREDICT, refused, run

LOAD = ("--input-len", "1000", "--output-len", "200")
TURNING = ("turning-points", "--model", "llama-3.1-8b", "--hardware", "h100-sxm")
NO_TREES = "the prediction is hypothetical: vLLM drafts chains only, without tree attention (vLLM #42121)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acceptance-kind", "cumulative"),
        ("draft-precision", "fp8"),
        ("draft-tp", "1"),
        ("position-exponent", "0.5"),
    ],
)
def test_options_of_the_draft_are_named_without_one(name, value, capsys):
    code, _, err = run(capsys, *PREDICT, f"--{name}", value)
    assert code == 0
    assert f"note: {name.replace('-', '_')} is not used without a draft\n" in err


def test_the_kind_of_rates_is_named_without_rates(capsys):
    kind = (*PREDICT, "--draft", "eagle3", "--acceptance-kind", "cumulative")
    assert "acceptance_kind is not used without acceptance" in run(capsys, *kind)[2]
    assert "not used" not in run(capsys, *kind, "--acceptance", "0.7,0.5")[2]


def test_an_idle_draft_has_no_acceptance(capsys):
    _, out, _ = run(capsys, *PREDICT, "--draft", "eagle3", "--draft-len", "0")
    assert "Decoding only" in out and "acceptance" not in out


def test_an_overlap_of_experts_is_named_without_a_draft(capsys):
    moe = ("predict", "--hardware", "h100-sxm", "--tp", "2", "--model", "qwen3-30b-a3b", "--expert-overlap", "0.5")
    assert "expert_overlap is not used without a draft" in run(capsys, *moe)[2]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            ("--tokens-per-cycle", "2.4"),
            "without measured_draft_len, tokens_per_cycle holds at the predicted shape",
        ),
        (("--tokens-per-cycle", "2.4", "--measured-draft-len", "3"), "tokens_per_cycle was measured at this shape"),
        (("--acceptance", "0.8,0.7,0.6"), "acceptance is given for every position"),
    ],
)
def test_an_exponent_without_effect_is_named(given, reason, capsys):
    _, _, err = run(capsys, *PREDICT, "--draft", "eagle3", *given, "--position-exponent", "0.5")
    assert f"note: position_exponent is not used: {reason}\n" in err
    _, _, err = run(capsys, *PREDICT, "--draft", "eagle3", "--acceptance", "0.8", "--position-exponent", "0.5")
    assert "not used" not in err


def test_shorter_lengths_than_measured_share_one_note(capsys):
    _, _, err = run(capsys, *EAGLE3, "--draft-len", "1,2,3")
    assert err == "note: acceptance was measured with draft_len 3 and is predicted with 1, 2\n"


def test_a_context_that_no_request_reaches_is_named(capsys):
    _, _, err = run(capsys, *EAGLE3, *LOAD, "--context", "512,1100,3000")
    assert "note: context 512, 3000 is outside that of the requests, 1000 to 1200 tokens\n" in err
    assert "outside" not in run(capsys, *EAGLE3, *LOAD, "--context", "1000,1200")[2]


def test_a_breakdown_has_neither_a_measured_time_nor_prefills(capsys):
    measured = refused(capsys, *EAGLE3, "--breakdown", "--measured-plain-tpot", "6ms")
    assert "measured_plain_tpot='6ms' must not be given with --breakdown" in measured
    note = "a breakdown is that of one cycle, without prefills"
    assert note in run(capsys, *EAGLE3, *LOAD, "--breakdown", "--all")[2]
    _, out, err = run(capsys, *EAGLE3, *LOAD, "--breakdown")
    assert "\nprefills " in out and note not in err


def test_drafts_that_the_engine_cannot_run_are_hypothetical(capsys):
    tree = (*PREDICT, "--draft", "eagle2", "--engine")
    assert NO_TREES in run(capsys, *tree, "vllm")[2]
    for engine in ("vllm-2025", "sglang", "ideal"):
        assert "hypothetical" not in run(capsys, *tree, engine)[2]
    medusa = (*PREDICT, "--draft", "medusa", "--engine", "sglang")
    assert "the prediction is hypothetical: SGLang has no Medusa heads" in run(capsys, *medusa)[2]


@pytest.mark.parametrize("verb", ["plan", "schedule"])
def test_searches_print_the_notes_of_a_prediction(verb, capsys):
    kernel = "fp8 KV without fp8 arithmetic: fitted to runs of Llama-3.1-8B on an A100"
    common = ("--model", "llama-3.1-8b", "--hardware", "a100-sxm", "--draft", "eagle3", "--acceptance", "0.7")
    code, _, err = run(capsys, verb, *common, "--batch", "1", "--kv-precision", "fp8")
    assert code == 0
    assert err.count(kernel) == 1


def test_plan_names_the_engine_and_what_its_intervals_cover(capsys):
    common = ("plan", "--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--tp", "1,2", "--batch", "1")
    _, _, err = run(capsys, *common, "--draft", "eagle3", "--acceptance", "0.7")
    last = err.splitlines()[-1]
    assert last.startswith("engine vllm-2026, context 1024; 90 % intervals: kernels, engine versions, TP, ")
    assert last.endswith("acceptance. Decoding only: no prefills.")


def test_a_log_with_positions_does_not_need_a_method(capsys, tmp_path):
    file = tmp_path / "counts.csv"
    file.write_text("position,accepted,drafted\n1,760,1000\n2,562,760\n")
    assert run(capsys, "ingest", file)[2] == ""
    _, _, err = run(capsys, "ingest", file, "--draft", "mtp")
    assert err == "note: draft is not used: the file has the acceptance of every position\n"


def test_draft_length_0_is_always_a_candidate(capsys):
    common = ("schedule", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--draft", "eagle3")
    assert "must be at least 1; 0 is always a candidate" in refused(capsys, *common, "--draft-len", "0,1")


def test_tables_of_predict_fit_a_wide_terminal(capsys):
    _, out, _ = run(capsys, *EAGLE3, "--batch", "1,256")
    assert max(len(line) for line in out.splitlines()) <= 160


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (
            ["acceptance", "--acceptance", "0.7", "--tree", "best"],
            ["tree is not used with top_k=1, which is a chain"],
        ),
        (
            ["acceptance", "--acceptance", "0.7", "--top-k", "2", "--confidence", "0.5", "--seed", "1"],
            ["confidence is not used without a dynamic tree", "seed is not used without a dynamic tree"],
        ),
        (
            [*TURNING, "--top-k", "4", "--tp", "2", "--engine", "ideal", "--reference-batch", "8"],
            [
                "reference_batch is not used without reference",
                "tp is not used with top_k or reference",
                "engine is not used with top_k or reference",
            ],
        ),
        (
            [*TURNING, "--batch", "1,512", "--context", "8192"],
            ["batch 512 does not fit in memory with its context and the draft"],
        ),
    ],
)
def test_an_option_of_another_output_is_noted(capsys, options, notes):
    code, _, err = run(capsys, *options)
    assert code == 0
    assert [line for line in err.splitlines() if "not used" in line or "not fit" in line] == [
        f"note: {text}" for text in notes
    ]


def test_an_option_that_is_used_has_no_note(capsys):
    tree = ["--top-k", "2", "--draft-len", "2", "--tree", "dynamic", "--samples", "20", "--seed", "1"]
    assert "not used" not in run(capsys, "acceptance", "--acceptance", "0.7,0.6", *tree)[2]
    assert "not used" not in run(capsys, *TURNING, "--batch", "1", "--tp", "2", "--engine", "ideal")[2]


def test_a_precision_of_another_verb_is_refused_without_advice_to_write_it(capsys):
    assert "precision='mxfp4' must be one of bf16, fp8, fp32" in refused(capsys, *TURNING, "--precision", "mxfp4")
    assert "compute_fraction=1.5 must lie in (0, 1]" in refused(capsys, *TURNING, "--compute-fraction", "1.5")


def test_a_bad_cell_of_a_reference_names_its_line(capsys, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("batch_size,k,tokens_per_s\n64,4,100\n64,x,100\n")
    assert "k='x' must be a number of at least 0 on line 3 of curve.csv" in refused(
        capsys, *TURNING, "--reference", path
    )


def test_the_precision_of_a_checkpoint_is_named_where_another_one_replaces_it(capsys, tmp_path):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "head_dim": 128}
    config |= {"intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 128256}
    config |= {
        "num_key_value_heads": 8,
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128},
    }
    path = tmp_path / "awq.json"
    path.write_text(json.dumps(config))
    err = run(capsys, "turning-points", "--model", path, "--hardware", "h100-sxm", "--batch", "1")[2]
    assert "precision bf16 replaces what the checkpoint states (awq, 4 bits)" in err
