"""Split and sample of kernels that others measured, by shape and regime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpu_validate.silicon import routing
from gpu_validate.silicon.tables import KEYS, default_framework, read, second_framework
from scylla_sim.checks import one_of, whole
from scylla_sim.ops.op import ATTENTION
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import DTYPES

if TYPE_CHECKING:
    import pandas as pd


PARTS = ("all", "train", "test", "repeat")

SPLIT_BY = {
    "gemm": ["n", "k"],
    "decode_attention": ["num_heads", "num_kv_heads", "head_dim"],
    "latent_attention": ["num_heads"],
    "experts": ["hidden_size", "num_experts", "experts_per_token"],
    "all_reduce": ["bytes"],
    "elementwise": ["bytes"],
}
"""What never appears on both sides of a split: weight shapes, head configurations, models, message sizes."""
ALTERNATE = {"latent_attention": ("num_heads", 0), "all_reduce": ("bytes", 1)}
"""Few sizes, all powers of two: every other one is held out, those whose exponent has this remainder. Of latent
attention 1, 4, 16 and 64 heads a rank; 128 are fitted: only their arithmetic takes as long as the reading."""

_HASH = 2654435761
_TEST_SHARE = 0.25


def balanced(frame: pd.DataFrame) -> pd.Series:
    """Rows that a fit may see: layers of experts with even loads, or all of a device that has none of those."""
    import pandas as pd

    if "distribution" not in frame or not (frame["distribution"] == routing.BALANCED).any():
        return pd.Series(True, index=frame.index)
    return frame["distribution"] == routing.BALANCED


def in_test(frame: pd.DataFrame, op: str) -> pd.Series:
    """Deterministic split by shape: True for about a quarter of `SPLIT_BY`'s groups, or as `ALTERNATE` says."""
    import numpy as np
    import pandas as pd

    if op in ALTERNATE:
        column, remainder = ALTERNATE[op]
        sizes = np.log2(frame[column].to_numpy(float)).round().astype(int)
        return pd.Series(sizes % 2 == remainder, index=frame.index)
    code = np.zeros(len(frame), dtype=np.uint64)
    for column in SPLIT_BY[op]:
        code = (code * np.uint64(31) + frame[column].to_numpy(np.uint64)) * np.uint64(_HASH)
        code ^= code >> np.uint64(29)
    return pd.Series((code % np.uint64(1000)) < 1000 * _TEST_SHARE, index=frame.index)


SMALL_ROWS = 512
"""GEMM rows (batch times tokens) up to which a step is decoding or verification: the regime of drafting."""


COLD_CACHE = 1.5
"""A KV cache of so many times the L2 is read from memory; a smaller one is found in L2, at least in part."""
LARGEST_MESSAGE = 2**24
"""Bytes of an all-reduce up to which its latency matters as much as its bandwidth."""


def regime(frame: pd.DataFrame, op: str) -> pd.Series:
    """Which part of the tables a row belongs to, or nothing.

    GEMM: n >= 1024, 1024 <= k <= 16384, n k >= 4e6; ``drafting`` up to 512 rows, ``large`` up to 8192.
    Attention without a window, and latent attention: ``beyond_l2`` or ``in_l2``, by the bytes of its KV cache.
    Elementwise: ``beyond_l2`` or ``in_l2``, by the bytes it moves.
    Experts: ``drafting`` and ``large`` as GEMM. All-reduce: from 8 KB on ``message``, ``bulk`` beyond 16 MB.
    """
    import numpy as np
    import pandas as pd

    if op == "gemm":
        n, k, m = frame["n"], frame["k"], frame["m"]
        inside = (n >= 1024) & k.between(1024, 16384) & (n * k >= 4e6) & (m <= 8192)
        return pd.Series(np.where(inside, np.where(m <= SMALL_ROWS, "drafting", "large"), ""), index=frame.index)
    if op == "experts":
        tokens = frame["num_tokens"]
        size = np.where(tokens <= SMALL_ROWS, "drafting", np.where(tokens <= 8192, "large", ""))
        return pd.Series(size, index=frame.index)
    if op in (*ATTENTION, "elementwise"):
        moved, wanted = frame.get("bytes"), True
        if op in ATTENTION:
            dense = op == "decode_attention"
            wanted = frame["window"] == 0 if dense else True
            kept = (
                2.0 * frame["num_kv_heads"] * frame["head_dim"] if dense else frame["kv_rank"] + frame["rope_dim"]
            )
            moved = (
                frame["kv_dtype"].map(lambda name: DTYPES[name].stored_bytes)
                * frame["batch"]
                * frame["kv_len"]
                * kept
            )
        l2 = COLD_CACHE * frame["device"].map(lambda name: catalog.hardware(name).l2_bytes)
        where = np.where(moved > l2, "beyond_l2", "in_l2")
        return pd.Series(np.where(wanted, where, ""), index=frame.index)
    size = frame["bytes"]
    kind = np.where(size <= LARGEST_MESSAGE, "message", "bulk")
    return pd.Series(np.where(size < 8192, "", kind), index=frame.index)


SHARES = {"large": 0.25, "beyond_l2": 0.5}
"""Share of sampled rows that comes from a regime.

GEMM with more than 512 rows: without them the compute peak is not identified (19 % error there on H100), with them
nothing is lost below (4.3 against 4.5 %). KV beyond L2: a tenth to a fifth of the tables' rows, but nearly all that
serving sees; chosen on training heads, where its error falls by a third with more of them and that of the others
rises by a twentieth."""


def sample(frame: pd.DataFrame, op: str, rows: int, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of each group of kernels that is fitted apart (dtype, KV type, head size, graph)."""
    import pandas as pd

    by = ["dtype", "kv_dtype", "kernel_source", "head_dim", "graph"] if op != "all_reduce" else ["graph"]
    parts = []
    for _, part in frame.groupby([name for name in by if name in frame], sort=True, dropna=False):
        left = rows
        rest = part
        for name, share in SHARES.items():
            some = part[part["regime"] == name]
            taken = some.sample(min(len(some), round(share * rows)), random_state=seed)
            rest = rest.drop(some.index)
            parts.append(taken)
            left -= len(taken)
        parts.append(rest.sample(min(len(rest), left), random_state=seed))
    return pd.concat(parts).sort_index()


def export(
    device: str,
    op: str,
    *,
    framework: str | None = None,
    part: str = "all",
    rows: int | None = None,
    seed: int = 0,
    dtypes: Iterable[str] = (),
) -> pd.DataFrame:
    """Rows of a device and operation, split and sampled.

    ``train`` and ``test`` share no weight shape, head configuration or message size, and hold what `regime` names;
    layers of experts with uneven loads are in ``test`` alone, where their device has even ones to fit.
    ``repeat`` is what another framework measured on the shapes of ``test``: the noise floor of a measurement.
    """
    frame = read(device, op, framework=framework)
    frame["regime"] = regime(frame, op)
    if part != "all":
        one_of("part", part, PARTS)
        chosen = in_test(frame, op)
        chosen = ~chosen & balanced(frame) if part == "train" else chosen
        frame = frame[chosen & (frame["regime"] != "")]
    if wanted := list(dtypes):
        for name in wanted:
            one_of("dtype", name, sorted(frame["dtype"].unique()))
        frame = frame[frame["dtype"].isin(wanted)]
    if part == "repeat":
        other = second_framework(device, op, frame["framework"].iloc[0])
        again = read(device, op, framework=None if other == default_framework(device, op) else other)
        if op == "latent_attention" and catalog.hardware(device).family == "hopper":
            again = again[again["kv_dtype"] == "bfloat16"]  # see `default_framework`
        shape = [key for key in KEYS[op] if key != "kernel_source"]
        frame = again.merge(frame[[*shape, "regime"]].drop_duplicates(), on=shape)
    if rows is not None:
        frame = sample(frame, op, int(whole("rows", rows, 1)), int(whole("seed", seed, 0, 2**32 - 1)))
    return frame.reset_index(drop=True)
