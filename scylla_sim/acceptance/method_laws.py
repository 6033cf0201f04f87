"""Laws over positions of draft methods, fitted to published series, and their errors on sources left out.

A series is tau of one draft, target and task at several draft lengths, each from a run of its own. Rates by
position within one run do not belong here; see `scylla_sim.acceptance.positions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from scylla_sim.acceptance.position_fit import POSITION_EXPONENT, TAU_NOISE, own_exponent
from scylla_sim.acceptance.positions import OTHER, PositionLaw, Z, laws
from scylla_sim.acceptance.profiles import iid_rate, iid_tokens_per_cycle
from scylla_sim.checks import FloatArray, fail
from scylla_sim.records import Row

PRIOR_SOURCES = 1
"""Sources as which the spread of the method with most sources counts in the spread of each method. Assumption."""

TWO_STATES = ("ngram",)
"""Methods whose law is a match at position 1 and one rate after it."""


@dataclass(frozen=True)
class TauSeries:
    """Tau of one draft at several draft lengths.

    Attributes
    ----------
    label, method, origin
        Name of the series, method of its draft, and name of its source.
    draft_lens, tokens_per_cycle
        Draft lengths and tau, shape (n,).
    """

    label: str
    method: str
    origin: str
    draft_lens: tuple[int, ...]
    tokens_per_cycle: tuple[float, ...]

    def parameter(self) -> float:
        """Return the exponent of the series, or the log odds of its later rate for a method with two states."""
        return _parameter(self)

    def tau(self, draft_len: int) -> float:
        """Return tau at a draft length of the series."""
        return self.tokens_per_cycle[self.draft_lens.index(draft_len)]


@cache
def _parameter(series: TauSeries) -> float:
    """Return the parameter of a series, once for all fits that contain it."""
    if series.method in TWO_STATES:
        return _logit(_later_rate(series))
    return own_exponent(series.draft_lens, series.tokens_per_cycle)


def _logit(rate: float) -> float:
    return float(np.log(rate / (1.0 - rate)))


def _later_rate(series: TauSeries) -> float:
    """Return the rate after position 1 with which a chain of two states gives the taus best, by least squares."""
    lengths, tau = np.asarray(series.draft_lens), np.asarray(series.tokens_per_cycle)
    rates = np.linspace(0.01, 0.99, 981)
    sums = np.stack([(rates ** np.arange(n)[:, None]).sum(axis=0) for n in lengths.tolist()], axis=-1)
    first = (sums @ (tau - 1.0)) / (sums**2).sum(axis=-1)
    misses = ((first[:, None] * sums - (tau - 1.0)) ** 2).sum(axis=-1)
    return float(rates[int(np.argmin(misses))])


def _by_origin(series: Sequence[TauSeries], method: str) -> list[FloatArray]:
    """Return the parameters of a method's series, one array per source."""
    found: dict[str, list[float]] = {}
    for item in series:
        if item.method == method and len(item.draft_lens) > 1:
            found.setdefault(item.origin, []).append(item.parameter())
    return [np.array(values) for values in found.values()]


def _centre(groups: Sequence[FloatArray]) -> tuple[float, float]:
    """Return the median of the medians of some groups, and the mean square distance from it.

    Every group counts once in both.
    """
    centre = float(np.median([np.median(values) for values in groups]))
    return centre, float(np.mean([np.mean((values - centre) ** 2) for values in groups]))


def fit_laws(series: Sequence[TauSeries]) -> dict[str, PositionLaw]:
    """Return the law of every method, and that of methods without series.

    Parameters
    ----------
    series
        Series of any methods; those with one draft length do not count.

    Notes
    -----
    The exponent is the median over sources of each source's median. Its spread is the root mean square distance of
    the series from it; every source has the same weight. The spread of a few sources is shrunk to that of the
    method with most sources, which counts as `PRIOR_SOURCES` sources. For methods without series, each method
    counts as one source. Methods with two states have the log odds of their later rate in place of the exponent.

    Raises
    ------
    InputError
        If no method has a series with two draft lengths.

    Examples
    --------
    >>> one, two = (TauSeries(str(n), "eagle3", str(n), (1, 3), (1.8, tau)) for n, tau in enumerate((2.8, 2.9)))
    >>> law = fit_laws([one, two])["eagle3"]
    >>> 0.0 < law.exponent < 1.0 and law.spread > 0.0
    True
    """
    methods = sorted({item.method for item in series})
    groups = {name: found for name in methods if (found := _by_origin(series, name))}
    decaying = {name: found for name, found in groups.items() if name not in TWO_STATES}
    if not decaying:
        raise fail("series", len(series), "must hold a method with two draft lengths in one series")
    _, prior = _centre(max(decaying.values(), key=len))
    fitted = {}
    for name, found in groups.items():
        centre, square = _centre(found)
        shrunk = (len(found) * square + PRIOR_SOURCES * prior) / (len(found) + PRIOR_SOURCES)
        fitted[name] = _law(name, centre, float(np.sqrt(shrunk)))
    pooled, square = _centre([np.concatenate(found) for found in decaying.values()])
    fitted[OTHER] = _law(OTHER, pooled, float(np.sqrt(square)))
    return fitted


def _law(method: str, parameter: float, spread: float) -> PositionLaw:
    if method in TWO_STATES:
        return PositionLaw(method, 0.0, spread, float(1.0 / (1.0 + np.exp(-parameter))))
    return PositionLaw(method, parameter, spread)


def left_out(series: Sequence[TauSeries], *, known: int = 3, predict_from: int = 5) -> list[Row]:
    """Predict tau of long drafts from tau at one length, with laws fitted without the source of each series.

    Parameters
    ----------
    series
        Series of any methods.
    known
        Draft length whose tau is given.
    predict_from
        Shortest predicted draft length, above ``known``.

    Returns
    -------
    list of dict
        One row per series and predicted length. ``error`` is the relative error of the law, ``iid_error`` that of
        one rate at all positions, ``pooled_error`` that of one exponent for all methods
        (`scylla_sim.acceptance.position_fit.POSITION_EXPONENT`), and ``shipped_error`` that of the shipped law, to
        which the source may have contributed. ``fitted_on`` counts the sources of the method behind ``exponent``;
        0 means the law of methods without series.
    """
    rows = []
    for origin in dict.fromkeys(item.origin for item in series):
        others = [item for item in series if item.origin != origin]
        fitted = fit_laws(others)
        for item in series:
            if item.origin == origin and known in item.draft_lens:
                count = len(_by_origin(others, item.method))
                law = fitted[item.method] if count else replace(fitted[OTHER], method=item.method)
                lengths = [n for n in item.draft_lens if n >= predict_from]
                rows += [_row(item, law, known, n) | {"fitted_on": count} for n in lengths]
    return rows


def _row(item: TauSeries, law: PositionLaw, known: int, length: int) -> Row:
    """Return the row of one prediction."""
    tau, measured = item.tau(known), item.tau(length)
    value, low, high = (
        float(one.tokens_per_cycle(tau, known, length)) for one in (law, law.moved(-Z), law.moved(Z))
    )
    noise = Z * TAU_NOISE
    iid = float(iid_tokens_per_cycle(iid_rate(tau, known), length))
    pooled = float(PositionLaw(OTHER, POSITION_EXPONENT, 0.0).tokens_per_cycle(tau, known, length))
    shipped = float(laws()[item.method].tokens_per_cycle(tau, known, length))
    return {
        "series": item.label,
        "method": item.method,
        "origin": item.origin,
        "known": str(known),
        "draft_len": length,
        "measured": measured,
        "iid": iid,
        "iid_error": iid / measured - 1.0,
        "pooled_error": pooled / measured - 1.0,
        "shipped_error": shipped / measured - 1.0,
        "predicted": value,
        "lower": max(value - float(np.hypot(value - low, noise)), 1.0),
        "upper": min(value + float(np.hypot(high - value, noise)), length + 1.0),
        "error": value / measured - 1.0,
        "exponent": law.exponent if law.later_rate is None else None,
        "spread": law.spread,
        "later_rate": law.later_rate,
    }


def law_rows(series: Sequence[TauSeries], fitted: Mapping[str, PositionLaw]) -> list[Row]:
    """Return one row per law: exponent or later rate, spread, and the numbers of series and sources behind it."""
    rows = []
    for name, law in fitted.items():
        groups = _by_origin(series, name)
        rows.append(
            {
                "method": name,
                "exponent": law.exponent if law.later_rate is None else None,
                "later_rate": law.later_rate,
                "spread": law.spread,
                "series": sum(values.size for values in groups),
                "origins": len(groups),
            }
        )
    return rows
