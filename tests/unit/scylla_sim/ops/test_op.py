"""FLOPs and bytes of one operation, by hand."""

import numpy as np
import pytest

from scylla_sim.ops import op
from scylla_sim.specs.dtypes import ElementBytes

SIZES = ElementBytes(stored=1.0, activation=3.0, output=2.0)


def columns(**values: float) -> dict[str, np.ndarray]:
    return {name: np.asarray(float(value)) for name, value in values.items()}


def test_a_gemm_reads_weights_and_input_and_writes_its_output():
    c = columns(m=2, n=3, k=4, groups=5)
    assert op.gemm_flops(c) == 2 * 2 * 3 * 4
    assert op.gemm_bytes(c, SIZES) == 1 * 12 + 3 * 8 + 2 * 6
    assert op.grouped_gemm_bytes(c, SIZES) == 5 * 12 + 3 * 8 + 2 * 6


@pytest.mark.parametrize(("window", "attended", "cached"), [(0, 100, 100), (10, 10, 13), (98, 98, 100)])
def test_query_tokens_share_what_their_windows_cover(window, attended, cached):
    c = columns(batch=2, kv_len=100, q_len=4, num_heads=6, num_kv_heads=3, head_dim=8, window=window)
    assert op.attended(c) == attended
    assert op.cached(c) == cached
    assert op.attention_flops(c) == 4 * 2 * 6 * 4 * attended * 8
    assert op.kv_bytes(c, SIZES) == 2 * 1 * 2 * cached * 3 * 8
    assert op.query_bytes(c, SIZES) == 2 * 2 * 2 * 4 * 6 * 8


@pytest.mark.parametrize(("window", "pairs"), [(0, 98 + 99 + 100), (99, 98 + 99 + 99), (10, 30)])
def test_new_tokens_attend_to_earlier_ones_and_to_themselves(window, pairs):
    c = columns(batch=2, kv_len=100, q_len=3, num_heads=6, num_kv_heads=3, head_dim=8, window=window)
    assert op.attended_pairs(c) == pairs
    assert op.context_flops(c) == 4 * 2 * 6 * 8 * pairs


def test_a_prompt_reads_its_cached_prefix_once():
    c = columns(batch=2, kv_len=100, q_len=30, num_heads=6, num_kv_heads=3, head_dim=8, window=0)
    assert op.context_kv_bytes(c, SIZES) == 2 * 2 * 3 * 8 * (1 * 70 + 2 * 30)


def test_mla_reads_one_vector_for_all_heads():
    c = columns(batch=2, kv_len=100, q_len=3, num_heads=4, kv_rank=8, rope_dim=2)
    assert op.mla_flops(c) == 2 * 2 * 4 * 3 * 100 * (8 + 2 + 8)
    assert op.mla_cache_bytes(c, SIZES) == 2 * 100 * (8 + 2)
    assert op.mla_query_bytes(c, SIZES) == 2 * (2 * 3 * 4) * (8 + 2 + 8)


@pytest.mark.parametrize(("gpus", "sent"), [(2, 1.0), (4, 1.5), (8, 1.75)])
def test_each_gpu_of_an_all_reduce_sends_nearly_twice_the_message(gpus, sent):
    assert op.all_reduce_bytes(columns(num_gpus=gpus, bytes=1e6)) == pytest.approx(sent * 1e6)
