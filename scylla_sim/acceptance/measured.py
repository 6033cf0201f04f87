"""Acceptance as a user measured it: tau of a chain, rates by position, or a file of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from scylla_sim.acceptance import rates_file
from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.checks import FloatArray, InputError, fail, in_range, whole


@dataclass(frozen=True)
class MeasuredAcceptance:
    """Measured acceptance of one run.

    Attributes
    ----------
    tokens_per_cycle
        Measured tau; it has priority over ``rates``.
    tau_draft_len
        Length of the chain that gave tau; ``None`` if it is not stated.
    rates
        Conditional rates of the first positions, shape (positions,).
    spread
        Relative interval, as `scylla_sim.acceptance.rates_file.spread_of` returns it.
    longest
        Positions of the longest draft, if the drafts vary in length; ``tau_draft_len`` is then their mean.
    notes
        Assumptions of the file that gave the acceptance.
    """

    tokens_per_cycle: float | None = None
    tau_draft_len: int | None = None
    rates: FloatArray | None = None
    spread: tuple[float, float] | None = None
    longest: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def draft_len(self) -> int | None:
        """Draft length of the measurement; ``None`` for one rate, and for a tau without a stated length."""
        if self.tokens_per_cycle is not None:
            return self.tau_draft_len
        return self.rates.size if self.rates is not None and self.rates.size > 1 else None

    def check_one_length(self, draft_lens: Sequence[int]) -> None:
        """Raise if a tau without a stated length would hold at several draft lengths.

        Raises
        ------
        InputError
            For such a tau.
        """
        if self.tokens_per_cycle is not None and self.tau_draft_len is None and len({*draft_lens} - {0}) > 1:
            hint = "give --measured-draft-len, because other lengths yield other values"
            raise fail("tokens_per_cycle", self.tokens_per_cycle, "holds at one draft length", hint)

    def priced_len(self, draft_len: int | None) -> int | None:
        """Return the length at which a draft length is predicted: the mean for drafts that vary up to it.

        Examples
        --------
        >>> MeasuredAcceptance(1.8, 3, longest=24).priced_len(24), MeasuredAcceptance(1.8, 3).priced_len(24)
        (3, 24)
        """
        return self.tau_draft_len if self.longest is not None and draft_len == self.longest else draft_len

    def shorter_notes(self, draft_lens: Sequence[int]) -> list[str]:
        """Return a note on the predicted lengths for which not all given rates are used.

        Examples
        --------
        >>> import numpy as np
        >>> MeasuredAcceptance(rates=np.array([0.8, 0.7, 0.6])).shorter_notes([1, 2, 3])
        ['acceptance was measured with draft_len 3 and is predicted with 1, 2']
        """
        known = self.rates.size if self.rates is not None and self.tokens_per_cycle is None else 0
        shorter = ", ".join(str(n) for n in sorted({*draft_lens}) if 0 < n < known)
        return (
            [f"acceptance was measured with draft_len {known} and is predicted with {shorter}"] if shorter else []
        )


def of_content(content: Mapping[str, Any], name: str, *, notes: Sequence[str] = ()) -> MeasuredAcceptance:
    """Return the measured acceptance of the content of a file of rates.

    Parameters
    ----------
    content
        JSON object, such as ``scylla-sim ingest`` writes it.
    name
        Name of the file, for error messages.
    notes
        Assumptions behind the content.

    Raises
    ------
    InputError
        For values that are out of range or contradict each other.

    Examples
    --------
    >>> of_content({"kind": "conditional", "acceptance_rate": [0.8, 0.5]}, "a.json").draft_len
    2
    """
    try:
        rates, spread = rates_file.rates_of(content), rates_file.spread_of(content)
        by_law, longest = rates_file.measured_tau(content), rates_file.longest_draft(content)
    except InputError as error:
        raise InputError(f"{error}, in {name}") from None
    if by_law is not None:
        varied = f"drafts of at most {longest} tokens were measured; predicted with their mean, rounded up"
        notes = notes if longest is None or notes else [varied]
        return MeasuredAcceptance(*by_law, spread=spread, longest=longest, notes=tuple(notes))
    return MeasuredAcceptance(rates=rates, spread=spread, notes=tuple(notes))


def measured_acceptance(
    acceptance: float | Sequence[float] | str | PathLike[str] | MeasuredAcceptance | None,
    kind: str,
    *,
    tokens_per_cycle: float | None = None,
    measured_draft_len: int | None = None,
) -> MeasuredAcceptance:
    """Return the measured acceptance of a user's options.

    Parameters
    ----------
    acceptance
        Rates, text as on the command line (rates, or the path of a JSON file), or what a file of an engine gave. A
        file whose rates follow from its tau counts as a measured tau.
    kind
        Kind of the rates; a file states its own kind.
    tokens_per_cycle, measured_draft_len
        Measured tau, which has priority over ``acceptance``, and the length of its chain.

    Raises
    ------
    InputError
        For a length without a tau, and for rates that cannot be read.

    Examples
    --------
    >>> measured_acceptance("0.8,0.5", "conditional").draft_len
    2
    """
    tau, length = tokens_per_cycle, measured_draft_len
    if length is not None:
        length = int(whole("measured_draft_len", length, 1, MAX_DRAFT_LEN))
        if tau is None:
            raise fail("measured_draft_len", length, "goes with --tokens-per-cycle")
        in_range("tokens_per_cycle", tau, 1, length + 1, hint="draft_len + 1 at most, bonus token included")
    if acceptance is None:
        return MeasuredAcceptance(tau, length)
    if isinstance(acceptance, MeasuredAcceptance):
        return acceptance if tau is None else MeasuredAcceptance(tau, length, acceptance.rates)
    if not isinstance(acceptance, str | PathLike):
        return MeasuredAcceptance(tau, length, rates_file.conditional_rates(acceptance, kind))
    text = str(acceptance)
    if tau is not None or not rates_file.is_file(text):
        return MeasuredAcceptance(tau, length, rates_file.read_rates(text, kind)[0])
    return of_content(rates_file.read_content(text), text)
