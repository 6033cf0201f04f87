"""Tiles and pieces of the attention kernel in `gpu_validate.models.triton_attention`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from gpu_validate.models.triton_support import ceil_divide, next_power_of_two

MAX_SPLITS = 128
"""Largest number of pieces of a sequence."""
_MIN_KEYS = 128
"""Smallest number of keys in a piece of the longest sequence."""
_FULL_WAVE = 0.85
"""Minimum share of the best achievable occupancy."""


@dataclass(frozen=True)
class Tile:
    """Shape of the work of one thread block.

    Attributes
    ----------
    rows
        Queries of a block: tokens times the heads that share a KV head.
    keys
        Keys that a block reads at a time.
    few
        Keys at a time near the end of a sequence, where masks take registers too.
    warps
        Warps of a block.
    stages
        Reads that are in flight at once.
    resident
        Blocks that fit on an SM together.
    """

    rows: int
    keys: int
    few: int
    warps: int
    stages: int
    resident: int


def choose_tile(rows: int, head_dim: int, element_bytes: int) -> Tile:
    """Choose the tile for ``rows`` queries that share a KV head.

    Few queries are limited by memory. A block then keeps 64 KiB of reads in flight and two blocks share an SM,
    which is far more than the latency of HBM requires. 128 queries approach the compute limit. A block then has an
    SM to itself and uses wide tiles, because narrow GEMM tiles wait for shared memory. In float32, without tensor
    cores, at most 32 queries fit.
    """
    height = min(max(16, next_power_of_two(rows)), 128 if element_bytes == 2 else 32)
    keys = min(max(2**14 // (element_bytes * head_dim), 32), 128)
    if height == 128:
        return Tile(height, min(2 * keys, 128), 32, 8, 2, 1)
    return Tile(height, keys, 16 if height == 64 else 32, 4, 3, 2)


def choose_splits(blocks: int, bound: int, places: int) -> int:
    """Choose the number of pieces that each sequence of at most ``bound`` keys is split into.

    Parameters
    ----------
    blocks
        Thread blocks without a split.
    bound
        Largest number of keys of a sequence.
    places
        Blocks that run at the same time.

    Returns
    -------
    int
        The smallest number that keeps the places nearly full in every wave. No piece of the longest sequence has
        fewer than 128 keys.
    """
    most = min(max(bound // _MIN_KEYS, 1), MAX_SPLITS)
    share = [blocks * count / (ceil_divide(blocks * count, places) * places) for count in range(1, most + 1)]
    enough = _FULL_WAVE * max(share)
    return next(count for count, value in enumerate(share, 1) if value >= enough)


@lru_cache(maxsize=8)
def sm_count(device: torch.device) -> int:
    """Return the number of SMs of a GPU; on a CPU, as in tests, that of an H100."""
    if device.type != "cuda":
        return 132
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
