"""Attention models against hand-computed times."""

import pytest
from kernel_seconds import prior_seconds

from scylla_sim.kernels.attention import ATTENTION_WAVES
from scylla_sim.specs import catalog

H100 = catalog.hardware("h100-sxm")


def test_query_heads_of_one_tile_take_the_same_time():
    shape = {"batch": 64, "kv_len": 8192, "q_len": 1, "num_kv_heads": 8, "head_dim": 128, "window": 0}
    one, eight, many = (prior_seconds(ATTENTION_WAVES, H100, num_heads=8 * g, **shape) for g in (1, 8, 128))
    assert one < eight < 1.01 * one
    assert many > 1.1 * eight  # two tiles a KV head


GROUPED = {"batch": 16, "kv_len": 512, "q_len": 1, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "window": 0}


def attention(changed, **shape):
    return prior_seconds(ATTENTION_WAVES, H100, changed, **(GROUPED | shape))


@pytest.mark.parametrize(
    ("shape", "copies"),
    [({}, 1), ({"batch": 1}, 0), ({"num_kv_heads": 1}, 0), ({"num_kv_heads": 32}, 0), ({"q_len": 4}, 1)],
)
def test_queries_are_copied_when_their_order_differs(shape, copies):
    assert attention({"copy_s": 1e-3}, **shape) - attention({"copy_s": 1e-12}, **shape) == pytest.approx(
        copies * 1e-3, rel=1e-3, abs=1e-9
    )


def test_merge_starts_with_the_second_block_of_keys():
    one, two = (attention({"merge_s": 1e-3}, batch=1, kv_len=n) for n in (128, 129))
    assert two - one == pytest.approx(1e-3, rel=0.01)
    narrow = attention({"merge_s": 1e-3}, batch=1, kv_len=129, head_dim=64)
    assert narrow < 1e-4


def test_merge_grows_with_each_doubling_of_the_keys():
    with_it, without = ({"chain_s": value} for value in (1e-3, 1e-15))
    for kv_len, doublings in ((64, 0), (256, 1), (2048, 4)):
        extra = attention(with_it, batch=1, kv_len=kv_len) - attention(without, batch=1, kv_len=kv_len)
        assert extra == pytest.approx(doublings * 1e-3, rel=1e-3)


def test_one_cta_streams_an_unsplit_head():
    whole = {"unsplit_ratio": 0.05}
    shape = {"num_heads": 8, "num_kv_heads": 8, "kv_len": 65536}
    one, two = (attention(whole, batch=b, **shape) for b in (1, 2))
    assert two == pytest.approx(one, rel=0.02)
    assert one == pytest.approx(2 * 2 * 65536 * 128 / (0.05 * 0.35 * H100.memory_bytes_per_s), rel=0.04)
    assert attention(whole, batch=1, **(shape | {"num_heads": 16})) < 0.3 * one


def test_fixed_time_grows_with_the_kv_heads():
    with_it, without = ({"write_s": value} for value in (1e-6, 1e-15))
    for kv_heads in (1, 32):
        shape = {"num_heads": 32, "num_kv_heads": kv_heads}
        assert attention(with_it, **shape) - attention(without, **shape) == pytest.approx(kv_heads * 1e-6, rel=1e-3)


def test_scheduling_time_grows_up_to_the_captured_batch():
    with_it, without = ({"sequence_s": value} for value in (1e-6, 1e-15))
    for batch, counted in ((8, 8), (512, 512), (2048, 512)):
        extra = attention(with_it, batch=batch) - attention(without, batch=batch)
        assert extra == pytest.approx(counted * 1e-6, rel=1e-3)


def test_reads_slow_down_per_doubling_of_kv_heads():
    far, near = ({"stride_ratio": value} for value in (1.05, 1.0))
    long = {"batch": 64, "kv_len": 65536}
    assert attention(far, **long) / attention(near, **long) == pytest.approx(1.05**3, rel=0.01)
    alone = long | {"num_kv_heads": 1, "num_heads": 4}
    assert attention(far, **alone) == attention(near, **alone)


def test_tensor_cores_compute_whole_tiles_of_query_rows():
    """One and 64 query rows of one head take the same time where arithmetic is slow; 65 rows take two tiles."""
    slow, head = {"compute_fraction": 1e-6}, {"num_heads": 1, "num_kv_heads": 1, "head_dim": 128, "window": 0}
    one, whole, two = (
        prior_seconds(ATTENTION_WAVES, H100, slow, batch=1, kv_len=4096, q_len=q, **head) for q in (1, 64, 65)
    )
    assert one == pytest.approx(whole, rel=1e-3)
    assert two == pytest.approx(2.0 * whole, rel=1e-3)
