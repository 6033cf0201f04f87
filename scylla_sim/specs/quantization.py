"""Quantization of a checkpoint: the data type of each projection, from the files that Hugging Face models carry.

`from_config` reads ``quantization_config`` of a ``config.json`` (AWQ, GPTQ, compressed-tensors, fp8, mxfp4,
ModelOpt) and ``hf_quant_config.json`` (ModelOpt). `uniform` is the quantization that a precision alone means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scylla_sim.specs import quantized_modules
from scylla_sim.specs.dtypes import DTYPES, precision_name
from scylla_sim.specs.hf_types import MAX_LAYERS
from scylla_sim.specs.quantization_formats import Format, NotModelledError, compressed_tensors, modelopt, simple

HALF = "bfloat16"
"""Data type of the projections that a checkpoint leaves in 16 bits."""


@dataclass(frozen=True)
class Quantization:
    """Data types of the weights of a checkpoint.

    Attributes
    ----------
    method
        What the file states, for messages: ``awq, 4 bits``.
    dtype
        Data type of most weights; empty if the format is not modelled.
    op_dtypes
        Pairs of an operation of a forward pass and its data type, where it differs from ``dtype``.
    kv_dtype
        Data type of the KV cache that the file states; empty if it states none.
    problem
        Reason why the format is not modelled; empty for a known format.
    """

    method: str
    dtype: str
    op_dtypes: tuple[tuple[str, str], ...] = ()
    kv_dtype: str = ""
    problem: str = ""

    @property
    def precision(self) -> str:
        """Name of the data type of most weights on the command line."""
        return precision_name(self.dtype)

    def exceptions(self, moe: bool = True, mla: bool = False, indexer: bool = False) -> str:
        """Return the parts with other data types as text: ``lm_head, router in bf16``; empty if none.

        Parameters
        ----------
        moe, mla, indexer
            Whether the model has experts, MLA, and an indexer; parts that it lacks are left out.
        """
        named: dict[str, list[str]] = {}
        for op, dtype in self.op_dtypes:
            part = quantized_modules.part_of(op, moe=moe, mla=mla, indexer=indexer)
            if part and part not in named.setdefault(precision_name(dtype), []):
                named[precision_name(dtype)].append(part)
        return "; ".join(f"{', '.join(parts)} in {precision}" for precision, parts in named.items() if parts)


def uniform(dtype: str, *, moe: bool) -> Quantization:
    """Return the quantization that a precision alone means.

    Parameters
    ----------
    dtype
        Data type of the weights.
    moe
        Whether the model has experts.

    Notes
    -----
    Formats of 4 bits leave the vocabulary projection and the routers in 16 bits, as the checkpoints of AWQ, GPTQ
    and ModelOpt do. Checkpoints in mxfp4 quantize the experts alone where a model has some. Other data types hold
    for all projections.

    Examples
    --------
    >>> uniform("int4_wo", moe=False).exceptions(moe=False)
    'lm_head in bf16'
    >>> uniform("fp8", moe=True).exceptions()
    ''
    """
    if not DTYPES[dtype].keeps_head:
        return Quantization(precision_name(dtype), dtype)
    kept: Iterable[str] = ("lm_head", "router")
    if dtype in ("mxfp4", "mxfp4_fp8") and moe:
        kept = (op for op in quantized_modules.MODULES if op not in quantized_modules.EXPERTS)
    return Quantization(precision_name(dtype), dtype, tuple((op, HALF) for op in kept))


def from_config(config: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> Quantization | None:
    """Return the quantization that the files of a checkpoint state; ``None`` for an unquantized checkpoint.

    Parameters
    ----------
    config
        Content of ``config.json``.
    beside
        Content of ``hf_quant_config.json``, if there is one.

    Examples
    --------
    >>> llama = {"model_type": "llama", "num_hidden_layers": 2}
    >>> found = from_config({**llama, "quantization_config": {"quant_method": "awq", "bits": 4}})
    >>> found.precision, found.exceptions(moe=False)
    ('int4', 'lm_head in bf16')
    """
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else {}
    given = config.get("quantization_config") or text.get("quantization_config")
    separate = (beside or {}).get("quantization")
    if separate and (not given or given.get("quant_method") in (None, "modelopt", "modelopt_fp4")):
        given = {"quant_method": "modelopt", **separate}
    if not given:
        return None
    if not isinstance(given, Mapping):
        return Quantization("quantization_config", "", problem="must be a JSON object")
    method = str(given.get("quant_method") or given.get("quant_algo") or "unknown")
    try:
        read = _format(method.lower(), given)
    except NotModelledError as error:
        return Quantization(method, "", problem=str(error))
    shape = _layers({**config, **text})
    dtype, op_dtypes = quantized_modules.op_dtypes(read, shape)
    return Quantization(read.text, dtype, op_dtypes, read.kv_dtype)


def _layers(config: Mapping[str, Any]) -> quantized_modules.Layers:
    """Return the layers of a model, as far as a config states them."""
    given = config.get("num_hidden_layers")
    count = given if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= MAX_LAYERS else 1
    types, interval = config.get("layer_types"), config.get("full_attention_interval")
    if isinstance(types, list):
        linear = tuple(layer for layer, kind in enumerate(types) if kind == "linear_attention")
    else:
        linear = tuple(layer for layer in range(count) if interval and (layer + 1) % int(interval))
    kind = str(config.get("model_type"))
    dense = int(config.get("first_k_dense_replace") or 0)
    return quantized_modules.Layers(count, dense, kind.startswith("gemma4"), linear)


def _format(method: str, given: Mapping[str, Any]) -> Format:
    if "quantized_layers" in given and method == "fp8":
        raise NotModelledError("mixes fp8 blocks with layers of another format")
    if method in ("compressed-tensors", "compressed_tensors"):
        return compressed_tensors(given)
    if method.startswith("modelopt") or "quant_algo" in given:
        return modelopt(given)
    return simple(method, given)
