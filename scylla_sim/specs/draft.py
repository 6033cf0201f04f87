"""Drafts: heads, Medusa, n-gram and independent models.

To add a draft to the catalog, add a table to ``scylla_sim/data/drafts.toml`` with the fields of `Draft`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, one_of, whole
from scylla_sim.specs.model import Model

DRAFT_KINDS = ("none", "head", "model", "medusa", "ngram")
"""Kinds of drafts; see `Draft`."""


@dataclass(frozen=True)
class Draft:
    """A method that proposes candidate tokens.

    ==========  ================================================================================
    Kind        Candidates come from
    ==========  ================================================================================
    none        nothing: autoregressive decoding
    head        decoder layers of the target's width on the target's features (EAGLE, Scylla)
    model       an independent small model
    medusa      parallel heads, without sequential passes
    ngram       the prompt, without a model
    ==========  ================================================================================

    Attributes
    ----------
    kind
        One of `DRAFT_KINDS`.
    num_layers
        Decoder layers of a head; number of heads for ``medusa``.
    fused_features
        Hidden states of the target that the head's input projection joins: 1 for EAGLE-1 and EAGLE-2, 3 for
        EAGLE-3.
    vocab_size
        Size of a reduced draft vocabulary; 0 for the target's vocabulary.
    reads_target_head
        Whether the draft uses the target's vocabulary projection, without weights of its own.
    keeps_experts
        Whether the decoder layers of a head are MoE layers if the target's are (MTP); dense otherwise.
    model
        The independent model; ``None`` for other kinds.
    """

    name: str
    kind: str
    num_layers: int = 0
    fused_features: int = 1
    vocab_size: int = 0
    reads_target_head: bool = True
    keeps_experts: bool = False
    model: Model | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        one_of("draft kind", self.kind, DRAFT_KINDS)
        whole("draft_layers", self.num_layers, 0)
        whole("fused_features", self.fused_features, 1)
        whole("draft vocab_size", self.vocab_size, 0)
        if self.kind in ("head", "medusa") and self.num_layers < 1:
            raise fail("draft_layers", self.num_layers, f"must be at least 1 for a {self.kind} draft")
        if (self.kind == "model") != (self.model is not None):
            raise fail("draft model", self.model, f"cannot be combined with kind={self.kind!r}")
