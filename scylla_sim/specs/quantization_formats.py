"""Formats of quantized checkpoints: the data type behind each spelling, and the modules that it leaves out.

Source: the configuration classes of vLLM (``vllm/model_executor/layers/quantization``), compressed-tensors
(``compressed_tensors.quantization.QuantizationScheme``) and TensorRT Model Optimizer (``hf_quant_config.json``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_KEPT = ("lm_head",)
"""Modules in 16 bits unless a file names them: engines treat the vocabulary projection as an embedding."""


class NotModelledError(Exception):
    """A format that cannot be estimated; the message completes ``quantization_config=NAME ...``."""


@dataclass(frozen=True)
class Format:
    """Quantized modules of a checkpoint.

    Attributes
    ----------
    text
        What the file states, for messages.
    rules
        Pairs of a pattern of module names and a data type; the first match counts. The pattern ``Linear`` matches
        every linear layer.
    kept
        Patterns of modules that stay in 16 bits; they take precedence.
    kv_dtype
        Data type of the KV cache; empty if the file states none.
    """

    text: str
    rules: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    kv_dtype: str = ""


# -- AWQ, GPTQ, fp8 and mxfp4 ----------------------------------------------------------------------------------

_INTEGER = {
    **dict.fromkeys(("awq", "awq_marlin", "gptq", "gptq_marlin", "auto-round", "intel/auto-round"), (4, 8)),
}
"""Method of integer weights -> numbers of bits that are modelled."""
_BY_BITS = {4: "int4_wo", 8: "int8_wo"}
_SMALL_GROUPS = ((32, "int4_wo_g32"), (64, "int4_wo_g64"))
"""Largest group of values that share a scale -> data type of 4-bit weights; larger groups are ``int4_wo``."""


def _names(given: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """Return the module patterns under the first key that has some."""
    for key in keys:
        value = given.get(key)
        if isinstance(value, list | tuple):
            return tuple(str(item) for item in value)
    return ()


def _int4(group_size: Any) -> str:
    """Return the data type of 4-bit integers with a group size; absent and -1 mean a group of a whole row.

    Raises
    ------
    NotModelledError
        For groups smaller than 32 values, whose scales take more memory than any modelled type counts.
    """
    if not isinstance(group_size, int) or group_size < 1:
        return "int4_wo"
    if group_size < _SMALL_GROUPS[0][0]:
        raise NotModelledError(f"has groups of {group_size} values; groups of 32 and more are modelled")
    return next((dtype for size, dtype in _SMALL_GROUPS if group_size <= size), "int4_wo")


def simple(method: str, given: Mapping[str, Any]) -> Format:
    """Return the format of a method that quantizes all linear layers alike.

    Raises
    ------
    NotModelledError
        For a method or a number of bits that is not known.
    """
    kept = (*_names(given, "modules_to_not_convert", "ignored_layers", "ignore"), *_KEPT)
    if method in _INTEGER:
        bits = given.get("bits", given.get("w_bit"))
        if bits not in _BY_BITS:
            raise NotModelledError(f"has {bits} bits; 4 and 8 bits are modelled")
        if given.get("dynamic"):
            raise NotModelledError("has rules for single modules (dynamic)")
        head = () if given.get("lm_head") else kept
        dtype = _int4(given.get("group_size", given.get("q_group_size"))) if bits == 4 else _BY_BITS[int(bits)]
        return Format(f"{method}, {bits} bits", (("Linear", dtype),), head)
    if method in ("fp8", "fbgemm_fp8"):
        block = given.get("weight_block_size")
        if block and list(block) != [128, 128]:
            raise NotModelledError(
                f"has blocks of {' x '.join(str(size) for size in block)}; 128 x 128 is modelled"
            )
        text = "fp8, blocks of 128 x 128" if block else f"{method}, one scale per tensor or channel"
        return Format(text, (("Linear", "fp8_block" if block else "fp8"),), kept)
    if method == "mxfp4":
        kept = kept if len(kept) > len(_KEPT) else ("*self_attn*", "*router*", *_KEPT)
        return Format("mxfp4", (("Linear", "mxfp4"),), kept)
    raise NotModelledError("is not modelled; modelled: awq, gptq, fp8, mxfp4, compressed-tensors, modelopt")


# -- compressed-tensors ----------------------------------------------------------------------------------------


def _scheme(group: Mapping[str, Any], layout: str) -> str:
    """Return the data type of one group of a compressed-tensors configuration."""
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        raise NotModelledError("states no weights for a group")
    bits, kind = int(weights.get("num_bits") or 0), str(weights.get("type", "int"))
    input_bits = int(inputs.get("num_bits") or 0) if isinstance(inputs, Mapping) else 16
    layout = str(group.get("format") or layout)
    if kind == "int":
        four_bits = _int4(weights.get("group_size")) if bits == 4 else ""
        known = {(4, 16): four_bits, (8, 16): "int8_wo", (8, 8): "sq"}
    elif bits == 4:
        micro = "mxfp4" in layout or weights.get("group_size") == 32
        # engines run mxfp4 weights with 16-bit activations where the file asks for 4 bits
        known = {(4, 16): "mxfp4", (4, 4): "mxfp4"} if micro else {(4, 16): "nvfp4_wo", (4, 4): "nvfp4"}
    else:
        block = weights.get("strategy") == "block" or weights.get("block_structure")
        if block and weights.get("block_structure") not in (None, [128, 128], "128x128"):
            raise NotModelledError(f"has blocks of {weights['block_structure']}; 128 x 128 is modelled")
        known = {(8, 8): "fp8_block" if block else "fp8", (8, 16): "fp8_wo"}
    if (bits, input_bits) not in known:
        raise NotModelledError(f"has {kind} weights of {bits} bits with inputs of {input_bits} bits")
    return known[bits, input_bits]


def _kv_dtype(scheme: Any) -> str:
    """Return the data type of a KV cache scheme, which is a name or a mapping."""
    if not scheme:
        return ""
    if isinstance(scheme, Mapping):
        bits, kind = int(scheme.get("num_bits") or 0), str(scheme.get("type"))
        scheme = {(8, "float"): "FP8", (4, "float"): "NVFP4"}.get((bits, kind), f"{bits}-bit {kind}")
    if str(scheme).upper() not in ("FP8", "NVFP4"):
        raise NotModelledError(f"has a KV cache in {scheme}; fp8 and nvfp4 are modelled")
    return str(scheme).lower()


def compressed_tensors(given: Mapping[str, Any]) -> Format:
    """Return the format of a compressed-tensors configuration with one or several groups.

    Raises
    ------
    NotModelledError
        For a scheme that is not known.
    """
    groups = given.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise NotModelledError("has no config_groups")
    layout = str(given.get("format", ""))
    rules = []
    for group in groups.values():
        dtype = _scheme(group, layout)
        rules += [(str(target), dtype) for target in group.get("targets") or ("Linear",)]
    rules.sort(key=lambda rule: rule[0] == "Linear")  # named modules before the class
    dtypes = dict.fromkeys(dtype for _, dtype in rules)
    text = f"compressed-tensors, {', '.join(dtypes)}"
    named = any("lm_head" in target for target, _ in rules)
    kept = (*_names(given, "ignore"), *(() if named else _KEPT))
    return Format(text, tuple(rules), kept, _kv_dtype(given.get("kv_cache_scheme")))


# -- ModelOpt --------------------------------------------------------------------------------------------------

_ALGORITHMS = {
    "FP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "FP8_PB_WO": "fp8_block",
    "FP8_PB_REAL": "fp8_block",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4_wo",
    "W4A16_AWQ": "int4_wo",
    "INT4_AWQ": "int4_wo",
    "W8A16": "int8_wo",
    "W8A8_SQ_PER_CHANNEL": "sq",
    "MXFP4": "mxfp4",
    "W4A16_MXFP4": "mxfp4",
}
"""Algorithm of ModelOpt -> data type."""


def _algorithm(name: Any) -> str:
    if name not in _ALGORITHMS:
        raise NotModelledError(f"has the algorithm {name}; modelled: {', '.join(_ALGORITHMS)}")
    return _ALGORITHMS[name]


def modelopt(given: Mapping[str, Any]) -> Format:
    """Return the format of a ModelOpt configuration, of ``config.json`` or ``hf_quant_config.json``.

    With ``MIXED_PRECISION`` the modules of ``quantized_layers`` have an algorithm each, and all others stay in 16
    bits.

    Raises
    ------
    NotModelledError
        For an algorithm that is not known.
    """
    kv_dtype = _kv_dtype(given.get("kv_cache_quant_algo") or given.get("kv_cache_scheme"))
    kept = _names(given, "exclude_modules", "ignore")
    algorithm = given.get("quant_algo")
    layers = given.get("quantized_layers")
    if algorithm == "MIXED_PRECISION" or layers:
        if not isinstance(layers, Mapping):
            raise NotModelledError("is MIXED_PRECISION without quantized_layers")
        rules = tuple((str(name), _algorithm(item.get("quant_algo"))) for name, item in layers.items())
        return Format(f"modelopt, {_listed(dtype for _, dtype in rules)}", rules, kept, kv_dtype)
    if algorithm is None and given.get("config_groups"):
        return compressed_tensors(given)
    dtype = _algorithm(algorithm)
    return Format(f"modelopt, {algorithm}", (("Linear", dtype),), (*kept, *_KEPT), kv_dtype)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
