"""Serving engines and the overheads that they add to the kernels of a step.

To add an engine preset, add a table to ``scylla_sim/data/engines.toml`` with the fields of `Engine`. Every overhead
and every memory figure of a preset needs a value, the ends of its interval, a unit and a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from scylla_sim.checks import fail, in_range, one_of, whole
from scylla_sim.stats.estimate import Estimate

OVERHEADS = (
    *("host_s", "token_s", "draft_host_s", "draft_pass_host_s", "tree_host_s", "launch_s", "block_host_s"),
    *("fused_pass_host_s", "ngram_host_s", "tp_host_s", "tp_draft_host_s", "tp_draft_pass_s", "idle_draft"),
    *("prefill_layer_s", "piecewise_pass_s", "tp_ngram_host_s"),
)
"""Names of the overheads of an engine: seconds, and ``idle_draft``, a share of a step."""


Range = tuple[float, float]
"""Lower and upper end of a quantity."""

NOTHING: Range = (0.0, 0.0)
"""Range of a use of memory that an engine does not have."""


@dataclass(frozen=True)
class Reserve:
    """Memory that an engine keeps free by default, from the size of the GPU, the TP ranks and the draft.

    Attributes
    ----------
    base_bytes, rank_bytes
        A constant, and bytes for each TP rank.
    token_bytes, sequence_bytes
        Bytes for each token of a prompt chunk, and for each sequence of the largest CUDA graph.
    head_bytes, model_bytes
        More with a draft that reads hidden states, and with a draft that is a language model.
    floor_bytes
        Least reserve without a draft, on GPUs with more than ``floor_above_bytes``.
    below_bytes, chunk_tokens, graph_sequences, graph_sequences_tp4
        Sizes of GPUs in ascending order. A GPU below the first size has the first prompt chunk and the first graph,
        and so on; the last entries are for larger GPUs. With at least four TP ranks, the graph is another one.
    """

    base_bytes: float
    rank_bytes: float
    token_bytes: float
    sequence_bytes: float
    head_bytes: float
    model_bytes: float
    floor_bytes: float
    floor_above_bytes: float
    below_bytes: tuple[float, ...]
    chunk_tokens: tuple[int, ...]
    graph_sequences: tuple[int, ...]
    graph_sequences_tp4: tuple[int, ...]

    def kept_bytes(self, memory_bytes: float, *, tp: int, draft_kind: str) -> float:
        """Return the bytes that the engine keeps free on one GPU.

        Examples
        --------
        >>> reserve = Reserve(512, 128, 1.5, 2, 2048, 6144, 0, 0, (20480,), (2048, 8192), (8, 256), (80, 512))
        >>> reserve.kept_bytes(81559, tp=4, draft_kind="none")
        14336.0
        """
        size = sum(memory_bytes >= below for below in self.below_bytes)
        graphs = self.graph_sequences_tp4 if tp >= 4 else self.graph_sequences
        kept = self.base_bytes + tp * self.rank_bytes + self.token_bytes * self.chunk_tokens[size]
        kept += self.sequence_bytes * graphs[size]
        if memory_bytes > self.floor_above_bytes:
            kept = max(kept, self.floor_bytes)
        draft = {"none": 0.0, "ngram": 0.0, "model": self.model_bytes}.get(draft_kind, self.head_bytes)
        return kept + draft


@dataclass(frozen=True)
class MemoryUse:
    """Use of the memory of one GPU by a serving engine; every field is a range over its versions and settings.

    Attributes
    ----------
    share
        Share of the reported memory that the engine divides among weights, KV cache and the uses below.
    runtime_bytes
        CUDA context and workspaces of libraries.
    communicator_bytes
        Buffers of the communicator, with more than one TP rank.
    graph_bytes
        CUDA graphs.
    profiled_tokens, profiled_sequences
        Tokens and sequences of the step whose activations are reserved; 0 reserves nothing.
    small_gpu_sequences
        The same sequences on a GPU below `scylla_sim.ops.memory.LARGE_GPU_BYTES`.
    reserve
        Memory that the engine keeps free by default, which sets the lower end of ``share``; ``None`` if the share
        does not depend on the GPU.
    block_tokens, pad_below
        Tokens in a block of the KV cache, and the rule that sizes groups of layers: see
        `scylla_sim.ops.kv_groups.block_pool`. 0 tokens: every token has its own place, and layers share no pool.
    """

    share: Range = (0.9, 0.9)
    runtime_bytes: Range = NOTHING
    communicator_bytes: Range = NOTHING
    graph_bytes: Range = NOTHING
    profiled_tokens: Range = NOTHING
    profiled_sequences: Range = NOTHING
    small_gpu_sequences: Range = NOTHING
    block_tokens: Range = NOTHING
    pad_below: Range = NOTHING
    reserve: Reserve | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        for item in fields(self):
            if item.name == "reserve":
                continue
            lower, upper = getattr(self, item.name)
            if not 0 <= lower <= upper:
                raise fail(item.name, (lower, upper), "must be a range from a lower to an upper end")
        in_range("memory_share", self.share[0], 0, 1, above=True)
        in_range("memory_share", self.share[1], 0, 1)


@dataclass(frozen=True)
class Engine:
    """Overheads of a serving engine, its use of CUDA graphs, and its use of memory.

    Attributes
    ----------
    host_s
        Scheduler and sampling work per step that does not overlap with the device.
    token_s
        Work per token verified in a cycle with a draft. Autoregressive decoding pays none.
    draft_host_s
        Host work per cycle with a draft other than ``ngram``.
    draft_pass_host_s
        Work per sequential draft pass: launch, copies, and greedy sampling of the drafted token. See Notes.
    fused_pass_host_s
        Further work per sequential pass of a head that fuses several hidden states (EAGLE-3).
    ngram_host_s
        Host work per cycle with an n-gram draft, in place of ``draft_host_s``.
    tp_ngram_host_s
        Further host work per cycle with an n-gram draft and more than one TP rank.
    tree_host_s
        Host work per cycle with a tree (top-k above 1): path selection, attention mask, and moving the KV cache of
        the accepted path.
    launch_s
        Host time to launch one operation of a step without a CUDA graph. On a GPU, launches overlap with the
        device, so the step takes at least the time of its launches. On a CPU, they add to the step.
    block_host_s
        Host work per cycle with a block drafter, beyond that of one draft pass.
    tp_host_s
        Work per step of the target with more than one TP rank, with and without a draft.
    tp_draft_host_s
        Further work per cycle with a draft and more than one TP rank.
    tp_draft_pass_s
        Work per draft pass on more than one TP rank.
    idle_draft
        Extra time of a step while a draft is loaded but drafts nothing, as a share of the step.
    theory
        Names of the overheads that no published run of the engine supports.
    prefill_layer_s
        Least time of a prefill per layer, for engines that launch prefills without CUDA graphs.
    piecewise_pass_s
        Further work per draft pass with an attention backend that has no CUDA graph of verification.
    framework
        Framework whose kernels the engine runs, for calibrations with several frameworks; empty for the first one.
    fuses_quantizer
        Whether the norm or activation before a GEMM of 8 bits also quantizes its input, see
        `scylla_sim.prediction.fused_quantizer`.
    eager
        Whether the engine uses no CUDA graphs.
    max_graph_tokens, max_graph_batch
        Largest number of tokens or sequences of a step with a CUDA graph; 0 for no limit.
    memory
        Use of the memory of each GPU.
    intervals
        Lower and upper end of an overhead, in its unit; an overhead without an entry is exact.
    sources
        Source of an overhead.
    fitted_runs
        Number of the user's own runs that the overheads were fitted to; 0 for a preset. Such an engine describes
        one deployment, so its predictions hold no differences between deployments.
    superseded
        Whether a newer preset of the same engine exists, so that this one stands for the versions before it.

    Notes
    -----
    Presets hold for engines that draft greedily. Sampling drafted tokens with a temperature, with a softmax over
    the vocabulary, takes 0.3-1 ms a pass in reference code, and no preset includes it. Sources: vllm-project/vllm
    #24343 (a reduced vocabulary saves about its smaller vocabulary projection), and the published pass times of
    chains, which leave 0.06-0.16 ms a pass beside the kernels.
    """

    name: str
    host_s: float = 0.0
    token_s: float = 0.0
    draft_host_s: float = 0.0
    draft_pass_host_s: float = 0.0
    tree_host_s: float = 0.0
    launch_s: float = 0.0
    block_host_s: float = 0.0
    fused_pass_host_s: float = 0.0
    ngram_host_s: float = 0.0
    tp_ngram_host_s: float = 0.0
    tp_host_s: float = 0.0
    tp_draft_host_s: float = 0.0
    tp_draft_pass_s: float = 0.0
    idle_draft: float = 0.0
    theory: frozenset[str] = frozenset()
    prefill_layer_s: float = 0.0
    piecewise_pass_s: float = 0.0
    framework: str = ""
    fuses_quantizer: bool = False
    eager: bool = False
    max_graph_tokens: int = 0
    max_graph_batch: int = 0
    memory: MemoryUse = MemoryUse()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    fitted_runs: int = 0
    superseded: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in OVERHEADS:
            in_range(name, getattr(self, name), 0)
        for name, (lower, upper) in self.intervals.items():
            value = getattr(self, one_of("overhead", name, OVERHEADS))
            if not 0 <= lower <= value <= upper:
                raise fail(name, value, f"must lie in its own interval, {lower:g} to {upper:g}")
        whole("max_graph_tokens", self.max_graph_tokens, 0)
        whole("max_graph_batch", self.max_graph_batch, 0)
        whole("fitted_runs", self.fitted_runs, 0)

    def overhead(self, name: str) -> Estimate:
        """Return one of `OVERHEADS`, with its interval.

        Examples
        --------
        >>> float(Engine("x", host_s=2e-3, intervals={"host_s": (1e-3, 4e-3)}).overhead("host_s").upper)
        0.004
        """
        value = getattr(self, name)
        return Estimate.of(value, *self.intervals.get(name, (value, value)))
