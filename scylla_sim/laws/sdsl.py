"""SDSL, the classical rival of Theorems 1.1 and 1.2: acceptance is affine in the draft's perplexity.

SDSL (arXiv 2603.11053) fits the acceptance rate of independent draft models as a plane over the perplexities of
draft and target, and takes a perplexity from parameters and pretraining tokens by Hoffmann's law of the loss.
Layers and tokens then matter only through one number, where Theorems 1.1 and 1.2 have a logarithm each.

What is assumed here: the law of the loss holds for drafts (it was fitted to whole models of 70 M parameters and
more); a head counts as a model of its own weights, though it also reads the target's features, so the published
plane must underestimate heads; SDSL's coefficients are second-hand (``data/laws.toml``). One check was possible:
the plane, the law of the loss and drafting time proportional to parameters give the best draft's size as SDSL
states it, within 20 % over targets of 13 to 110 billion parameters (`best_draft_parameters`).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.laws import theorems


def perplexity(*, parameters: ArrayLike | None = None, train_tokens: ArrayLike | None = None) -> FloatArray:
    """Perplexity of a pretrained model by Hoffmann's law, exp(E + A / N^a + B / D^b); arguments broadcast.

    Parameters
    ----------
    parameters, train_tokens
        Counts, above 0. The term of one that is not given is left out. That divides every perplexity by the same
        unknown number, so a law affine in perplexity only changes its slope.

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
        seen = positive("train_tokens", train_tokens)
        loss = loss + law["tokens_scale"] * seen ** -law["tokens_exponent"]
    with np.errstate(over="ignore"):  # next to no training: the law diverges, and whoever uses it is told
        return np.asarray(np.exp(loss), dtype=np.float64)


def acceptance_rate(
    draft_perplexity: ArrayLike, target_perplexity: ArrayLike, *, level: float = 0.9
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rate, lower and upper end of a new pair's interval, by SDSL's published plane; arguments broadcast.

    Notes
    -----
    Source: SDSL, arXiv 2603.11053: -0.0067 x + 0.01297 y + 0.642 with R2 0.60; the interval is normal with its mean
    square error, and ends at 0 and 1.

    Examples
    --------
    >>> [round(float(v), 2) for v in acceptance_rate(20.0, 7.0)]
    [0.6, 0.54, 0.66]
    """
    law = theorems.constants("sdsl")
    draft, target = positive("draft_perplexity", draft_perplexity), positive("target_perplexity", target_perplexity)
    rate = law["draft_slope"] * draft + law["target_slope"] * target + law["intercept"]
    half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(law["variance"])
    return np.clip(rate, 0, 1), np.clip(rate - half, 0, 1), np.clip(rate + half, 0, 1)


def draft_rate(
    parameters: ArrayLike, train_tokens: ArrayLike, target_parameters: float, *, level: float = 0.9
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`acceptance_rate` of a draft from its size and pretraining, for a target of so many parameters."""
    trained = theorems.constants("sdsl")["target_train_tokens"]
    target = perplexity(parameters=target_parameters, train_tokens=trained)
    return acceptance_rate(perplexity(parameters=parameters, train_tokens=train_tokens), target, level=level)


def quoted_draft_parameters(target_parameters: ArrayLike) -> FloatArray:
    """SDSL's rule for the best draft: 2.71e-3 M + 8.71e7 parameters.

    Examples
    --------
    >>> f"{float(quoted_draft_parameters(70e9)):.3g}"
    '2.77e+08'
    """
    law = theorems.constants("sdsl")
    return np.asarray(law["size_slope"] * positive("target_parameters", target_parameters) + law["size_floor"])
