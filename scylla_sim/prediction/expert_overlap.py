"""The experts that tokens of one sequence have in common, for predictions of verification."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources

from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate


@cache
def expert_overlap(*, tree: bool) -> Estimate:
    """Return the share of expert draws in common, with its range over sources, for chains or for trees.

    Examples
    --------
    >>> chain = expert_overlap(tree=False)
    >>> float(chain.lower), float(chain.value), float(chain.upper)
    (0.3, 0.43, 0.56)
    """
    text = (resources.files("scylla_sim") / "data" / "expert_overlap.toml").read_text("utf-8")
    entry = tomllib.loads(text)["tree" if tree else "chain"]
    return Estimate.of(entry["value"], entry["lower"], entry["upper"])


def with_overlap(model: Model, *, tree: bool) -> Model:
    """Return the model with the expert overlap of chains or of trees, unless it has its own or has no experts."""
    if model.moe is None or model.moe.expert_overlap is not None:
        return model
    one = expert_overlap(tree=tree)
    ends = (float(one.lower), float(one.upper))
    return replace(model, moe=replace(model.moe, expert_overlap=float(one.value), expert_overlap_range=ends))
