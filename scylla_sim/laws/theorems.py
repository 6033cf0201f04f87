"""Theorems 1.1, 1.2 and 1.3 of arXiv 2505.07858 as functions.

==========  =======================================================================================
Theorem     Statement
==========  =======================================================================================
1.1         tau rises with the logarithm of the draft's pretraining tokens.
1.2         tau rises with the logarithm of the draft's decoder layers.
1.3         The best number of verified paths falls with the batch size, and the highest
            throughput rises with its logarithm.
==========  =======================================================================================

tau counts the bonus token and holds for the paper's draft tree (`reference`). Logarithms are natural. Functions
take token counts; the fits use billions of tokens.

`tokens_per_cycle` uses coefficients refitted from the printed points of Fig. 1 (``data/laws.toml``). `quoted`
returns the coefficients that the paper states. Every interval is for the tau of a new draft, so it includes the
scatter of the points. All points have the same target, Vicuna-7B. The interval does not cover other targets.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, in_range, one_of, positive
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.least_squares import Solution, solve_linear, with_constant
from scylla_sim.stats.quantiles import student_quantile
from scylla_sim.units import GIGA

ALTERNATIVES = ("sum", "bounded", "product")
"""Laws of tokens and layers that Fig. 1 does not tell apart.

``sum`` adds the two logarithms. ``bounded`` stops rising at the end of the data and stays below the longest cycle.
In ``product``, more tokens make layers more useful, as in the drafts of this project."""


@dataclass(frozen=True)
class LawValue:
    """tau from a law, with the interval of a newly trained draft.

    Attributes
    ----------
    tau
        Tokens per cycle with their interval, arrays of one shape.
    extrapolated
        Whether an input lies outside the range of the points: 1 to 100 billion tokens, 1 to 10 layers.
    remarks
        Assumptions, one sentence each.
    """

    tau: Estimate
    extrapolated: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((resources.files("scylla_sim") / "data" / "laws.toml").read_text("utf-8"))


def points(name: str) -> tuple[FloatArray, FloatArray]:
    """Return the printed points (x, tau) of Fig. 1.

    Parameters
    ----------
    name
        ``tokens`` (x in billions of tokens, starting at 0) or ``layers``.

    Examples
    --------
    >>> points("layers")[1].tolist()
    [5.03, 5.24, 5.65, 5.83]
    """
    entry = _data()["points"][one_of("points", name, ("tokens", "layers"))]
    return np.array(entry["x"], dtype=np.float64), np.array(entry["y"], dtype=np.float64)


def quoted(name: str) -> dict[str, float]:
    """Return the coefficients that the paper states.

    Parameters
    ----------
    name
        ``tokens`` (Theorem 1.1), ``layers`` (1.2), ``optimum`` or ``throughput`` (1.3).

    Notes
    -----
    The coefficients of ``layers`` do not reproduce Fig. 1 of the paper; a refit gives 0.361 and 5.022.

    Examples
    --------
    >>> quoted("layers")
    {'slope': 0.74, 'intercept': 4.61}
    """
    entry: Mapping[str, Any] = _data()["quoted"][one_of("law", name, ("tokens", "layers", "optimum", "throughput"))]
    return {key: float(item["value"]) for key, item in entry.items() if key != "note"}


def constants(section: str) -> dict[str, float]:
    """Return the values of a section of ``data/laws.toml``.

    Parameters
    ----------
    section
        ``loss`` or ``sdsl`` (see `scylla_sim.laws.sdsl`), ``joint``,
        ``reference`` or ``training``.

    Examples
    --------
    >>> constants("loss")["irreducible"]
    1.69
    """
    entry: Mapping[str, Any] = _data()[
        one_of("section", section, ("loss", "sdsl", "joint", "reference", "training"))
    ]
    return {key: float(item["value"]) for key, item in entry.items()}


def reference() -> dict[str, int]:
    """Return the shape of EAGLE-2's tree, for which the laws give tau.

    Examples
    --------
    >>> reference()
    {'draft_len': 6, 'top_k': 10, 'verify_tokens': 61}
    """
    return {key: int(value) for key, value in constants("reference").items()}


@cache
def joint_fit() -> Solution:
    """Return the least-squares fit of Theorems 1.1 and 1.2 together to the printed labels of Fig. 1.

    The law is ``a ln D + b ln(T + 1) + c`` with D layers and T billion tokens. ``values`` are (a, b, c).

    Notes
    -----
    The law assumes that the two logarithms add. No published draft has both more than one layer and pretraining.
    Both panels of Fig. 1 show the point with one layer and no pretraining; the fit counts it once.

    Source: arXiv 2505.07858, Fig. 1.

    Examples
    --------
    >>> joint_fit().values.round(4).tolist()
    [0.3372, 0.0859, 5.0651]
    """
    return solve_linear(*_joint_points())


def _joint_points() -> tuple[FloatArray, FloatArray]:
    """Return (ln D, ln(T + 1), 1) and tau of every printed point."""
    tokens, tau_tokens = points("tokens")
    layers, tau_layers = points("layers")
    both_layers = np.concatenate([np.ones_like(tokens), layers[1:]])
    both_tokens = np.concatenate([tokens, np.zeros(layers.size - 1)])
    design = with_constant(np.log(both_layers), np.log1p(both_tokens))
    return design, np.concatenate([tau_tokens, tau_layers[1:]])


@cache
def _bounded_fit() -> FloatArray:
    """Return (a, b, c) of the sum for the logit of (tau - 1) / draft_len, which stays below the longest cycle.

    Fig. 1 does not tell this law from the sum of `joint_fit`.
    """
    design, tau = _joint_points()
    share = (tau - 1.0) / reference()["draft_len"]
    return solve_linear(design, np.log(share / (1.0 - share))).values


def _range(name: str) -> tuple[float, float]:
    low, high = _data()["range"][name]["value"]
    return float(low), float(high)


def _outside(name: str, x: FloatArray) -> NDArray[np.bool_]:
    low, high = _range(name)
    return np.asarray((x < low) | (x > high))


def _alternatives(depth: FloatArray, tokens: FloatArray) -> dict[str, FloatArray]:
    """Return tau of every law in `ALTERNATIVES`, for ``tokens`` in billions."""
    longest = reference()["draft_len"] + 1.0
    at_depth = np.log(np.minimum(depth, _range("layers")[1]))
    at_tokens = np.log1p(np.minimum(tokens, constants("joint")["flat_tokens"]))
    ended = with_constant(at_depth, at_tokens)
    bounded = 1.0 + (longest - 1.0) / (1.0 + np.exp(-(ended @ _bounded_fit())))
    growth = constants("joint")["interaction"] * joint_fit().values[0]
    total = with_constant(np.log(depth), np.log1p(tokens)) @ joint_fit().values
    return {
        "sum": total,
        "bounded": np.minimum(ended @ joint_fit().values, bounded),
        "product": np.minimum(total + growth * np.log(depth) * np.log1p(tokens), longest),
    }


def alternatives(layers: ArrayLike, train_tokens: ArrayLike) -> dict[str, FloatArray]:
    """Return tau of a draft by each of the laws that Fig. 1 allows; the arguments broadcast.

    Parameters
    ----------
    layers
        Decoder layers, at least 1.
    train_tokens
        Pretraining tokens, a count of at least 0.

    Returns
    -------
    dict
        Name of the law in `ALTERNATIVES` -> tau.

    Examples
    --------
    >>> {name: round(float(tau), 2) for name, tau in alternatives(5, 10e9).items()}
    {'sum': 5.81, 'bounded': 5.8, 'product': 6.22}
    """
    depth = in_range("draft_layers", layers, 1)
    return _alternatives(*np.broadcast_arrays(depth, in_range("draft_train_tokens", train_tokens, 0) / GIGA))


def _value(
    depth: FloatArray, tokens: FloatArray, extrapolated: NDArray[np.bool_], level: float, remarks: tuple[str, ...]
) -> LawValue:
    """Return tau of the sum, with the interval of a new draft around all laws that Fig. 1 allows."""
    solution, design = joint_fit(), with_constant(np.log(depth), np.log1p(tokens))
    mean = design @ solution.values
    variance = np.einsum("...i,ij,...j->...", design, solution.covariance, design) + solution.variance
    half = student_quantile(level, solution.dof) * np.sqrt(variance)
    both = (depth > 1) & (tokens > 0) | extrapolated
    rivals = _alternatives(depth, tokens)
    lower = np.where(both, np.minimum(rivals["bounded"], mean), mean) - half
    upper = np.where(both, np.maximum(rivals["product"], mean), mean) + half
    if extrapolated.any():
        remarks += ("the law is extrapolated beyond 1-100 B tokens or 1-10 layers",)
    longest = np.maximum(reference()["draft_len"] + 1.0, mean)
    return LawValue(Estimate(mean, np.maximum(lower, 1.0), np.minimum(upper, longest)), extrapolated, remarks)


def tokens_per_cycle(
    *, layers: ArrayLike | None = None, train_tokens: ArrayLike | None = None, level: float = 0.9
) -> LawValue:
    """Return tau from Theorems 1.1 and 1.2.

    ``layers`` and ``train_tokens`` broadcast.

    Parameters
    ----------
    layers
        Decoder layers of the draft, at least 1; 1 if not given.
    train_tokens
        Pretraining tokens (a count, not billions), at least 0; 0 if not given.
    level
        Coverage of the interval.

    Raises
    ------
    InputError
        For fewer than 1 layer or a negative number of tokens.

    Notes
    -----
    The two logarithms add; see `joint_fit`. Fig. 1 shows no draft with more layers and more tokens, so it does not
    tell this law from others. For such drafts, and beyond the data, the interval holds three laws: the sum, a sum
    that stays below the longest cycle and stops rising where the data end, and a product. In the product, the slope
    in ln D grows with the tokens as it does for drafts of this project (`gpu_validate`, scale small).

    Source: arXiv 2505.07858, Theorems 1.1 and 1.2, one least-squares fit to both panels of Fig. 1.

    Examples
    --------
    >>> law = tokens_per_cycle(layers=5, train_tokens=10e9)
    >>> [round(float(v), 2) for v in (law.tau.lower, law.tau.value, law.tau.upper)]
    [5.68, 5.81, 6.33]
    """
    depth, tokens = np.broadcast_arrays(
        in_range("draft_layers", 1 if layers is None else layers, 1),
        in_range("draft_train_tokens", 0 if train_tokens is None else train_tokens, 0) / GIGA,
    )
    # 0 tokens is a point of the fit, although the paper states the law from 1 billion tokens on.
    outside = _outside("layers", depth) | (_outside("tokens", tokens) & (tokens != 0))
    remarks: tuple[str, ...] = ("tau is from Fig. 1 of arXiv 2505.07858 (target Vicuna-7B); other targets differ",)
    if train_tokens is None:
        remarks += ("the draft has no pretraining; the default of the paper is 10 B tokens",)
    if ((depth > 1) & (tokens > 0)).any():
        remarks += (
            "the effects of layers and pretraining are assumed to add; the paper shows no draft with both, and the "
            "interval holds other laws of both",
        )
    return _value(depth, tokens, outside, level, remarks)


def optimal_paths(batch_size: ArrayLike) -> FloatArray:
    """Return the best number of verified paths by Theorem 1.3: ``27904 sqrt(1 + 0.034 / b) - 27897``.

    Parameters
    ----------
    batch_size
        Batch size b, above 0, any shape.

    Notes
    -----
    The theorem holds for Qwen2.5-72B at 10K input tokens. With sqrt(1 + x) = 1 + x / 2 - x^2 / 8 + ..., it is about
    474.4 / b + 7. The next term, -scale ratio^2 / (8 b^2), is 4 of 477 paths at b = 1. The rule therefore follows
    1/b at every batch size, not a logarithm.

    Source: arXiv 2505.07858, Theorem 1.3, with the coefficients that the paper states.

    Examples
    --------
    >>> optimal_paths([8, 64]).round(1).tolist()
    [66.2, 14.4]
    """
    b, law = positive("batch_size", batch_size), quoted("optimum")
    return np.asarray(law["scale"] * np.sqrt(1 + law["ratio"] / b) - law["offset"])


def highest_throughput(batch_size: ArrayLike) -> FloatArray:
    """Return the throughput at the best number of paths by Theorem 1.3: ``286.79 ln b + 7.54`` tokens/s.

    Parameters
    ----------
    batch_size
        Batch size b, above 0, any shape.

    Notes
    -----
    For b >= 8 the formula lies within 10 % of the maxima in Fig. 5. At b = 1 it gives 7.5 tokens/s, while the
    figure shows about 100.

    Source: arXiv 2505.07858, Theorem 1.3, with the coefficients that the paper states.

    Examples
    --------
    >>> float(highest_throughput(64).round(0))
    1200.0
    """
    b, law = positive("batch_size", batch_size), quoted("throughput")
    return np.asarray(law["slope"] * np.log(b) + law["intercept"])
