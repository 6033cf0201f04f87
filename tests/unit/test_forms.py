"""Closed forms of single kernels, against what they say in words."""

import numpy as np
import pytest

from scylla_sim import catalog
from scylla_sim.forms import FORMS, evaluate, forms_for
from scylla_sim.rates import rates

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


def test_a_split_gemm_is_chosen_where_few_tiles_would_leave_the_device_idle():
    shape = {"m": 16, "n": 1024, "k": 16384}
    never = seconds("gemm_tiles", H100, {"split_s": 1.0}, **shape)
    assert seconds("gemm_tiles", H100, **shape) < 0.6 * never


def test_a_moving_kernel_is_faster_within_the_l2_by_hand():
    """At a 24th of the L2 all bytes move at twice the rate, at 24 times its size none does."""
    r = rates(catalog.hardware("h100-sxm"), "bfloat16")
    form = FORMS["elementwise_cached"]
    small, large = evaluate(form, (0.8, 2e-6, 2.0, 1.0), {"bytes": np.array([r.l2_bytes / 24, r.l2_bytes * 24])}, r)
    assert small == pytest.approx(2e-6 + r.l2_bytes / 24 / (2.0 * 0.8 * r.bytes_per_s), rel=1e-5)
    assert large == pytest.approx(2e-6 + r.l2_bytes * 24 / (0.8 * r.bytes_per_s), rel=1e-5)
