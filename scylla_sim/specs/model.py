"""Model shapes of decoder-only transformers: dense, mixture of experts (MoE), multi-head latent attention (MLA).

To add a model to the catalog, add a table to ``scylla_sim/data/models.toml`` with the keys of its Hugging Face
``config.json``. `scylla_sim.specs.hf_config` turns these keys into a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from scylla_sim.checks import fail, whole
from scylla_sim.specs.layers import MAX_SIZE, MLA, AttentionLayers, LinearAttention, MoE
from scylla_sim.specs.quantization import Quantization


@dataclass(frozen=True)
class Model:
    """A decoder-only transformer.

    The default is a dense model with grouped-query attention and gated MLPs.

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
    attention
        Attention layers by shape, for a model whose layers differ in more than their window; it replaces
        ``num_heads``, ``num_kv_heads``, ``head_dim`` and ``windows``. Empty otherwise.
    linear
        Layers with linear attention; ``None`` if every layer has softmax attention.
    output_gate
        Whether the query projection also gives a gate for each attention output.
    gated_mlp
        Whether MLPs and experts have a gate projection, which makes three matrices of two.
    mlp_layers
        Number of layers with an MLP or experts, for a model that has it apart from attention (Nemotron-H);
        ``None`` if every layer has one.
    mtp_layers
        Number of multi-token prediction layers that the checkpoint brings; their weights are not counted.
    notes
        Assumptions that were made when the model was read.
    quantization
        Data types of the weights that the files of the checkpoint state; ``None`` if they state none.
    released_precision
        Precision of the published weights of a catalog entry, which has no files; empty for 16 bits.
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
    attention: tuple[AttentionLayers, ...] = ()
    linear: LinearAttention | None = None
    output_gate: bool = False
    gated_mlp: bool = True
    mlp_layers: int | None = None
    mtp_layers: int = 0
    notes: tuple[str, ...] = ()
    quantization: Quantization | None = None
    released_precision: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads"):
            whole(name, getattr(self, name), 1)
        whole("head_dim", self.head_dim, 1)
        whole("vocab_size", self.vocab_size, 1, MAX_SIZE)
        whole("max_context", self.max_context, 0)
        if self.num_heads % self.num_kv_heads:
            raise fail("num_kv_heads", self.num_kv_heads, f"must divide num_heads={self.num_heads}")
        whole("mtp_layers", self.mtp_layers, 0)
        if self.moe is not None and self.moe.dense_layers >= self.num_layers:
            raise fail("dense_layers", self.moe.dense_layers, f"must be below num_layers={self.num_layers}")
        linear = self.linear.layers if self.linear else 0
        if linear >= self.num_layers:
            raise fail("linear layers", linear, f"must be below num_layers={self.num_layers}")
        given = sum(group.layers for group in self.attention)
        if linear + given > self.num_layers:
            raise fail("attention layers", linear + given, f"exceed num_layers={self.num_layers}")
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

    def with_expert_overlap(self, overlap: float) -> Model:
        """Return the model with another share of experts that tokens of one sequence have in common.

        Raises
        ------
        InputError
            For a model without experts.
        """
        if self.moe is None:
            raise fail("expert_overlap", overlap, f"does not apply to {self.name}", "the model has no experts")
        return replace(self, moe=replace(self.moe, expert_overlap=overlap, expert_overlap_range=None))

    @property
    def _mlp_layers(self) -> int:
        return self.num_layers if self.mlp_layers is None else self.mlp_layers

    @property
    def moe_layers(self) -> int:
        """Number of MoE layers."""
        return 0 if self.moe is None else self._mlp_layers - self.moe.dense_layers

    @property
    def dense_layers(self) -> int:
        """Number of layers with a dense MLP."""
        return self._mlp_layers - self.moe_layers

    @property
    def linear_layers(self) -> int:
        """Number of layers with linear attention."""
        return 0 if self.linear is None else self.linear.layers

    @property
    def attention_layers(self) -> int:
        """Number of layers with softmax attention, which have a KV cache."""
        if self.attention:
            return sum(group.layers for group in self.attention)
        return self.num_layers - self.linear_layers

    @property
    def sublayers(self) -> int:
        """Number of attention layers and MLPs; each adds to the residual stream."""
        return self.attention_layers + self.linear_layers + self._mlp_layers

    @property
    def window_layers(self) -> dict[int, int]:
        """Number of attention layers by sliding window, in order of appearance; window 0 is full attention."""
        found: dict[int, int] = {}
        for window in self.windows or (0,) * self.attention_layers:
            found[window] = found.get(window, 0) + 1
        return found

    @cached_property
    def attention_groups(self) -> tuple[AttentionLayers, ...]:
        """Layers of grouped-query attention by shape and window; empty for MLA."""
        if self.attention or self.mla is not None:
            return self.attention
        return tuple(
            AttentionLayers(
                layers=layers,
                num_heads=self.num_heads,
                num_kv_heads=self.num_kv_heads,
                head_dim=self.head_dim,
                value_dim=self.head_dim,
                window=window,
                output_gate=self.output_gate,
            )
            for window, layers in self.window_layers.items()
        )

    @property
    def attention_input_width(self) -> int:
        """Output width of the attention projections of a layer's input: queries, keys, values, or their latents."""
        if self.mla is None:
            gates = self.num_heads if self.output_gate else 0
            return self.head_dim * (self.num_heads + gates + 2 * self.num_kv_heads)
        mla = self.mla
        query = mla.query_rank or self.num_heads * (mla.nope_dim + mla.rope_dim)
        return query + mla.kv_rank + mla.rope_dim

    @property
    def attention_parameters(self) -> int:
        """Number of attention weights in one layer of the shape ``num_heads``, ``num_kv_heads``, ``head_dim``."""
        if self.mla is None:
            return self.hidden_size * (self.attention_input_width + self.num_heads * self.head_dim)
        mla = self.mla
        query = mla.query_rank * self.num_heads * (mla.nope_dim + mla.rope_dim)
        key_value = mla.kv_rank * self.num_heads * (mla.nope_dim + mla.value_dim)
        output = self.num_heads * mla.value_dim * self.hidden_size
        return self.hidden_size * self.attention_input_width + query + key_value + output

    @property
    def layer_parameters(self) -> int:
        """Number of weights in one decoder layer with a dense MLP, without norms (below 0.01 %)."""
        return self.attention_parameters + self._mlp_matrices * self.hidden_size * self.intermediate_size

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.gated_mlp else 2

    def _experts_parameters(self, routed: int) -> int:
        """Return the weights of the experts of one layer, with router and latent projections."""
        moe, hidden = self.moe, self.hidden_size
        if moe is None:
            return 0
        latent = moe.latent_size or hidden
        experts = self._mlp_matrices * (
            routed * latent * moe.intermediate_size + hidden * moe.shared_intermediate_size
        )
        return experts + hidden * (moe.num_experts + 2 * moe.latent_size)

    def _all_attention_parameters(self) -> int:
        hidden = self.hidden_size
        if self.mla is not None:
            index = self.mla.indexer
            extra = index.layers * index.parameters(hidden, self.mla.query_rank) if index else 0
            return self.num_layers * self.attention_parameters + extra
        softmax = sum(group.layers * group.parameters(hidden) for group in self.attention_groups)
        return softmax + (self.linear.layers * self.linear.parameters(hidden) if self.linear else 0)

    def _decoder_parameters(self, routed: int) -> int:
        dense = self.dense_layers * self._mlp_matrices * self.hidden_size * self.intermediate_size
        return self._all_attention_parameters() + dense + self.moe_layers * self._experts_parameters(routed)

    @cached_property
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
        """Number of weights replicated on every TP rank: MLA down-projections, indexers, routers, latent MoE."""
        mla, moe = self.mla, self.moe
        down = 0 if mla is None else mla.query_rank + mla.kv_rank + mla.rope_dim
        router = 0 if moe is None else moe.num_experts + 2 * moe.latent_size
        copied = self.hidden_size * (self.num_layers * down + self.moe_layers * router)
        index = mla.indexer if mla else None
        if index is not None and mla is not None:
            copied += index.layers * index.parameters(self.hidden_size, mla.query_rank)
        return copied

    @property
    def cached_heads(self) -> int:
        """Number of KV cache heads that TP ranks can divide among themselves."""
        if self.mla is not None:
            return 1
        return min((group.num_kv_heads for group in self.attention), default=self.num_kv_heads)

    @property
    def kv_elements_per_layer(self) -> int:
        """KV cache elements per token in one layer of the shape ``num_kv_heads``, ``head_dim``."""
        if self.mla is not None:
            return self.mla.kv_rank + self.mla.rope_dim
        return 2 * self.num_kv_heads * self.head_dim

    @property
    def cache_layers(self) -> dict[int, int]:
        """KV cache elements per token in all layers by sliding window; window 0 is full attention.

        The keys of an indexer count as elements of the cache.
        """
        if self.mla is not None:
            index = self.mla.indexer
            keys = index.layers * index.head_dim if index else 0
            return {0: self.num_layers * self.kv_elements_per_layer + keys}
        found: dict[int, int] = {}
        for group in self.attention_groups:
            found[group.window] = found.get(group.window, 0) + group.layers * group.cached_elements
        return found

    @property
    def kv_elements_per_token(self) -> int:
        """KV cache elements per token in all layers, for a context that fits every sliding window."""
        return sum(self.cache_layers.values())

    @property
    def state_bytes(self) -> float:
        """Bytes of the states of linear attention of one sequence, in all layers."""
        return 0.0 if self.linear is None else self.linear.layers * self.linear.sequence_bytes
