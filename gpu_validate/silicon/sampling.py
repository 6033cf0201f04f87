"""Split and sampling of the package's kernel timings, by shape and regime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpu_validate.silicon import low_bits, routing
from gpu_validate.silicon.tables import KEYS, default_framework, read, read_version, second_framework
from scylla_sim.checks import fail, one_of, whole
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.stats.split import ALL, REPEAT, TEST, TRAIN, hashed_share

if TYPE_CHECKING:
    import pandas as pd

PARTS = (ALL, TRAIN, TEST, REPEAT)
"""Parts of a table that `export` returns."""

SPLIT_BY = {
    "gemm": ["n", "k"],
    "decode_attention": ["num_heads", "num_kv_heads", "head_dim"],
    "context_attention": ["num_heads", "num_kv_heads", "head_dim"],
    "latent_attention": ["num_heads"],
    "experts": ["hidden_size", "num_experts", "experts_per_token"],
    "all_reduce": ["bytes"],
    "elementwise": ["bytes"],
}
"""Operation -> columns whose values never appear on both sides of the split."""
ALTERNATE = {"latent_attention": ("num_heads", 0), "all_reduce": ("bytes", 1)}
"""Operation -> (column, remainder) of a split by powers of two.

These operations have few sizes, all powers of two. The test part holds the sizes 2**e with e modulo 2 equal to the
remainder. MLA is tested on 1, 4, 16 and 64 heads per GPU. The 128 heads are fitted, because only their arithmetic
takes as long as reading the cache.
"""
TEST_SHARE = 0.25
"""Expected share of the groups of `SPLIT_BY` in the test part."""

SMALL_ROWS = 512
"""Largest number of GEMM rows (batch times tokens) of the regime ``drafting``: decoding and verification."""
LARGE_ROWS = 8192
"""Largest number of GEMM rows of the regime ``large``."""
SHORT_TOKENS, LARGE_TOKENS = 512, 32768
"""Numbers of new tokens up to which a prefill is ``short``, and up to which it is used at all."""
MIN_PROMPT = 16
"""Shortest prompt of context attention; some engines run shorter ones with the kernels of decoding."""
BEYOND_L2 = 1.5
"""Ratio of moved bytes to the L2 size above which data come from memory."""
MIN_MESSAGE_BYTES, LARGEST_MESSAGE_BYTES = 2**13, 2**24
"""Message sizes of an all-reduce at which latency matters as much as bandwidth."""

WIDE_SIZES, WIDE_WEIGHTS = 256, 2**29
"""Smallest n and k, and largest n k, of the regime ``wide``: slices of tensor parallelism up to the widest MLP."""

SHARES = {
    "gemm": {"large": 0.125, "wide": 0.125},
    "experts": {"large": 0.25},
    "decode_attention": {"beyond_l2": 0.5},
    "latent_attention": {"beyond_l2": 0.5},
    "elementwise": {"beyond_l2": 0.5},
    "context_attention": {"short": 0.15},
}
"""Operation -> regime -> share of the sampled rows.

Notes
-----
``large``: without these GEMM rows, the fit does not identify the H100's compute peak, and their error is 19 %. With
them, the error of smaller GEMMs stays the same (4.3 against 4.5 %).

``short``: prefills below 512 tokens; they are a fifth of the table, and a step of them rarely decides anything.

``wide``: with half of the large rows, cross-validated errors of other weights fall from 9-19 to 3-10 % (fp8 on
Hopper, bf16 on L40S), and those of ``drafting`` stay the same within 0.2 points.

``beyond_l2``: serving runs mostly these kernels, but only a tenth to a fifth of the attention rows are of this
regime. The share was chosen on the training heads. There it lowers the error of the regime by a third and raises
the error of the other rows by a twentieth.
"""

_OWN_FIT = ("dtype", "kv_dtype", "kernel_source", "head_dim", "graph")
"""Columns whose values have separate fits; all-reduce is only separated by ``graph``."""


def balanced(frame: pd.DataFrame) -> pd.Series:
    """Return which rows a fit may use: MoE layers with balanced loads, or all rows where there are none.

    Fits of the data types of `gpu_validate.silicon.low_bits.LOW_BITS` use uneven loads too. Fitted to balanced
    loads alone, their intervals hold too few of the large layers with uneven loads.
    """
    import pandas as pd

    if "distribution" not in frame or not (frame["distribution"] == routing.BALANCED).any():
        return pd.Series(True, index=frame.index)
    return (frame["distribution"] == routing.BALANCED) | _low_bits(frame)


def _low_bits(frame: pd.DataFrame) -> pd.Series:
    """Return which MoE rows have a data type of `gpu_validate.silicon.low_bits.LOW_BITS`."""
    return frame["dtype"].isin(list(low_bits.LOW_BITS["experts"]))


def in_test(frame: pd.DataFrame, op: str) -> pd.Series:
    """Return which rows belong to the test part.

    The choice depends on the shape only: by `ALTERNATE` where it names the operation, else by the hash of the
    columns in `SPLIT_BY`. MoE layers of a data type with one or two models are slices of them: every second slice
    of one model is tested, and of the other model the slices in between.
    """
    import numpy as np
    import pandas as pd

    if op in ALTERNATE:
        column, remainder = ALTERNATE[op]
        exponents = np.log2(frame[column].to_numpy(float)).round().astype(int)
        return pd.Series(exponents % 2 == remainder, index=frame.index)
    columns = [frame[name].to_numpy(np.uint64) for name in SPLIT_BY[op]]
    chosen = pd.Series(hashed_share(columns, TEST_SHARE), index=frame.index)
    if op == "experts":
        of_dtype = frame.groupby("dtype")
        models = frame.groupby(["hidden_size", "num_experts", "experts_per_token"], sort=False)
        few = frame["dtype"].map({name: len(part[SPLIT_BY[op]].drop_duplicates()) < 3 for name, part in of_dtype})
        halvings = np.log2(models["inter_size"].transform("max") / frame["inter_size"]).round().astype(int)
        smaller = (frame["num_experts"] < of_dtype["num_experts"].transform("max")).astype(int)
        return chosen.where(~few, (halvings + smaller) % 2 == 1)
    return chosen


def regime(frame: pd.DataFrame, op: str) -> pd.Series:
    """Return the regime of each row; an empty string marks a row that neither part of the split uses.

    Notes
    -----
    ================================== ================ =====================================================
    Operation                          Regime           Rows
    ================================== ================ =====================================================
    ``gemm``                           ``drafting``     up to 512 rows
    ..                                 ``large``        up to 8192 rows
    ..                                 ``wide``         up to 8192 rows, other weights
    ``experts``                        ``drafting``     up to 512 tokens
    ..                                 ``large``        up to 8192 tokens
    ``decode_attention`` (no window),  ``in_l2``        KV cache up to 1.5 times the L2
    ``latent_attention``               ``beyond_l2``    larger KV cache
    ``context_attention`` (no window)  ``short``        below 512 new tokens in prompts of at least 16
    ..                                 ``prompts``      up to 32,768 new tokens
    ``elementwise``                    ``in_l2``        moved bytes up to 1.5 times the L2
    ..                                 ``beyond_l2``    more bytes
    ``all_reduce``                     ``message``      8 KiB to 16 MiB
    ..                                 ``bulk``         more bytes
    ================================== ================ =====================================================

    A GEMM also needs n >= 1024, 1024 <= k <= 16384 and n k >= 4e6. The regime ``wide`` needs more than 512 rows,
    n >= 256, k >= 256 and n k <= 2**29 instead.
    """
    import pandas as pd

    return pd.Series(_REGIMES[op](frame), index=frame.index)


def _gemm_regime(frame: pd.DataFrame) -> pd.Series:
    n, k = frame["n"], frame["k"]
    inside = (n >= 1024) & k.between(1024, 16384) & (n * k >= 4e6)
    outside = (frame["m"] > SMALL_ROWS) & (frame["m"] <= LARGE_ROWS)
    outside &= (n >= WIDE_SIZES) & (k >= WIDE_SIZES) & (n.astype(float) * k <= WIDE_WEIGHTS)
    return _rows_regime(frame["m"]).where(inside, outside.map({True: "wide", False: ""}))


def _moe_regime(frame: pd.DataFrame) -> pd.Series:
    return _rows_regime(frame["num_tokens"])


def _rows_regime(rows: pd.Series) -> pd.Series:
    """Return the regime of GEMMs by their number of rows."""
    import numpy as np
    import pandas as pd

    names = np.where(rows <= SMALL_ROWS, "drafting", np.where(rows <= LARGE_ROWS, "large", ""))
    return pd.Series(names, index=rows.index)


def _attention_regime(frame: pd.DataFrame) -> pd.Series:
    elements = 2.0 * frame["num_kv_heads"] * frame["head_dim"]
    return _cache_regime(frame, elements).where(frame["window"] == 0, "")


def _context_regime(frame: pd.DataFrame) -> pd.Series:
    """Return the regime of context attention by the new tokens of all prompts."""
    import numpy as np
    import pandas as pd

    tokens = frame["batch"] * frame["q_len"]
    names = np.where(tokens < SHORT_TOKENS, "short", np.where(tokens <= LARGE_TOKENS, "prompts", ""))
    used = (frame["window"] == 0) & (frame["q_len"] >= MIN_PROMPT)
    return pd.Series(names, index=frame.index).where(used, "")


def _mla_regime(frame: pd.DataFrame) -> pd.Series:
    return _cache_regime(frame, frame["kv_rank"] + frame["rope_dim"])


def _cache_regime(frame: pd.DataFrame, elements: pd.Series) -> pd.Series:
    """Return the regime of attention over a KV cache with ``elements`` elements per token."""
    stored_bytes = frame["kv_dtype"].map({name: dtype.stored_bytes for name, dtype in DTYPES.items()})
    return _l2_regime(frame, stored_bytes * frame["batch"] * frame["kv_len"] * elements)


def _elementwise_regime(frame: pd.DataFrame) -> pd.Series:
    return _l2_regime(frame, frame["bytes"])


def _l2_regime(frame: pd.DataFrame, moved: pd.Series) -> pd.Series:
    """Return the regime of kernels by the bytes that they move."""
    import numpy as np
    import pandas as pd

    devices = {name: catalog.hardware(name).l2_bytes for name in frame["device"].unique()}
    l2 = BEYOND_L2 * frame["device"].map(devices)
    return pd.Series(np.where(moved > l2, "beyond_l2", "in_l2"), index=frame.index)


def _all_reduce_regime(frame: pd.DataFrame) -> pd.Series:
    import numpy as np
    import pandas as pd

    size = frame["bytes"]
    names = np.where(size <= LARGEST_MESSAGE_BYTES, "message", "bulk")
    return pd.Series(names, index=frame.index).where(size >= MIN_MESSAGE_BYTES, "")


_REGIMES = {
    "gemm": _gemm_regime,
    "experts": _moe_regime,
    "decode_attention": _attention_regime,
    "context_attention": _context_regime,
    "latent_attention": _mla_regime,
    "elementwise": _elementwise_regime,
    "all_reduce": _all_reduce_regime,
}


def sample(frame: pd.DataFrame, op: str, rows: int, seed: int) -> pd.DataFrame:
    """Sample at most ``rows`` rows of each group of kernels that has its own fit.

    Groups differ in dtype, KV dtype, kernel, head size or launch. `SHARES` says which share of a group's sample
    comes from a regime. Data types that are fitted to uneven loads have as many rows of each distribution.
    """
    import pandas as pd

    by = [name for name in (_OWN_FIT if op != "all_reduce" else ("graph",)) if name in frame]
    keys = [frame[name] for name in by]
    if op == "experts":
        keys.append(frame["distribution"].where(_low_bits(frame), ""))
    parts = []
    for _, group in frame.groupby(keys, sort=True, dropna=False):
        left = rows
        rest = group
        for name, share in SHARES.get(op, {}).items():
            inside = group[group["regime"] == name]
            taken = inside.sample(min(len(inside), round(share * rows)), random_state=seed)
            rest = rest.drop(inside.index)
            parts.append(taken)
            left -= len(taken)
        parts.append(rest.sample(min(len(rest), left), random_state=seed))
    return pd.concat(parts).sort_index()


def export(
    device: str,
    op: str,
    *,
    framework: str | None = None,
    part: str = ALL,
    rows: int | None = None,
    seed: int = 0,
    dtypes: Iterable[str] = (),
) -> pd.DataFrame:
    """Return the rows of a device and operation, split and sampled.

    Parameters
    ----------
    device
        Name in the hardware catalog.
    op
        Operation, one of `gpu_validate.silicon.tables.TABLES`.
    framework
        Framework that measured the rows; by default the one of `gpu_validate.silicon.tables.read`.
    part
        One of `PARTS`. ``train`` and ``test`` share no value of `SPLIT_BY` and hold only rows with a `regime`. MoE
        layers with uneven loads are in ``test`` only, if the device has balanced ones to fit. ``repeat`` holds the
        timings of another framework for the shapes of ``test``.
    rows
        Maximum number of rows of each group of kernels, see `sample`; all rows by default.
    seed
        Seed of the sampling.
    dtypes
        Kernel dtypes to keep; all by default. Those of `gpu_validate.silicon.low_bits.LOW_BITS` are read only if
        they are named here.

    Raises
    ------
    InputError
        For an unknown argument, or where no other framework measured the operation.
    """
    wanted = list(dtypes)
    frame = read(device, op, framework=framework, dtypes=wanted)
    frame["regime"] = regime(frame, op)
    if part != ALL:
        one_of("part", part, PARTS)
        chosen = in_test(frame, op)
        chosen = ~chosen & balanced(frame) if part == TRAIN else chosen
        frame = frame[chosen & (frame["regime"] != "")]
    if wanted:
        for name in wanted:
            one_of("dtype", name, sorted(frame["dtype"].unique()))
        frame = frame[frame["dtype"].isin(wanted)]
    if part == REPEAT:
        frame = _repeats(frame, device, op)
    if rows is not None:
        frame = sample(frame, op, int(whole("rows", rows, 1)), int(whole("seed", seed, 0, 2**32 - 1)))
    return frame.reset_index(drop=True)


def _repeats(frame: pd.DataFrame, device: str, op: str) -> pd.DataFrame:
    """Return the rows of a second framework for the shapes of ``frame``."""
    shape = [key for key in KEYS[op] if key != "kernel_source"]
    shapes = frame[[*shape, "regime"]].drop_duplicates()
    if frame["dtype"].isin(list(low_bits.LOW_BITS.get(op, {}))).all():
        return _low_bit_repeats(frame, device, op).merge(shapes, on=shape)
    other = second_framework(device, op, frame["framework"].iloc[0])
    again = read(device, op, framework=None if other == default_framework(device, op) else other)
    if op == "latent_attention" and catalog.hardware(device).family == "hopper":
        again = again[again["kv_dtype"] == "bfloat16"]  # see `default_framework`
    return again.merge(shapes, on=shape)


def _low_bit_repeats(frame: pd.DataFrame, device: str, op: str) -> pd.DataFrame:
    """Return the rows of `gpu_validate.silicon.low_bits.REPEATS` for the data types of ``frame``."""
    import pandas as pd

    found = [name for name in low_bits.repeated(device, op) if (frame["dtype"] == name).any()]
    if not found:
        raise fail("part", REPEAT, f"has no rows: no two frameworks measured these kernels on {device}")
    return pd.concat([read_version(device, op, *low_bits.REPEATS[op][name][device], name) for name in found])
