"""All-reduce models against hand-computed times."""

import pytest
from kernel_seconds import prior_seconds

from scylla_sim.kernels.all_reduce import ALL_REDUCE, ALL_REDUCE_BRIDGE, ALL_REDUCE_SHOTS
from scylla_sim.specs import catalog

H100, L40S = catalog.hardware("h100-sxm"), catalog.hardware("l40s")


def test_all_reduce_model_depends_on_the_link():
    assert ALL_REDUCE.models_for("bfloat16", L40S, "") == (ALL_REDUCE_BRIDGE,)
    assert ALL_REDUCE.models_for("bfloat16", H100, "") == (ALL_REDUCE_SHOTS,)


def test_more_than_two_gpus_share_the_pcie_bridge():
    two, four, eight = (prior_seconds(ALL_REDUCE_BRIDGE, L40S, num_gpus=n, bytes=2**30) for n in (2, 4, 8))
    assert eight / four == pytest.approx(14 / 6, rel=1e-3)
    assert four / two == pytest.approx(3 * 1.2 / 0.5, rel=1e-3)


@pytest.mark.parametrize(("model", "hardware"), [(ALL_REDUCE_SHOTS, H100), (ALL_REDUCE_BRIDGE, L40S)])
def test_an_eager_all_reduce_is_never_faster_than_its_launch(model, hardware):
    small, large = (
        prior_seconds(model, hardware, {"floor_s": 5e-5}, num_gpus=2, bytes=size, graph=0)
        for size in (2**13, 2**30)
    )
    assert small == pytest.approx(5e-5, rel=1e-3)
    assert large == pytest.approx(prior_seconds(model, hardware, num_gpus=2, bytes=2**30), rel=1e-3)


EXACT = {"launch_s": 1e-6, "gpu_s": 1e-7, "floor_s": 1e-12}


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_a_one_shot_kernel_reads_the_message_of_every_other_gpu(gpus):
    changed = EXACT | {"one_shot_fraction": 0.5, "sync_s": 1.0}
    seconds = prior_seconds(ALL_REDUCE_SHOTS, H100, changed, num_gpus=gpus, bytes=1e4)
    expected = 1e-6 + 1e-7 * (gpus - 2) + (gpus - 1) * 1e4 / (0.5 * H100.link_bytes_per_s)
    assert seconds == pytest.approx(expected, rel=1e-9)


def test_small_messages_run_in_kernels_of_the_engine_and_large_ones_in_nccl():
    changed = EXACT | {"cutoff_bytes": 1e6, "large_s": 1.0}
    small, large = (prior_seconds(ALL_REDUCE_SHOTS, H100, changed, num_gpus=2, bytes=size) for size in (9e5, 1.1e6))
    assert small < 1e-3 and large > 1.0


@pytest.mark.parametrize(("gpus", "fraction"), [(2, 0.8), (4, 0.4), (8, 0.4)])
def test_a_bridge_carries_the_messages_of_all_gpus_twice(gpus, fraction):
    l40s = catalog.hardware("l40s")
    changed = EXACT | {"pair_fraction": 0.8, "shared_fraction": 0.4}
    seconds = prior_seconds(ALL_REDUCE_BRIDGE, l40s, changed, num_gpus=gpus, bytes=1e6)
    expected = 1e-6 + 1e-7 * (gpus - 2) + 2 * (gpus - 1) * 1e6 / (fraction * l40s.link_bytes_per_s)
    assert seconds == pytest.approx(expected, rel=1e-9)
