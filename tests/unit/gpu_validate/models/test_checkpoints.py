"""Checkpoints: logits of Hugging Face's Llama, round trips, and errors of damaged files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_validate.models import checkpoints
from gpu_validate.models.decoder import Decoder, DecoderOptions, KVCache, Rope, placement_after
from scylla_sim.checks import InputError
from scylla_sim.specs.model import Model

CONFIG: dict[str, Any] = {
    **{"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "vocab_size": 23, "max_position_embeddings": 256, "rms_norm_eps": 1e-6},
    **{"rope_theta": 500000.0, "tie_word_embeddings": False},
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
VARIANTS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "plain": ({}, [0.8582, 2.2793, -1.1343, 1.0222, 0.6535, -0.0102]),
    "tied": ({"tie_word_embeddings": True}, [-0.6173, 0.2139, -2.5711, -0.8652, 1.0406, -0.2354]),
    "llama3": (
        {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 64}},
        [0.0049, 2.0584, -2.5536, 1.1296, 0.4718, -0.3347],
    ),
    "linear": (
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        [0.7327, 2.1537, -1.7064, 1.4018, 1.1629, -0.3337],
    ),
}
"""Changes of the config, and the first logits of the last token. Source: LlamaForCausalLM of transformers 5.24.0 on
torch 2.13, fp32, with the weights of `weights`."""


def weights(tied: bool = False) -> dict[str, torch.Tensor]:
    """Tensors by a formula, so that they are the same anywhere."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (23, 32), "model.norm.weight": (32,)}
    if not tied:
        shapes["lm_head.weight"] = (23, 32)
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.{name}_layernorm.weight": (32,) for name in ("input", "post_attention")}
        shapes |= {f"{prefix}.self_attn.{name}_proj.weight": (32, 32) for name in "qo"}
        shapes |= {f"{prefix}.self_attn.{name}_proj.weight": (16, 32) for name in "kv"}
        shapes |= {f"{prefix}.mlp.{name}_proj.weight": (48, 32) for name in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (32, 48)
    found = {}
    for index, (name, shape) in enumerate(sorted(shapes.items())):
        x = torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float64)
        wave = torch.sin(0.7 * (index + 1) + 1.37 * x + 0.011 * x * x % 6.283)
        found[name] = (1 + 0.1 * wave if len(shape) == 1 else 0.3 * wave).reshape(shape).float()
    return found


def write(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    checkpoints.write_weights(folder / "model.safetensors", tensors)
    return folder


def logits(model: Decoder) -> torch.Tensor:
    tokens = (torch.arange(120) * 7 % 23).view(2, 60)
    cache = KVCache.empty(model.spec, 2, 60, model.norm)
    return model(tokens, cache, placement_after(0, 60, model.spec, model.norm, batch=2))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_gives_the_logits_that_hugging_face_gives(name: str, tmp_path: Path) -> None:
    changes, expected = VARIANTS[name]
    folder = write(tmp_path / name, {**CONFIG, **changes}, weights(tied=name == "tied"))
    found = logits(checkpoints.load(folder))[1, -1, :6]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-4)


def test_newer_configs_keep_base_and_scaling_in_one_place(tmp_path: Path) -> None:
    _, expected = VARIANTS["linear"]
    config = {key: value for key, value in CONFIG.items() if key != "rope_theta"}
    config["rope_parameters"] = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0}
    found = logits(checkpoints.load(write(tmp_path, config, weights())))[1, -1, :6]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_and_loaded(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = logits(checkpoints.load(write(tmp_path / "a", CONFIG, weights())))
    halved = {name: tensor.to(dtype) for name, tensor in weights().items()}
    folder = write(tmp_path / "b", CONFIG, halved)
    model = checkpoints.load(folder, dtype=torch.bfloat16)
    assert model.head.weight.dtype == torch.bfloat16
    torch.testing.assert_close(logits(model).float(), whole, rtol=0, atol=0.25)
    torch.testing.assert_close(logits(checkpoints.load(folder)), whole, rtol=0, atol=0.15)


def shard(folder: Path) -> Path:
    """A checkpoint of two files and an index."""
    write(folder, CONFIG, weights())
    (folder / "model.safetensors").unlink()
    names = sorted(weights())
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        checkpoints.write_weights(folder / file, {name: weights()[name] for name in part})
    where = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_a_sharded_checkpoint_is_the_same_model(tmp_path: Path) -> None:
    one, two = (
        checkpoints.load(write(tmp_path / "one", CONFIG, weights())),
        checkpoints.load(shard(tmp_path / "two")),
    )
    assert torch.equal(logits(one), logits(two))


def test_saved_models_load_with_rope_and_norms(tmp_path: Path) -> None:
    rope = Rope(10000.0, "llama3", 8.0, 1.0, 4.0, 64)
    for tied in (False, True):
        spec = Model("x", 2, 16, 24, 4, 2, 4, 19, tied_embeddings=tied, max_context=128)
        model = Decoder(spec, seed=3, options=DecoderOptions(rope, 1e-6))
        checkpoints.save(model, tmp_path / "x")
        again = checkpoints.load(tmp_path / "x")
        assert again.spec == spec
        assert again.options == model.options
        for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_llama3_scaling_lengthens_long_wavelengths_only() -> None:
    from gpu_validate.models.decoder import rope_frequencies

    plain, llama3 = (
        rope_frequencies(Rope(500000.0, kind, 8.0, 1.0, 4.0, 8192), 128, torch.device("cpu"))
        for kind in ("none", "llama3")
    )
    ratio = plain / llama3
    assert ratio[0] == pytest.approx(1.0)
    assert ratio[-1] == pytest.approx(8.0)
    assert bool((ratio[1:] >= ratio[:-1] - 1e-6).all())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "qwen2"}, "model_type='qwen2' is not known.*llama, mistral"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu|hidden_act='gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias=True is not supported"),
        ({"mlp_bias": True}, "mlp_bias=True is not supported"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window=4096 is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config=.* is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type='yarn' is not known.*linear, llama3"),
        ({"rope_scaling": LLAMA3}, "lacks original_max_position_embeddings"),
        ({"vocab_size": 24}, r"model.embed_tokens.weight=\[23, 32\] must have the shape \[24, 32\]"),
        ({"num_key_value_heads": 4}, r"k_proj.weight=\[16, 32\] must have the shape \[32, 32\]"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2"),
        ({"num_hidden_layers": 1}, "has model.layers.1.*does not compute"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused_by_name(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as error:
        checkpoints.load(write(tmp_path / "m", {**CONFIG, **changes}, weights()))
    assert "\n" not in str(error.value)


def test_biases_in_the_file_are_refused_and_old_buffers_are_not(tmp_path: Path) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    checkpoints.load(write(tmp_path / "old", CONFIG, {**weights(), **extra}))
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}
    with pytest.raises(InputError, match="q_proj.bias, which the decoder does not compute"):
        checkpoints.load(write(tmp_path / "bias", CONFIG, {**weights(), **bias}))


def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path: Path) -> None:
    folder = shard(tmp_path)
    index = folder / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    promised = json.dumps(
        {"weight_map": {**value["weight_map"], "more.weight": "model-00001-of-00002.safetensors"}}
    )
    for text, said in (
        (promised, "lacks more.weight"),
        (json.dumps({"weight_map": {"a": "../b.safetensors"}}), "not the name of a file"),
        ("{}", "has no weight_map"),
        ("[", "is not JSON"),
    ):
        index.write_text(text)
        with pytest.raises(InputError, match=said):
            checkpoints.load(folder)
    index.unlink()
    with pytest.raises(InputError, match="contains 2 files"):
        checkpoints.load(folder)


def raw(header: str | bytes, data: bytes = b"") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text + data


GOOD = '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "header too small"),
        (b"\x01", "header too small"),
        ((2**62).to_bytes(8, "little") + b"{}", "header too large"),
        (raw("{nonsense"), "invalid JSON"),
        (raw(b"\xff\xfe"), "invalid UTF-8"),
        (raw("[]"), "invalid JSON"),
        (raw(GOOD, b"\0" * 7), "not fully covered"),
        (raw(GOOD, b"\0" * 9), "not fully covered"),
        (raw(GOOD.replace("[2]", "[3]"), b"\0" * 8), "invalid shape, data type, or offset"),
        (raw(GOOD.replace("[0, 8]", "[4, 12]"), b"\0" * 12), "invalid offset"),
        (raw(GOOD.replace("[2]", "[-2]"), b"\0" * 8), "invalid value"),
        (raw(GOOD.replace("F32", "Q4"), b"\0" * 8), "unknown variant `Q4`"),
        (raw(GOOD.replace("F32", "I64").replace("[2]", "[1]"), b"\0" * 8), "has a in int64.*known: float64"),
        (raw('{"a": 3}'), "invalid type"),
    ],
)
def test_a_file_that_breaks_a_rule_of_the_format_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        checkpoints.read_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_a_file_that_was_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG, weights()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"is not a valid safetensors file.*fetch it again"):
        checkpoints.read_weights(path)


@pytest.mark.parametrize("padding", range(8))
def test_tensors_are_read_wherever_their_bytes_begin(padding: int, tmp_path: Path) -> None:
    value = torch.tensor([1.5, -2.0])
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw(GOOD + " " * padding, value.numpy().tobytes()))
    assert torch.equal(checkpoints.read_weights(path)["a"], value)


def test_every_type_is_written_and_read_and_reading_does_not_change_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {str(dtype): torch.randn(3, 5).to(dtype) for dtype in checkpoints.WEIGHT_DTYPES}
    tensors |= {"empty": torch.empty(0, 4), "number": torch.tensor(2.0), "turned": torch.randn(4, 3).t()}
    checkpoints.write_weights(path, tensors)
    before = path.read_bytes()
    again = checkpoints.read_weights(path)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    again["number"].fill_(7.0)
    assert path.read_bytes() == before


def test_integers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a in int64"):
        checkpoints.write_weights(tmp_path / "x", {"a": torch.zeros(2, dtype=torch.int64)})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_missing_library_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.read_weights(tmp_path / "missing.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match="need the package safetensors"):
        checkpoints.read_weights(tmp_path / "missing.safetensors")


def test_a_folder_without_weights_or_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match="contains 0 files"):
        checkpoints.load(tmp_path)
