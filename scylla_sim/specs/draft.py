"""Drafts: heads, block drafters, Medusa, MLP speculators, n-gram and independent models.

To add a draft to the catalog, add a table to ``scylla_sim/data/drafts.toml`` with the fields of `Draft`.
`scylla_sim.specs.draft_config` turns the ``config.json`` of a draft into a `Draft`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, one_of, whole
from scylla_sim.specs.model import Model
from scylla_sim.specs.quantization import Quantization

DRAFT_KINDS = ("none", "head", "block", "model", "medusa", "mlp", "ngram")
"""Kinds of drafts; see `Draft`."""

TOKEN_HEADS = ("markov", "gated", "rnn", "gru")
"""Kinds of token heads; see `TokenHead`."""


@dataclass(frozen=True)
class TokenHead:
    """A small head that corrects the logits of a block token by token, after the pass of the decoder layers.

    Attributes
    ----------
    kind
        ``markov``, ``gated`` or ``rnn`` of DSpark, ``gru`` of Domino.
    rank
        Input width of the head's vocabulary projection.
    state_size
        Width of the recurrent state; 0 for heads without a state.

    Notes
    -----
    Source: sgl-project/SpecForge, commit a6b6b023, specforge/modeling/draft/dspark.py and domino.py.
    """

    kind: str
    rank: int
    state_size: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        one_of("token head", self.kind, TOKEN_HEADS)
        whole("token head rank", self.rank, 1)
        whole("token head state_size", self.state_size, 1 if self.kind == "gru" else 0)


@dataclass(frozen=True)
class Block:
    """A block of tokens that a draft proposes in one pass.

    Attributes
    ----------
    size
        Largest number of positions in a block; 0 without a limit.
    drafts_from_anchor
        Whether the last accepted token, which opens the block, predicts a drafted token as well.
    projects_context
        Whether the keys and values of accepted tokens are projections of the target's features (DFlash). Otherwise
        the decoder layers run over these tokens as well (P-EAGLE).
    token_head
        Correction of the logits token by token; ``None`` without one.

    Notes
    -----
    Sources: vllm-project/speculators, commit c05b95b3, models/dflash/config.py and models/dspark/config.py
    (``sample_from_anchor``); vllm-project/vllm, v1/spec_decode/llm_base_proposer.py
    (``net_num_new_slots_per_request``).
    """

    size: int
    drafts_from_anchor: bool = False
    projects_context: bool = True
    token_head: TokenHead | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        whole("block_size", self.size, 0)
        if self.size and self.max_len < 1:
            raise fail("block_size", self.size, "must leave at least one position to draft")

    @property
    def max_len(self) -> int:
        """Largest number of drafted tokens; 0 without a limit."""
        return self.size if self.drafts_from_anchor or not self.size else self.size - 1

    def positions(self, tokens: int) -> int:
        """Return the positions of one sequence that the decoder layers process to draft ``tokens`` tokens.

        Examples
        --------
        >>> Block(16).positions(15), Block(7, drafts_from_anchor=True).positions(7)
        (16, 7)
        """
        if not self.projects_context:  # tokens + 1 verified tokens, and tokens - 1 masks behind the last of them
            return 2 * tokens
        return tokens if self.drafts_from_anchor else tokens + 1


@dataclass(frozen=True)
class Draft:
    """A method that proposes candidate tokens.

    ==========  ================================================================================
    Kind        Candidates come from
    ==========  ================================================================================
    none        nothing: autoregressive decoding
    head        decoder layers on the target's features, one pass a token (EAGLE, Scylla, MTP)
    block       decoder layers on the target's features, one pass a block (DFlash, P-EAGLE)
    model       an independent small model
    medusa      parallel heads, without sequential passes
    mlp         one small stage a token, without attention (MLP speculator)
    ngram       the prompt, without a model
    ==========  ================================================================================

    Attributes
    ----------
    kind
        One of `DRAFT_KINDS`.
    num_layers
        Decoder layers of a head or block drafter; number of heads for ``medusa``; number of stages for ``mlp``.
    fused_features
        Hidden states of the target that the input projection joins: 1 for EAGLE-1 and EAGLE-2, 3 for EAGLE-3.
    vocab_size
        Size of a reduced draft vocabulary; 0 for the target's vocabulary.
    reads_target_head
        Whether the draft uses the target's vocabulary projection, without weights of its own.
    keeps_experts
        Whether the decoder layers of a head are MoE layers if the target's are (MTP); dense otherwise.
    model
        The independent model, or the decoder layers of a head or block drafter with a shape of its own. ``None``
        for layers of the target's shape.
    method
        Name of the method, such as ``eagle3``; empty if ``name`` is the name of the method.
    target_hidden_size
        Hidden size of the target that the draft was trained for; 0 for any.
    own_embedding
        Whether the draft has a token embedding of its own.
    block
        The block of a ``block`` drafter; ``None`` for other kinds.
    blocks_per_head
        Residual blocks of each Medusa head.
    inner_size
        Width of the stages of an MLP speculator.
    tied_stages
        Whether the stages of an MLP speculator share their weights.
    notes
        Sentences about how a file was read.
    quantization
        Data types of the weights that the file of the draft states; ``None`` if it states none.
    """

    name: str
    kind: str
    num_layers: int = 0
    fused_features: int = 1
    vocab_size: int = 0
    reads_target_head: bool = True
    keeps_experts: bool = False
    model: Model | None = None
    method: str = ""
    target_hidden_size: int = 0
    own_embedding: bool = False
    block: Block | None = None
    blocks_per_head: int = 1
    inner_size: int = 0
    tied_stages: bool = False
    notes: tuple[str, ...] = ()
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        one_of("draft kind", self.kind, DRAFT_KINDS)
        whole("draft_layers", self.num_layers, 0)
        whole("fused_features", self.fused_features, 1)
        whole("draft vocab_size", self.vocab_size, 0)
        whole("target_hidden_size", self.target_hidden_size, 0)
        whole("blocks_per_head", self.blocks_per_head, 1)
        whole("inner_size", self.inner_size, 1 if self.kind == "mlp" else 0)
        if self.kind in ("head", "block", "medusa", "mlp") and self.num_layers < 1:
            raise fail("draft_layers", self.num_layers, f"must be at least 1 for a {self.kind} draft")
        needed, allowed = self.kind == "model", self.kind in ("model", "head", "block")
        if (needed and self.model is None) or (not allowed and self.model is not None):
            raise fail("draft model", self.model, f"cannot be combined with kind={self.kind!r}")
        if (self.kind == "block") != (self.block is not None):
            raise fail("draft block", self.block, f"cannot be combined with kind={self.kind!r}")

    @property
    def method_name(self) -> str:
        """Name of the method: ``method``, else the name of a catalog draft without its number of layers."""
        return self.method or ("scylla" if self.name.startswith("scylla") else self.name)

    @property
    def single_pass(self) -> bool:
        """Whether one pass drafts all tokens of a cycle."""
        return self.kind in ("block", "medusa", "mlp")

    @property
    def max_len(self) -> int:
        """Largest number of drafted tokens per cycle; 0 without a limit."""
        if self.block is not None:
            return self.block.max_len
        return self.num_layers if self.kind in ("medusa", "mlp") else 0

    @property
    def is_file_of_head(self) -> bool:
        """Whether the draft was read from a file, and is neither an independent model nor an MTP module."""
        return bool(self.method) and self.kind != "model" and self.method != "mtp"

    def is_hypothetical_mtp(self, target: Model) -> bool:
        """Return whether the draft is the target's MTP module although its config declares none."""
        return self.method_name == "mtp" and not self.method and not target.mtp_layers

    def first_width(self, draft_len: int) -> int:
        """Return the tokens of one sequence in the first pass of a cycle, for drafts with sequential passes.

        The first pass of a head recomputes its KV cache for all tokens of the path just verified. An independent
        model reads the token after them as well.

        Notes
        -----
        Sources: vllm-project/vllm, v1/spec_decode/llm_base_proposer.py (``net_num_new_slots_per_request``: 0 for
        heads, 1 for draft models); sgl-project/sglang, speculative/eagle_worker.py (draft extend after verify).

        Examples
        --------
        >>> Draft("eagle3", "head", num_layers=1).first_width(3)
        4
        """
        return draft_len + (2 if self.kind == "model" else 1)

    def pass_width(self, draft_len: int, top_k: int) -> int:
        """Return the tokens of one sequence that a later pass drafts; all of them for block and MLP drafts.

        Examples
        --------
        >>> Draft("eagle3", "head", num_layers=1).pass_width(5, 1)
        1
        """
        return draft_len if self.kind in ("block", "mlp") else top_k
