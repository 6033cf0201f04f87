"""Fit of the decay over positions to one series of tau, and predictions of its long drafts.

`scylla_sim.acceptance.positions` states the law. `fit_decay` fits it to tau at one or several draft lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.positions import position_profile
from scylla_sim.acceptance.profiles import iid_rate, iid_tokens_per_cycle
from scylla_sim.checks import FloatArray, fail, in_range, positive, whole
from scylla_sim.records import Row
from scylla_sim.stats.estimate import Estimate

POSITION_EXPONENT = 0.66
"""Exponent of a series of an unknown method: the median over 19 published series of tau against the draft length.

Source: ``paper/published/tau_vs_draft_len.csv`` (EAGLE-1, EAGLE-3, P-EAGLE, MTP and DSpark heads of nine targets).
`scylla_sim.acceptance.positions.law_of` gives the exponent of a known method.
"""

POSITION_SPREAD = 0.54
"""Standard deviation of the exponent over the same 19 series."""

TAU_NOISE = 0.02
"""Standard deviation of a published tau about the law, from rounding to 0.01 and from different prompts."""

_LOGIT_LIMIT = 30.0
_FREE_SPREAD = 10.0
"""Spread for the exponent of a whole series; it hardly constrains the fit."""

IntArray = NDArray[np.int64]
Series = Mapping[str, tuple[ArrayLike, ArrayLike]]


@dataclass(frozen=True)
class Decay:
    """A profile over positions, fitted to tau at some draft lengths.

    Attributes
    ----------
    first_rate
        Rate at position 1.
    exponent
        Exponent of the law.
    covariance
        Covariance of (logit of ``first_rate``, ``exponent``), shape (2, 2).
    noise
        Standard deviation of one measured tau.
    """

    first_rate: float
    exponent: float
    covariance: FloatArray
    noise: float

    def profile(self, draft_len: int) -> FloatArray:
        """Return conditional rates at positions 1 to draft_len, shape (draft_len,)."""
        return position_profile(self.first_rate, draft_len, exponent=self.exponent)

    def predict(self, draft_len: ArrayLike, *, z: float = 1.645) -> Estimate:
        """Return tau at draft lengths, with the interval of a new measurement.

        Parameters
        ----------
        draft_len
            Draft lengths, any shape.
        z
            Half width of the interval in standard deviations; 1.645 covers 90 %.

        Notes
        -----
        The interval contains the noise and the spread of the exponent between published series, propagated
        linearly.
        """
        lengths = np.atleast_1d(whole("draft_len", draft_len, 1))
        logit = float(np.log(self.first_rate / (1 - self.first_rate)))
        value, gradient = _tau_and_gradient(logit, self.exponent, lengths)
        spread = np.sqrt(np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient) + self.noise**2)
        lower = np.maximum(value - z * spread, 1.0)
        upper = np.minimum(value + z * spread, lengths + 1.0)
        shape = np.shape(draft_len)
        return Estimate(value.reshape(shape), lower.reshape(shape), upper.reshape(shape))


def _tau(logit: float, exponent: float, lengths: IntArray) -> FloatArray:
    rate = 1.0 / (1.0 + np.exp(-logit))
    reached = np.cumprod(position_profile(rate, int(lengths.max()), exponent=exponent))
    return np.asarray(1.0 + np.cumsum(reached)[lengths - 1])


def _tau_and_gradient(logit: float, exponent: float, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
    step = 1e-5
    by_logit = (_tau(logit + step, exponent, lengths) - _tau(logit - step, exponent, lengths)) / (2 * step)
    by_exponent = (_tau(logit, exponent + step, lengths) - _tau(logit, exponent - step, lengths)) / (2 * step)
    return _tau(logit, exponent, lengths), np.stack([by_logit, by_exponent], axis=-1)


def fit_decay(
    draft_lens: ArrayLike,
    tokens_per_cycle: ArrayLike,
    *,
    exponent: float = POSITION_EXPONENT,
    spread: float = POSITION_SPREAD,
    noise: float = TAU_NOISE,
) -> Decay:
    """Fit a profile over positions to tau at one or several draft lengths of a chain.

    A least-squares fit with a normal prior for the exponent. A single tau determines the rate at position 1 and
    leaves the exponent at its prior. Several values of tau also change the exponent.

    Parameters
    ----------
    draft_lens, tokens_per_cycle
        Draft lengths and their tau, shape (n,), n >= 1; each tau in (1, draft_len + 1).
    exponent, spread
        Mean and standard deviation of the prior.
    noise
        Standard deviation of one measured tau.

    Raises
    ------
    InputError
        For a tau that is impossible at its draft length.

    Examples
    --------
    >>> found = fit_decay([1, 2, 3], [1.84, 2.50, 2.99])
    >>> tau = found.predict(7)
    >>> [round(float(v), 2) for v in (tau.lower, tau.value, tau.upper)]
    [3.53, 3.83, 4.13]
    """
    lengths = np.atleast_1d(whole("draft_len", draft_lens, 1))
    tau = np.atleast_1d(in_range("tokens_per_cycle", tokens_per_cycle, 1, above=True))
    if lengths.shape != tau.shape or lengths.ndim != 1:
        raise fail("tokens_per_cycle", tau.shape, f"must have one value per draft length ({lengths.shape})")
    if (tau >= lengths + 1).any():
        i = int(np.argmax(tau - lengths))
        raise fail("tokens_per_cycle", float(tau[i]), f"must be below draft_len + 1 = {lengths[i] + 1}")
    positive("spread", spread)
    positive("noise", noise)
    first = np.clip(tau[0] - 1 if lengths[0] == 1 else float(iid_rate(tau[0], int(lengths[0]))), 1e-6, 1 - 1e-6)
    at = np.array([np.log(first / (1 - first)), exponent])

    def system(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, gradient = _tau_and_gradient(float(at[0]), float(at[1]), lengths)
        residual = np.append((value - tau) / noise, (at[1] - exponent) / spread)
        return residual, np.vstack([gradient / noise, [0.0, 1.0 / spread]])

    at, gradient = _least_squares(system, at)
    return Decay(
        first_rate=float(1 / (1 + np.exp(-at[0]))),
        exponent=float(at[1]),
        covariance=np.asarray(np.linalg.pinv(gradient.T @ gradient), dtype=np.float64),
        noise=noise,
    )


def _least_squares(
    system: Callable[[FloatArray], tuple[FloatArray, FloatArray]], at: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Minimize squared residuals by the Levenberg-Marquardt method, without importing scipy."""
    damping = 1e-3
    residual, gradient = system(at)
    for _ in range(200):
        normal = gradient.T @ gradient
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -gradient.T @ residual)
        trial = at + np.clip(step, -2, 2)
        trial[0] = np.clip(trial[0], -_LOGIT_LIMIT, _LOGIT_LIMIT)
        moved, slope = system(trial)
        if moved @ moved <= residual @ residual:
            done = np.abs(trial - at).max() < 1e-10
            at, residual, gradient, damping = trial, moved, slope, damping / 5
            if done:
                break
        else:
            damping *= 5
            if damping > 1e12:
                break
    return at, gradient


def own_exponent(draft_lens: ArrayLike, tokens_per_cycle: ArrayLike) -> float:
    """Return the exponent of a series of tau against the draft length, almost without a prior.

    Examples
    --------
    >>> lengths = [1, 2, 3, 5, 7]
    >>> rates = position_profile(0.8, 7, exponent=0.4)
    >>> tau = [1 + float(rates[:n].cumprod().sum()) for n in lengths]
    >>> round(own_exponent(lengths, tau), 3)
    0.4
    """
    return fit_decay(draft_lens, tokens_per_cycle, spread=_FREE_SPREAD).exponent


def held_out(series: Series, *, known_to: int = 3, predict_from: int = 5) -> list[Row]:
    """Predict tau of long drafts in each series from its short drafts, with the exponents of the other series.

    Parameters
    ----------
    series
        Draft lengths and tau, by label. A series without both a short and a long draft is not predicted; its
        exponent still counts for the others.
    known_to
        Longest short draft.
    predict_from
        Shortest long draft.

    Returns
    -------
    list of dict
        One row per series, known lengths and predicted length. ``known`` is one length, or all short lengths joined
        by ``+``. ``error`` is the relative error of the law. ``iid_error`` is the relative error of one rate for
        all positions, taken from the longest known length.

    Raises
    ------
    InputError
        For fewer than three series.
    """
    if len(series) < 3:
        hint = "each is predicted with the exponents of the others; scylla-sim acceptance has the shipped law"
        raise fail("series", len(series), "must be at least 3", hint)
    points = {
        label: (np.asarray(k, dtype=np.int64), np.asarray(t, dtype=float)) for label, (k, t) in series.items()
    }
    exponents = {label: own_exponent(k, t) for label, (k, t) in points.items() if k.size >= 2}
    rows = []
    for label, (lengths, tau) in points.items():
        short, long = np.flatnonzero(lengths <= known_to), np.flatnonzero(lengths >= predict_from)
        others = np.array([value for name, value in exponents.items() if name != label])
        law = {"exponent": float(np.median(others)), "spread": float(others.std(ddof=1))}
        known = [short[i : i + 1] for i in range(short.size)] + ([short] if short.size > 1 else [])
        for inputs in known if long.size else []:
            found = fit_decay(lengths[inputs], tau[inputs], **law)
            last = inputs[np.argmax(lengths[inputs])]
            rate = iid_rate(tau[last], int(lengths[last]))
            for i in long:
                predicted = found.predict(int(lengths[i]))
                constant = float(iid_tokens_per_cycle(rate, int(lengths[i])))
                rows.append(
                    {
                        "series": label,
                        "known": "+".join(str(n) for n in lengths[inputs]),
                        "draft_len": int(lengths[i]),
                        "measured": float(tau[i]),
                        "iid": constant,
                        "iid_error": constant / tau[i] - 1,
                        "predicted": float(predicted.value),
                        "lower": float(predicted.lower),
                        "upper": float(predicted.upper),
                        "error": float(predicted.value) / tau[i] - 1,
                        "exponent": found.exponent,
                        "others_exponent": law["exponent"],
                        "others_spread": law["spread"],
                    }
                )
    return rows
