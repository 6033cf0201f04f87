"""Blocks of a KV cache whose layers differ: groups of layers that share one pool of pages.

An engine with a paged cache gives every group of layers a table of blocks. All blocks have one size, so layers with
smaller pages hold more tokens per block, and groups are padded to the same number of layers. Sliding windows and
recurrent states hold a bounded number of blocks.

Notes
-----
Source: vLLM, v1/core/kv_cache_utils.py (``_get_kv_cache_groups_uniform_page_size``,
``unify_kv_cache_spec_page_size``) and v1/kv_cache_interface.py. Checked with published start-up logs: seven of
Gemma-4-31B with `max_model_len` 8,192 to 52,224 (seongyun1104/depthchart), three of Apertus-1.5-8B with DSpark
(swiss-ai/apertus-speculative-decoding).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray

IN_FLIGHT_STEPS = 2
"""Steps whose prompt chunks a sliding window holds beside the window when an engine states its capacity.

Notes
-----
Derived: with asynchronous scheduling, vLLM 0.23 to 0.27 print pools of Gemma-4-31B and of Apertus-1.5-8B that this
number reproduces within 0.1 %; one step gives 6 % more tokens for Apertus.
"""


@dataclass(frozen=True)
class CachedLayers:
    """Layers with equal caches, on one rank.

    Attributes
    ----------
    layers
        Number of layers.
    token_bytes
        Bytes of one token in one layer; 0 for layers with a recurrent state.
    window
        Sliding window in tokens; 0 for full attention.
    state_bytes
        Bytes of one recurrent state in one layer; 0 for attention.
    """

    layers: int
    token_bytes: float
    window: int = 0
    state_bytes: float = 0.0


@dataclass(frozen=True)
class LayerGroups:
    """Groups of layers of one kind.

    Attributes
    ----------
    count
        Number of groups.
    block_tokens
        Tokens in one block of a layer; 0 for layers with a recurrent state.
    window
        Sliding window in tokens; 0 for full attention.
    """

    count: int
    block_tokens: int
    window: int = 0

    def blocks(self, tokens: FloatArray, slots: int) -> FloatArray:
        """Return the blocks of one sequence in all groups.

        A window holds one block more than its tokens fill, because it starts within a block. A state is kept for
        each slot of a cycle.
        """
        if not self.block_tokens:
            return np.full_like(tokens, float(self.count * max(slots, 1)))
        whole = np.ceil(tokens / self.block_tokens)
        if self.window:
            whole = np.minimum(whole, ceil((self.window - 1 + slots) / self.block_tokens) + 1)
        return self.count * whole


@dataclass(frozen=True)
class BlockPool:
    """A pool of blocks that groups of layers share.

    Attributes
    ----------
    block_bytes
        Bytes of one block: a page in each layer of a group.
    groups
        Groups by kind of layer.
    """

    block_bytes: float
    groups: tuple[LayerGroups, ...]

    def sequence_bytes(self, tokens: ArrayLike, *, slots: int = 0) -> FloatArray:
        """Return the bytes of all blocks of one sequence.

        Parameters
        ----------
        tokens
            Tokens in the cache, those of a cycle included.
        slots
            Tokens of a cycle, which a sliding window holds beside its own.
        """
        held = np.asarray(tokens, dtype=float)
        return self.block_bytes * sum((group.blocks(held, slots) for group in self.groups), np.zeros_like(held))

    def stated_tokens(self, pool_bytes: float, *, max_context: int, step_tokens: float, slots: int = 0) -> float:
        """Return the size of a pool in tokens as vLLM prints it: all sequences of ``max_context`` tokens.

        Parameters
        ----------
        pool_bytes
            Bytes of the KV cache.
        max_context
            Longest sequence that the server accepts (``max_model_len``).
        step_tokens
            Largest number of tokens of a step (``max_num_batched_tokens``).
        slots
            Tokens of a cycle with a draft; states of linear attention are kept for each.

        Examples
        --------
        Gemma-4-31B on one H100 NVL: 46.48 GiB, ``max_model_len`` 8,192, and the log says 55,288 tokens.

        >>> layers = (CachedLayers(10, 8192.0), CachedLayers(50, 16384.0, window=1024))
        >>> pool = block_pool(layers, block_tokens=16, pad_below=1.5)
        >>> round(pool.stated_tokens(46.48 * 2**30, max_context=8192, step_tokens=8192))
        55285
        """
        chunks = IN_FLIGHT_STEPS * step_tokens
        held = sum(_largest(group, max_context, chunks, slots) for group in self.groups)
        return pool_bytes // self.block_bytes / held * max_context


def _largest(group: LayerGroups, max_context: int, chunks: float, slots: int) -> int:
    """Return the most blocks that one sequence takes in all groups of a kind, while its prompt is read."""
    if not group.block_tokens:
        return group.count * max(slots, 1)
    if not group.window:
        return group.count * ceil(max_context / group.block_tokens)
    return group.count * (ceil(min(group.window - 1 + chunks, max_context) / group.block_tokens) + 1)


@lru_cache(maxsize=256)
def block_pool(kinds: tuple[CachedLayers, ...], *, block_tokens: int, pad_below: float) -> BlockPool:
    """Return the pool of blocks of layers of several kinds.

    Layers that all keep every token, or all have the same window and no state, form one group, each with a page of
    its own size. Otherwise all pages have the size of the largest: other layers take more tokens per block, and the
    tokens per block grow until a page of attention holds a recurrent state.

    Parameters
    ----------
    kinds
        Kinds of layers; kinds with equal caches are joined.
    block_tokens
        Tokens in a block of the layer with the largest page.
    pad_below
        Groups have the size of the most common kind of layer if it has fewer than ``pad_below`` times the layers
        of the least common kind, else the size of the least common kind.

    Examples
    --------
    Apertus-1.5-8B with DSpark: seven groups of five full layers, of which three are padding, and one of windows.

    >>> layers = (CachedLayers(32, 4096.0), CachedLayers(5, 4096.0, window=2048))
    >>> pool = block_pool(layers, block_tokens=16, pad_below=1.5)
    >>> [group.count for group in pool.groups], pool.block_bytes / 65536
    ([7, 1], 5.0)
    """
    joined = _joined(kinds)
    windows = {kind.window for kind in joined}
    if len(windows) <= 1 and not any(kind.state_bytes for kind in joined):
        page = block_tokens * sum(kind.layers * kind.token_bytes for kind in joined)
        return BlockPool(page, (LayerGroups(1, block_tokens, windows.pop() if windows else 0),))
    widest = max(kind.token_bytes for kind in joined)
    state = max(kind.state_bytes for kind in joined)
    page = widest * block_tokens * max(1, ceil(state / (widest * block_tokens)))
    counts = [kind.layers for kind in joined]
    size = max(counts) if max(counts) < pad_below * min(counts) else min(counts)
    return BlockPool(
        page * size,
        tuple(
            LayerGroups(
                ceil(kind.layers / size),
                0 if kind.state_bytes else block_tokens * int(page // (block_tokens * kind.token_bytes)),
                kind.window,
            )
            for kind in joined
        ),
    )


def _joined(kinds: Iterable[CachedLayers]) -> tuple[CachedLayers, ...]:
    """Return the kinds of layers, each once, with the layers of equal kinds added up."""
    layers: dict[tuple[float, int, float], int] = {}
    for kind in kinds:
        key = (kind.token_bytes, kind.window, kind.state_bytes)
        layers[key] = layers.get(key, 0) + kind.layers
    return tuple(CachedLayers(count, *key) for key, count in layers.items())
