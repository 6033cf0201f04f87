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
