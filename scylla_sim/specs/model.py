"""Models: the shapes of a decoder-only transformer, dense, MoE or MLA."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scylla_sim.checks import fail, in_range, whole

MAX_SIZE = 1e8
"""Widths, vocabularies and layer counts beyond this are a slip."""


@dataclass(frozen=True)
class Experts:
    """Mixture of experts for an MLP: a router sends each token to ``experts_per_token`` of ``num_experts``.

    Attributes
    ----------
    intermediate_size
        Width of one routed expert.
    shared_intermediate_size
        Width of all shared experts together, which every token passes; 0 without any.
    dense_layers
        Layers that keep a dense MLP of the model's ``intermediate_size``.
    router_skew
        Zipf exponent of the popularity of experts; 0 is a uniform router.
    """

    num_experts: int
    experts_per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    dense_layers: int = 0
    router_skew: float = 0.0

    def __post_init__(self) -> None:
        whole("num_experts", self.num_experts, 1)
        whole("experts_per_token", self.experts_per_token, 1)
        whole("expert intermediate_size", self.intermediate_size, 1)
        whole("shared_intermediate_size", self.shared_intermediate_size, 0)
        whole("dense_layers", self.dense_layers, 0)
        in_range("router_skew", self.router_skew, 0, 8)
        if self.experts_per_token > self.num_experts:
            raise fail("experts_per_token", self.experts_per_token, f"exceeds num_experts={self.num_experts}")


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: one compressed vector of ``kv_rank + rope_dim`` a token stands for all heads.

    Attributes
    ----------
    query_rank
        Rank of the query projection; 0 where it is one full matrix.
    nope_dim, rope_dim, value_dim
        Elements of one head's query without and with rotary embedding, and of its value.
    """

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int = 0

    def __post_init__(self) -> None:
        for name in ("kv_rank", "rope_dim", "nope_dim", "value_dim"):
            whole(name, getattr(self, name), 1, MAX_SIZE)
        whole("query_rank", self.query_rank, 0)


@dataclass(frozen=True)
class Model:
    """A decoder-only transformer with gated MLPs: dense with grouped-query attention unless it says otherwise.

    Attributes
    ----------
    experts
        Mixture of experts of all layers but its ``dense_layers``.
    latent
        Latent attention; ``num_kv_heads`` and ``head_dim`` do not count then.
    windows
        Sliding window of each layer in tokens, 0 for full attention; empty where no layer has one.
    """

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
    experts: Experts | None = None
    latent: Latent | None = None
    windows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads"):
            whole(name, getattr(self, name), 1)
        whole("head_dim", self.head_dim, 1)
        whole("vocab_size", self.vocab_size, 1, MAX_SIZE)
        whole("max_context", self.max_context, 0)
        if self.num_heads % self.num_kv_heads:
            raise fail("num_kv_heads", self.num_kv_heads, f"must divide num_heads={self.num_heads}")
        if self.experts is not None and self.experts.dense_layers >= self.num_layers:
            raise fail("dense_layers", self.experts.dense_layers, f"must be below num_layers={self.num_layers}")
        if self.windows:
            whole("windows", list(self.windows), 0)
            if len(self.windows) != self.num_layers:
                raise fail("windows", len(self.windows), f"must be one for each of num_layers={self.num_layers}")
            if self.latent is not None:
                raise fail("windows", max(self.windows), "does not go with latent attention")

    def with_router_skew(self, skew: float) -> Model:
        """The same model with experts of Zipf popularity; refused where there are none."""
        if self.experts is None:
            raise fail("router_skew", skew, f"does not apply to {self.name}", "it has no experts")
        return replace(self, experts=replace(self.experts, router_skew=skew))

    @property
    def expert_layers(self) -> int:
        """Layers with a mixture of experts."""
        return 0 if self.experts is None else self.num_layers - self.experts.dense_layers

    @property
    def window_layers(self) -> dict[int, int]:
        """Number of layers by sliding window (0: full attention), in order of first appearance."""
        found: dict[int, int] = {}
        for window in self.windows or (0,) * self.num_layers:
            found[window] = found.get(window, 0) + 1
        return found

    @property
    def attention_input_width(self) -> int:
        """Columns of the projections that read a layer's input (queries, keys and values, or their latents)."""
        if self.latent is None:
            return self.head_dim * (self.num_heads + 2 * self.num_kv_heads)
        part = self.latent
        query = part.query_rank or self.num_heads * (part.nope_dim + part.rope_dim)
        return query + part.kv_rank + part.rope_dim

    @property
    def attention_parameters(self) -> int:
        """Attention weights of one layer."""
        if self.latent is None:
            return self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        part = self.latent
        query = part.query_rank * self.num_heads * (part.nope_dim + part.rope_dim)
        key_value = part.kv_rank * self.num_heads * (part.nope_dim + part.value_dim)
        output = self.num_heads * part.value_dim * self.hidden_size
        return self.hidden_size * self.attention_input_width + query + key_value + output

    @property
    def layer_parameters(self) -> int:
        """Weights of one decoder layer with a dense MLP (norms apart, which are below 0.01 %)."""
        return self.attention_parameters + 3 * self.hidden_size * self.intermediate_size

    def _expert_layer_parameters(self, routed: int) -> int:
        part = self.experts
        if part is None:
            return 0
        width = routed * part.intermediate_size + part.shared_intermediate_size
        return self.attention_parameters + self.hidden_size * (3 * width + part.num_experts)

    def _decoder_parameters(self, routed: int) -> int:
        sparse = self.expert_layers
        return (self.num_layers - sparse) * self.layer_parameters + sparse * self._expert_layer_parameters(routed)

    @property
    def decoder_parameters(self) -> int:
        """Weights of all decoder layers, with every expert."""
        return self._decoder_parameters(self.experts.num_experts if self.experts else 0)

    @property
    def head_parameters(self) -> int:
        """Weights of the vocabulary projection."""
        return self.hidden_size * self.vocab_size

    @property
    def parameters(self) -> int:
        """All weights, with the embedding counted once when it is tied to the head."""
        embeddings = 1 if self.tied_embeddings else 2
        return self.decoder_parameters + embeddings * self.head_parameters

    @property
    def active_parameters(self) -> int:
        """Weights that one token meets: `parameters` less the experts it is not routed to (embedding counted)."""
        routed = self.experts.experts_per_token if self.experts else 0
        return self.parameters - self.decoder_parameters + self._decoder_parameters(routed)

    @property
    def replicated_parameters(self) -> int:
        """Weights that every tensor-parallel rank holds whole: latent projections and routers."""
        latent = self.latent
        down = 0 if latent is None else latent.query_rank + latent.kv_rank + latent.rope_dim
        router = 0 if self.experts is None else self.experts.num_experts
        return self.hidden_size * (self.num_layers * down + self.expert_layers * router)

    @property
    def cached_heads(self) -> int:
        """Heads of the KV cache over which tensor-parallel ranks can share it."""
        return self.num_kv_heads if self.latent is None else 1

    @property
    def kv_elements_per_layer(self) -> int:
        """Numbers kept per token in the KV cache of one layer."""
        if self.latent is not None:
            return self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.num_kv_heads * self.head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers kept per token in the KV cache of all layers (as long as the context fits every window)."""
        return self.num_layers * self.kv_elements_per_layer
