"""Closed forms of single kernels, against what they say in words."""

import numpy as np
import pytest

from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import FORMS, evaluate, forms_for
from scylla_sim.specs import catalog

H100, L40S = catalog.hardware("h100-sxm"), catalog.hardware("l40s")


def seconds(name, hardware, changed=None, dtype="bfloat16", **columns):
    """Seconds of one shape by a form's prior, some parameters changed."""
    form = FORMS[name]
    p = [(changed or {}).get(parameter, value) for parameter, value in zip(form.parameters, form.prior)]
    arrays = {column: np.asarray(float(columns[column])) for column in form.columns}
    return float(evaluate(form, p, arrays, rates(hardware, dtype, dtype)))


def test_all_reduce_has_a_form_for_each_kind_of_link():
    assert forms_for("all_reduce", "bfloat16", L40S) == ("all_reduce_bridge",)
    assert forms_for("all_reduce", "bfloat16", H100) == ("all_reduce_shots",)


def test_gpus_on_a_bridge_share_its_rate_and_a_pair_does_not():
    two, four, eight = (seconds("all_reduce_bridge", L40S, num_gpus=n, bytes=2**30) for n in (2, 4, 8))
    assert eight / four == pytest.approx(14 / 6, rel=1e-3)
    assert four / two == pytest.approx(3 * 1.2 / 0.5, rel=1e-3)


@pytest.mark.parametrize(("name", "hardware"), [("all_reduce_shots", H100), ("all_reduce_bridge", L40S)])
def test_an_eager_all_reduce_is_never_faster_than_its_launch(name, hardware):
    small, large = (
        seconds(name, hardware, {"floor_s": 5e-5}, num_gpus=2, bytes=size, graph=0) for size in (2**13, 2**30)
    )
    assert small == pytest.approx(5e-5, rel=1e-3)
    assert large == pytest.approx(seconds(name, hardware, num_gpus=2, bytes=2**30), rel=1e-3)


def test_query_heads_that_share_a_tile_compute_for_nothing():
    shape = {"batch": 64, "kv_len": 8192, "q_len": 1, "num_kv_heads": 8, "head_dim": 128, "window": 0}
    one, eight, many = (seconds("attention_waves", H100, num_heads=8 * g, **shape) for g in (1, 8, 128))
    assert one < eight < 1.01 * one
    assert many > 1.1 * eight  # two tiles a KV head


GROUPED = {"batch": 16, "kv_len": 512, "q_len": 1, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "window": 0}


def attention(changed, **shape):
    return seconds("attention_waves", H100, changed, **(GROUPED | shape))


@pytest.mark.parametrize(
    ("shape", "copies"),
    [({}, 1), ({"batch": 1}, 0), ({"num_kv_heads": 1}, 0), ({"num_kv_heads": 32}, 0), ({"q_len": 4}, 1)],
)
def test_queries_are_copied_where_their_order_is_not_that_of_the_kv_heads(shape, copies):
    assert attention({"copy_s": 1e-3}, **shape) - attention({"copy_s": 1e-12}, **shape) == pytest.approx(
        copies * 1e-3, rel=1e-3, abs=1e-9
    )


def test_parts_of_a_head_are_merged_once_it_has_more_than_one_block_of_keys():
    one, two = (attention({"merge_s": 1e-3}, batch=1, kv_len=n) for n in (128, 129))
    assert two - one == pytest.approx(1e-3, rel=0.01)
    narrow = attention({"merge_s": 1e-3}, batch=1, kv_len=129, head_dim=64)
    assert narrow < 1e-4


def test_merging_takes_longer_with_each_doubling_of_the_keys():
    with_it, without = ({"chain_s": value} for value in (1e-3, 1e-15))
    for kv_len, doublings in ((64, 0), (256, 1), (2048, 4)):
        extra = attention(with_it, batch=1, kv_len=kv_len) - attention(without, batch=1, kv_len=kv_len)
        assert extra == pytest.approx(doublings * 1e-3, rel=1e-3)


def test_one_cta_streams_a_head_that_is_not_split_however_few_there_are():
    whole = {"unsplit_ratio": 0.05}
    shape = {"num_heads": 8, "num_kv_heads": 8, "kv_len": 65536}
    one, two = (attention(whole, batch=b, **shape) for b in (1, 2))
    assert two == pytest.approx(one, rel=0.02)
    assert one == pytest.approx(2 * 2 * 65536 * 128 / (0.05 * 0.35 * H100.memory_bytes_per_s), rel=0.04)
    assert attention(whole, batch=1, **(shape | {"num_heads": 16})) < 0.3 * one


def test_the_floor_grows_with_the_kv_heads_that_are_written():
    with_it, without = ({"write_s": value} for value in (1e-6, 1e-15))
    for kv_heads in (1, 32):
        shape = {"num_heads": 32, "num_kv_heads": kv_heads}
        assert attention(with_it, **shape) - attention(without, **shape) == pytest.approx(kv_heads * 1e-6, rel=1e-3)


def test_scheduling_costs_each_sequence_up_to_the_largest_captured_batch():
    with_it, without = ({"sequence_s": value} for value in (1e-6, 1e-15))
    for batch, counted in ((8, 8), (512, 512), (2048, 512)):
        extra = attention(with_it, batch=batch) - attention(without, batch=batch)
        assert extra == pytest.approx(counted * 1e-6, rel=1e-3)


def test_heads_side_by_side_in_memory_are_read_more_slowly_by_a_share_each_doubling():
    far, near = ({"stride_ratio": value} for value in (1.05, 1.0))
    long = {"batch": 64, "kv_len": 65536}
    assert attention(far, **long) / attention(near, **long) == pytest.approx(1.05**3, rel=0.01)
    alone = long | {"num_kv_heads": 1, "num_heads": 4}
    assert attention(far, **alone) == attention(near, **alone)


def test_a_split_gemm_is_chosen_where_few_tiles_would_leave_the_device_idle():
    shape = {"m": 16, "n": 1024, "k": 16384}
    never = seconds("gemm_tiles", H100, {"split_s": 1.0}, **shape)
    assert seconds("gemm_tiles", H100, **shape) < 0.6 * never


def test_a_large_gemm_runs_at_the_sustained_rate_by_hand():
    """Half the peak for the whole device, where tiles and memory are much faster: twice the datasheet's seconds."""
    fast = {"compute_fraction": 50.0, "intensity": 1e-3, "stage_s": 1e-12, "bandwidth_fraction": 50.0}
    shape = {"m": 8192, "n": 8192, "k": 8192}
    expected = 2.0 * 8192**3 / (0.5 * H100.peak("bf16"))
    given = seconds("gemm_tiles", H100, fast | {"sustained_fraction": 0.5, "launch_s": 1e-12}, **shape)
    assert given == pytest.approx(expected, rel=1e-3)


def test_weights_stream_slower_past_many_rows_by_hand():
    """Half of the slowing with 16 rows, nearly all of it with 512, where nothing but memory takes time."""
    stream = {
        "compute_fraction": 1e3,
        "intensity": 1e-6,
        "stage_s": 1e-15,
        "sustained_fraction": 1e3,
        "launch_s": 1e-12,
    }
    for m, share in ((16, 1 / 2), (512, 512 / 528)):
        shape = {"m": m, "n": 8192, "k": 8192}
        crowded, free = (seconds("gemm_tiles", H100, stream | {"crowding": c}, **shape) for c in (0.2, 1e-12))
        assert crowded / free == pytest.approx(1 + 0.2 * share, rel=1e-4)


def test_filling_its_pipeline_takes_a_tile_as_long_as_so_much_more_of_k_by_hand():
    tiles = {"fill_depth": 1024.0, "stage_s": 1e-6, "split_s": 1.0, "bandwidth_fraction": 1e3, "launch_s": 1e-12}
    filled = seconds("gemm_tiles", H100, tiles, m=64, n=8192, k=3072)
    longer = seconds("gemm_tiles", H100, tiles | {"fill_depth": 1e-9}, m=64, n=8192, k=4096)
    assert filled == pytest.approx(longer, rel=1e-3)


def test_a_moving_kernel_is_faster_within_the_l2_by_hand():
    """At a 24th of the L2 all bytes move at twice the rate, at 24 times its size none does."""
    r = rates(catalog.hardware("h100-sxm"), "bfloat16")
    form = FORMS["elementwise_cached"]
    sizes = {"bytes": np.array([r.l2_bytes / 24, r.l2_bytes * 24]), "rows": np.zeros(2)}
    small, large = evaluate(form, (0.8, 2e-6, 2.0, 1.0, 2.0, 4e10, 6e-10), sizes, r)
    assert small == pytest.approx(2e-6 + r.l2_bytes / 24 / (2.0 * 0.8 * r.bytes_per_s), rel=1e-5)
    assert large == pytest.approx(2e-6 + r.l2_bytes * 24 / (0.8 * r.bytes_per_s), rel=1e-5)


def test_a_kernel_of_one_cta_a_row_waits_for_a_row_and_for_all_to_start_by_hand():
    fast = {"bandwidth_fraction": 1e3, "launch_s": 1e-12, "row_bytes_per_s": 4e10, "row_s": 1e-9}
    one, same, many = (
        seconds("elementwise_cached", H100, fast, rows=rows, bytes=rows * width)
        for rows, width in ((1, 4e6), (10, 4e6), (1e6, 4.0))
    )
    assert one == pytest.approx(1e-4, rel=1e-3)
    assert same == pytest.approx(one, rel=1e-3)
    assert many == pytest.approx(1e-3, rel=1e-3)
    assert seconds("elementwise_cached", H100, fast, rows=0, bytes=4e6) < 0.01 * one
