"""Typical acceptance of a draft method: published tokens per cycle (tau) of other models, by task.

``scylla_sim/data/acceptance.toml`` lists published values with their sources. `typical_tau` transfers them to the
shape of a draft. It returns their median with a 90 % interval for a new model, which is wide. A measured rate is
better.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from scylla_sim.acceptance.positions import SAME_HEAD, PositionLaw, Z, law_of, taus_by_law
from scylla_sim.checks import FloatArray, InputError, one_of
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import median

TASKS = ("chat", "code", "math", "qa", "rag", "summarization", "tool_call", "translation")
"""Tasks of published values; see `typical_tau`."""

ALL = "all"
"""Task of a published mean over tasks, and of a source that does not state its task."""

TASK_SPREAD, METHOD_SPREAD = 0.42, 0.58
"""Standard deviations between the values of one task of a method, and of all tasks of a method, by `_to_scale`.

Source: pooled over the methods, tasks and kinds (chains, trees) of ``acceptance.toml`` with at least 5 values, at
draft length 3 for chains of EAGLE-3 and MTP, and 7 for chains of other methods.
"""

PRIOR_SERIES = 4
"""Values as which the spreads above count in the spread of a few values. Assumption of this package."""

TREE_SPREAD = 0.68
"""Standard deviation of a transfer between trees and chains, by `_to_scale`.

Source: root mean square over 13 chains of 7 with EAGLE-3 heads of Llama-3.1-8B and Llama-3.3-70B in
``acceptance.toml``, against the trees of the same target and task (mean over temperatures).
"""

Shape = tuple[int, int, int]
"""Draft length, top-k and verified tokens."""


@dataclass(frozen=True)
class Typical:
    """Typical tokens per cycle of a method.

    Attributes
    ----------
    tau
        Median of the published values at the shape asked for, with the 90 % interval of a new model.
    series
        Number of published values.
    sources
        Names of their sources.
    remarks
        One sentence for every assumption.
    """

    tau: Estimate
    series: int
    sources: tuple[str, ...]
    remarks: tuple[str, ...]


@cache
def _data() -> dict[str, Any]:
    """Return the content of ``acceptance.toml``."""
    return tomllib.loads((resources.files("scylla_sim") / "data" / "acceptance.toml").read_text("utf-8"))


def methods() -> list[str]:
    """Return the methods with published values.

    Examples
    --------
    >>> "eagle3" in methods()
    True
    """
    return [*(name for name in _data() if name != "sources"), "eagle2"]


def _to_scale(tau: FloatArray, longest: float) -> FloatArray:
    """Return the log odds of (tau - 1) / (longest - 1), a scale without ends."""
    share = np.clip((tau - 1.0) / (longest - 1.0), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(share / (1.0 - share)))


def _from_scale(value: FloatArray, longest: float) -> FloatArray:
    """Return tau from `_to_scale`."""
    return np.asarray(1.0 + (longest - 1.0) / (1.0 + np.exp(-value)))


def _at_length(chains: Sequence[Mapping[str, Any]], draft_len: int, several: Sequence[PositionLaw]) -> FloatArray:
    """Return tau of each series at a draft length, shape (laws, series).

    A series gives its value at the nearest published length. A law over positions transfers it from there.
    """
    taus = np.empty(len(chains))
    lengths = np.empty(len(chains), dtype=np.int64)
    for i, item in enumerate(chains):
        known = np.asarray(item["draft_len"], dtype=np.float64)
        nearest = int(np.argmin(np.abs(np.log(known / draft_len))))
        lengths[i], taus[i] = item["draft_len"][nearest], item["tokens_per_cycle"][nearest]
    moved = np.empty((len(several), *taus.shape))
    for length in sorted(set(lengths.tolist())):
        same = lengths == length
        moved[:, same] = taus_by_law(several, taus[same], known=length, draft_len=draft_len)
    return moved


def _summary(values: FloatArray, longest: float, *, prior: float, transfer: float = 0.0) -> Estimate:
    """Return the median of values of tau with the 90 % interval of a new value.

    ``prior`` is the usual spread of such values, and ``transfer`` the spread of a transfer that the values share.
    """
    scaled = _to_scale(values, longest)
    centre, count = float(median(scaled)), scaled.size
    variance = (((scaled - centre) ** 2).sum() + PRIOR_SERIES * prior**2) / (count + PRIOR_SERIES)
    half = Z * np.sqrt(variance * (1.0 + 1.0 / count) + transfer**2)
    value, lower, upper = _from_scale(np.array([centre, centre - half, centre + half]), longest)
    return Estimate.of(float(value), float(lower), float(upper))


def _of_task(
    items: Sequence[Mapping[str, Any]], task: str | None, method: str, remarks: list[str]
) -> tuple[list[Mapping[str, Any]], float]:
    """Return the series of a task and their usual spread; all series where the task has none."""
    found = [item for item in items if task == item["task"]]
    if found:
        return found, TASK_SPREAD
    if task is not None:
        remarks.append(f"no value of {method} is published for task {task}; those of all tasks are used")
    return list(items), METHOD_SPREAD


def typical_tau(
    method: str,
    shape: Shape,
    task: str | None = None,
    *,
    transfer: Callable[[float, Shape, Shape], float],
    law: PositionLaw | None = None,
) -> Typical:
    """Return the typical tokens per cycle of a draft method at a shape.

    Parameters
    ----------
    method
        One of `methods`.
    shape
        Draft length, top-k and verified tokens.
    task
        One of `TASKS`; ``None`` for all of them together.
    transfer
        tau, shape of the tau, other shape -> tau at the other shape. It is used between trees and chains, and
        between trees.
    law
        Law over positions, which transfers chains to other lengths; default: that of the method.

    Raises
    ------
    InputError
        For a method without published values, or an unknown task.

    Notes
    -----
    The interval is that of a new model. It contains the spread between published series and the spread of the
    transfer. The spread of a few series is shrunk to the usual one, `TASK_SPREAD` or `METHOD_SPREAD`.

    Examples
    --------
    >>> found = typical_tau("eagle3", (3, 1, 4), "chat", transfer=lambda tau, source, target: tau)
    >>> [round(float(tau), 2) for tau in (found.tau.lower, found.tau.value, found.tau.upper)], found.series
    ([1.94, 2.4, 2.88], 29)
    """
    if task is not None:
        one_of("task", task, TASKS)
    if method not in methods():
        raise InputError(f"no tokens per cycle are published for {method!r}; known: {', '.join(methods())}")
    entry = _data()[SAME_HEAD.get(method, method)]
    law = law or law_of(method)
    draft_len, top_k, _ = shape
    chains, trees = entry["chains"], entry["trees"]
    remarks: list[str] = []
    if chains and (top_k == 1 or not trees):
        used, prior = _of_task(chains, task, method, remarks)
        tau = _of_chains(used, draft_len, prior, law)
        if top_k > 1:
            tau = _transferred(tau, (draft_len, 1, draft_len + 1), shape, transfer)
            remarks.append(f"published chains of {method} are transferred to the tree by {law.describe()}")
    else:
        used, prior = _of_task(trees, task, method, remarks)
        tree: Shape = (entry["tree"]["draft_len"], entry["tree"]["top_k"], entry["tree"]["verify_tokens"])
        tau = _summary(np.array([item["tokens_per_cycle"] for item in used]), tree[0] + 1.0, prior=prior)
        if tree != shape:
            tau = _transferred(tau, tree, shape, transfer)
            remarks.append(
                f"published trees of {method} (depth {tree[0]}, {tree[2] - 1} nodes) are transferred to this shape "
                f"by {law.describe()}"
            )
    sources = tuple(dict.fromkeys(str(item["source"]) for item in used))
    return Typical(tau, len(used), sources, tuple(remarks))


def _of_chains(used: Sequence[Mapping[str, Any]], draft_len: int, prior: float, law: PositionLaw) -> Estimate:
    """Return the median tau of chains at a draft length, with its interval."""
    at = _at_length(used, draft_len, (law, law.moved(-1.0), law.moved(1.0)))
    longest = draft_len + 1.0
    centres = median(_to_scale(at, longest))
    return _summary(at[0], longest, prior=prior, transfer=float(np.ptp(centres)) / 2)


def _transferred(
    tau: Estimate, source: Shape, target: Shape, transfer: Callable[[float, Shape, Shape], float]
) -> Estimate:
    """Return tau at another shape, with the interval of the transfer."""
    longest = min(target[0], target[2] - 1) + 1.0
    ends = np.array([transfer(float(end), source, target) for end in (tau.value, tau.lower, tau.upper)])
    value, lower, upper = _to_scale(ends, longest)
    down, up = (np.hypot(end - value, Z * TREE_SPREAD) for end in (lower, upper))
    moved = _from_scale(np.array([value, value - down, value + up]), longest)
    return Estimate.of(*(float(end) for end in moved))
