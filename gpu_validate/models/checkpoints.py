"""Checkpoints in Llama's layout: ``config.json`` and ``*.safetensors``, read into and written from a `Decoder`.

A `Decoder` does not compute biases, other activations, sliding windows, quantized weights, or rotary scalings other
than ``linear`` and ``llama3``. Checkpoints that need any of them are refused with an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_validate.models.decoder import Decoder, DecoderOptions, Rope
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.records import dump_json, write_bytes, write_text
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

MODEL_TYPES = ("llama", "mistral")
"""Model families whose layers are those of a `Decoder`."""

_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "quantization_config": (None,),
    "partial_rotary_factor": (1.0, None),
}
"""Keys of a config that can change the computation, with the values that do not change it."""

_JOINED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Projection of a layer -> matrices of the file that are stacked in it."""
_NORMS = {"norm_in": "input_layernorm", "norm_mid": "post_attention_layernorm"}
"""Norm of a layer -> its name in the file."""

_INDEX = "model.safetensors.index.json"

WEIGHT_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Element types that the weights of a decoder may have."""


def _library() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise InputError("checkpoints need the package safetensors; install it with pip") from None
    return safetensors


def _check_dtypes(name: str, value: str, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if tensor.dtype not in WEIGHT_DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in WEIGHT_DTYPES)
            raise fail(name, value, f"has {key} in {str(tensor.dtype).removeprefix('torch.')}", f"known: {known}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one ``*.safetensors`` file by name.

    The tensors are mapped into memory and read when they are used. Writing to one does not change the file.

    Raises
    ------
    InputError
        When the file is missing or damaged, or holds a tensor that is not in `WEIGHT_DTYPES`.
    """
    library = _library()
    try:
        found: dict[str, Tensor] = library.torch.load_file(path)
    except OSError as error:
        raise fail("checkpoint", str(path), f"cannot be read ({error.strerror or error})") from None
    except library.SafetensorError as error:
        hint = "it may be cut off; fetch it again"
        raise fail("checkpoint", str(path), f"is not a valid safetensors file ({error})", hint) from None
    _check_dtypes("checkpoint", str(path), found)
    return found


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name to a ``*.safetensors`` file. Either the whole file is written or none of it.

    Raises
    ------
    InputError
        When a tensor is not in `WEIGHT_DTYPES`, or the file cannot be written.
    """
    _check_dtypes("out", str(path), tensors)
    dense = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_bytes(path, _library().torch.save(dense))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise fail("checkpoint", str(path), f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise fail("checkpoint", str(path), f"is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise fail("checkpoint", str(path), "must contain a JSON object")
    return value


def _rope(config: Mapping[str, Any], name: str) -> Rope:
    """Read the rotary embedding of a config; newer configs keep it in ``rope_parameters``."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = float(given.get("rope_theta") or config.get("rope_theta") or Rope.base)
    kind = str(given.get("rope_type") or given.get("type") or "default")
    hint = f"rotary scaling of {name}"
    if one_of("rope_type", kind, ("default", "linear", "llama3"), hint=hint) == "default":
        return Rope(base)
    try:
        factor = float(given["factor"])
        if kind == "linear":
            return Rope(base, kind, factor)
        low, high = float(given["low_freq_factor"]), float(given["high_freq_factor"])
        return Rope(base, kind, factor, low, high, int(given["original_max_position_embeddings"]))
    except KeyError as error:
        raise fail("rope_scaling", kind, f"lacks {error.args[0]} in the config of {name}") from None


def decoder_options(config: Mapping[str, Any], name: str) -> DecoderOptions:
    """Read the rotary embedding and the norms of a config.

    Raises
    ------
    InputError
        When the config asks for something that a `Decoder` does not compute.
    """
    one_of("model_type", str(config.get("model_type") or "llama"), MODEL_TYPES, hint=f"config of {name}")
    for key, known in _PLAIN.items():
        if key in config and config[key] not in known:
            shown = " or ".join(str(value) for value in known)
            raise fail(key, config[key], f"is not supported by the decoder ({name})", f"supported: {shown}")
    return DecoderOptions(_rope(config, name), float(config.get("rms_norm_eps") or DecoderOptions.norm_eps))


def _files(folder: Path) -> dict[Path, set[str] | None]:
    """Return the files of a checkpoint with the tensors that its index lists in each; ``None`` without an index."""
    if (folder / _INDEX).exists():
        where = _json(folder / _INDEX).get("weight_map")
        if not isinstance(where, dict) or not where:
            raise fail("checkpoint", str(folder / _INDEX), "has no weight_map")
        for file in where.values():
            if not isinstance(file, str) or Path(file).name != file:
                raise fail(
                    "checkpoint", str(folder / _INDEX), f"lists {file!r}, which is not the name of a file beside it"
                )
        shards = sorted(set(where.values()))
        return {folder / shard: {name for name in where if where[name] == shard} for shard in shards}
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        rule = f"must contain one .safetensors file or {_INDEX}, but contains {len(files)} files"
        raise fail("checkpoint", str(folder), rule)
    return {files[0]: None}


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint by name."""
    found: dict[str, Tensor] = {}
    for file, promised in _files(folder).items():
        held = read_weights(file)
        if promised is not None and promised - held.keys():
            raise fail("checkpoint", str(file), f"lacks {min(promised - held.keys())}, which {_INDEX} lists")
        found.update(held)
    return found


def _places(model: Decoder) -> Iterator[tuple[Tensor, tuple[str, ...]]]:
    """Yield every weight of a decoder with the tensors of the file that it consists of."""
    yield model.embedding.weight, ("model.embed_tokens.weight",)
    for index, layer in enumerate(model.layers):
        prefix = f"model.layers.{index}"
        for name, parts in _JOINED.items():
            yield getattr(layer, name).weight, tuple(f"{prefix}.{part}.weight" for part in parts)
        for name, part in _NORMS.items():
            yield getattr(layer, name), (f"{prefix}.{part}.weight",)
    yield model.norm, ("model.norm.weight",)
    if not model.spec.tied_embeddings:
        yield model.head.weight, ("lm_head.weight",)


def _split_of(spec: Model, weight: Tensor, names: Sequence[str]) -> list[int]:
    """Return the number of rows of a decoder's weight that each tensor of the file fills."""
    if len(names) == 3:
        return [spec.num_heads * spec.head_dim, *[spec.num_kv_heads * spec.head_dim] * 2]
    return [len(weight) // len(names)] * len(names)


def _fill(
    weight: Tensor, names: Sequence[str], rows: Sequence[int], held: Mapping[str, Tensor], folder: Path
) -> None:
    """Copy tensors of a file into their rows of a weight."""
    begin = 0
    for name, count in zip(names, rows):
        if name not in held:
            raise fail("checkpoint", str(folder), f"lacks {name}")
        wanted = (count, *weight.shape[1:])
        if tuple(held[name].shape) != wanted:
            rule = f"must have the shape {list(wanted)} that the config of {folder} states"
            raise fail(name, list(held[name].shape), rule)
        with torch.no_grad():
            weight[begin : begin + count] = held[name]
        begin += count


def load(folder: Path | str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Decoder:
    """Load the weights of a checkpoint into a decoder.

    Parameters
    ----------
    folder
        Folder of the checkpoint.
    device, dtype
        Device and dtype of the decoder.

    Raises
    ------
    InputError
        If a file is damaged, or a tensor is missing, unknown or of another shape. Also if the config needs a
        feature that a `Decoder` does not have.
    """
    folder = Path(folder)
    config = _json(folder / "config.json")
    spec = catalog.model(str(folder))
    model = Decoder(spec, device=device, dtype=dtype, options=decoder_options(config, folder.name))
    held = _tensors(folder)
    used: set[str] = set()
    for weight, names in _places(model):
        _fill(weight, names, _split_of(spec, weight, names), held, folder)
        used.update(names)
    # old files store rotary frequencies or, with tied embeddings, the embedding a second time
    known = (".rotary_emb.inv_freq", *(("lm_head.weight",) if spec.tied_embeddings else ()))
    left = sorted(name for name in held.keys() - used if not name.endswith(known))
    if left:
        raise fail("checkpoint", str(folder), f"has {left[0]}, which the decoder does not compute")
    return model


def _config(model: Decoder) -> dict[str, Any]:
    spec, rope = model.spec, model.options.rope
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "num_key_value_heads": spec.num_kv_heads,
        "head_dim": spec.head_dim,
        "vocab_size": spec.vocab_size,
        "tie_word_embeddings": spec.tied_embeddings,
        "rms_norm_eps": model.options.norm_eps,
        "rope_theta": rope.base,
    }
    if spec.max_context:
        config["max_position_embeddings"] = spec.max_context
    if rope.scaling != "none":
        config["rope_scaling"] = {"rope_type": rope.scaling, "factor": rope.factor}
    if rope.scaling == "llama3":
        config["rope_scaling"] |= {
            "low_freq_factor": rope.low_freq_factor,
            "high_freq_factor": rope.high_freq_factor,
            "original_max_position_embeddings": rope.original_context,
        }
    return config


def save(model: Decoder, folder: Path | str) -> None:
    """Write a decoder as a checkpoint in Llama's layout, for example a random one as input of ``measure``."""
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    for weight, names in _places(model):
        tensors.update(zip(names, torch.split(weight, _split_of(model.spec, weight, names))))
    write_text(folder / "config.json", dump_json(_config(model)))
    write_weights(folder / "model.safetensors", tensors)
