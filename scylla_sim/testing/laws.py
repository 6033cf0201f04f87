"""Laws of acceptance laws: forms that are fitted to points, and laws over positions."""

from __future__ import annotations

import numpy as np

from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.laws import fit
from scylla_sim.laws.forms import FORMS, LawForm
from scylla_sim.testing.requirement import close, require

X = np.array([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
"""Points at which a form is checked."""


def check_law(name: str, form: LawForm) -> None:
    """Check a form of `scylla_sim.laws.forms`: its domain, its design, and that it is linear in its coefficients.

    Parameters
    ----------
    name
        Name of the form. A form of the registry is fitted too: the order of the points does not matter, and points
        on the curve of a law without shapes give its parameters back.

    Examples
    --------
    >>> from scylla_sim.laws.forms import FORMS
    >>> check_law("log-linear", FORMS["log-linear"])
    """
    subject = f"law {name}"
    require(subject, "all points lie in the domain", ~form.excludes(X), x=X)
    shapes = form.starts(X)[0] if form.starts is not None else ()
    require(subject, "there is a start for each shape", len(shapes) == form.num_shapes)
    design = form.basis(X, *shapes)
    require(
        subject, "the design has a column for each coefficient", design.shape == (X.size, form.num_coefficients)
    )
    require(subject, "the design is finite", np.isfinite(design))
    for start in form.starts(X) if form.starts is not None else []:
        inside = [low <= one <= high for one, (low, high) in zip(start, form.limits(X) if form.limits else [])]
        require(subject, "starts lie within the limits", inside, start=np.array(start))
    one, other = np.arange(1.0, form.num_coefficients + 1.0), np.arange(2.0, form.num_coefficients + 2.0)
    both = form(X, *one, *shapes) + form(X, *other, *shapes)
    law = "it is linear in its coefficients"
    require(subject, law, np.isclose(both, form(X, *(one + other), *shapes), rtol=1e-12, atol=1e-12), x=X)
    if FORMS.get(name) is form:
        _check_fit(subject, name, form)


def _check_fit(subject: str, name: str, form: LawForm) -> None:
    """Check fits of a form of the registry."""
    y = 5.0 + 0.3 * np.log(X) + 0.02 * np.cos(X)
    law, shuffled = fit.fit(X, y, name), fit.fit(X[::-1], y[::-1], name)
    same = law.converged == shuffled.converged
    require(subject, "the order of points does not matter", same)
    if law.converged:
        at = law.predict(X)
        require(
            subject, "the order of points does not matter", close(at.value, shuffled.predict(X).value, 1e-5), x=X
        )
        inside = (at.lower <= at.value) & (at.value <= at.upper)
        require(subject, "the interval contains the law", inside, x=X)
    if not form.num_shapes:
        wanted = np.arange(1.0, form.num_coefficients + 1.0)
        found = fit.fit(X, form(X, *wanted), name).values
        require(subject, "points on its curve give the parameters back", close(found, wanted, 1e-9))


def check_position_law(law: PositionLaw, *, max_len: int = 12) -> None:
    """Check a law over draft positions: probabilities, longer drafts, and the way back to a measured tau.

    Examples
    --------
    >>> check_position_law(PositionLaw("mine", 0.4, 0.2))
    """
    subject, rate = f"position law {law.method}", np.linspace(0.0, 1.0, 41)
    profile = law.profile(rate, max_len)
    require(subject, "rates are probabilities", (profile >= 0.0) & (profile <= 1.0), first_rate=rate[:, None])
    require(subject, "position 1 has the given rate", close(profile[:, 0], rate), first_rate=rate)
    higher = np.diff(profile, axis=0) >= -1e-12
    require(subject, "a better first rate is better everywhere", higher, first_rate=rate[:-1, None])
    better = law.moved(1.0).profile(rate, max_len) >= profile - 1e-12
    require(subject, "more deviations accept more", better, first_rate=rate[:, None])
    for known in (1, 3, 8):
        tau = 1.0 + np.linspace(0.02, 0.98, 9) * known
        first = law.first_rate(tau, known)
        taus = 1.0 + np.cumprod(law.profile(first, max_len), axis=-1).cumsum(axis=-1).T
        lengths = np.arange(1.0, max_len + 1.0)[:, None]
        possible = (taus >= 1.0) & (taus <= lengths + 1.0 + 1e-9)
        require(subject, "tau is possible at every length", possible, tau=tau, known=known, draft_len=lengths)
        require(subject, "the measured length has the measured tau", close(taus[known - 1], tau, 1e-6), tau=tau)
        for length in (2, max_len):
            there = law.tokens_per_cycle(tau, known, length)
            same = close(there, taus[length - 1], 1e-6)
            require(subject, "tau at a length is that of its rates", same, tau=tau, draft_len=length)
            back = law.tokens_per_cycle(there, length, known)
            text = "another length and back gives the measured tau"
            require(subject, text, np.abs(back - tau) <= 1e-4 * known, tau=tau, draft_len=length)
