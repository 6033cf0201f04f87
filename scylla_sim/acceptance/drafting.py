"""From what a user knows of a draft (rates, tokens per cycle, a training budget) to a `SpeculativeConfig`.

tau is taken, in this order, from ``tokens_per_cycle``, from acceptance rates, or from the laws at the paper's
reference configuration and carried to the asked one through a one-parameter rank profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scylla_sim.acceptance import profiles, trees
from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of, whole
from scylla_sim.laws import theorems
from scylla_sim.records import read_json
from scylla_sim.specs.draft import Draft

KINDS = ("conditional", "cumulative")


MAX_DRAFT_LEN, MAX_TOP_K = 1000, 256
"""Far beyond what any engine drafts; the candidates of a tree grow with the square of its width."""


@dataclass(frozen=True)
class DraftShape:
    """Draft length, width and verified tokens (root included), defaults resolved."""

    draft_len: int
    top_k: int
    verify_tokens: int


def reference() -> DraftShape:
    """The configuration at which the laws give tau: EAGLE-2's published tree, which Scylla keeps."""
    return DraftShape(**theorems.reference())


def shape(draft: Draft, draft_len: int | None, top_k: int | None, verify_tokens: int | None) -> DraftShape:
    """Fill in what was not said: EAGLE-2 and Scylla heads draft the reference tree, others a chain of 3."""
    known = reference()
    tree = draft.name == "eagle2" or draft.name.startswith("scylla")
    default = known.draft_len if tree else draft.num_layers if draft.kind == "medusa" else 3
    length = default if draft_len is None else draft_len
    width = (known.top_k if tree else 1) if top_k is None else top_k
    whole("draft_len", length, 1, MAX_DRAFT_LEN)
    whole("top_k", width, 1, MAX_TOP_K)
    if verify_tokens is None:
        candidates = 1 + width + (length - 1) * width**2
        verify_tokens = min(known.verify_tokens, candidates) if tree and width > 1 else length * width + 1
    if width == 1 and verify_tokens != length + 1:
        raise fail(
            "verify_tokens",
            verify_tokens,
            f"must be draft_len + 1 = {length + 1} for a chain",
            "or give --top-k above 1",
        )
    return DraftShape(length, width, verify_tokens)


def _profile_tau(rates: FloatArray, s: DraftShape) -> float:
    """tau of a conditional profile: of the chain, or of the beam tree under the default rank law."""
    profile = profiles.extend(rates, s.draft_len)
    if s.top_k == 1:
        return float(profiles.tokens_per_cycle(profile))
    ranks = profiles.rank_profile(profile, s.top_k)
    tree = trees.beam_tree(ranks, top_k=s.top_k, verify_tokens=s.verify_tokens)
    return float(trees.tokens_per_cycle(tree, ranks))


def _rate_of(tau: float, s: DraftShape) -> float:
    """The one rate at which a configuration yields ``tau``."""
    if s.top_k == 1:
        return float(profiles.iid_rate(tau, s.draft_len))
    return trees.beam_rate(tau, draft_len=s.draft_len, top_k=s.top_k, verify_tokens=s.verify_tokens)


def transfer(tau: float, source: DraftShape, target: DraftShape) -> float:
    """tau measured at one drafting configuration -> tau at another, through one rate at every depth.

    Examples
    --------
    >>> round(transfer(5.0, reference(), DraftShape(3, 1, 4)), 2)
    2.92
    """
    if source == target:
        return tau
    return _profile_tau(np.array([_rate_of(tau, source)]), target)


def reference_rate(tau: float) -> float:
    """The one rate at which the `reference` tree yields ``tau``."""
    return _rate_of(tau, reference())


def yielded(rate: float, shapes: Sequence[DraftShape]) -> list[float]:
    """tau of each of ``shapes`` with one rate at every depth."""
    return [_profile_tau(np.array([rate]), s) for s in shapes]


def transferred(tau: float, shapes: Sequence[DraftShape]) -> list[float]:
    """tau at the reference tree -> tau at each of ``shapes``; the rate is solved for once."""
    return yielded(reference_rate(tau), shapes)


def _rates_file(text: str) -> tuple[list[float], str]:
    """Rates and their kind from a JSON file with ``acceptance_rate`` (a list) and ``kind``."""
    try:
        value: dict[str, Any] = read_json(text)
    except InputError as error:
        rule = "must be rates such as 0.7 or 0.76,0.74, or a JSON file"
        raise fail("acceptance", text, rule, str(error)) from None
    if not isinstance(value.get("acceptance_rate"), list):
        raise fail("acceptance", text, "must hold a list named acceptance_rate")
    if "kind" not in value:
        raise fail("acceptance", text, "must say its kind", f"one of {', '.join(KINDS)}")
    return value["acceptance_rate"], one_of("kind", str(value["kind"]), KINDS)


def read_rates(text: str, kind: str) -> tuple[FloatArray, bool]:
    """Conditional rates from ``0.7``, ``0.76,0.74`` or a JSON file; and whether one number serves all depths."""
    one_of("acceptance_kind", kind, KINDS)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers, kind = _rates_file(text)
    rates = in_range("acceptance_rate", numbers, 0, 1)
    if kind == "cumulative":
        rates = profiles.to_conditional(rates)
    return np.atleast_1d(rates), rates.size == 1


def read_spread(text: str) -> tuple[float, float] | None:
    """Lower and upper end of the accepted tokens of a cycle over their mean, where a rates file says them.

    ``scylla-sim ingest`` writes them from the counts; rates given on the command line have no interval.
    """
    try:
        [float(part) for part in text.split(",")]
    except ValueError:
        file = read_json(text)
    else:
        return None
    names = [f"tokens_per_cycle{end}" for end in ("", "_lower", "_upper")]
    if not all(name in file for name in names):
        return None
    tau, lower, upper = (float(in_range(name, file[name], 1)) for name in names)
    if not lower <= tau <= upper:
        raise fail("tokens_per_cycle", tau, f"must lie between its ends {lower:g} and {upper:g} in {text}")
    return ((lower - 1) / (tau - 1), (upper - 1) / (tau - 1)) if tau > 1 else None


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
) -> tuple[SpeculativeConfig, list[str]]:
    """Drafting configuration with its tau and interval, and remarks on what was assumed.

    ``reference_tau`` is tau at the `reference` tree, alone or with its lower and upper end; ``spread`` is the
    interval of measured ``rates`` (`read_spread`).
    """
    remarks: list[str] = []
    if tokens_per_cycle is not None:
        tau = lower = upper = float(in_range("tokens_per_cycle", tokens_per_cycle, 1))
    elif rates is not None:
        if 1 < rates.size < s.draft_len:
            remarks.append(f"acceptance has {rates.size} values; a longer draft repeats the last")
        if s.top_k > 1:
            remarks.append(
                "ranks beyond the first follow the default rank law (scylla_sim.acceptance.profiles.rank_profile)"
            )
        tau = lower = upper = _profile_tau(rates, s)
        if spread is not None:
            lower, upper = (1.0 + (tau - 1.0) * end for end in spread)
    elif reference_tau is not None:
        tau, lower, upper = _from_reference(reference_tau, s)
    elif layers is not None or train_tokens is not None or draft.name.startswith("scylla"):
        tau, lower, upper = _from_laws(draft, s, layers, train_tokens, remarks)
    else:
        raise InputError(
            f"acceptance=None is needed for draft={draft.name!r}; give --acceptance 0.7 (or a list, or a file), "
            "--tokens-per-cycle 2.4, or --draft-train-tokens 10B"
        )
    most = min(s.draft_len, s.verify_tokens - 1) + 1.0
    drafting = SpeculativeConfig(
        draft, s.draft_len, s.top_k, s.verify_tokens, tau, max(lower, 1.0), min(upper, max(most, tau))
    )
    return drafting, remarks


def _from_reference(reference_tau: Sequence[float], s: DraftShape) -> tuple[float, float, float]:
    """tau, lower and upper end at the reference tree, carried to the asked drafting."""
    if len(reference_tau) not in (1, 3):
        raise fail("reference_tokens_per_cycle", list(reference_tau), "must be TAU or TAU,LOWER,UPPER")
    at = in_range("reference_tokens_per_cycle", list(reference_tau), 1)
    value, lower, upper = (transfer(float(tau), reference(), s) for tau in (at[0], at[-2 % at.size], at[-1]))
    return value, lower, upper


def _from_laws(
    draft: Draft, s: DraftShape, layers: int | None, train_tokens: float | None, remarks: list[str]
) -> tuple[float, float, float]:
    """tau and its interval from Theorems 1.1 and 1.2, carried from the reference configuration."""
    if draft.kind != "head":
        raise fail("draft", draft.name, "has no training laws", "they hold for eagle*, scylla-Nl heads")
    at = theorems.tokens_per_cycle(layers=layers or draft.num_layers, train_tokens=train_tokens)
    remarks += at.remarks
    values: Sequence[float] = [transfer(float(tau), reference(), s) for tau in (at.value, at.lower, at.upper)]
    if s != reference():
        remarks.append(
            f"tau {float(at.value):.2f} holds at depth 6, top-k 10, 60 nodes; one rate carries it to this setting"
        )
    return values[0], values[1], values[2]


@dataclass(frozen=True)
class SpeculativeConfig:
    """What is drafted each cycle, and what the target accepts of it.

    Attributes
    ----------
    draft_len
        Sequential draft passes (gamma); 0 without a draft.
    top_k
        Candidates kept per depth; 1 is a chain.
    verify_tokens
        Tokens the target scores per sequence and cycle, root included.
    tokens_per_cycle, tau_lower, tau_upper
        Mean tokens emitted per cycle, bonus token included, with its interval.
    """

    draft: Draft
    draft_len: int
    top_k: int
    verify_tokens: int
    tokens_per_cycle: float
    tau_lower: float
    tau_upper: float

    def __post_init__(self) -> None:
        none = self.draft.kind == "none"
        whole("draft_len", self.draft_len, 0 if none else 1)
        whole("top_k", self.top_k, 1)
        whole("verify_tokens", self.verify_tokens, 1 if none else 2)
        most = min(self.draft_len, self.verify_tokens - 1) + 1
        in_range(
            "tokens_per_cycle", self.tokens_per_cycle, 1, most, hint="draft_len + 1 at most, bonus token included"
        )
        if not self.tau_lower <= self.tokens_per_cycle <= self.tau_upper:
            raise fail("tokens_per_cycle", self.tokens_per_cycle, "must lie in its own interval")


def no_drafting(draft: Draft) -> SpeculativeConfig:
    """Plain decoding: one token a step."""
    return SpeculativeConfig(draft, 0, 1, 1, 1.0, 1.0, 1.0)
