"""Tokens per cycle (tau) of a draft: from measured tokens per cycle, acceptance rates, or a training budget.

`resolve` returns a `SpeculativeConfig`. It takes tau from the first of these that is given:

1. ``tokens_per_cycle``, measured at this draft length and width,
2. ``rates``, conditional acceptance rates per position,
3. ``reference_tau``, tau at the `reference` tree,
4. ``layers`` and ``train_tokens``, through the laws of `scylla_sim.laws.theorems`,
5. published values of the method, `scylla_sim.acceptance.typical`.

The third and the fourth hold at the `reference` tree. `transfer` transfers them to another shape with one
acceptance rate at every depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.acceptance import profiles, tree_search, trees, typical
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import FloatArray, fail, in_range, number, whole
from scylla_sim.laws import theorems
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import Estimate, exact

MAX_DRAFT_LEN = 1000
"""Largest accepted draft length, far above the draft lengths of serving engines."""

MAX_TOP_K = 256
"""Largest accepted width of a tree; the number of candidates grows with its square."""

DEFAULT_DRAFT_LEN = 3
"""Draft length of a chain if none is given."""


IDLE_NOTE = (
    "draft_len=0 keeps the draft loaded: it takes memory, and the share idle_draft of each step, which one source "
    "measured"
)
"""Note on a draft that drafts nothing."""


@dataclass(frozen=True)
class DraftShape:
    """Shape of a draft.

    Attributes
    ----------
    draft_len
        Sequential draft passes per cycle.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens that the target verifies per cycle, root included.
    """

    draft_len: int
    top_k: int
    verify_tokens: int


def reference() -> DraftShape:
    """Return the shape at which the laws give tau: the published tree of EAGLE-2, which Scylla also uses.

    Examples
    --------
    >>> reference()
    DraftShape(draft_len=6, top_k=10, verify_tokens=61)
    """
    return DraftShape(**theorems.reference())


def theorem_verify_tokens(batch: Sequence[int]) -> list[int]:
    """Return the tokens to verify at each batch by Theorem 1.3, root included, up to the `reference` tree.

    Examples
    --------
    >>> theorem_verify_tokens([1, 64])
    [61, 15]
    """
    tokens = np.minimum(np.round(theorems.optimal_paths(batch)) + 1, reference().verify_tokens)
    return [int(n) for n in tokens]


def shape(draft: Draft, draft_len: int | None, top_k: int | None, verify_tokens: int | None) -> DraftShape:
    """Return the shape of a draft, with defaults for the arguments that are ``None``.

    The default is the `reference` tree for EAGLE-2 and Scylla heads. It is the longest chain for drafts that
    propose all tokens in one pass, and a chain of `DEFAULT_DRAFT_LEN` for other drafts. A draft length of 0 is a
    loaded draft that drafts nothing.

    Raises
    ------
    InputError
        For a count out of range, for a ``draft_len`` that the draft cannot reach, and for a chain with
        ``verify_tokens`` other than ``draft_len + 1``.

    Examples
    --------
    >>> shape(Draft("eagle3", "head", num_layers=1), 5, None, None)
    DraftShape(draft_len=5, top_k=1, verify_tokens=6)
    """
    known = reference()
    tree = draft.method_name in ("eagle2", "scylla")
    chain_len = draft.max_len or DEFAULT_DRAFT_LEN
    length = draft_len if draft_len is not None else known.draft_len if tree else chain_len
    width = top_k if top_k is not None else known.top_k if tree else 1
    whole("draft_len", length, 0, MAX_DRAFT_LEN)
    if length == 0 and draft.kind != "none":
        return _nothing(top_k, verify_tokens)
    if draft.max_len and length > draft.max_len:
        raise fail("draft_len", length, f"must be at most {draft.max_len} for draft {draft.name!r}")
    whole("top_k", width, 1, MAX_TOP_K)
    if verify_tokens is None:
        candidates = 1 + width + (length - 1) * width**2
        verify_tokens = min(known.verify_tokens, candidates) if tree and width > 1 else length * width + 1
    if width > 1 and draft.kind in ("block", "mlp"):
        raise fail(
            "top_k", width, f"must be 1 for draft {draft.name!r}", "trees of block drafters are not modelled"
        )
    if width == 1 and verify_tokens != length + 1:
        rule = f"must be draft_len + 1 = {length + 1} for a chain"
        raise fail("verify_tokens", verify_tokens, rule, "or give top_k above 1")
    return DraftShape(length, width, verify_tokens)


def _nothing(top_k: int | None, verify_tokens: int | None) -> DraftShape:
    """Return the shape of a loaded draft that drafts nothing; one token is verified."""
    for name, value in (("top_k", top_k), ("verify_tokens", verify_tokens)):
        if value not in (None, 1):
            raise fail(name, value, "must be 1 with draft_len=0")
    return DraftShape(0, 1, 1)


def _tau_of_rates(rates: FloatArray, s: DraftShape) -> float:
    """Return tau of conditional rates: for a chain, or for a beam tree with the default rank law."""
    profile = profiles.extend(rates, s.draft_len)
    if s.top_k == 1:
        return float(profiles.tokens_per_cycle(profile))
    ranks = profiles.rank_profile(profile, s.top_k)
    tree = tree_search.beam_tree(ranks, top_k=s.top_k, verify_tokens=s.verify_tokens)
    return float(trees.tokens_per_cycle(tree, ranks))


def _rate_of(tau: float, s: DraftShape) -> float:
    """Return the acceptance rate, equal at every depth, at which a shape yields ``tau``."""
    if s.top_k == 1:
        return float(profiles.iid_rate(tau, s.draft_len))
    return tree_search.beam_rate(tau, draft_len=s.draft_len, top_k=s.top_k, verify_tokens=s.verify_tokens)


def transfer(tau: float, source: DraftShape, target: DraftShape) -> float:
    """Transfer tau from one shape to another, with one acceptance rate at every depth.

    Examples
    --------
    >>> round(transfer(5.0, reference(), DraftShape(3, 1, 4)), 2)
    2.92
    """
    if source == target:
        return tau
    return _tau_of_rates(np.array([_rate_of(tau, source)]), target)


def reference_rate(tau: float) -> float:
    """Return the acceptance rate, equal at every depth, at which the `reference` tree yields ``tau``."""
    return _rate_of(tau, reference())


def tau_at_rate(rate: float, shapes: Sequence[DraftShape]) -> list[float]:
    """Return tau of each shape for one acceptance rate at every depth."""
    return [_tau_of_rates(np.array([rate]), s) for s in shapes]


def tau_from_reference(tau: float, shapes: Sequence[DraftShape]) -> list[float]:
    """Transfer tau at the `reference` tree to each shape; the rate is solved once for all of them."""
    return tau_at_rate(reference_rate(tau), shapes)


def resolve(
    draft: Draft,
    s: DraftShape,
    *,
    tokens_per_cycle: float | None = None,
    rates: FloatArray | None = None,
    spread: tuple[float, float] | None = None,
    layers: int | None = None,
    train_tokens: float | None = None,
    reference_tau: Sequence[float] | None = None,
    task: str | None = None,
) -> tuple[SpeculativeConfig, list[str]]:
    """Return the speculative configuration of a draft, with tau and its interval, and remarks on assumptions.

    Parameters
    ----------
    draft, s
        The draft and its shape.
    tokens_per_cycle
        tau at this shape; it has no interval.
    rates
        Conditional acceptance rates, shape (positions,).
    spread
        Interval of ``rates``, as `scylla_sim.acceptance.rates_file.read_spread` returns it.
    layers, train_tokens
        Decoder layers and pretraining tokens of a draft head, for the laws.
    reference_tau
        tau at the `reference` tree: one value, or value, lower end and upper end.
    task
        Task of the published values, one of `scylla_sim.acceptance.typical.TASKS`; ``None`` for all tasks.

    Returns
    -------
    config
        The configuration.
    remarks
        One sentence for every assumption.

    Raises
    ------
    InputError
        If nothing determines tau, if tau is out of range, or for a ``task`` beside other values of tau.

    Examples
    --------
    >>> eagle3 = Draft("eagle3", "head", num_layers=1)
    >>> config, remarks = resolve(eagle3, DraftShape(3, 1, 4), rates=np.array([0.7]))
    >>> round(config.tokens_per_cycle, 3), remarks
    (2.533, [])
    """
    if s.draft_len == 0:
        return no_drafting(draft), [IDLE_NOTE]
    sources = {
        "tokens_per_cycle": tokens_per_cycle,
        "acceptance": rates,
        "reference_tokens_per_cycle": reference_tau,
        "draft_train_tokens": train_tokens,
    }
    given = [name for name, value in sources.items() if value is not None]
    remarks = [f"{name} is not used, because {given[0]} determines tau" for name in given[1:]]
    evidence = "given"
    if task is not None and (given or layers is not None):
        raise fail("task", task, "selects published values", "they are not used beside a given acceptance")
    if tokens_per_cycle is not None:
        at = exact(number("tokens_per_cycle", tokens_per_cycle, 1))
    elif rates is not None:
        at = _from_rates(rates, spread, s, remarks)
    elif reference_tau is not None:
        at = _from_reference(reference_tau, s)
    elif layers is not None or train_tokens is not None or draft.method_name == "scylla":
        at, evidence = _from_laws(draft, s, layers, train_tokens, remarks), "laws"
    elif draft.method_name in typical.methods():
        at, evidence = _from_published(draft.method_name, s, task, remarks), "published"
    else:
        hint = "or give tokens_per_cycle, reference_tokens_per_cycle, or draft_train_tokens of a head"
        rule = f"must be given for draft={draft.name!r}, which has no published values, for example 0.7"
        raise fail("acceptance", None, rule, hint)
    tau, lower, upper = float(at.value), float(at.lower), float(at.upper)
    longest = min(s.draft_len, s.verify_tokens - 1) + 1.0
    config = SpeculativeConfig(
        draft,
        s.draft_len,
        s.top_k,
        s.verify_tokens,
        tau,
        max(lower, 1.0),
        min(upper, max(longest, tau)),
        evidence,
    )
    return config, remarks


def _from_rates(
    rates: FloatArray, spread: tuple[float, float] | None, s: DraftShape, remarks: list[str]
) -> Estimate:
    """Return tau and its ends from conditional rates."""
    if 1 < rates.size < s.draft_len:
        remarks.append(f"acceptance has {rates.size} values; the positions beyond them repeat the last value")
    if s.top_k > 1:
        remarks.append(
            "ranks beyond the first follow the default rank law (scylla_sim.acceptance.profiles.rank_profile)"
        )
    tau = _tau_of_rates(rates, s)
    lower, upper = (tau, tau) if spread is None else (1.0 + (tau - 1.0) * end for end in spread)
    return Estimate.of(tau, lower, upper)


def _from_reference(reference_tau: Sequence[float], s: DraftShape) -> Estimate:
    """Return tau and its ends, transferred from the reference tree."""
    given = in_range("reference_tokens_per_cycle", list(reference_tau), 1)
    if given.shape not in ((1,), (3,)):
        raise fail("reference_tokens_per_cycle", list(reference_tau), "must be TAU or TAU,LOWER,UPPER")
    value, lower, upper = np.broadcast_to(given, (3,)).tolist()
    if not lower <= value <= upper:
        raise fail("reference_tokens_per_cycle", value, f"must lie between its ends {lower:g} and {upper:g}")
    return Estimate.of(*(transfer(tau, reference(), s) for tau in (value, lower, upper)))


def _from_laws(
    draft: Draft, s: DraftShape, layers: int | None, train_tokens: float | None, remarks: list[str]
) -> Estimate:
    """Return tau and its ends from Theorems 1.1 and 1.2, transferred from the reference tree."""
    if draft.kind != "head":
        raise fail("draft", draft.name, "has no training laws", "they hold for eagle* and scylla-Nl heads")
    at = theorems.tokens_per_cycle(layers=layers or draft.num_layers, train_tokens=train_tokens)
    remarks += at.remarks
    tau = at.tau
    ends = [transfer(float(end), reference(), s) for end in (tau.value, tau.lower, tau.upper)]
    if s != reference():
        remarks.append(
            f"tau {float(tau.value):.2f} holds at depth 6, top-k 10, 60 nodes; "
            "it is transferred to this configuration with one rate at every depth"
        )
    return Estimate.of(*ends)


def _from_published(method: str, s: DraftShape, task: str | None, remarks: list[str]) -> Estimate:
    """Return the typical tau of a method with its ends, and remark that it was not measured."""
    found = typical.typical_tau(
        method,
        (s.draft_len, s.top_k, s.verify_tokens),
        task,
        transfer=lambda tau, source, target: transfer(tau, DraftShape(*source), DraftShape(*target)),
    )
    count = f"{found.series} value{'s' if found.series > 1 else ''}"
    tasks = f"task {task}" if task is not None else "all tasks, --task selects one"
    remarks.append(
        f"acceptance is published, not measured on this model: median of {count} of {method} "
        f"({tasks}; {', '.join(found.sources)} of scylla_sim/data/acceptance.toml); give --acceptance for your own"
    )
    remarks += found.remarks
    return found.tau
