"""Random shapes of kernels, drawn from the columns that an operation declares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.operation import Operation
from scylla_sim.ops.op import Columns

SHAPES = 200
"""Shapes that a check tries."""

RANGES: Mapping[str, tuple[float, float]] = {
    "m": (1, 4096),
    "n": (64, 16384),
    "k": (64, 16384),
    "batch": (1, 256),
    "kv_len": (1, 65536),
    "q_len": (1, 64),
    "num_kv_heads": (1, 32),
    "bytes": (1, 1e9),
    "rows": (1, 65536),
    "num_tokens": (1, 1024),
    "hidden_size": (256, 8192),
    "inter_size": (256, 8192),
    "experts_per_token": (1, 8),
    "groups": (1, 256),
}
"""Smallest and largest value of a column; other columns lie between 1 and 4,096."""

CHOICES: Mapping[str, tuple[float, ...]] = {
    "head_dim": (64, 128, 256),
    "num_gpus": (2, 4, 8),
    "kv_rank": (512,),
    "rope_dim": (64,),
    "window": (0, 0, 128, 4096),
    "graph": (0, 1),
    "calls_per_graph": (0,),
}
"""Values of columns that have few."""

WORK: Mapping[str, tuple[str, ...]] = {
    "decode_attention": ("batch", "kv_len", "q_len"),
    "context_attention": ("batch", "kv_len"),
    "latent_attention": ("batch", "kv_len", "q_len"),
    "experts": ("hidden_size", "inter_size"),
    "all_reduce": (),
}
"""Operation -> columns of which more never takes less time; default: the size columns of its fit.

More heads or experts fill tiles better. An all-reduce changes to another kernel at some message and number of GPUs.
"""

_GROUP = (1, 4, 8, 16)
"""Query heads of a KV head."""


def random_shapes(operation: Operation, *, count: int = SHAPES, seed: int = 0) -> dict[str, FloatArray]:
    """Return random columns of an operation whose rows keep its rules, each of at most ``count`` elements.

    Examples
    --------
    >>> from scylla_sim.kernels.registry import operation
    >>> sorted(random_shapes(operation("gemm"), count=4))
    ['calls_per_graph', 'k', 'm', 'n']
    """
    rng = np.random.default_rng(seed)
    found: dict[str, FloatArray] = {}
    for name in (*operation.table.required, *operation.table.optional):
        if name in CHOICES:
            found[name] = rng.choice(np.array(CHOICES[name], dtype=np.float64), 4 * count)
        else:
            low, high = RANGES.get(name, (1, 4096))
            found[name] = np.rint(np.exp(rng.uniform(np.log(low), np.log(high), 4 * count))).astype(np.float64)
    if {"num_heads", "num_kv_heads"} <= set(found):
        found["num_heads"] = found["num_kv_heads"] * rng.choice(np.array(_GROUP, dtype=np.float64), 4 * count)
    kept = completed(operation, found)
    return {name: column[:count] for name, column in kept.items()}


def completed(operation: Operation, columns: Columns) -> dict[str, FloatArray]:
    """Return columns with those that the operation derives, without the rows that break its rules."""
    whole = {**columns, **(operation.table.derived(columns) if operation.table.derived else {})}
    good = kept_rows(operation, whole)
    return {name: column[good] for name, column in whole.items()}


def kept_rows(operation: Operation, columns: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which rows keep the rules of an operation."""
    size = next(iter(columns.values())).shape
    good = np.ones(size, dtype=np.bool_)
    for rule in operation.table.rules:
        good &= ~rule.broken(columns)
    return good


def grown(operation: Operation, columns: Columns, name: str) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return the rows of columns before and after one column doubles, as far as both keep the rules."""
    larger = {**columns, name: 2.0 * columns[name]}
    if operation.table.derived:
        larger |= operation.table.derived(larger)
    good = kept_rows(operation, larger)
    return {key: one[good] for key, one in columns.items()}, {key: one[good] for key, one in larger.items()}
