"""Tokens per cycle (tau) of a draft: from measured tokens per cycle, acceptance rates, or a training budget.

`resolve` returns a `SpeculativeConfig`. It takes tau from the first of these that is given:

1. ``tokens_per_cycle``, measured at this shape or with a chain of ``measured_draft_len``,
2. ``rates``, conditional acceptance rates of the first positions,
3. ``reference_tau``, tau at the `reference` tree,
4. ``layers`` and ``train_tokens``, through the laws of `scylla_sim.laws.theorems`,
5. published values of the method, `scylla_sim.acceptance.typical`.

The third and the fourth hold at the `reference` tree. `transfer` transfers tau from one shape to another by the law
over positions of the method (`scylla_sim.acceptance.positions`). Rates beyond the given positions follow this law
too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.acceptance import positions, typical
from scylla_sim.acceptance.draft_shape import DraftShape, chain_shape, reference
from scylla_sim.acceptance.measured import MeasuredAcceptance
from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.acceptance.tau_transfer import tau_of_measured, transfer, transferred
from scylla_sim.checks import FloatArray, fail, in_range
from scylla_sim.laws import theorems
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import Estimate

IDLE_NOTE = (
    "draft_len=0 keeps the draft loaded: it takes memory, and the share idle_draft of each step, which one source "
    "measured"
)
"""Note on a draft that drafts nothing."""
MAX_NAMED_SOURCES = 2
"""Sources of published values that a note names."""


def resolve(
    draft: Draft,
    s: DraftShape,
    *,
    tokens_per_cycle: float | None = None,
    measured_draft_len: int | None = None,
    rates: FloatArray | None = None,
    spread: tuple[float, float] | None = None,
    law: PositionLaw | None = None,
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
        Measured tau.
    measured_draft_len
        Length of the chain with which ``tokens_per_cycle`` was measured; ``None`` for this shape.
    rates
        Conditional acceptance rates of the first positions, shape (positions,).
    spread
        Interval of ``rates`` or of ``tokens_per_cycle``, as `scylla_sim.acceptance.rates_file.spread_of` returns
        it.
    law
        Law over positions; default: that of the draft's method.
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
    >>> config, remarks = resolve(eagle3, DraftShape(3, 1, 4), rates=np.array([0.7, 0.7, 0.7]))
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
    if task is not None and (given or layers is not None):
        raise fail("task", task, "selects published values", "they are not used beside a given acceptance")
    law = law or positions.law_of(draft.method_name)
    evidence = "given"
    if tokens_per_cycle is not None:
        at = _from_tau(MeasuredAcceptance(tokens_per_cycle, measured_draft_len, spread=spread), s, law, remarks)
    elif rates is not None:
        at = _from_rates(rates, spread, s, law, remarks)
    elif reference_tau is not None:
        at = _from_reference(reference_tau, s, law)
    elif layers is not None or train_tokens is not None or draft.method_name == "scylla":
        at, evidence = _from_laws(draft, s, layers, train_tokens, law, remarks), "laws"
    else:
        at, evidence = _from_published(draft, s, task, law, remarks), "published"
    return _config(draft, s, at, evidence), remarks


def _config(draft: Draft, s: DraftShape, at: Estimate, evidence: str) -> SpeculativeConfig:
    """Return a configuration with tau and its ends, which lie between 1 and the longest cycle."""
    tau, lower, upper = float(at.value), max(float(at.lower), 1.0), float(at.upper)
    longest = min(s.draft_len, s.verify_tokens - 1) + 1.0
    upper = min(upper, max(longest, tau))
    return SpeculativeConfig(draft, s.draft_len, s.top_k, s.verify_tokens, tau, lower, upper, evidence)


def _from_tau(measured: MeasuredAcceptance, s: DraftShape, law: PositionLaw, remarks: list[str]) -> Estimate:
    """Return tau and its ends from tau measured at this shape, or with a chain of another length."""
    length = measured.tau_draft_len
    if length is not None and chain_shape(length) != s:
        remarks.append(
            f"tokens per cycle {measured.tokens_per_cycle:.4g} was measured with draft_len {length}; other draft "
            f"shapes follow {law.describe()}"
        )
    return tau_of_measured(measured, s, law)


def _from_rates(
    rates: FloatArray, spread: tuple[float, float] | None, s: DraftShape, law: PositionLaw, remarks: list[str]
) -> Estimate:
    """Return tau and its ends from conditional rates of the first positions."""
    if rates.size < s.draft_len:
        given = f"{rates.size} positions" if rates.size > 1 else f"position 1 ({rates[0]:g})"
        remarks.append(f"acceptance is given for {given}; later positions follow {law.describe()}")
    if s.top_k > 1:
        remarks.append(
            "ranks beyond the first follow the default rank law (scylla_sim.acceptance.profiles.rank_profile)"
        )
    return tau_of_measured(MeasuredAcceptance(rates=rates, spread=spread), s, law)


def _from_reference(reference_tau: Sequence[float], s: DraftShape, law: PositionLaw) -> Estimate:
    """Return tau and its ends, transferred from the reference tree."""
    given = in_range("reference_tokens_per_cycle", list(reference_tau), 1)
    if given.shape not in ((1,), (3,)):
        raise fail("reference_tokens_per_cycle", list(reference_tau), "must be TAU or TAU,LOWER,UPPER")
    value, lower, upper = np.broadcast_to(given, (3,)).tolist()
    if not lower <= value <= upper:
        raise fail("reference_tokens_per_cycle", value, f"must lie between its ends {lower:g} and {upper:g}")
    return transferred(Estimate.of(value, lower, upper), reference(), s, law)


def _from_laws(
    draft: Draft,
    s: DraftShape,
    layers: int | None,
    train_tokens: float | None,
    law: PositionLaw,
    remarks: list[str],
) -> Estimate:
    """Return tau and its ends from Theorems 1.1 and 1.2, transferred from the reference tree."""
    if draft.kind != "head":
        raise fail("draft", draft.name, "has no training laws", "they hold for eagle* and scylla-Nl heads")
    at = theorems.tokens_per_cycle(layers=layers or draft.num_layers, train_tokens=train_tokens)
    remarks += at.remarks
    tau = at.tau
    if s != reference():
        remarks.append(
            f"tau {float(tau.value):.2f} holds at depth 6, top-k 10, 60 nodes; "
            f"it is transferred to this configuration by {law.describe()}"
        )
    return transferred(tau, reference(), s, law)


def _from_published(
    draft: Draft, s: DraftShape, task: str | None, law: PositionLaw, remarks: list[str]
) -> Estimate:
    """Return the typical tau of a draft's method with its ends, and remark that it was not measured."""
    method = draft.method_name
    if method not in typical.methods():
        hint = "give acceptance, for example 0.7; or tokens_per_cycle, or draft_train_tokens of a head"
        raise fail("draft", draft.name, "has no published acceptance", hint)
    found = typical.typical_tau(
        method,
        (s.draft_len, s.top_k, s.verify_tokens),
        task,
        law=law,
        transfer=lambda tau, source, target: transfer(tau, DraftShape(*source), DraftShape(*target), law),
    )
    count = f"{found.series} value{'s' if found.series > 1 else ''}"
    tasks = f"task {task}" if task is not None else "all tasks, --task selects one"
    more = len(found.sources) - MAX_NAMED_SOURCES
    others = f" and {more} more" if more > 0 else ""
    remarks.append(
        f"acceptance is published, not measured on this model: median of {count} of {method} ({tasks}; "
        f"{', '.join(found.sources[:MAX_NAMED_SOURCES])}{others} of scylla_sim/data/acceptance.toml); "
        "give --acceptance for your own"
    )
    remarks += found.remarks
    return found.tau
