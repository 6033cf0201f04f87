"""Frozen descriptions of what is simulated: hardware, models, drafts, engines.

A spec that exists is valid: every law is checked in ``__post_init__``. Quantities are SI base units with the
unit in the name; datasheet values live here, fitted corrections in `scylla_sim.kernels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scylla_sim.checks import fail, in_range, one_of, positive, whole

BYTES_PER_ELEMENT = {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0}
"""Bytes of one weight or activation by the precision names of the command line."""

PEAKS = ("fp32", "bf16", "fp8", "int8", "fp4")
"""Precisions a datasheet states a dense peak for."""

DRAFT_KINDS = ("none", "head", "model", "medusa", "ngram")


@dataclass(frozen=True)
class Hardware:
    """One GPU (or this machine's CPU) and the link between several of them, as the datasheet states it.

    Attributes
    ----------
    peak_flop_per_s
        Dense peak by precision (never the 2:4 sparse figure).
    link_bytes_per_s
        One direction, one GPU. ``link`` is ``nvlink``, ``pcie`` or ``none``.
    sm_count, l2_bytes
        0 where the device has no such thing (a CPU).
    calibration
        Name of the shipped calibration, or of the device whose calibration stands in for this one.
    """

    name: str
    family: str
    memory_bytes: float
    memory_bytes_per_s: float
    peak_flop_per_s: Mapping[str, float]
    sm_count: int = 0
    l2_bytes: float = 0.0
    link: str = "none"
    link_bytes_per_s: float = 0.0
    gpus_per_node: int = 1

    def __post_init__(self) -> None:
        positive("memory_bytes", self.memory_bytes)
        positive("memory_bytes_per_s", self.memory_bytes_per_s)
        if not self.peak_flop_per_s:
            raise fail("peak_flop_per_s", {}, "must name at least one precision")
        for precision, peak in self.peak_flop_per_s.items():
            one_of("precision", precision, PEAKS)
            positive(f"peak_flop_per_s[{precision}]", peak)
        whole("sm_count", self.sm_count, 0)
        in_range("l2_bytes", self.l2_bytes, 0)
        one_of("link", self.link, ("nvlink", "pcie", "none"))
        in_range("link_bytes_per_s", self.link_bytes_per_s, 0)
        whole("gpus_per_node", self.gpus_per_node, 1)
        object.__setattr__(self, "peak_flop_per_s", MappingProxyType(dict(self.peak_flop_per_s)))

    def peak(self, precision: str) -> float:
        """Dense FLOP/s of a precision; unknown on this device names what it has."""
        one_of(
            "precision",
            precision,
            self.peak_flop_per_s,
            hint=f"{self.name} has no other peak in its datasheet",
        )
        return self.peak_flop_per_s[precision]


@dataclass(frozen=True)
class Model:
    """A dense decoder-only transformer with grouped-query attention and a gated MLP (the Llama shape)."""

    name: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied_embeddings: bool = False
    max_context: int = 0

    def __post_init__(self) -> None:
        for name in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads"):
            whole(name, getattr(self, name), 1)
        whole("head_dim", self.head_dim, 1)
        whole("vocab_size", self.vocab_size, 1)
        whole("max_context", self.max_context, 0)
        if self.num_heads % self.num_kv_heads:
            raise fail("num_kv_heads", self.num_kv_heads, f"must divide num_heads={self.num_heads}")

    @property
    def layer_parameters(self) -> int:
        """Weights of one decoder layer (norms apart, which are below 0.01 %)."""
        attention = self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def head_parameters(self) -> int:
        """Weights of the vocabulary projection."""
        return self.hidden_size * self.vocab_size

    @property
    def parameters(self) -> int:
        """All weights, with the embedding counted once when it is tied to the head."""
        embeddings = 1 if self.tied_embeddings else 2
        return self.num_layers * self.layer_parameters + embeddings * self.head_parameters

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers kept per token in the KV cache, keys and values of all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim


@dataclass(frozen=True)
class Draft:
    """How candidate tokens are made.

    ``head``: decoder layers on the target's features, with the target's width (EAGLE, Scylla). ``model``: an
    independent small model. ``medusa``: parallel heads, no sequential passes. ``ngram``: no model at all.

    Attributes
    ----------
    num_layers
        Decoder layers of a head, number of heads for ``medusa``.
    fused_features
        Hidden states of the target that the head's input projection joins: 1 for EAGLE-1/2, 3 for EAGLE-3.
    vocab_size
        Size of a reduced draft vocabulary; 0 means the target's.
    reads_target_head
        Whether the vocabulary projection is the target's own (no extra weights to store).
    """

    name: str
    kind: str
    num_layers: int = 0
    fused_features: int = 1
    vocab_size: int = 0
    reads_target_head: bool = True
    model: Model | None = None

    def __post_init__(self) -> None:
        one_of("draft kind", self.kind, DRAFT_KINDS)
        whole("draft_layers", self.num_layers, 0)
        whole("fused_features", self.fused_features, 1)
        whole("draft vocab_size", self.vocab_size, 0)
        if self.kind in ("head", "medusa") and self.num_layers < 1:
            raise fail("draft_layers", self.num_layers, f"must be at least 1 for a {self.kind} draft")
        if (self.kind == "model") != (self.model is not None):
            raise fail("draft model", self.model, f"does not go with kind={self.kind!r}")


@dataclass(frozen=True)
class Engine:
    """What a serving engine adds to the kernels, all of it explicit and in seconds.

    Attributes
    ----------
    host_s
        Scheduler and sampling work of one step, not overlapped with the device.
    token_s
        The same per token handed to the target in a step (b n of them).
    draft_host_s
        Added to every cycle that drafts; ``draft_pass_host_s`` to every sequential draft pass.
    launch_s
        Per kernel when a step is launched eagerly; 0 under a CUDA graph.
    max_graph_tokens
        Tokens up to which steps were captured as a CUDA graph; 0 means no limit.
    """

    name: str
    host_s: float = 0.0
    token_s: float = 0.0
    draft_host_s: float = 0.0
    draft_pass_host_s: float = 0.0
    launch_s: float = 0.0
    max_graph_tokens: int = 0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("host_s", "token_s", "draft_host_s", "draft_pass_host_s", "launch_s"):
            in_range(name, getattr(self, name), 0)
        whole("max_graph_tokens", self.max_graph_tokens, 0)
