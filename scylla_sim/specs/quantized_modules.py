"""Modules of a checkpoint behind each operation of a forward pass, and the data types that a file gives them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from scylla_sim.specs.quantization_formats import Format

HALF = "bfloat16"

_ATTENTION = ("self_attn", "attn", "attention", "mixer")
_MLP = ("mlp", "ffn", "feed_forward", "block_sparse_moe", "mixer")
_SHARED = ("shared_experts", "shared_expert")


def _paths(parents: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{parent}.{name}" for parent in parents for name in names)


def _expert_paths(*names: str) -> tuple[str, ...]:
    return (*_paths(_MLP, *(f"experts.0.{name}" for name in names)), *(f"experts.0.{name}" for name in names))


EXPERTS = ("expert_gate_up", "expert_down")
"""Operations of the routed experts."""

MODULES: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": _paths(_ATTENTION, "q_proj", "qkv_proj", "query_key_value"),
    "qkv_a_proj": _paths(_ATTENTION, "q_a_proj", "fused_qkv_a_proj_with_mqa"),
    "q_b_proj": _paths(_ATTENTION, "q_b_proj"),
    "q_proj": _paths(_ATTENTION, "q_proj"),
    "kv_a_proj": _paths(_ATTENTION, "kv_a_proj_with_mqa"),
    "query_absorb": _paths(_ATTENTION, "kv_b_proj"),
    "value_up": _paths(_ATTENTION, "kv_b_proj"),
    "o_proj": _paths(_ATTENTION, "o_proj"),
    "linear_in_proj": _paths(("linear_attn",), "in_proj_qkv", "in_proj_qkvz"),
    "linear_out_proj": _paths(("linear_attn",), "out_proj"),
    "index_q_proj": _paths(_ATTENTION, "indexer.wq_b"),
    "index_k_proj": _paths(_ATTENTION, "indexer.wk"),
    "gate_up_proj": _paths(_MLP, "gate_proj", "up_proj", "gate_up_proj"),
    "down_proj": _paths(_MLP, "down_proj"),
    "router": (*_paths(_MLP, "gate", "router"), "router.proj"),
    "expert_gate_up": _expert_paths("gate_proj", "up_proj", "gate_up_proj", "w1", "w3"),
    "expert_down": _expert_paths("down_proj", "w2"),
    "shared_gate_up_proj": _paths(
        _MLP, *(f"{name}.{last}" for name in _SHARED for last in ("gate_proj", "up_proj"))
    ),
    "shared_down_proj": _paths(_MLP, *(f"{name}.down_proj" for name in _SHARED)),
    "lm_head": ("lm_head", "head"),
}
"""Operation with weights -> its module in a layer, or at the top, in the spellings of the model families."""

_PARTS = {"linear_": "linear attention", "shared": "shared experts", "expert": "experts", "router": "router"}


def part_of(op: str, *, moe: bool, mla: bool, indexer: bool = False) -> str:
    """Return the part of a model that an operation belongs to; empty for a part that the model lacks.

    Examples
    --------
    >>> part_of("qkv_proj", moe=False, mla=False), part_of("router", moe=False, mla=False)
    ('attention', '')
    """
    if op in _AT_THE_TOP:
        return op
    for start, part in _PARTS.items():
        if op.startswith(start):
            return part if moe or start == "linear_" else ""
    if op in _DENSE:
        return "dense MLP"
    if op.startswith("index_"):
        return "indexer" if indexer else ""
    if op == "o_proj":
        return "o_proj" if mla else "attention"
    return "attention" if mla != (op == "qkv_proj") else ""


_AT_THE_TOP = ("lm_head",)
_DENSE = ("gate_up_proj", "down_proj")
_SPARSE = (*EXPERTS, "router", "shared_gate_up_proj", "shared_down_proj")
_NEVER_QUANTIZED = ("router",)
"""Operations that engines run in 16 bits unless a file names their module: vLLM gives routers no quantization."""

_PREFIXES = ("model.", "", "model.language_model.", "language_model.model.", "language_model.", "backbone.")
"""Names in front of ``layers.0`` in the model families."""


@dataclass(frozen=True)
class Layers:
    """Layers of a model, as far as module patterns need them.

    Attributes
    ----------
    count
        Decoder layers.
    dense
        First layers of an MoE model, which have a dense MLP.
    both
        Whether every layer has a dense MLP beside its experts, as in Gemma 4.
    linear
        Layers with linear attention, as in Qwen3-Next.
    """

    count: int
    dense: int = 0
    both: bool = False
    linear: tuple[int, ...] = ()

    def have(self, op: str, layer: int) -> bool:
        """Return whether a layer runs an operation."""
        if op in _AT_THE_TOP:
            return layer == 0
        if op in _DENSE:
            return layer < self.dense or not self.dense
        if op in _SPARSE:
            return layer >= self.dense
        return (layer in self.linear) == op.startswith("linear_")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression of a module pattern.

    ``re:`` starts a regular expression, as in compressed-tensors. A star matches any text. A plain name matches the
    module, the modules inside it, and a module whose last parts it is.
    """
    if text.startswith("re:"):
        return re.compile(text[3:])
    if "*" in text:
        return re.compile(".*".join(re.escape(part) for part in text.split("*")) + r"(\..*)?$")
    return re.compile(rf"(.*\.)?{re.escape(text)}(\..*)?$")


def _matches(text: str, modules: tuple[str, ...]) -> bool:
    return any(_pattern(text).match(module) is not None for module in modules)


def _full_names(op: str, layer: int, *, both: bool) -> tuple[str, ...]:
    """Return the names that a module may have in the files of the model families."""
    if op in _AT_THE_TOP:
        return tuple(f"{prefix}{name}" for prefix in _PREFIXES for name in MODULES[op])
    names = [name for name in MODULES[op] if not (both and op in (*EXPERTS, "router") and name.startswith(_MLP))]
    return tuple(f"{prefix}layers.{layer}.{name}" for prefix in _PREFIXES for name in names)


_LAYER = re.compile(r"(?<![a-z])layers\.(\d+)(?!\d)")
_EXPERT = re.compile(r"\bexperts\.\d+")


def _of_layer(texts: Iterable[str], layer: int) -> tuple[str, ...]:
    """Return the patterns that concern one layer, written for layer 0 and expert 0."""
    found = {}
    for text in texts:
        number = None if text.startswith("re:") else _LAYER.search(text)
        if number is None or int(number[1]) == layer:
            found[text if number is None else _EXPERT.sub("experts.0", _LAYER.sub("layers.0", text))] = True
    return tuple(found)


@cache
def _dtype(op: str, kept: tuple[str, ...], rules: tuple[tuple[str, str], ...], layer: int, both: bool) -> str:
    """Return the data type of an operation in a layer, from the patterns that concern the layer."""
    modules = _full_names(op, layer, both=both)
    if any(_matches(text, modules) for text in kept):
        return HALF
    for target, dtype in rules:
        if target == "Linear":
            return HALF if op in _NEVER_QUANTIZED else dtype
        if _matches(target, modules):
            return dtype
    return HALF


@cache
def op_dtypes(read: Format, layers: Layers) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the data type of the experts or MLPs, and pairs of an operation and a data type that differs from it.

    Where the layers of a model differ, an operation has the data type of most layers. A file that lists the
    quantized layers decides for the layers that it names.

    Parameters
    ----------
    read
        Format of the checkpoint.
    layers
        Layers of the model.
    """
    targets: dict[str, list[str]] = {}
    for target, dtype in read.rules:
        targets.setdefault(dtype, []).append(target)
    numbered = any(text.startswith("re:") and "layers" in text for text in (*read.kept, *dict(read.rules)))
    counts: dict[str, Counter[str]] = {op: Counter() for op in MODULES}
    for layer in range(layers.count):
        kept = _of_layer(read.kept, layer)
        rules = tuple(
            sorted(
                ((text, dtype) for dtype, texts in targets.items() for text in _of_layer(texts, layer)),
                key=lambda rule: rule[0] == "Linear",
            )
        )
        for op in MODULES:
            if layers.have(op, layer):
                # patterns with a number are written for layer 0; regular expressions keep their numbers
                counts[op][_dtype(op, kept, rules, layer if numbered else 0, layers.both)] += 1
    counts = {op: count for op, count in counts.items() if count}
    if "Linear" not in dict(read.rules):
        counts = {op: Counter({d: n for d, n in count.items() if d != HALF}) for op, count in counts.items()}
    found = {op: count.most_common(1)[0][0] if count else HALF for op, count in counts.items()}
    ranked = (*(found.get(op, HALF) for op in (*EXPERTS, *_DENSE)), *found.values())
    base = next((dtype for dtype in ranked if dtype != HALF), HALF)
    return base, tuple((op, dtype) for op, dtype in found.items() if dtype != base)
