"""The law of acceptance over draft positions, by draft method, and tau at other draft lengths.

A draft conditions on its own guesses, so its acceptance falls with the position. The law: the odds of acceptance
at position i are ``i**-exponent`` times the odds at position 1. The default law over ranks
(`scylla_sim.acceptance.profiles.rank_profile`) has the same shape. n-gram drafts have two states instead: the
prompt matches or not at position 1, and a match then continues with one rate.

`law_of` returns the law of a method. Every verb that goes from one draft length to another uses it. The laws are
fitted by `scylla_sim.acceptance.method_laws`.

Notes
-----
The exponents describe tau against the draft length, over separate runs. They contain two effects: the position, and
the harder contexts in which the cycles of longer drafts begin. In traces of one head cut at draft length K,
position 1 is accepted with these rates:

======  ================
K       Rate, position 1
======  ================
1       0.674
10      0.626
======  ================

Rates by position within one run contain the first effect only. They fall less, or even rise in easy text. Do not
mix the two kinds of rates.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import solve_rate
from scylla_sim.checks import FloatArray, in_range, whole

OTHER = "other"
"""Law of methods without published series."""

GIVEN = "given"
"""Method of a law whose exponent the user gives."""

SAME_HEAD = {"eagle2": "eagle", "scylla": "eagle"}
"""Method -> method whose law it shares, because both have the same head."""

Z = 1.645
"""Half width of a 90 % interval in standard deviations."""

MAX_EXPONENT = 20.0
"""Largest exponent that a user can give; position 2 is then practically never accepted."""


def position_profile(first_rate: ArrayLike, draft_len: int, *, exponent: ArrayLike) -> FloatArray:
    """Return conditional rates at positions 1 to draft_len from the rate at position 1.

    The odds at position i are ``i**-exponent`` times the odds at position 1.

    Parameters
    ----------
    first_rate
        Rate at position 1, in [0, 1].
    draft_len
        Number of positions.
    exponent
        Exponent of the law; 0 gives one rate for all positions. It broadcasts with ``first_rate``, shape (...).

    Returns
    -------
    ndarray
        Conditional rates, shape (..., draft_len).

    Notes
    -----
    Source: this package. Other laws with one exponent for all series fit equally well or slightly worse: geometric
    odds, geometric rates, and a power of the hazard.

    Examples
    --------
    >>> position_profile(0.8, 3, exponent=0.66).round(3).tolist()
    [0.8, 0.717, 0.66]
    """
    position = np.arange(1.0, int(whole("draft_len", draft_len, 1)) + 1)
    return _scaled_odds(
        in_range("first_rate", first_rate, 0, 1)[..., None],
        position ** -in_range("exponent", exponent)[..., None],
    )


def _scaled_odds(rate: FloatArray, factor: FloatArray) -> FloatArray:
    """Return the rates whose odds are ``factor`` times those of ``rate``, without dividing by 1 - rate."""
    weight = rate * factor
    return np.asarray(weight / (1.0 - rate + weight))


@dataclass(frozen=True)
class PositionLaw:
    """The law over positions of one draft method.

    Attributes
    ----------
    method
        Name of the method.
    exponent, spread
        Exponent of the law, and its standard deviation for a new model of the method.
    later_rate
        Rate of every position after the first, for n-gram drafts; ``exponent`` is then 0, and ``spread`` is the
        standard deviation of the log odds of this rate. ``None`` for the law with an exponent.

    Examples
    --------
    >>> PositionLaw("eagle3", 0.5, 0.2).continued([0.8], 3).round(3).tolist()
    [0.8, 0.739, 0.698]
    """

    method: str
    exponent: float
    spread: float
    later_rate: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        in_range("position_exponent", self.exponent, -MAX_EXPONENT, MAX_EXPONENT)
        in_range("spread", self.spread, 0)
        if self.later_rate is not None:
            in_range("later_rate", self.later_rate, 0, 1)

    def moved(self, deviations: float) -> PositionLaw:
        """Return the law at some standard deviations from its centre; positive deviations accept more."""
        if self.later_rate is None:
            return replace(self, exponent=self.exponent - deviations * self.spread)
        rate = _scaled_odds(np.asarray(self.later_rate), np.exp(np.asarray(deviations * self.spread)))
        return replace(self, later_rate=float(rate))

    def profile(self, first_rate: ArrayLike, draft_len: int) -> FloatArray:
        """Return conditional rates at positions 1 to draft_len from rates at position 1, shape (..., draft_len).

        A draft with two states never accepts a later position less often than the first.
        """
        return np.asarray(_profiles([self], draft_len)(in_range("first_rate", first_rate, 0, 1)[None])[0])

    def continued(self, rates: ArrayLike, draft_len: int) -> FloatArray:
        """Return conditional rates at positions 1 to draft_len, of which the first ones are given.

        Parameters
        ----------
        rates
            Conditional rates at positions 1 to n, shape (n,). They are used as they are.
        draft_len
            Number of positions. The law continues beyond position n: the odds at position i are
            ``(i / n)**-exponent`` times those at position n. With two states, a later position repeats the last
            rate if n > 1.
        """
        given = np.atleast_1d(in_range("acceptance", rates, 0, 1))
        known, length = given.size, int(whole("draft_len", draft_len, 1))
        if known >= length:
            return given[:length]
        if known == 1:
            return self.profile(given[0], length)
        exponent = 0.0 if self.later_rate is not None else self.exponent
        beyond = np.arange(known + 1.0, length + 1.0) / known
        return np.concatenate([given, _scaled_odds(given[-1:], beyond**-exponent)])

    def first_rate(self, tokens_per_cycle: ArrayLike, draft_len: int) -> FloatArray:
        """Return the rate at position 1 at which chains of draft_len tokens yield values of tau."""
        return np.asarray(first_rates([self], tokens_per_cycle, draft_len)[0])

    def tokens_per_cycle(self, tau: ArrayLike, known: int, draft_len: int) -> FloatArray:
        """Return tau of chains of draft_len tokens that yield ``tau`` with ``known`` tokens.

        Examples
        --------
        >>> law = PositionLaw("eagle3", 0.66, 0.0)
        >>> round(float(law.tokens_per_cycle(2.8, 3, 5)), 2)
        3.2
        """
        return np.asarray(taus_by_law([self], tau, known=known, draft_len=draft_len)[0])

    def describe(self) -> str:
        """Return the law in words, for notes.

        Examples
        --------
        >>> PositionLaw("eagle3", 0.3, 0.23).describe()
        'the position law of eagle3 (odds at position i times i^-0.3, exponent +- 0.23)'
        >>> law_of("eagle3", 0.0).describe()
        'the given position law (one rate for all positions)'
        """
        named = {GIVEN: "the given position law", OTHER: "the position law of other methods"}
        name = named.get(self.method, f"the position law of {self.method}")
        if self.later_rate is not None:
            return f"{name} (a match at position 1, then the rate {self.later_rate:g})"
        if self.exponent == self.spread == 0.0:
            return f"{name} (one rate for all positions)"
        spread = f", exponent +- {self.spread:g}" if self.spread else ""
        return f"{name} (odds at position i times i^{-self.exponent:g}{spread})"


def _profiles(several: Sequence[PositionLaw], draft_len: int) -> Callable[[FloatArray], FloatArray]:
    """Return `PositionLaw.profile` at one length, for rates of shape (laws, ...) in [0, 1].

    All laws are of one method. Searches call the function often.
    """
    position = np.arange(1.0, int(whole("draft_len", draft_len, 1)) + 1)

    def by_law(values: Sequence[float], rate: FloatArray) -> FloatArray:
        return np.array(values).reshape(-1, *[1] * rate.ndim)

    later = [law.later_rate for law in several if law.later_rate is not None]
    if later:
        return lambda rate: np.where(
            position == 1.0, rate[..., None], np.maximum(rate[..., None], by_law(later, rate))
        )
    factors = position ** -np.array([[law.exponent] for law in several])
    return lambda rate: _scaled_odds(
        rate[..., None], factors.reshape(len(several), *[1] * (rate.ndim - 1), position.size)
    )


def first_rates(several: Sequence[PositionLaw], tokens_per_cycle: ArrayLike, draft_len: int) -> FloatArray:
    """Return `PositionLaw.first_rate` by several laws of one method, shape (laws, ...)."""
    profiles = _profiles(several, draft_len)
    wanted = in_range("tokens_per_cycle", tokens_per_cycle, 1)
    return solve_rate(
        np.broadcast_to(wanted, (len(several), *wanted.shape)), lambda rate: _chain_tau(profiles(rate))
    )


def taus_by_law(several: Sequence[PositionLaw], tau: ArrayLike, *, known: int, draft_len: int) -> FloatArray:
    """Return `PositionLaw.tokens_per_cycle` by several laws of one method, shape (laws, ...).

    Examples
    --------
    >>> law = PositionLaw("eagle3", 0.66, 0.2)
    >>> taus_by_law([law, law.moved(1.0)], [2.0, 2.8], known=3, draft_len=5).round(2).tolist()
    [[2.06, 3.2], [2.08, 3.26]]
    """
    if known == draft_len:
        wanted = in_range("tokens_per_cycle", tau, 1, draft_len + 1)
        return np.broadcast_to(wanted, (len(several), *wanted.shape))
    return _chain_tau(_profiles(several, draft_len)(first_rates(several, tau, known)))


def _chain_tau(rates: FloatArray) -> FloatArray:
    """Return tau of chains, shape (...), from conditional rates, shape (..., positions)."""
    return np.asarray(1.0 + np.cumprod(rates, axis=-1).sum(axis=-1))


@cache
def laws() -> dict[str, PositionLaw]:
    """Return the law of each method of ``scylla_sim/data/positions.toml``.

    Examples
    --------
    >>> sorted(laws())
    ['dflash', 'dspark', 'eagle', 'eagle3', 'mtp', 'ngram', 'other', 'p-eagle']
    """
    text = (resources.files("scylla_sim") / "data" / "positions.toml").read_text("utf-8")
    return {
        name: PositionLaw(name, entry.get("exponent", 0.0), entry["spread"], entry.get("later_rate"))
        for name, entry in tomllib.loads(text).items()
    }


def law_of(method: str, exponent: float | None = None) -> PositionLaw:
    """Return the law of a draft method, or an exact law with an exponent of the user.

    Parameters
    ----------
    method
        Method of a draft, `scylla_sim.specs.draft.Draft.method_name`. A method without published series has the law
        `OTHER`.
    exponent
        Exponent that replaces the law; 0 gives one rate for all positions.

    Examples
    --------
    >>> law_of("eagle2") == law_of("eagle"), law_of("llama-68m").method, law_of("eagle3", 0.0).spread
    (True, 'other', 0.0)
    """
    if exponent is not None:
        return PositionLaw(GIVEN, float(exponent), 0.0)
    return laws().get(SAME_HEAD.get(method, method), laws()[OTHER])
