"""Draft files on the command line: priced as they run, with the settings of their method."""

import json

import pytest

from scylla_sim.cli import main

QWEN8 = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "num_hidden_layers": 5,
    "dflash_config": {
        "target_layer_ids": [1, 9, 17, 25, 33],
        "markov_rank": 256,
        "emb_dim": 256,
        "gru_hidden_dim": 1024,
    },
}
WHERE = ["--model", "qwen3-8b", "--batch", "1"]


def write(path, architecture, **change):
    path.write_text(json.dumps({**QWEN8, "architectures": [architecture], **change}))
    return str(path)


@pytest.fixture
def dflash(tmp_path):
    return write(tmp_path / "dflash.json", "DFlashDraftModel", block_size=16)


def rows(capsys, *argv):
    assert main([*argv, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def predict(capsys, *argv):
    value, err = rows(capsys, "predict", *WHERE, *argv)
    return value["rows"], err


def test_dflash_is_one_pass_and_contains_the_measured_speedup(dflash, capsys):
    # sgl-project/sglang #29244: A800, Qwen3-8B, 88 tokens/s plain, 162 tokens/s at 2.8 tokens per cycle
    common = ["--draft", dflash, "--hardware", "a100-sxm", "--context", "300", "--engine", "sglang"]
    ((row,), err) = predict(capsys, *common, "--tokens-per-cycle", "2.8")
    assert row["draft_len"] == 15 and row["verify_tokens"] == 16, "the whole block by default"
    assert row["speedup_lower"] < 162 / 88 < row["speedup_upper"]
    assert "note: draft dflash is read as dflash: 5 decoder layers, one pass" in err
    assert "host work of block drafters" in err
    ((short,), _) = predict(capsys, *common, "--tokens-per-cycle", "2.0", "--draft-len", "3")
    assert row["draft_s"] < 1.1 * short["draft_s"], "a longer block costs rows, no further passes"


def test_a_draft_file_without_quantization_has_16_bits_beside_an_fp8_target(dflash, capsys):
    argv = ["--draft", dflash, "--hardware", "h100-sxm", "--acceptance", "0.8", "--precision", "fp8"]
    ((row,), err) = predict(capsys, *argv)
    assert "the weights of draft dflash are taken as bf16" in err
    ((same,), _) = predict(capsys, *argv, "--draft-precision", "bf16")
    ((other,), _) = predict(capsys, *argv, "--draft-precision", "fp8")
    assert row["draft_s"] == same["draft_s"] > other["draft_s"]


def test_the_quantization_of_a_draft_file_is_read_or_refused(tmp_path, capsys):
    argv = ["--hardware", "h100-sxm", "--acceptance", "0.8"]
    paths = {
        method: write(tmp_path / f"{method}.json", "DFlashDraftModel", block_size=8, quantization_config=config)
        for method, config in (("fp8", {"quant_method": "fp8"}), ("odd", {"quant_method": "odd"}), ("half", None))
    }
    draft_s = {name: predict(capsys, *argv, "--draft", paths[name])[0][0]["draft_s"] for name in ("fp8", "half")}
    assert draft_s["fp8"] < draft_s["half"]
    assert main(["predict", *WHERE, *argv, "--draft", paths["odd"]]) == 2
    assert "draft quantization_config='odd'" in capsys.readouterr().err


def test_a_context_beyond_the_positions_of_a_draft_is_noted(tmp_path, capsys):
    path = write(tmp_path / "d.json", "DFlashDraftModel", block_size=8, max_position_embeddings=2048)
    argv = ["--draft", path, "--hardware", "h100-sxm", "--acceptance", "0.8"]
    assert "positions of draft d" not in predict(capsys, *argv, "--context", "2048")[1]
    assert "context 4096 is beyond the 2048 positions of draft d" in predict(capsys, *argv, "--context", "4096")[1]


def test_a_block_cannot_exceed_its_size_or_be_a_tree(dflash, capsys):
    argv = ["predict", *WHERE, "--hardware", "h100-sxm", "--draft", dflash, "--acceptance", "0.8"]
    assert main([*argv, "--draft-len", "16"]) == 2
    assert "draft_len=16 must be at most 15 for draft 'dflash'" in capsys.readouterr().err
    assert main([*argv, "--draft-len", "3", "--top-k", "2"]) == 2
    assert "top_k=2 must be 1 for draft 'dflash'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("architecture", "change", "vllm", "sglang"),
    [
        ("DFlashDraftModel", {"block_size": 16}, '"method": "dflash"', "--speculative-algorithm DFLASH"),
        ("DSparkDraftModel", {"block_size": 7}, '"method": "dspark"', "--speculative-dspark-block-size 3"),
        ("DominoDraftModel", {"block_size": 16}, None, "--speculative-algorithm DFLASH"),
        ("PEagleDraftModel", {"draft_vocab_size": 32000}, '"parallel_drafting": true', None),
        (
            "LlamaForCausalLMEagle3",
            {"draft_vocab_size": 32000, "num_hidden_layers": 1},
            '"method": "eagle3"',
            "EAGLE3",
        ),
    ],
)
def test_settings_name_the_method_of_the_file(tmp_path, capsys, architecture, change, vllm, sglang):
    path = write(tmp_path / "d.json", architecture, **change)
    argv = [
        "--hardware",
        "h100-sxm",
        "--draft",
        path,
        "--acceptance",
        "0.85",
        "--draft-len",
        "3",
        "--engine",
        "ideal",
    ]
    value, _ = rows(capsys, "schedule", *WHERE, "--max-batch", "2", *argv)
    fixed = {item["engine"]: item["options"] for item in value["settings"] if item["scope"] == "fixed"}
    for engine, part in (("vllm", vllm), ("sglang", sglang)):
        assert (part in fixed[engine]) if part else not fixed[engine]
        assert "draft_model" not in fixed[engine]


def test_schedule_considers_the_longest_block(dflash, capsys):
    argv = ["--hardware", "h100-sxm", "--draft", dflash, "--acceptance", "0.9", "--max-batch", "1"]
    value, _ = rows(capsys, "schedule", *WHERE, *argv)
    assert {item["drafting"] for item in value["crossovers"]} == {"best", *map(str, (1, 2, 3, 4, 5, 6, 7, 15))}
    assert value["rows"][0]["best"] == "15"


def test_mtp_of_a_model_without_mtp_layers_has_no_setting(capsys):
    argv = ["schedule", "--draft", "mtp", "--hardware", "h200-sxm", "--acceptance", "0.7", "--draft-len", "1"]
    argv += ["--max-batch", "1", "--batch", "1"]
    value, err = rows(capsys, *argv, "--model", "llama-3.1-8b")
    assert "note: the config of llama-3.1-8b has no MTP layers" in err
    assert [item["options"] for item in value["settings"]] == [""]
    assert "no engine can run this draft" in value["settings"][0]["notes"][0]
    value, err = rows(capsys, *argv, "--model", "deepseek-v3", "--tp", "8", "--precision", "fp8_block")
    assert "MTP" not in err
    assert '{"method": "mtp", "num_speculative_tokens": 1}' in value["settings"][0]["options"]


def test_draft_tp_runs_the_draft_on_one_gpu(capsys):
    argv = [
        "--hardware",
        "h100-sxm",
        "--model",
        "llama-3.3-70b",
        "--draft",
        "llama-3.2-1b",
        "--tp",
        "4",
        "--batch",
        "1",
    ]
    argv += ["--acceptance", "0.7", "--draft-len", "5", "--engine", "vllm"]
    value = {tp: rows(capsys, "predict", *argv, "--draft-tp", tp)[0]["rows"][0] for tp in ("1", "4")}
    assert value["1"]["draft_s"] > value["4"]["draft_s"], "the weights of the draft are read by one GPU"
    assert value["1"]["verify_s"] == value["4"]["verify_s"]
    assert value["4"] == rows(capsys, "predict", *argv)[0]["rows"][0], "the default is --tp"
    settings = rows(capsys, "schedule", *argv, "--draft-tp", "1", "--max-batch", "1")[0]["settings"]
    assert '"draft_tensor_parallel_size": 1' in settings[0]["options"]
    assert (value["1"]["draft_tp"], value["4"]["draft_tp"]) == (1, 4)
    assert main(["predict", *argv, "--draft-tp", "1"]) == 0
    assert "; llama-3.2-1b, on 1 GPU, K = 5" in " ".join(capsys.readouterr().out.split())
    assert main(["predict", *argv]) == 0
    assert "; llama-3.2-1b, K = 5, " in " ".join(capsys.readouterr().out.split())
    assert main(["predict", *argv, "--draft-tp", "2"]) == 2
    assert "draft_tp=2 must be 1 or tp=4" in capsys.readouterr().err
