"""Acceptance as a user measured it: tau of a chain, rates by position, or a file of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from scylla_sim.acceptance import rates_file
from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.checks import FloatArray, fail, in_range, whole


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
        Relative interval, as `scylla_sim.acceptance.rates_file.read_spread` returns it.
    """

    tokens_per_cycle: float | None = None
    tau_draft_len: int | None = None
    rates: FloatArray | None = None
    spread: tuple[float, float] | None = None

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


def measured_acceptance(
    acceptance: float | Sequence[float] | str | PathLike[str] | None,
    kind: str,
    *,
    tokens_per_cycle: float | None = None,
    measured_draft_len: int | None = None,
) -> MeasuredAcceptance:
    """Return the measured acceptance of a user's options.

    Parameters
    ----------
    acceptance
        Rates, or text as on the command line: rates, or the path of a file. A file whose rates follow from its tau
        counts as a measured tau.
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
    if not isinstance(acceptance, str | PathLike):
        return MeasuredAcceptance(tau, length, rates_file.conditional_rates(acceptance, kind))
    text = str(acceptance)
    rates = rates_file.read_rates(text, kind)[0]
    if tau is not None:
        return MeasuredAcceptance(tau, length, rates)
    by_law = rates_file.read_measured(text)
    if by_law is not None:
        return MeasuredAcceptance(*by_law, spread=rates_file.read_spread(text))
    return MeasuredAcceptance(rates=rates, spread=rates_file.read_spread(text))
