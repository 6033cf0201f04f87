"""The three theorems of arXiv 2505.07858 as functions with intervals.

1.1: tau rises with the logarithm of the draft's pretraining tokens. 1.2: with the logarithm of its decoder layers.
1.3: the best number of verified paths falls with the batch. tau counts the bonus token and belongs to the paper's
drafting configuration (`reference`); logarithms are natural, tokens are counts here and billions inside the fits.

The coefficients are refitted from the printed points of Fig. 1 (``data/laws.toml``) when first used; the quoted
ones stand beside them. Every interval is of a new draft's tau, not of the law's mean: it contains the scatter of
the points, and all points are of one target (Vicuna-7B), so it says nothing about other targets.
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
from scylla_sim.stats.least_squares import Solution, solve_linear
from scylla_sim.stats.quantiles import student_quantile
from scylla_sim.units import GIGA


@dataclass(frozen=True)
class LawValue:
    """tau predicted by a law, with the interval of a newly trained draft; arrays of one shape.

    ``extrapolated`` marks inputs outside the range of the points (1-100 B tokens, 1-10 layers); ``remarks`` says in
    words what was assumed.
    """

    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    extrapolated: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((resources.files("scylla_sim") / "data" / "laws.toml").read_text("utf-8"))


def points(name: str) -> tuple[FloatArray, FloatArray]:
    """Printed points (x, tau) behind a law: ``tokens`` (x in billions, 0 first) or ``layers``.

    Examples
    --------
    >>> points("layers")[1].tolist()
    [5.03, 5.24, 5.65, 5.83]
    """
    entry = _data()["points"][one_of("points", name, ("tokens", "layers"))]
    return np.array(entry["x"], dtype=np.float64), np.array(entry["y"], dtype=np.float64)


def quoted(name: str) -> dict[str, float]:
    """Coefficients as quoted from the paper: of ``tokens``, ``layers``, ``optimum`` or ``throughput``.

    Those of ``layers`` do not reproduce the paper's own Fig. 1.

    Examples
    --------
    >>> quoted("layers")
    {'slope': 0.74, 'intercept': 4.61}
    """
    entry: Mapping[str, Any] = _data()["quoted"][one_of("law", name, ("tokens", "layers", "optimum", "throughput"))]
    return {key: float(item["value"]) for key, item in entry.items() if key != "note"}


def constants(section: str) -> dict[str, float]:
    """Values of a section of ``data/laws.toml``: ``loss`` or ``sdsl`` (see `scylla_sim.laws.sdsl`), or
    ``reference``.

    Examples
    --------
    >>> constants("loss")["irreducible"]
    1.69
    """
    entry: Mapping[str, Any] = _data()[one_of("section", section, ("loss", "sdsl", "reference"))]
    return {key: float(item["value"]) for key, item in entry.items()}


def reference() -> dict[str, int]:
    """Drafting configuration behind the laws' tau: EAGLE-2's tree, as draft_len, top_k and verify_tokens.

    Examples
    --------
    >>> reference()
    {'draft_len': 6, 'top_k': 10, 'verify_tokens': 61}
    """
    return {key: int(value) for key, value in constants("reference").items()}


@cache
def refit(law: str) -> Solution:
    """Least-squares fit of a law to Fig. 1's printed labels; ``values`` are (slopes ..., intercept).

    Parameters
    ----------
    law
        ``tokens``: ln(T + 1) with the zero point. ``tokens-ln``: ln T without it. ``layers``: ln D.
        ``joint``: ln D and ln(T + 1) together.

    Notes
    -----
    Source: arXiv 2505.07858, Fig. 1. The joint law assumes that the two logarithms add: no published draft has both
    more than one layer and pretraining. Its anchor is the point that both panels share (1 layer, 0 tokens), counted
    once.

    Examples
    --------
    >>> refit("tokens").values.round(4).tolist(), round(refit("tokens").r2, 3)
    ([0.0825, 5.0763], 0.893)
    """
    one_of("law", law, ("tokens", "tokens-ln", "layers", "joint"))
    tokens, tau_tokens = points("tokens")
    layers, tau_layers = points("layers")
    if law == "tokens":
        return solve_linear(_design(np.log1p(tokens)), tau_tokens)
    if law == "tokens-ln":
        return solve_linear(_design(np.log(tokens[1:])), tau_tokens[1:])
    if law == "layers":
        return solve_linear(_design(np.log(layers)), tau_layers)
    both_layers = np.concatenate([np.ones_like(tokens), layers[1:]])
    both_tokens = np.concatenate([tokens, np.zeros(layers.size - 1)])
    design = _design(np.log(both_layers), np.log1p(both_tokens))
    return solve_linear(design, np.concatenate([tau_tokens, tau_layers[1:]]))


def _design(*columns: FloatArray) -> FloatArray:
    return np.stack([*columns, np.ones_like(columns[0])], axis=-1)


def _outside(name: str, x: FloatArray) -> NDArray[np.bool_]:
    low, high = _data()["range"][name]["value"]
    return np.asarray((x < low) | (x > high))


def _value(
    solution: Solution,
    design: FloatArray,
    extrapolated: NDArray[np.bool_],
    level: float,
    remarks: tuple[str, ...] = (),
) -> LawValue:
    mean = design @ solution.values
    variance = np.einsum("...i,ij,...j->...", design, solution.covariance, design) + solution.variance
    half = student_quantile(level, solution.dof) * np.sqrt(variance)
    if extrapolated.any():
        remarks += ("outside 1-100 B tokens or 1-10 layers: the law is extrapolated",)
    return LawValue(mean, np.maximum(mean - half, 1.0), mean + half, extrapolated, remarks)


def tau_from_tokens(train_tokens: ArrayLike, *, level: float = 0.9) -> LawValue:
    """Theorem 1.1: tau of a one-layer draft pretrained on ``train_tokens`` tokens (a count, 0 for none).

    Notes
    -----
    Source: arXiv 2505.07858, Theorem 1.1, refitted as a ln(T / 1e9 + 1) + c, which alone agrees with the quoted
    coefficients and holds at 0. Fig. 1 is flat above about 50 billion tokens; no logarithm is.

    Examples
    --------
    >>> law = tau_from_tokens(10e9)
    >>> [round(float(v), 2) for v in (law.lower, law.value, law.upper)]
    [5.17, 5.27, 5.38]
    """
    tokens = in_range("draft_train_tokens", train_tokens, 0) / GIGA
    # 0 is a point of the fit, but the paper claims the law from 1 billion tokens on.
    outside = _outside("tokens", tokens) & (tokens != 0)
    return _value(refit("tokens"), _design(np.log1p(tokens)), outside, level)


def tau_from_layers(layers: ArrayLike, *, level: float = 0.9) -> LawValue:
    """Theorem 1.2: tau of a draft of ``layers`` decoder layers without pretraining.

    Notes
    -----
    Source: arXiv 2505.07858, Theorem 1.2, refitted on Fig. 1 (0.361 ln D + 5.022). The quoted 0.74 ln D + 4.61
    (`quoted`) misses those points by up to 0.49 and is not used.

    Examples
    --------
    >>> law = tau_from_layers([1, 5])
    >>> law.value.round(2).tolist()
    [5.02, 5.6]
    """
    depth = in_range("draft_layers", layers, 1)
    return _value(refit("layers"), _design(np.log(depth)), _outside("layers", depth), level)


def tokens_per_cycle(
    *, layers: ArrayLike | None = None, train_tokens: ArrayLike | None = None, level: float = 0.9
) -> LawValue:
    """tau by both theorems at once; what is not given is one layer and no pretraining. Arguments broadcast.

    Both logarithms are assumed to add (see `refit`): the paper shows no draft in which both vary.

    Parameters
    ----------
    layers
        Decoder layers of the draft, at least 1.
    train_tokens
        Pretraining tokens, a count.
    level
        Coverage of the interval.

    Notes
    -----
    Source: arXiv 2505.07858, Theorems 1.1 and 1.2, one least-squares fit to both panels of Fig. 1.

    Examples
    --------
    >>> law = tokens_per_cycle(layers=5, train_tokens=10e9)
    >>> [round(float(v), 2) for v in (law.lower, law.value, law.upper)]
    [5.7, 5.81, 5.93]
    """
    depth, tokens = np.broadcast_arrays(
        in_range("draft_layers", 1 if layers is None else layers, 1),
        in_range("draft_train_tokens", 0 if train_tokens is None else train_tokens, 0) / GIGA,
    )
    outside = _outside("layers", depth) | (_outside("tokens", tokens) & (tokens != 0))
    remarks: tuple[str, ...] = ("tau from Fig. 1 of arXiv 2505.07858 (Vicuna-7B): other targets differ",)
    if train_tokens is None:
        remarks += ("no pretraining is assumed; the paper's default is 10 B tokens",)
    if ((depth > 1) & (tokens > 0)).any():
        remarks += ("layers and pretraining are assumed to add; the paper shows no draft with both",)
    return _value(refit("joint"), _design(np.log(depth), np.log1p(tokens)), outside, level, remarks)


def optimal_paths(batch_size: ArrayLike) -> FloatArray:
    """Theorem 1.3 as quoted: the best number of verified paths, 27904 sqrt(1 + 0.034 / b) - 27897.

    Holds for Qwen2.5-72B at 10K input, for which it was derived.

    Examples
    --------
    >>> optimal_paths([8, 64]).round(1).tolist()
    [66.2, 14.4]
    """
    b, law = positive("batch_size", batch_size), quoted("optimum")
    return np.asarray(law["scale"] * np.sqrt(1 + law["ratio"] / b) - law["offset"])


def optimal_paths_asymptote() -> tuple[float, float]:
    """``(slope, floor)`` of the large-batch form of Theorem 1.3, slope / b + floor.

    From sqrt(1 + x) = 1 + x / 2 - x^2 / 8 ...: slope = scale ratio / 2 and floor = scale - offset. The next term is
    -scale ratio^2 / (8 b^2), 4 paths of 477 at b = 1, so the rule is 1/b throughout, not logarithmic.

    Examples
    --------
    >>> slope, floor = optimal_paths_asymptote()
    >>> round(slope, 1), floor
    (474.4, 7.0)
    """
    law = quoted("optimum")
    return law["scale"] * law["ratio"] / 2, law["scale"] - law["offset"]


def optimal_paths_log_rival(batch_sizes: ArrayLike) -> tuple[Solution, Solution]:
    """Least-squares fits of Theorem 1.3's k_opt at some batch sizes by its name's form and by 1/b.

    Returns
    -------
    log_linear, inverse
        ln k = a ln b + c, and k = a / b + c; ``values`` are (a, c). Their R2 are of ln k and of k.

    Examples
    --------
    >>> log_linear, inverse = optimal_paths_log_rival([1, 2, 4, 8, 16, 32, 64])
    >>> log_linear.values.round(2).tolist(), inverse.values.round(0).tolist()
    ([-0.85, 6.06], [470.0, 7.0])
    """
    b = positive("batch_size", batch_sizes)
    k = optimal_paths(b)
    return solve_linear(_design(np.log(b)), np.log(k)), solve_linear(_design(1 / b), k)


def highest_throughput(batch_size: ArrayLike) -> FloatArray:
    """Theorem 1.3's second half as quoted: tokens/s at the best k, 286.79 ln b + 7.54.

    Within 10 % of Fig. 5's maxima for b >= 8 only; at b = 1 it gives 7.5 where the figure shows about 100.

    Examples
    --------
    >>> float(highest_throughput(64).round(0))
    1200.0
    """
    b, law = positive("batch_size", batch_size), quoted("throughput")
    return np.asarray(law["slope"] * np.log(b) + law["intercept"])
