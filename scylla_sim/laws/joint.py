"""Laws of training tokens and decoder layers together: tau(T, D).

Theorems 1.1 and 1.2 each vary one of the two. A draft has both, so a design needs a law of both. Every law here is
a `JointForm`. Some give tau. The others give the acceptance rate, and tau is that of a chain with this rate at
every position. Such a law cannot exceed ``draft_len + 1``.

t is ln(T / T0), with the smallest T of the data as T0, and d is ln D. Only laws with a product of t and d without a
term of d alone depend on T0: more layers add nothing at T0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, in_range, one_of
from scylla_sim.stats.least_squares import aicc, r_squared

Values = Sequence[float] | FloatArray
"""Parameters of a law, in its order."""


@dataclass(frozen=True)
class JointForm:
    """A law of tokens and layers.

    Attributes
    ----------
    formula
        Formula, with t = ln(T / T0) and d = ln D.
    parameters
        Names of the parameters.
    value
        Function of the parameters, t and d. It returns tau, or the acceptance rate.
    start
        Parameters at which the search begins.
    positive
        Names of the parameters that are at least 0.
    of_rate
        Whether the law gives the acceptance rate.
    """

    formula: str
    parameters: tuple[str, ...]
    value: Callable[[Values, FloatArray, FloatArray], FloatArray]
    start: tuple[float, ...]
    positive: tuple[str, ...] = ()
    of_rate: bool = False


def _logistic(z: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def _decay(amount: float, exponent: float, at: FloatArray) -> FloatArray:
    return np.asarray(amount * np.exp(-exponent * at))


JOINT_FORMS = {
    "sum": JointForm("c + a t + b d", ("c", "a", "b"), lambda p, t, d: p[0] + p[1] * t + p[2] * d, (1.5, 0.4, 0.3)),
    "interaction": JointForm(
        "c + (a + b d) t", ("c", "a", "b"), lambda p, t, d: p[0] + (p[1] + p[2] * d) * t, (1.5, 0.4, 0.1)
    ),
    "sum-and-interaction": JointForm(
        "c + a t + b d + e t d",
        ("c", "a", "b", "e"),
        lambda p, t, d: p[0] + p[1] * t + p[2] * d + p[3] * t * d,
        (1.5, 0.4, 0.1, 0.1),
    ),
    "saturating-interaction": JointForm(
        "c + s (1 - exp(-(a + b d) t))",
        ("c", "s", "a", "b"),
        lambda p, t, d: p[0] + p[1] * (1 - np.exp(-np.maximum(p[2] + p[3] * d, 0.0) * t)),
        (1.5, 4.0, 0.1, 0.03),
        positive=("s", "a"),
    ),
    "powers": JointForm(
        "c - a exp(-p t) - b exp(-q d)",
        ("c", "a", "p", "b", "q"),
        lambda p, t, d: p[0] - _decay(p[1], p[2], t) - _decay(p[3], p[4], d),
        (5.0, 3.0, 0.2, 0.5, 0.5),
        positive=("a", "p", "b", "q"),
    ),
    "rate-sum": JointForm(
        "logit rate = c + a t + b d",
        ("c", "a", "b"),
        lambda p, t, d: _logistic(p[0] + p[1] * t + p[2] * d),
        (-0.5, 0.4, 0.1),
        of_rate=True,
    ),
    "rate-interaction": JointForm(
        "logit rate = c + (a + b d) t",
        ("c", "a", "b"),
        lambda p, t, d: _logistic(p[0] + (p[1] + p[2] * d) * t),
        (-0.5, 0.4, 0.1),
        of_rate=True,
    ),
    "rate-powers": JointForm(
        "-ln rate = c + a exp(-p t) + b exp(-q d)",
        ("c", "a", "p", "b", "q"),
        lambda p, t, d: np.exp(-(p[0] + _decay(p[1], p[2], t) + _decay(p[3], p[4], d))),
        (0.1, 0.6, 0.5, 0.15, 0.7),
        positive=("c", "a", "p", "b", "q"),
        of_rate=True,
    ),
}
"""Joint laws by name. Add a new law here.

``powers`` has the form of the law of the loss of Hoffmann et al. (arXiv 2203.15556): two powers that add.
``rate-powers`` has it for the negative logarithm of the rate, the information per drafted token in nats."""


@dataclass(frozen=True)
class JointPoints:
    """Measured tau by training tokens and layers.

    Attributes
    ----------
    tokens, layers, tau
        Arrays of shape (n,); tokens above 0, layers and tau at least 1.
    draft_len
        Drafted tokens of a cycle, which the laws of the rate need; 0 if not known.
    """

    tokens: FloatArray
    layers: FloatArray
    tau: FloatArray
    draft_len: int = 0

    def __post_init__(self) -> None:
        """Check ranges and sizes."""
        in_range("tokens", self.tokens, 0, above=True)
        in_range("layers", self.layers, 1)
        in_range("tau", self.tau, 1, self.draft_len + 1 if self.draft_len else np.inf)
        if not self.tokens.shape == self.layers.shape == self.tau.shape:
            raise fail("points", self.tau.shape, "must have as many tokens, layers and tau")

    def part(self, kept: NDArray[np.bool_]) -> JointPoints:
        """Return the points of a mask."""
        return JointPoints(self.tokens[kept], self.layers[kept], self.tau[kept], self.draft_len)


@dataclass(frozen=True)
class JointFit:
    """A joint law fitted to points.

    Attributes
    ----------
    form
        Name of the law in `JOINT_FORMS`.
    values, standard_errors
        Parameters in the order of the law; an error is NaN if the points do not determine the parameter.
    unit
        T0, the tokens at which t is 0.
    draft_len
        Drafted tokens of a cycle.
    n, r2, aicc, loo_rmse
        Number of points, coefficient of determination, corrected Akaike criterion, and root mean square error when
        each point is left out. The last one is exact for laws that are linear in their parameters. For others it
        takes the slopes at the fit. ``None`` where the points do not define a score.
    """

    form: str
    values: FloatArray
    standard_errors: FloatArray
    unit: float
    draft_len: int
    n: int
    r2: float | None
    aicc: float | None
    loo_rmse: float | None

    def tau(self, tokens: ArrayLike, layers: ArrayLike) -> FloatArray:
        """Return tau of a draft; ``tokens`` and ``layers`` broadcast."""
        return _tau(self.form, self.values, tokens, layers, unit=self.unit, draft_len=self.draft_len)


def min_points(form: str) -> int:
    """Return the fewest points that a law is fitted to: two more than it has parameters."""
    return len(JOINT_FORMS[form].parameters) + 2


def tau_of_rate(rate: ArrayLike, draft_len: int) -> FloatArray:
    """Return tau of a chain with one acceptance rate: 1 + r + ... + r^draft_len.

    Examples
    --------
    >>> tau_of_rate([0.0, 0.5, 1.0], 2).tolist()
    [1.0, 1.75, 3.0]
    """
    return np.asarray(np.polynomial.polynomial.polyval(np.asarray(rate, dtype=np.float64), np.ones(draft_len + 1)))


def _tau(
    form: str, values: Values, tokens: ArrayLike, layers: ArrayLike, *, unit: float, draft_len: int
) -> FloatArray:
    law = JOINT_FORMS[form]
    t, d = np.log(np.asarray(tokens, dtype=np.float64) / unit), np.log(np.asarray(layers, dtype=np.float64))
    found = law.value(values, t, d)
    return tau_of_rate(found, draft_len) if law.of_rate else found


def fit_joint(points: JointPoints, form: str, *, unit: float = 0.0) -> JointFit:
    """Fit one joint law by least squares of tau.

    Parameters
    ----------
    points
        At least two more points than the law has parameters.
    form
        Name of the law.
    unit
        T0; by default the smallest T of the points.

    Raises
    ------
    InputError
        For an unknown law, too few points, or a law of the rate without ``draft_len``.

    Examples
    --------
    >>> tokens, layers = np.array([1.0, 4, 16, 1, 4, 16]), np.array([1.0, 1, 1, 2, 2, 2])
    >>> points = JointPoints(tokens, layers, 2 + (0.3 + 0.1 * np.log(layers)) * np.log(tokens))
    >>> fit_joint(points, "interaction").values.round(3).tolist()
    [2.0, 0.3, 0.1]
    """
    from scipy.optimize import least_squares

    law = JOINT_FORMS[one_of("form", form, JOINT_FORMS)]
    n, p = points.tau.size, len(law.parameters)
    if n < min_points(form):
        raise fail("points", n, f"must be at least {min_points(form)} for {form}, {law.formula}")
    if law.of_rate and not points.draft_len:
        raise fail("form", form, "is a law of the acceptance rate", "give the drafted tokens of a cycle")
    unit = unit or float(points.tokens.min())

    def residuals(values: FloatArray) -> FloatArray:
        found = _tau(form, values, points.tokens, points.layers, unit=unit, draft_len=points.draft_len)
        return found - points.tau

    low = np.array([0.0 if name in law.positive else -np.inf for name in law.parameters])
    begin = np.maximum(np.array(law.start), low + 1e-9)
    found = least_squares(residuals, begin, bounds=(low, np.inf), x_scale="jac", max_nfev=300)
    rss = float(np.sum(found.fun**2))
    return JointFit(
        form=form,
        values=found.x,
        standard_errors=_standard_errors(found.jac, rss / (n - p)),
        unit=unit,
        draft_len=points.draft_len,
        n=n,
        r2=r_squared(points.tau, rss, np.ones(n)),
        aicc=aicc(rss, n=n, parameters=p, magnitude=float(points.tau.max())),
        loo_rmse=_loo_rmse(found.jac, found.fun),
    )


def _loo_rmse(slopes: FloatArray, residuals: FloatArray) -> float | None:
    """Return the error at left-out points from the leverages of the slopes."""
    used = slopes[:, np.linalg.norm(slopes, axis=0) > 0]
    leverage = np.sum(np.linalg.qr(used)[0] ** 2, axis=1)
    if (leverage > 1 - 1e-9).any():
        return None
    return float(np.sqrt(np.mean((residuals / (1 - leverage)) ** 2)))


def _standard_errors(slopes: FloatArray, variance: float) -> FloatArray:
    """Return the errors of the parameters; NaN for those that the points do not determine."""
    norms = np.linalg.norm(slopes, axis=0)
    found = norms > 1e-9 * norms.max()
    errors = np.full(norms.size, np.nan)
    scaled = slopes[:, found] / norms[found]
    if np.linalg.cond(scaled) < 1e7:
        errors[found] = np.sqrt(np.diag(np.linalg.inv(scaled.T @ scaled)) * variance) / norms[found]
    return errors
