"""Groups of layers that share a pool of blocks, against hand-counted blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scylla_sim.ops.kv_groups import CachedLayers, block_pool

FULL = CachedLayers(32, 4096.0)
WINDOW = CachedLayers(5, 4096.0, window=2048)


def counts(pool):
    return [group.count for group in pool.groups]


def test_layers_that_keep_every_token_form_one_group_whatever_their_size():
    pool = block_pool((CachedLayers(32, 4096.0), CachedLayers(1, 1024.0)), block_tokens=16, pad_below=1.5)
    assert pool.block_bytes == 16 * (32 * 4096 + 1024)
    assert pool.sequence_bytes([1, 16, 17]).tolist() == [n * pool.block_bytes for n in (1, 1, 2)]


def test_groups_have_the_size_of_the_least_common_kind():
    pool = block_pool((FULL, WINDOW), block_tokens=16, pad_below=1.5)
    assert counts(pool) == [7, 1]
    assert pool.block_bytes == 5 * 16 * 4096


def test_kinds_of_nearly_equal_size_are_padded_to_the_larger():
    """gpt-oss-20b with an EAGLE head: 12 windows and 13 full layers make groups of 13."""
    kinds = (CachedLayers(13, 2048.0), CachedLayers(12, 2048.0, window=128))
    assert counts(block_pool(kinds, block_tokens=16, pad_below=1.25)) == [1, 1]
    assert counts(block_pool(kinds, block_tokens=16, pad_below=1.0)) == [2, 1]


def test_smaller_pages_hold_more_tokens():
    pool = block_pool(
        (CachedLayers(10, 8192.0), CachedLayers(50, 16384.0, window=1024)), block_tokens=16, pad_below=1.5
    )
    assert [group.block_tokens for group in pool.groups] == [32, 16]


def test_window_holds_one_block_more_than_it_fills():
    """2,047 tokens before the current ones and 8 of the cycle: 129 blocks, and one for the place of the window."""
    pool = block_pool((FULL, WINDOW), block_tokens=16, pad_below=1.5)
    held = pool.sequence_bytes(100_000, slots=8) / pool.block_bytes
    assert held == 7 * 6250 + 130


def test_block_of_attention_grows_until_it_holds_a_state():
    """Qwen3.6-27B, fp8 cache: a state of 3,227,648 bytes needs 1,584 tokens of 2,048 bytes."""
    kinds = (CachedLayers(17, 2048.0), CachedLayers(48, 0.0, state_bytes=3_227_648.0))
    pool = block_pool(kinds, block_tokens=16, pad_below=1.5)
    assert [group.block_tokens for group in pool.groups] == [1584, 0]
    assert counts(pool) == [1, 3]
    size = 44.57 * 2**30
    stated = pool.stated_tokens(size, max_context=65_536, step_tokens=8192, slots=2)
    assert round(stated / 65_536, 2) == 18.06  # log: maximum concurrency for 65,536 tokens per request


LAYERS = st.builds(
    CachedLayers,
    layers=st.integers(1, 80),
    token_bytes=st.sampled_from([1024.0, 2048.0, 4096.0, 8192.0]),
    window=st.sampled_from([0, 128, 1024]),
)


@given(kinds=st.lists(LAYERS, min_size=1, max_size=4), tokens=st.integers(1, 50_000))
def test_blocks_never_take_less_than_their_tokens(kinds, tokens):
    pool = block_pool(tuple(kinds), block_tokens=16, pad_below=1.5)
    kept = sum(kind.layers * kind.token_bytes * min(tokens, kind.window or tokens) for kind in kinds)
    assert pool.sequence_bytes(tokens) >= kept


@given(kinds=st.lists(LAYERS, min_size=1, max_size=4))
def test_blocks_grow_with_the_context(kinds):
    pool = block_pool(tuple(kinds), block_tokens=16, pad_below=1.5)
    assert np.all(np.diff(pool.sequence_bytes(np.arange(1, 5000, 7))) >= 0)


@pytest.mark.parametrize("max_context", [1024, 8192, 131_072])
def test_stated_pool_of_one_kind_does_not_depend_on_the_longest_context(max_context):
    pool = block_pool((FULL,), block_tokens=16, pad_below=1.5)
    assert pool.stated_tokens(100 * pool.block_bytes, max_context=max_context, step_tokens=8192) == 1600
