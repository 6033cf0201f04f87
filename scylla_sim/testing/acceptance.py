"""Laws of acceptance profiles and draft trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance import generation, profiles, tree_search, trees
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.testing.requirement import close, require

_ROUNDING = 1e-9


def check_profile(rates: ArrayLike) -> None:
    """Check conditional acceptance rates over positions: the tokens of a chain and their distribution.

    Parameters
    ----------
    rates
        Shape (positions,).

    Examples
    --------
    >>> check_profile([0.8, 0.6, 0.4])
    """
    alpha = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    name, length = f"profile {alpha.round(4).tolist()}", alpha.size
    taus = np.array([1.0, *(float(profiles.tokens_per_cycle(alpha[:n])) for n in range(1, length + 1))])
    tau = float(taus[-1])
    require(name, "a chain yields 1 to draft_len + 1 tokens", 1.0 <= tau <= length + 1.0 + _ROUNDING, tau=tau)
    require(
        name, "a longer draft never lowers tau", np.diff(taus) >= -_ROUNDING, draft_len=np.arange(1, length + 1)
    )
    better = np.array(
        [float(profiles.tokens_per_cycle(np.maximum(alpha, rate))) for rate in np.linspace(0.0, 1.0, 5)]
    )
    require(name, "a higher rate never lowers tau", np.diff(better) >= -_ROUNDING)
    cumulative = profiles.to_cumulative(alpha)
    back = profiles.to_cumulative(profiles.to_conditional(cumulative))
    require(name, "cumulative rates can be converted back", np.abs(back - cumulative) <= 1e-12)
    require(name, "tau is 1 and the sum of the cumulative rates", close(tau, 1.0 + cumulative.sum()))
    pmf = profiles.cycle_distribution(alpha)
    require(name, "the tokens of a cycle are a distribution", (pmf >= -1e-12) & close(pmf.sum(), 1.0))
    require(name, "the distribution has the mean tau", close(pmf @ np.arange(1.0, pmf.size + 1.0), tau))
    quantiles = [profiles.cycle_quantile(alpha, p) for p in (0.1, 0.5, 0.99)]
    require(name, "quantiles rise within 1 to draft_len + 1", np.diff([1, *quantiles, length + 1]) >= 0)
    for tokens in (1, 17):
        worth = generation.generation_tokens_per_cycle(alpha, tokens)
        inside = 1.0 - _ROUNDING <= worth <= tau + _ROUNDING
        require(name, f"a generation of {tokens} tokens has at most tau tokens per cycle", inside, worth=worth)


def check_tree(tree: DraftTree, rank_probability: ArrayLike) -> None:
    """Check a draft tree under rank probabilities: its tokens, its chains, and the best tree of its size.

    Parameters
    ----------
    rank_probability
        Probability that the target's token is the draft's r-th choice, shape (depth, ranks).

    Examples
    --------
    >>> check_tree(trees.full_tree([2, 1]), [[0.6, 0.2], [0.5, 0.1]])
    """
    p = np.asarray(rank_probability, dtype=np.float64)
    name, paths = f"tree of {tree.num_nodes} nodes", tree.paths()
    tau = float(trees.tokens_per_cycle(tree, p))
    possible = 1.0 <= tau <= tree.draft_len + 1.0 + _ROUNDING
    require(name, "a tree yields 1 to its depth + 1 tokens", possible, tau=tau)
    survival = trees.depth_survival(tree, p)
    require(name, "fewer cycles reach a greater depth", np.diff([1.0, *survival]) <= _ROUNDING)
    require(name, "tau is 1 and the sum over depths", close(tau, 1.0 + survival.sum()))
    inner = {path[:-1] for path in paths}
    leaf = next(path for path in reversed(paths) if path not in inner)
    if len(paths) > 1:
        smaller = float(trees.tokens_per_cycle(trees.from_paths([path for path in paths if path != leaf]), p))
        require(name, "one more node never lowers tau", tau >= smaller - _ROUNDING, node=str(leaf))
    best = tree_search.best_tree(p, tree.num_nodes)
    value = float(trees.tokens_per_cycle(best, p))
    law = "the best tree of as many nodes is no worse"
    require(name, law, best.num_nodes < tree.num_nodes or value >= tau - _ROUNDING, best=value, tau=tau)
