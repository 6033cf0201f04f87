"""SDSL, a rival of Theorems 1.1 and 1.2: the acceptance rate is affine in the draft's perplexity.

SDSL (arXiv 2603.11053) fits the acceptance rate of independent draft models as a plane over the perplexities of
draft and target. Hoffmann's loss law gives the perplexity from parameters and pretraining tokens. The law depends
on layers and tokens through one number, while Theorems 1.1 and 1.2 have one logarithm each.

Notes
-----
This module makes three assumptions:

* The loss law also holds for drafts. It was fitted to whole models of 70 M parameters and more.
* A draft head counts as a model with its own weights only. The head also reads the target's features, so the
  published plane underestimates heads.
* The coefficients of SDSL come from secondary sources (``data/laws.toml``).

One check was possible, in this module's test. It combines the plane, the loss law and a drafting time proportional
to the parameters. The best draft sizes agree with those that SDSL states within 20 %, for targets of 13 to 110
billion parameters.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.laws import theorems
from scylla_sim.stats.estimate import Estimate


def perplexity(*, parameters: ArrayLike | None = None, train_tokens: ArrayLike | None = None) -> FloatArray:
    """Return the perplexity of a pretrained model by Hoffmann's law, exp(E + A / N^a + B / D^b).

    Parameters
    ----------
    parameters, train_tokens
        Counts N and D, above 0; they broadcast. The formula leaves out the term of an argument that is not given.
        All perplexities then change by the same factor, so only the slope of a law affine in perplexity changes.

    Notes
    -----
    Source: Hoffmann et al., arXiv 2203.15556, section 3.3.

    Examples
    --------
    >>> perplexity(parameters=[70e9, 0.24e9], train_tokens=1.4e12).round(2).tolist()
    [6.94, 11.34]
    """
    law = theorems.constants("loss")
    loss = np.asarray(law["irreducible"])
    if parameters is not None:
        size = positive("parameters", parameters)
        loss = loss + law["parameters_scale"] * size ** -law["parameters_exponent"]
    if train_tokens is not None:
        tokens = positive("train_tokens", train_tokens)
        loss = loss + law["tokens_scale"] * tokens ** -law["tokens_exponent"]
    with np.errstate(over="ignore"):  # the law diverges for almost no training; callers check the result
        return np.asarray(np.exp(loss), dtype=np.float64)


def acceptance_rate(draft_perplexity: ArrayLike, target_perplexity: ArrayLike, *, level: float = 0.9) -> Estimate:
    """Return the acceptance rate of a new pair by SDSL's published plane, with its interval.

    Parameters
    ----------
    draft_perplexity, target_perplexity
        Perplexities x and y, above 0; they broadcast.
    level
        Coverage of the interval.

    Returns
    -------
    Estimate
        The rate with its interval, in [0, 1].

    Notes
    -----
    The plane is -0.0067 x + 0.01297 y + 0.642 (R2 0.60). The interval is normal with the plane's mean square error.

    Source: SDSL, arXiv 2603.11053.

    Examples
    --------
    >>> rate = acceptance_rate(20.0, 7.0)
    >>> [round(float(v), 2) for v in (rate.lower, rate.value, rate.upper)]
    [0.54, 0.6, 0.66]
    """
    law = theorems.constants("sdsl")
    draft, target = positive("draft_perplexity", draft_perplexity), positive("target_perplexity", target_perplexity)
    rate = law["draft_slope"] * draft + law["target_slope"] * target + law["intercept"]
    half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(law["variance"])
    return Estimate(np.clip(rate, 0, 1), np.clip(rate - half, 0, 1), np.clip(rate + half, 0, 1))


def draft_rate(
    parameters: ArrayLike, train_tokens: ArrayLike, target_parameters: float, *, level: float = 0.9
) -> Estimate:
    """Return the acceptance rate of a draft from its size and pretraining, with its interval.

    Parameters
    ----------
    parameters, train_tokens
        Parameters and pretraining tokens of the draft, above 0; they broadcast.
    target_parameters
        Parameters of the target.
    level
        Coverage of the interval.

    Returns
    -------
    Estimate
        The rate with its interval, in [0, 1].
    """
    trained = theorems.constants("sdsl")["target_train_tokens"]
    target = perplexity(parameters=target_parameters, train_tokens=trained)
    return acceptance_rate(perplexity(parameters=parameters, train_tokens=train_tokens), target, level=level)
