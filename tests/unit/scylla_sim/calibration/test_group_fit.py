"""Fit of one group: planted parameters, error bands, and the launch of a benchmark's graph."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_rows import H100, fit, gemm_rows

from scylla_sim.calibration import kernel_table
from scylla_sim.calibration.group_fit import GRAPH_LAUNCH_S, _cv_groups, _folds, _slices
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.moe import MOE


def test_planted_bandwidth_fraction_is_recovered_inside_its_interval():
    result = fit(gemm_rows(200, parameters=replace(GEMM_TILES.prior, bandwidth_fraction=0.70)))
    (group,) = result.groups
    interval = group.intervals["bandwidth_fraction"]
    assert not result.refused
    assert interval["lower"] < 0.70 < interval["upper"]
    assert interval["identified"]
    assert group.median_error < 0.03


def shift(ratio):
    """Median predicted over undisturbed seconds, after a fit to rows a fifth of which takes ``ratio`` as long."""
    columns = gemm_rows(256, noise=0.01)
    undisturbed = np.array([float(value) for value in columns["latency_ms"]]) / 1e3
    disturbed = np.random.default_rng(5).random(256) < 0.2
    columns["latency_ms"] = [
        repr(value) for value in (1e3 * undisturbed * np.where(disturbed, ratio, 1.0)).tolist()
    ]
    kernel = fit(columns).calibration.kernel("gemm")
    shape = {name: np.array([float(value) for value in columns[name]]) for name in ("m", "n", "k")}
    return float(np.median(kernel.seconds(shape, rates(H100, "bfloat16")) / undisturbed))


def test_slow_outliers_shift_the_fit_less_than_fast_ones():
    """A GPU of a benchmark may be slow, of a fifth of the rows; none is faster than the kernel."""
    slowed, hastened = shift(1.15) - 1.0, 1.0 - shift(1.0 / 1.15)
    assert 0.0 < slowed < 0.01
    assert hastened > 1.5 * slowed


def test_parameter_without_influence_is_not_identified():
    columns = gemm_rows(64)
    columns["m"] = ["1"] * 64  # nothing here is bound by compute
    (group,) = fit(columns).groups
    assert not group.intervals["compute_fraction"]["identified"]


def test_interval_covers_nine_of_ten_new_rows():
    calibration = fit(gemm_rows(256, noise=0.05, seed=1)).calibration
    fresh = kernel_table.from_columns(gemm_rows(400, noise=0.05, seed=2), "rows.csv", measured=True)
    kernel = calibration.kernel("gemm")
    columns = {name: fresh.numbers[name] for name in ("m", "n", "k")}
    predicted = evaluate(kernel.model, kernel.parameters, columns, rates(H100, "bfloat16"))
    interval = kernel.interval(predicted)
    measured = fresh.numbers["latency_ms"] / 1e3
    assert 0.82 < np.mean((interval.lower <= measured) & (measured <= interval.upper)) < 0.98


def test_long_and_short_executions_have_separate_bands():
    columns = gemm_rows(256, noise=0.0, seed=3)
    scatter = np.random.default_rng(4).standard_normal(256)
    latency = np.array(columns["latency_ms"], dtype=float)
    noise = np.where(latency < np.median(latency), 0.08, 0.01)
    columns["latency_ms"] = [repr(value) for value in (latency * np.exp(noise * scatter)).tolist()]
    (group,) = fit(columns).groups
    kernel = group.kernel
    assert kernel.split_s > 0
    assert kernel.short_band.upper_ratio > 1 + 2 * (kernel.band.upper_ratio - 1)
    assert kernel.short_band.lower_ratio < kernel.band.lower_ratio <= 1 <= kernel.band.upper_ratio


def test_graph_launch_of_the_benchmark_is_not_part_of_a_step():
    """Five executions in one graph hold a fifth of its launch each; rows that do not say so hold nothing."""
    columns = gemm_rows(64) | {"calls_per_graph": ["5"] * 64}
    (kernel,) = fit(columns).calibration.kernels["gemm"].values()
    (silent,) = fit(gemm_rows(64)).calibration.kernels["gemm"].values()
    assert (kernel.graph_share_s, silent.graph_share_s) == (GRAPH_LAUNCH_S["hopper"] / 5, 0.0)
    shape, r = {"m": np.array(1.0), "n": np.array(8192.0), "k": np.array(8192.0)}, rates(H100, "bfloat16")
    saved = kernel.seconds(shape, r) - kernel.in_cuda_graph.seconds(shape, r)
    assert float(saved) == pytest.approx(kernel.graph_share_s)
    assert silent.in_cuda_graph == silent
    tiny = replace(kernel, graph_share_s=1.0).in_cuda_graph
    assert float(tiny.seconds(shape, r)) > 0, "a share larger than the launch leaves some of it"


def layers(*shapes):
    """Columns of MoE layers with (hidden size, width of an expert), three rows each."""
    hidden, inter = np.repeat(np.array(shapes, dtype=np.float64), 3, axis=0).T
    return {"hidden_size": hidden, "experts_per_token": np.full(hidden.size, 4.0), "inter_size": inter}


@pytest.mark.parametrize(
    ("shapes", "held_out"),
    [
        ([(2880, 2880), (2880, 1440), (2880, 720)], 3),  # one model: each slice once
        ([(2880, 2880), (4096, 1024), (6144, 512)], 3),  # three models: each model once
        ([(2880, 2880), (2880, 1440)], 2),  # two slices are too few: single rows in hashed folds
    ],
)
def test_slices_are_held_out_where_a_fit_has_few_models(shapes, held_out):
    columns = layers(*shapes)
    groups = _cv_groups(MOE.fit, columns)
    slices = _slices(MOE.fit, columns, groups)
    folds = _folds(MOE.fit, slices)
    if len(shapes) == held_out == 3:
        assert folds.reshape(3, 3).tolist() == [[fold] * 3 for fold in folds[::3]]
        assert len(set(folds.tolist())) == 3
    else:
        assert slices is groups
