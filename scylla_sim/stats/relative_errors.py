"""Statistics of relative errors, the same for a fit on held-out rows and for a comparison with a measurement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray


@dataclass(frozen=True)
class RelativeErrors:
    """Statistics of predicted / measured - 1, as fractions.

    Attributes
    ----------
    median, mean, p90
        Median, mean and 90th percentile of the absolute error.
    bias
        Median of the signed error.
    """

    median: float
    mean: float
    p90: float
    bias: float


def summarize(signed: FloatArray) -> RelativeErrors:
    """Return the statistics of signed relative errors.

    Parameters
    ----------
    signed
        Values of predicted / measured - 1, shape (n,) with n at least 1.

    Examples
    --------
    >>> errors = summarize(np.array([0.25, 0.0, -0.125]))
    >>> errors.median, errors.mean, errors.bias
    (0.125, 0.125, 0.0)
    """
    size = np.abs(signed)
    return RelativeErrors(
        median=float(np.median(size)),
        mean=float(size.mean()),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(signed)),
    )
