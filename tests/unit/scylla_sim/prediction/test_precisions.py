"""Precisions of target and draft: options, files of checkpoints, and devices without arithmetic in a type."""

import json
from dataclasses import replace

import pytest

from scylla_sim.checks import InputError
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs import catalog
from scylla_sim.specs.quantization import Quantization

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}


def scenario(tmp_path, quantization, hardware="h100-sxm", beside=None, **options):
    path = tmp_path / "model" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**LLAMA, "quantization_config": quantization} if quantization else LLAMA))
    if beside:
        path.with_name("hf_quant_config.json").write_text(json.dumps(beside))
    return Scenario(str(path), hardware=hardware, **options)


def test_file_in_4_bits_is_predicted_in_4_bits_and_says_so(tmp_path):
    result = scenario(tmp_path, AWQ).predict()
    (row,) = result.rows()
    assert row["precision"] == "int4"
    assert any("int4 is read from the checkpoint (awq, 4 bits); lm_head in bf16" in note for note in result.notes)
    plain = Scenario("llama-3.1-8b", hardware="h100-sxm").predict().rows()[0]
    assert row["plain_step_s"] < 0.7 * plain["plain_step_s"]


@pytest.mark.parametrize(("model", "precision"), [("gpt-oss-20b", "mxfp4"), ("deepseek-v3", "fp8_block")])
def test_a_catalog_entry_runs_in_the_precision_of_its_release_and_says_so(model, precision):
    alone = Scenario(model, hardware="b200-sxm", tp=8)
    stated = replace(alone, precision=precision)
    said = f"{model} runs in {precision}, as it is released; see --precision"
    assert said in alone.precision_notes()
    assert said not in stated.precision_notes()
    assert alone.predict().rows() == stated.predict().rows()
    assert replace(alone, precision="bf16").predict().rows()[0]["precision"] == "bf16"
    assert Scenario("qwen3-8b", hardware="b200-sxm").precision_notes() == []


def test_stating_the_precision_of_the_file_changes_nothing(tmp_path):
    given = scenario(tmp_path, FP8)
    assert replace(given, precision="fp8").predict().rows() == given.predict().rows()


def test_stating_int4_keeps_the_groups_of_the_file(tmp_path):
    given = scenario(tmp_path, {"quant_method": "awq", "bits": 4, "group_size": 32})
    both = [replace(given, precision=name).predict() for name in (None, "int4")]
    assert both[0].rows() == both[1].rows()
    assert not both[1].notes
    assert both[0].predictions[0].deployment.dtype == "int4_wo_g32"


def test_another_precision_replaces_that_of_the_file_in_one_note(tmp_path):
    result = scenario(tmp_path, FP8, precision="bf16").predict()
    assert result.rows()[0]["precision"] == "bf16"
    assert [note for note in result.notes if "replaces" in note] == [
        "precision bf16 replaces what the checkpoint states (fp8, one scale per tensor or channel)"
    ]


def test_format_that_is_not_modelled_is_refused_unless_a_precision_is_given(tmp_path):
    given = scenario(tmp_path, {"quant_method": "exl2", "bits": 4})
    with pytest.raises(InputError, match="quantization_config='exl2' is not modelled; .*give --precision"):
        given.predict()
    assert replace(given, precision="int4").predict().rows()[0]["precision"] == "int4"


def test_head_in_16_bits_takes_as_long_as_in_bf16(tmp_path):
    def head(options):
        rows = options.predict().breakdown()
        return next(row["seconds"] for row in rows if row["op"] == "lm_head")

    assert head(scenario(tmp_path, FP8)) == head(Scenario("llama-3.1-8b", hardware="h100-sxm"))
    assert head(Scenario("llama-3.1-8b", hardware="h100-sxm", precision="fp8")) < head(
        Scenario("llama-3.1-8b", hardware="h100-sxm")
    )


def test_kv_cache_of_the_checkpoint_is_taken_and_can_be_replaced(tmp_path):
    beside = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    given = scenario(tmp_path, None, beside=beside)
    assert given.deployments()[0].kv_dtype == "fp8"
    assert any("KV cache in fp8" in note for note in given.precision_notes())
    assert replace(given, kv_precision="bf16").deployments()[0].kv_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("hardware", "precision", "dtype"),
    [
        ("h100-sxm", "nvfp4", "nvfp4_wo"),
        ("b200-sxm", "nvfp4", "nvfp4"),
        ("a100-sxm", "fp8", "fp8_wo"),
        ("a100-sxm", "int8", "sq"),
    ],
)
def test_device_without_arithmetic_in_a_type_runs_the_weights_in_16_bits(hardware, precision, dtype):
    given = Scenario("llama-3.1-8b", hardware=hardware, precision=precision)
    assert given.deployments()[0].dtype == dtype
    assert any("16-bit arithmetic" in note for note in given.precision_notes()) == dtype.endswith("_wo")


def test_nvfp4_kv_cache_needs_fp4_arithmetic():
    with pytest.raises(InputError, match="kv_precision='nvfp4' is not possible on h100-sxm"):
        Scenario("llama-3.1-8b", hardware="h100-sxm", kv_precision="nvfp4").deployments()


@pytest.mark.parametrize(("precision", "draft"), [(None, "bfloat16"), ("fp8", "fp8"), ("int4", "bfloat16")])
def test_draft_precision_by_default(precision, draft):
    given = Scenario(
        "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=3, acceptance=0.7, precision=precision
    )
    assert given.deployments()[1].dtype == draft


def test_draft_beside_a_quantized_checkpoint_has_16_bits_and_mtp_is_part_of_it():
    model = replace(catalog.model("deepseek-v3"), quantization=Quantization("fp8", "fp8_block"))
    head, mtp = (
        Scenario(model, hardware="h200-sxm", draft=name, draft_len=1, acceptance=0.8, tp=8)
        for name in ("eagle3", "mtp")
    )
    assert head.deployments()[1].dtype == "bfloat16"
    assert any("draft eagle3 are taken as bf16" in note for note in head.precision_notes())
    assert mtp.deployments()[1].dtype == "fp8_block"


def test_slower_precision_is_explained_in_one_note():
    given = Scenario("qwen3-30b-a3b", hardware="h100-sxm", precision="fp8", batch=[1, 64])
    (note,) = (note for note in given.predict().notes if "slower than bf16" in note)
    assert "a step of 64 tokens" in note and "expert_gate_up" in note
    faster = Scenario("llama-3.1-8b", hardware="h100-sxm", precision="fp8", batch=[1, 64])
    assert not any("slower" in note for note in faster.predict().notes)


def test_draft_file_states_its_own_precision(tmp_path):
    path = tmp_path / "draft.json"
    path.write_text(json.dumps({**LLAMA, "num_hidden_layers": 2, "quantization_config": FP8}))
    given = Scenario("llama-3.1-8b", hardware="h100-sxm", draft=str(path), draft_len=3, acceptance=0.7)
    assert given.deployments()[1].dtype == "fp8"
    note = "precision fp8 of draft draft is read from its file (fp8, one scale per tensor or channel)"
    assert given.precision_notes() == [note]
    stated = replace(given, draft_precision="bf16")
    assert stated.deployments()[1].dtype == "bfloat16"
    assert not stated.precision_notes()


def test_draft_format_that_is_not_modelled_asks_for_the_draft_precision(tmp_path):
    path = tmp_path / "draft.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": {"quant_method": "bitsandbytes"}}))
    given = Scenario("llama-3.1-8b", hardware="h100-sxm", draft=str(path), draft_len=3, acceptance=0.7)
    with pytest.raises(InputError, match="modelopt; or give --draft-precision$"):
        given.predict()


def test_a_draft_model_in_the_precision_of_the_target_is_noted() -> None:
    pair = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="llama-3.2-1b", acceptance=0.7, precision="fp8")
    note = "the weights of draft llama-3.2-1b are taken as bf16; see --draft-precision"
    assert note in pair.precision_notes()
    assert note not in replace(pair, draft_precision="bf16").precision_notes()
    assert note not in replace(pair, precision="bf16").precision_notes()
