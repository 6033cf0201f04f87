"""Parts of a decoder layer: experts, grouped-query attention, MLA with sparse attention, linear attention."""

from __future__ import annotations

from dataclasses import dataclass

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
    latent_size
        Width on which the routed experts work, between two projections (LatentMoE); 0 for the hidden size.
    expert_overlap
        Share of expert draws that tokens of one sequence have in common, in [0, 1]; 0 for independent tokens.
        ``None`` is 0 in operation lists, and in predictions the value of ``scylla_sim/data/expert_overlap.toml``.
    expert_overlap_range
        Lower and upper end of ``expert_overlap``; ``None`` for an exact value.
    """

    num_experts: int
    experts_per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    dense_layers: int = 0
    router_skew: float = 0.0
    latent_size: int = 0
    expert_overlap: float | None = None
    expert_overlap_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        whole("num_experts", self.num_experts, 1)
        whole("experts_per_token", self.experts_per_token, 1)
        whole("expert intermediate_size", self.intermediate_size, 1)
        whole("shared_intermediate_size", self.shared_intermediate_size, 0)
        whole("dense_layers", self.dense_layers, 0)
        whole("latent_size", self.latent_size, 0)
        in_range("router_skew", self.router_skew, 0, 8)
        if self.expert_overlap is not None:
            in_range("expert_overlap", self.expert_overlap, 0, 1)
        if self.expert_overlap_range is not None:
            in_range("expert_overlap_range", self.expert_overlap_range, 0, 1)
        if self.experts_per_token > self.num_experts:
            raise fail("experts_per_token", self.experts_per_token, f"exceeds num_experts={self.num_experts}")


@dataclass(frozen=True)
class SparseIndexer:
    """Indexer of DeepSeek sparse attention, which picks the tokens that MLA attends.

    Attributes
    ----------
    layers
        Number of layers with an indexer; the others reuse the choice of the layer before.
    num_heads, head_dim
        Heads of the indexer, and elements of one query or key. All heads share one key per token.
    top_k
        Tokens that each query token attends.

    Notes
    -----
    Source: DeepSeek-V3.2, arXiv 2512.02556, section 2.1.
    """

    layers: int
    num_heads: int
    head_dim: int
    top_k: int

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("layers", "num_heads", "head_dim", "top_k"):
            whole(name, getattr(self, name), 1)

    def parameters(self, hidden_size: int, query_rank: int) -> int:
        """Return the number of weights of one indexer: queries, keys and the weight of each head."""
        return query_rank * self.num_heads * self.head_dim + hidden_size * (self.head_dim + self.num_heads)


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
    indexer
        Indexer of sparse attention; ``None`` where every token is attended.
    """

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int = 0
    indexer: SparseIndexer | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("kv_rank", "rope_dim", "nope_dim", "value_dim"):
            whole(name, getattr(self, name), 1, MAX_SIZE)
        whole("query_rank", self.query_rank, 0)


@dataclass(frozen=True)
class AttentionLayers:
    """Layers of grouped-query attention that have one shape.

    Attributes
    ----------
    layers
        Number of layers.
    num_heads, num_kv_heads
        Query heads, and heads of keys and values.
    head_dim
        Elements of a query or key.
    value_dim
        Elements of a value.
    window
        Sliding window in tokens; 0 for full attention.
    output_gate
        Whether the query projection also gives a gate for each output element (Qwen3-Next).
    values_from_keys
        Whether the checkpoint has no value projection, because values are projected as keys are (Gemma 4).
    """

    layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    window: int = 0
    output_gate: bool = False
    values_from_keys: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("layers", "num_heads", "num_kv_heads", "head_dim", "value_dim"):
            whole(name, getattr(self, name), 1)
        whole("window", self.window, 0)
        if self.num_heads % self.num_kv_heads:
            raise fail("num_kv_heads", self.num_kv_heads, f"must divide num_heads={self.num_heads}")

    @property
    def shape(self) -> tuple[int, int, int, int, bool]:
        """Shape of the projections; layers that differ only in their window share it."""
        return self.num_heads, self.num_kv_heads, self.head_dim, self.value_dim, self.output_gate

    @property
    def projection_width(self) -> int:
        """Output width of the fused projection of queries, gates, keys and values."""
        queries = self.num_heads * self.head_dim * (2 if self.output_gate else 1)
        return queries + self.cached_elements

    @property
    def cached_elements(self) -> int:
        """KV cache elements of one token in one layer."""
        return self.num_kv_heads * (self.head_dim + self.value_dim)

    def parameters(self, hidden_size: int) -> int:
        """Return the number of weights of one layer."""
        width = self.projection_width + self.num_heads * self.value_dim
        if self.values_from_keys:
            width -= self.num_kv_heads * self.value_dim
        return hidden_size * width


@dataclass(frozen=True)
class LinearAttention:
    """Layers that keep a state of constant size in place of a KV cache.

    Attributes
    ----------
    kind
        ``gated_delta_net`` or ``mamba2``.
    layers
        Number of layers.
    key_heads, value_heads
        Heads of keys and queries, and heads of values. Mamba-2 calls its key heads groups.
    key_dim, value_dim
        Elements of one key and of one value. Mamba-2 calls ``key_dim`` its state size.
    conv_kernel
        Tokens that the causal convolution spans.
    state_bytes
        Bytes of one element of the state.

    Notes
    -----
    The state of a value head is a matrix of ``key_dim`` x ``value_dim`` elements. Sources: Gated DeltaNet, arXiv
    2412.06464; Mamba-2, arXiv 2405.21060.
    """

    kind: str
    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    state_bytes: float = 4.0

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("layers", "key_heads", "value_heads", "key_dim", "value_dim", "conv_kernel"):
            whole(name, getattr(self, name), 1)

    @property
    def output_width(self) -> int:
        """Elements of all values, which the output projection reads."""
        return self.value_heads * self.value_dim

    @property
    def conv_width(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.output_width

    @property
    def projection_width(self) -> int:
        """Output width of the input projections: channels, output gates, and the scalars of each head."""
        scalars = 2 if self.kind == "gated_delta_net" else 1
        return self.conv_width + self.output_width + scalars * self.value_heads

    def parameters(self, hidden_size: int) -> int:
        """Return the number of weights of one layer, with its convolution."""
        return hidden_size * (self.projection_width + self.output_width) + self.conv_width * self.conv_kernel

    @property
    def state_elements(self) -> int:
        """Elements of the state of one sequence in one layer."""
        return self.value_heads * self.key_dim * self.value_dim

    @property
    def sequence_bytes(self) -> float:
        """Bytes of one sequence in one layer: the state, and the last inputs of the convolution in 16 bits."""
        return self.state_bytes * self.state_elements + 2.0 * self.conv_width * (self.conv_kernel - 1)

    @property
    def flops_per_element(self) -> float:
        """FLOPs per element of the state and token.

        Both kinds scale the state, add an outer product and multiply it with the query. The delta rule also
        multiplies it with the key.
        """
        return 7.0 if self.kind == "gated_delta_net" else 5.0
