"""Model shapes of decoder-only transformers: dense, mixture of experts (MoE), multi-head latent attention (MLA).

To add a model to the catalog, add a table to ``scylla_sim/data/models.toml`` with the keys of its Hugging Face
``config.json``. `scylla_sim.specs.hf_config` turns these keys into a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scylla_sim.checks import fail, in_range, whole

MAX_SIZE = 1e8
"""Largest accepted width or vocabulary; a larger number is taken for a typing error."""


@dataclass(frozen=True)
class MoE:
    """A mixture of experts in place of the MLP.

    The router sends each token to ``experts_per_token`` of the ``num_experts`` experts.

    Attributes
    ----------
    num_experts
        Number of routed experts in one layer.
    experts_per_token
        Number of routed experts that process one token.
    intermediate_size
        Width of one routed expert.
    shared_intermediate_size
        Total width of the shared experts, which process every token; 0 without shared experts.
    dense_layers
        Number of layers with a dense MLP of the model's ``intermediate_size``.
    router_skew
        Zipf exponent of the expert popularity; 0 is a uniform router.
    """

    num_experts: int
    experts_per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    dense_layers: int = 0
    router_skew: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        whole("num_experts", self.num_experts, 1)
        whole("experts_per_token", self.experts_per_token, 1)
        whole("expert intermediate_size", self.intermediate_size, 1)
        whole("shared_intermediate_size", self.shared_intermediate_size, 0)
        whole("dense_layers", self.dense_layers, 0)
        in_range("router_skew", self.router_skew, 0, 8)
        if self.experts_per_token > self.num_experts:
            raise fail("experts_per_token", self.experts_per_token, f"exceeds num_experts={self.num_experts}")


@dataclass(frozen=True)
class MLA:
    """Multi-head latent attention.

    The KV cache holds one compressed vector of ``kv_rank + rope_dim`` elements per token and layer. All heads share
    this vector.

    Attributes
    ----------
    kv_rank
        Elements of the compressed keys and values.
    rope_dim
        Elements of a query or key with rotary embedding.
    nope_dim
        Elements of one head's query without rotary embedding.
    value_dim
        Elements of one head's value.
    query_rank
        Rank of the query projection; 0 for one full matrix.
    """

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("kv_rank", "rope_dim", "nope_dim", "value_dim"):
            whole(name, getattr(self, name), 1, MAX_SIZE)
        whole("query_rank", self.query_rank, 0)


@dataclass(frozen=True)
class Model:
    """A decoder-only transformer with gated MLPs.

    The default is a dense model with grouped-query attention.

    Attributes
    ----------
    intermediate_size
        Width of the dense MLP.
    tied_embeddings
        Whether the embedding and the vocabulary projection share one matrix.
    max_context
        Longest context in tokens; 0 if unknown.
    moe
        Mixture of experts in all layers except its ``dense_layers``; ``None`` for a dense model.
    mla
        Multi-head latent attention; it replaces ``num_kv_heads`` and ``head_dim``.
    windows
        Sliding window of each layer in tokens, 0 for full attention; empty if no layer has a window.
    mtp_layers
        Multi-token prediction layers that the checkpoint contains beside its decoder layers.
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
    moe: MoE | None = None
    mla: MLA | None = None
    windows: tuple[int, ...] = ()
    mtp_layers: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads"):
            whole(name, getattr(self, name), 1)
        whole("head_dim", self.head_dim, 1)
        whole("vocab_size", self.vocab_size, 1, MAX_SIZE)
        whole("max_context", self.max_context, 0)
        if self.num_heads % self.num_kv_heads:
            raise fail("num_kv_heads", self.num_kv_heads, f"must divide num_heads={self.num_heads}")
        if self.moe is not None and self.moe.dense_layers >= self.num_layers:
            raise fail("dense_layers", self.moe.dense_layers, f"must be below num_layers={self.num_layers}")
        if self.windows:
            whole("windows", list(self.windows), 0)
            if len(self.windows) != self.num_layers:
                raise fail("windows", len(self.windows), f"must have num_layers={self.num_layers} entries")
            if self.mla is not None:
                raise fail("windows", max(self.windows), "cannot be combined with MLA")

    def with_router_skew(self, skew: float) -> Model:
        """Return the model with another Zipf exponent of the expert popularity.

        Raises
        ------
        InputError
            For a model without experts.
        """
        if self.moe is None:
            raise fail("router_skew", skew, f"does not apply to {self.name}", "the model has no experts")
        return replace(self, moe=replace(self.moe, router_skew=skew))

    @property
    def moe_layers(self) -> int:
        """Number of MoE layers."""
        return 0 if self.moe is None else self.num_layers - self.moe.dense_layers

    @property
    def window_layers(self) -> dict[int, int]:
        """Number of layers by sliding window, in order of first appearance; window 0 is full attention."""
        found: dict[int, int] = {}
        for window in self.windows or (0,) * self.num_layers:
            found[window] = found.get(window, 0) + 1
        return found

    @property
    def attention_input_width(self) -> int:
        """Output width of the attention projections of a layer's input: queries, keys, values, or their latents."""
        if self.mla is None:
            return self.head_dim * (self.num_heads + 2 * self.num_kv_heads)
        mla = self.mla
        query = mla.query_rank or self.num_heads * (mla.nope_dim + mla.rope_dim)
        return query + mla.kv_rank + mla.rope_dim

    @property
    def attention_parameters(self) -> int:
        """Number of attention weights in one layer."""
        if self.mla is None:
            return self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        mla = self.mla
        query = mla.query_rank * self.num_heads * (mla.nope_dim + mla.rope_dim)
        key_value = mla.kv_rank * self.num_heads * (mla.nope_dim + mla.value_dim)
        output = self.num_heads * mla.value_dim * self.hidden_size
        return self.hidden_size * self.attention_input_width + query + key_value + output

    @property
    def layer_parameters(self) -> int:
        """Number of weights in one decoder layer with a dense MLP, without norms (below 0.01 %)."""
        return self.attention_parameters + 3 * self.hidden_size * self.intermediate_size

    def _moe_layer_parameters(self, routed: int) -> int:
        moe = self.moe
        if moe is None:
            return 0
        width = routed * moe.intermediate_size + moe.shared_intermediate_size
        return self.attention_parameters + self.hidden_size * (3 * width + moe.num_experts)

    def _decoder_parameters(self, routed: int) -> int:
        sparse = self.moe_layers
        return (self.num_layers - sparse) * self.layer_parameters + sparse * self._moe_layer_parameters(routed)

    @property
    def decoder_parameters(self) -> int:
        """Number of weights in all decoder layers, with every expert."""
        return self._decoder_parameters(self.moe.num_experts if self.moe else 0)

    @property
    def head_parameters(self) -> int:
        """Number of weights in the vocabulary projection."""
        return self.hidden_size * self.vocab_size

    @property
    def parameters(self) -> int:
        """Number of weights; an embedding that is tied to the vocabulary projection counts once."""
        embeddings = 1 if self.tied_embeddings else 2
        return self.decoder_parameters + embeddings * self.head_parameters

    @property
    def active_parameters(self) -> int:
        """Number of weights without the experts to which a token is not routed; embeddings count."""
        routed = self.moe.experts_per_token if self.moe else 0
        return self.parameters - self.decoder_parameters + self._decoder_parameters(routed)

    @property
    def replicated_parameters(self) -> int:
        """Number of weights replicated on every TP rank: MLA down-projections and MoE routers."""
        mla = self.mla
        down = 0 if mla is None else mla.query_rank + mla.kv_rank + mla.rope_dim
        router = 0 if self.moe is None else self.moe.num_experts
        return self.hidden_size * (self.num_layers * down + self.moe_layers * router)

    @property
    def cached_heads(self) -> int:
        """Number of KV cache heads that TP ranks can divide among themselves."""
        return self.num_kv_heads if self.mla is None else 1

    @property
    def kv_elements_per_layer(self) -> int:
        """KV cache elements per token in one layer."""
        if self.mla is not None:
            return self.mla.kv_rank + self.mla.rope_dim
        return 2 * self.num_kv_heads * self.head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """KV cache elements per token in all layers, for a context that fits every sliding window."""
        return self.num_layers * self.kv_elements_per_layer
