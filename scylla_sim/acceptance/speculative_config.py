"""One speculative configuration: the draft, its length, width and verified tokens, and its tokens per cycle."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, in_range, one_of, whole
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import Estimate

ACCEPTANCE_EVIDENCE = ("given", "laws", "published", "none")
"""Origins of tau: given by the user, training laws, published values of the method, no draft."""


@dataclass(frozen=True)
class SpeculativeConfig:
    """The candidate tokens that a draft proposes in a cycle, and how many tokens the target emits.

    Attributes
    ----------
    draft
        The draft model or draft head.
    draft_len
        Number of sequential draft passes (gamma); 0 without a draft, or with a loaded draft that drafts nothing.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens that the target verifies per sequence and cycle, root included.
    tokens_per_cycle
        Mean number of tokens emitted per cycle (tau), bonus token included.
    tau_lower, tau_upper
        Interval of ``tokens_per_cycle``.
    acceptance_evidence
        Origin of ``tokens_per_cycle``, one of `ACCEPTANCE_EVIDENCE`.

    Raises
    ------
    InputError
        For counts out of range, or for a tau that the configuration cannot reach.

    Examples
    --------
    >>> eagle3 = Draft("eagle3", "head", num_layers=1)
    >>> SpeculativeConfig(
    ...     eagle3, draft_len=3, top_k=1, verify_tokens=4, tokens_per_cycle=2.4, tau_lower=2.2, tau_upper=2.6
    ... ).verify_tokens
    4
    """

    draft: Draft
    draft_len: int
    top_k: int
    verify_tokens: int
    tokens_per_cycle: float
    tau_lower: float
    tau_upper: float
    acceptance_evidence: str = "given"

    @property
    def tau(self) -> Estimate:
        """``tokens_per_cycle`` with its interval."""
        return Estimate.of(self.tokens_per_cycle, self.tau_lower, self.tau_upper)

    def __post_init__(self) -> None:
        """Check the fields."""
        idle = self.draft.kind == "none" or self.draft_len == 0
        one_of("acceptance_evidence", self.acceptance_evidence, ACCEPTANCE_EVIDENCE)
        whole("draft_len", self.draft_len, 0)
        whole("top_k", self.top_k, 1)
        whole("verify_tokens", self.verify_tokens, 1 if idle else 2)
        if self.draft_len == 0 and self.verify_tokens != 1:
            raise fail("verify_tokens", self.verify_tokens, "must be 1 with draft_len=0")
        longest = min(self.draft_len, self.verify_tokens - 1) + 1
        in_range(
            "tokens_per_cycle",
            self.tokens_per_cycle,
            1,
            longest,
            hint="draft_len + 1 at most, bonus token included",
        )
        if not self.tau_lower <= self.tokens_per_cycle <= self.tau_upper:
            raise fail("tokens_per_cycle", self.tokens_per_cycle, "must lie in its own interval")


def no_drafting(draft: Draft) -> SpeculativeConfig:
    """Return autoregressive decoding, which emits one token per step.

    Parameters
    ----------
    draft
        The draft of kind ``none``, or a draft that is loaded and drafts nothing.
    """
    return SpeculativeConfig(draft, 0, 1, 1, 1.0, 1.0, 1.0, "none")
