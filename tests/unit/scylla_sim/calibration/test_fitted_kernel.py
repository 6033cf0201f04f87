"""Fitted kernels: bands, use in serving, transfer and files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import fitted_kernel
from scylla_sim.calibration.fitted_kernel import (
    BLEND,
    FAMILY_WIDENING,
    SOURCE_WEIGHT,
    TRANSFER_WIDENING,
    Band,
    FittedKernel,
    prior_kernel,
)
from scylla_sim.checks import InputError
from scylla_sim.kernels.attention import ATTENTION_ROOFLINE
from scylla_sim.kernels.elementwise import ELEMENTWISE_CACHED
from scylla_sim.kernels.gemm import GEMM_TILES, GemmTiles

KERNEL = FittedKernel(
    GEMM_TILES,
    replace(GEMM_TILES.prior, l2_ratio=2.0, launch_s=2e-6),
    band=Band(0.9, 1.1),
    short_band=Band(0.8, 1.3),
    split_s=1e-4,
    evidence="silicon",
    graph_share_s=5e-7,
)


def test_short_executions_have_the_short_band():
    time = KERNEL.interval(np.array([1e-5, 1e-3]))
    assert time.lower == pytest.approx([0.8e-5, 0.9e-3])
    assert time.upper == pytest.approx([1.3e-5, 1.1e-3])


def test_serving_has_no_l2_reuse_and_no_graph_launch_of_its_own():
    assert KERNEL.without_l2_reuse.parameters.l2_ratio == 1.0
    slow = replace(KERNEL, parameters=replace(KERNEL.parameters, l2_ratio=0.7))
    assert slow.without_l2_reuse == slow
    assert KERNEL.in_cuda_graph.parameters.launch_s == pytest.approx(1.5e-6)
    assert replace(KERNEL, graph_share_s=1.0).in_cuda_graph.parameters.launch_s == pytest.approx(2e-7)


def test_models_without_an_l2_ratio_stay():
    kernel = prior_kernel(ATTENTION_ROOFLINE)
    assert kernel.without_l2_reuse == kernel


def test_widened_kernel_is_theory():
    wide = KERNEL.widened()
    assert wide.evidence == "theory"
    assert wide.band == Band(0.9 / 1.5, 1.1 * 1.5)


def test_kernel_round_trips_through_json():
    assert fitted_kernel.from_json(json.loads(json.dumps(fitted_kernel.to_json(KERNEL)))) == KERNEL


def test_parameters_of_another_model_are_refused():
    with pytest.raises(InputError, match="must be those of gemm_tiles"):
        FittedKernel(GEMM_TILES, ELEMENTWISE_CACHED.prior)
    with pytest.raises(InputError, match="must be above 0"):
        FittedKernel(GEMM_TILES, GemmTiles(launch_s=0.0))


BANDED = FittedKernel(GEMM_TILES, GEMM_TILES.prior, Band(0.8, 1.25), Band(0.5, 2.0), split_s=1e-5)


def test_bands_widen_with_the_distance_of_the_device():
    for same, power in ((True, FAMILY_WIDENING), (False, TRANSFER_WIDENING)):
        moved = BANDED.transferred(same_family=same)
        assert (moved.band.lower_ratio, moved.band.upper_ratio) == pytest.approx((0.8**power, 1.25**power))
        assert moved.short_band.upper_ratio == pytest.approx(2.0**power)
        assert moved.evidence == "transferred"


def test_a_fit_moved_to_another_family_is_pooled_with_the_prior():
    source = replace(BANDED, parameters=replace(GEMM_TILES.prior, launch_s=16.0 * GEMM_TILES.prior.launch_s))
    assert source.transferred(same_family=True).parameters == source.parameters
    pooled = source.transferred(same_family=False).parameters.launch_s
    assert pooled == pytest.approx(16.0**SOURCE_WEIGHT * GEMM_TILES.prior.launch_s)


def test_short_and_long_executions_have_their_band_and_blend_between():
    seconds = np.array([1e-5 / BLEND, 1e-5, 1e-5 * BLEND])
    found = BANDED.interval(seconds)
    assert found.upper / seconds == pytest.approx([2.0, np.sqrt(2.0 * 1.25), 1.25])
    assert found.lower / seconds == pytest.approx([0.5, np.sqrt(0.5 * 0.8), 0.8])
