"""Fit of one group: planted parameters, error bands, and the launch of a benchmark's graph."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_rows import H100, fit, gemm_rows

from scylla_sim.calibration import group_fit, kernel_table
from scylla_sim.calibration.group_fit import GRAPH_LAUNCH_S, _cv_groups, _folds
from scylla_sim.calibration.posterior_mode import PosteriorMode
from scylla_sim.kernels.attention import ATTENTION_WAVES
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM, GEMM_TILES
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
        ([(2880, 2880), (2880, 1440)], 6),  # two slices are too few: single rows
    ],
)
def test_slices_are_held_out_where_a_fit_has_few_models(shapes, held_out):
    columns = layers(*shapes)
    columns["num_tokens"] = np.tile([1.0, 2.0, 4.0], len(shapes))
    groups = _cv_groups(MOE.fit, columns)
    assert np.unique(groups, axis=0).shape[0] == held_out
    if held_out == len(shapes):
        folds = _folds(MOE.fit, groups).reshape(-1, 3)
        assert (folds == folds[:, :1]).all() and len(set(folds[:, 0].tolist())) == held_out


def attention_rows(unsplit_ratio, seed=6):
    """Rows of attention; only the heads 2 of 2 depend on ``unsplit_ratio``."""
    model = ATTENTION_WAVES
    parameters = replace(model.prior, unsplit_ratio=unsplit_ratio)
    heads = [(2, 2), (8, 2), (8, 4), (12, 2), (16, 4), (16, 8), (24, 8), (32, 8)]
    cells = [(b, s, *pair) for b in (1, 4, 16) for s in (128, 1024, 8192, 65536) for pair in heads]
    names = ("batch", "kv_len", "num_heads", "num_kv_heads")
    columns = dict(zip(names, np.array(cells, dtype=float).T))
    fixed = {"q_len": 1.0, "head_dim": 128.0, "window": 0.0}
    seconds = evaluate(model, parameters, columns | fixed, rates(H100, "bfloat16", "bfloat16"))
    noise = np.exp(0.02 * np.random.default_rng(seed).standard_normal(seconds.size))
    text = {name: [str(int(value)) for value in column] for name, column in columns.items()}
    labels = {"op": "decode_attention", "device": H100.name, "dtype": "bfloat16", "kv_dtype": "bfloat16"}
    return {
        **{name: [value] * seconds.size for name, value in labels.items()},
        **text,
        "head_dim": ["128"] * seconds.size,
        "latency_ms": [repr(value) for value in (1e3 * seconds * noise).tolist()],
    }


def test_a_parameter_that_one_group_of_heads_determines_does_not_widen_the_band():
    """Held out, that group would be predicted with the prior, which is 20 times too fast here."""
    (group,) = fit(attention_rows(0.05)).groups
    assert group.intervals["unsplit_ratio"]["identified"]
    for band in (group.kernel.band, group.kernel.short_band):
        assert band.upper_ratio < 1.2
        assert band.lower_ratio > 1 / 1.2


def test_folds_hold_about_equally_many_rows_and_never_share_a_group():
    sizes = [40, 30, 30, 20, 20, 10, 10, 4, 4]
    groups = np.repeat(np.arange(float(len(sizes))), sizes)[:, None]
    folds = group_fit._folds(GEMM.fit, groups)
    counts = np.bincount(folds)
    assert counts.size == group_fit.FOLDS
    assert counts.max() - counts.min() <= 10
    assert all(np.unique(folds[groups[:, 0] == group]).size == 1 for group in range(len(sizes)))


def test_rows_of_a_large_group_weigh_less_than_as_many_groups():
    """18 of 342 rows are slow: beyond the upper end as rows of one group, within it as three groups."""
    others = np.tile(np.linspace(-0.1, 0.1, 6), 54)
    errors = np.concatenate([np.full(18, 1.0), others])
    small = np.repeat(np.arange(1.0, 55.0), 6)
    one_group = np.concatenate([np.zeros(18), small])[:, None]
    many_groups = np.concatenate([-np.arange(1.0, 4.0).repeat(6), small])[:, None]
    assert group_fit._band(errors, one_group).upper_ratio < 1.2
    assert group_fit._band(errors, many_groups).upper_ratio > 2.0


ROWS = {name: np.arange(1.0, 9.0) for name in ("m", "n", "k")}


def test_no_row_helps_to_predict_its_own_fold(monkeypatch):
    folds, seen = np.array([0, 0, 0, 1, 1, 2, 2, 2]), []

    def fitted(model, whole, columns, seconds, **options):
        seen.append(seconds.tolist())
        return whole

    monkeypatch.setattr(group_fit, "_mode_without", fitted)
    whole = PosteriorMode(np.log(GEMM_TILES.starting_points()[0]), np.eye(len(GEMM_TILES.parameters)), 0.0)
    seconds = np.arange(1.0, 9.0)
    options = {"folds": folds, "r": rates(H100, "bfloat16"), "settings": GEMM.fit}
    errors = group_fit._held_out_errors(GEMM_TILES, whole, ROWS, seconds, **options)
    assert seen == [seconds[folds != fold].tolist() for fold in range(3)]
    predicted = evaluate(GEMM_TILES, GEMM_TILES.prior, ROWS, rates(H100, "bfloat16"))
    assert errors == pytest.approx(np.log(seconds / predicted))


def band(log_error, groups):
    found = group_fit._band(np.asarray(log_error), np.asarray(groups, dtype=float)[:, None])
    return np.log([found.lower_ratio, found.upper_ratio])


def test_a_band_holds_nine_of_ten_rows_of_single_groups():
    """The middles of 100 equal weights are at 0.5 %, 1.5 % ...: 5 % lies between the fifth and the sixth row."""
    errors = np.linspace(-1.0, 1.0, 100)
    assert band(errors, np.arange(100)) == pytest.approx(
        [(errors[4] + errors[5]) / 2, (errors[94] + errors[95]) / 2]
    )


def test_a_large_group_has_the_weight_of_the_root_of_its_rows():
    """A group of 400 rows weighs 20 of 120, so 5 % above and below are its own; as one row it would be 1 of 101."""
    errors = np.concatenate([np.linspace(-0.1, 0.1, 100), np.full(200, -1.0), np.full(200, 1.0)])
    groups = np.concatenate([np.arange(100), np.full(400, 100)])
    assert band(errors, groups) == pytest.approx([-1.0, 1.0])


def test_rows_of_one_group_count_less_than_as_many_groups():
    """100 equal rows weigh 10 of 310, which is less than 5 %, and not 100 of 400."""
    errors = np.concatenate([np.linspace(-0.1, 0.1, 300), np.ones(100)])
    low, high = band(errors, np.concatenate([np.arange(300), np.full(100, 300)]))
    assert low == pytest.approx(-0.09, abs=0.01)
    assert 0.09 < high < 0.1 + 1e-9


def test_errors_are_relative_to_the_measurement(monkeypatch):
    """A kernel that is measured at twice its prediction has an error of -50 %."""
    twice = lambda model, whole, columns, seconds, **options: np.full(seconds.size, np.log(2.0))  # noqa: E731
    monkeypatch.setattr(group_fit, "_held_out_errors", twice)
    (group,) = fit(gemm_rows(64)).groups
    assert (group.bias, group.median_error, group.p90_error) == pytest.approx((-0.5, 0.5, 0.5))
