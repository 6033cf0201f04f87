"""One speculative configuration: the draft, its length, width and verified tokens, and its tokens per cycle."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, in_range, whole
from scylla_sim.specs.draft import Draft


@dataclass(frozen=True)
class SpeculativeConfig:
    """The candidate tokens that a draft proposes in a cycle, and how many tokens the target emits.

    Attributes
    ----------
    draft
        The draft model or draft head.
    draft_len
        Number of sequential draft passes (gamma); 0 without a draft.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens that the target verifies per sequence and cycle, root included.
    tokens_per_cycle
        Mean number of tokens emitted per cycle (tau), bonus token included.
    tau_lower, tau_upper
        Interval of ``tokens_per_cycle``.

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

    def __post_init__(self) -> None:
        """Check the fields."""
        none = self.draft.kind == "none"
        whole("draft_len", self.draft_len, 0 if none else 1)
        whole("top_k", self.top_k, 1)
        whole("verify_tokens", self.verify_tokens, 1 if none else 2)
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
    """Return the autoregressive baseline, which emits one token per step.

    Parameters
    ----------
    draft
        The draft of kind ``none``.
    """
    return SpeculativeConfig(draft, 0, 1, 1, 1.0, 1.0, 1.0)
