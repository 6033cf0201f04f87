"""Quantization of checkpoints: formats, modules that stay in 16 bits, KV cache, and what is refused."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.quantization import Quantization, from_config, uniform

LLAMA = {"model_type": "llama", "num_hidden_layers": 4}
HALF = "bfloat16"


def read(quantization, beside=None, **config):
    return from_config({**LLAMA, **config, "quantization_config": quantization}, beside)


def kept(found):
    return {op for op, dtype in found.op_dtypes if dtype == HALF}


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4_wo"),
        ({"quant_method": "gptq", "bits": 4}, "int4_wo"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "int4_wo"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "int4_wo_g64"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 32}, "int4_wo_g32"),
        ({"quant_method": "gptq", "bits": 8}, "int8_wo"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "int4_wo"),
    ],
)
def test_each_method_has_its_data_type_and_a_head_in_16_bits(given, dtype):
    found = read(given)
    assert (found.dtype, found.problem) == (dtype, "")
    assert {"lm_head", "router"} <= kept(found)


def group(bits, kind, input_bits=None, **weights):
    inputs = None if input_bits is None else {"num_bits": input_bits, "type": kind}
    return {"weights": {"num_bits": bits, "type": kind, **weights}, "input_activations": inputs}


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [
        (group(4, "int", group_size=128), "int4_wo"),
        (group(4, "int", group_size=32), "int4_wo_g32"),
        (group(8, "int"), "int8_wo"),
        (group(8, "int", 8), "sq"),
        (group(8, "float", 8, strategy="channel"), "fp8"),
        (group(8, "float", 8, strategy="block", block_structure=[128, 128]), "fp8_block"),
        (group(8, "float"), "fp8_wo"),
        (group(4, "float", 4, group_size=16), "nvfp4"),
        (group(4, "float", group_size=16), "nvfp4_wo"),
        (group(4, "float", group_size=32), "mxfp4"),
    ],
)
def test_compressed_tensors_states_bits_and_types(scheme, dtype):
    given = {"quant_method": "compressed-tensors", "config_groups": {"group_0": scheme}, "ignore": ["lm_head"]}
    assert read(given).dtype == dtype


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"quant_method": "exl2"}, "is not modelled"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "is not modelled"),
        ({"quant_method": "gptq", "bits": 3}, "3 bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 16}, "groups of 16 values; groups of 32 and more"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": group(4, "int", group_size=16)}},
            "groups of 16 values",
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": group(8, "int", group_size=16)}}, ""),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "64 x 64"),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "MXFP8"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": group(4, "int", 8)}},
            "int weights of 4 bits",
        ),
        ({"quant_method": "awq", "bits": 4, "kv_cache_scheme": None}, ""),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "INT8"}, "KV cache in INT8"),
    ],
)
def test_unknown_formats_have_a_reason(given, reason):
    problem = read(given).problem
    assert reason in problem
    assert bool(problem) == bool(reason)


def test_unquantized_checkpoint_has_no_quantization():
    assert from_config(LLAMA) is None


def test_literal_names_match_whole_components():
    found = read({"quant_method": "fp8", "modules_to_not_convert": ["gate", "model.layers.0.mlp.up"]})
    assert "gate_up_proj" not in kept(found) and "down_proj" not in kept(found)


def test_regular_expressions_exclude_all_but_the_experts():
    """The patterns of Kimi K2.5."""
    given = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {**group(4, "int", group_size=32), "targets": ["Linear"]}},
        "ignore": [
            "lm_head",
            "re:.*self_attn.*",
            "re:.*shared_experts.*",
            r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
        ],
    }
    found = read(given, first_k_dense_replace=1)
    assert found.dtype == "int4_wo_g32"
    assert found.precision == "int4"
    assert {"qkv_a_proj", "o_proj", "gate_up_proj", "shared_down_proj", "router"} <= kept(found)
    assert not {"expert_gate_up", "expert_down"} & kept(found)


def test_stars_name_modules_of_single_layers():
    """DeepSeek-V3.1 in NVFP4 keeps the projections of MLA except the last one."""
    names = [f"model.layers.{layer}.self_attn.q_a_proj" for layer in range(4)]
    separate = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": [*names, "model.layers.4*"]}}
    found = from_config(LLAMA, separate)
    assert found.dtype == "nvfp4"
    assert "qkv_a_proj" in kept(found) and "o_proj" not in kept(found)


def test_hf_quant_config_beside_the_config_gives_kv_cache_and_weights():
    separate = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    found = from_config(LLAMA, separate)
    assert (found.dtype, found.kv_dtype) == ("fp8", "fp8")


def test_attention_of_hybrid_models_is_decided_by_its_own_layers():
    """Qwen3.5 excludes attention in the few layers that have it."""
    given = {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "ignore": ["lm_head", "model.language_model.layers.3.self_attn*"],
    }
    found = read(given, full_attention_interval=4)
    assert "qkv_proj" in kept(found) and "linear_in_proj" not in kept(found)


def test_mixed_precision_names_a_type_per_module():
    layers = {
        f"model.layers.{layer}.mlp.{name}": {"quant_algo": "W4A16_NVFP4"}
        for layer in range(4)
        for name in ("gate_proj", "up_proj", "down_proj")
    } | {f"model.layers.{layer}.self_attn.q_proj": {"quant_algo": "FP8"} for layer in range(4)}
    found = read({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert found.dtype == "nvfp4_wo"
    assert dict(found.op_dtypes)["qkv_proj"] == "fp8"
    assert dict(found.op_dtypes)["o_proj"] == HALF


def test_mxfp4_alone_means_experts_only_where_a_model_has_some():
    """The config of gpt-oss states the same modules."""
    given = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
    }
    found, alone = read(given), uniform("mxfp4", moe=True)
    for op in ("qkv_proj", "o_proj", "router", "lm_head"):
        assert op in kept(found) and op in kept(alone)
    assert not {"expert_gate_up", "expert_down"} & (kept(found) | kept(alone))
    assert kept(uniform("mxfp4", moe=False)) == {"lm_head", "router"}


def test_parts_in_16_bits_name_only_parts_of_the_model():
    found = Quantization("fp8", "fp8", (("qkv_a_proj", HALF), ("index_q_proj", HALF), ("router", HALF)))
    assert found.exceptions(moe=True, mla=True) == "attention, router in bf16"
    assert found.exceptions(moe=False, mla=True, indexer=True) == "attention, indexer in bf16"


def test_quantization_file_given_as_the_model_is_named(tmp_path):
    file = tmp_path / "hf_quant_config.json"
    file.write_text('{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}')
    with pytest.raises(InputError, match="states a quantization, not a model; give the config.json beside it"):
        catalog.model(str(file))
