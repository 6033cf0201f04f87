"""Calibration: planted parameters come back, poor rows are refused, files round-trip."""

from dataclasses import replace

import numpy as np
import pytest

from gpu_validate.silicon import tables
from scylla_sim.calibration import device_calibration, kernel_table, op_time
from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.calibration.group_fit import GRAPH_LAUNCH_S
from scylla_sim.checks import InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.registry import models_for
from scylla_sim.ops.op import Op
from scylla_sim.specs import catalog

H100 = catalog.hardware("h100-sxm")
HEADS = {"num_heads": 32.0, "num_kv_heads": 8.0, "head_dim": 128.0, "window": 0.0}


def gemm_rows(count=64, *, noise=0.02, parameters=None, seed=0, device="h100-sxm"):
    """Rows of a GEMM table made from the form itself, with log-normal noise."""
    rng = np.random.default_rng(seed)
    columns = {
        "m": rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], count).astype(float),
        "n": rng.choice([2048, 4096, 5120, 8192, 12288], count).astype(float),
        "k": rng.choice([2048, 3072, 4096, 7168, 8192], count).astype(float),
    }
    form = GEMM_TILES
    seconds = evaluate(form, parameters or form.prior, columns, rates(H100, "bfloat16"))
    seconds = seconds * np.exp(noise * rng.standard_normal(count))
    text = {name: [str(int(value)) for value in column] for name, column in columns.items()}
    return {
        "op": ["gemm"] * count,
        "device": [device] * count,
        "dtype": ["bf16"] * count,
        **text,
        "latency_ms": [repr(1e3 * value) for value in seconds.tolist()],
    }


def fit(columns, **options):
    rows = kernel_table.from_columns(columns, "rows.csv", measured=True)
    return calibrate(rows, H100, evidence="silicon", **options)


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


def test_rows_that_something_slowed_are_forgiven_more_than_rows_that_are_too_fast():
    """A GPU of a benchmark may be slow, of a fifth of the rows; none is faster than the kernel."""
    slowed, hastened = shift(1.15) - 1.0, 1.0 - shift(1.0 / 1.15)
    assert 0.0 < slowed < 0.01
    assert hastened > 1.5 * slowed


def test_a_parameter_the_rows_do_not_touch_is_called_not_identified():
    columns = gemm_rows(64)
    columns["m"] = ["1"] * 64  # nothing here is bound by compute
    (group,) = fit(columns).groups
    assert not group.intervals["compute_fraction"]["identified"]


def test_interval_covers_nine_of_ten_rows_it_never_saw():
    calibration = fit(gemm_rows(256, noise=0.05, seed=1)).calibration
    fresh = kernel_table.from_columns(gemm_rows(400, noise=0.05, seed=2), "rows.csv", measured=True)
    kernel = calibration.kernel("gemm")
    columns = {name: fresh.numbers[name] for name in ("m", "n", "k")}
    predicted = evaluate(kernel.model, kernel.parameters, columns, rates(H100, "bfloat16"))
    interval = kernel.interval(predicted)
    measured = fresh.numbers["latency_ms"] / 1e3
    assert 0.82 < np.mean((interval.lower <= measured) & (measured <= interval.upper)) < 0.98


def test_long_and_short_executions_have_intervals_of_their_own():
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


def test_too_few_rows_are_refused_with_the_number():
    with pytest.raises(InputError, match="gemm bfloat16: 15 rows, at least 16 are needed"):
        fit(gemm_rows(15))


def test_degenerate_rows_are_refused():
    columns = gemm_rows(32)
    columns.update(m=["1"] * 32, n=["4096"] * 32, k=["4096"] * 32)
    with pytest.raises(InputError, match="distinct shapes"):
        fit(columns)


def attention_rows(batches, kv_lens, q_lens):
    """Rows of verify attention made from the form itself."""
    grid = np.array([(b, s, q) for b in batches for s in kv_lens for q in q_lens], dtype=float).T
    columns = dict(zip(("batch", "kv_len", "q_len"), grid))
    columns |= {name: np.full(grid.shape[1], value) for name, value in HEADS.items()}
    (form,) = models_for("decode_attention", "bfloat16", H100)
    seconds = evaluate(form, form.prior, columns, rates(H100, "bfloat16", "bfloat16"))
    text = {name: [str(int(value)) for value in column] for name, column in columns.items()}
    labels = {"op": "decode_attention", "device": "h100-sxm", "dtype": "bf16", "kv_dtype": "bf16"}
    times = {"latency_ms": [repr(1e3 * value) for value in seconds.tolist()]}
    return {name: [label] * grid.shape[1] for name, label in labels.items()} | text | times


def test_widths_of_a_verify_step_count_as_shapes_of_attention():
    result = fit(attention_rows((1, 64), (512, 8192), (1, 2, 4, 8, 16, 64)))
    (group,) = result.groups
    assert not result.refused and group.rows == 24 and group.median_error < 0.02
    with pytest.raises(InputError, match="of one size"):
        fit(attention_rows((8,), (2048,), range(1, 25)))


def test_rows_of_one_size_cannot_tell_latency_from_bandwidth():
    columns = gemm_rows(32)
    columns.update(m=["8"] * 32, n=[str(4096 + i) for i in range(32)], k=["4096"] * 32)
    with pytest.raises(InputError, match="of one size"):
        fit(columns)


def test_rows_with_a_sliding_window_are_left_out():
    columns = {
        "op": ["decode_attention"] * 20,
        "device": ["h100-sxm"] * 20,
        "dtype": ["bfloat16"] * 20,
        "kv_dtype": ["bfloat16"] * 20,
        "batch": [str(2**i) for i in range(10)] * 2,
        "kv_len": ["4096"] * 20,
        "num_heads": ["32"] * 20,
        "num_kv_heads": ["8"] * 20,
        "head_dim": ["128"] * 20,
        "window": ["0"] * 10 + ["128"] * 10,
        "latency_ms": ["0.1"] * 20,
    }
    with pytest.raises(InputError, match="10 rows, at least 16"):
        fit(columns)


def test_a_step_does_not_pay_for_the_graph_of_a_benchmark():
    """Five executions in one graph hold a fifth of its launch each; rows that do not say so hold nothing."""
    columns = gemm_rows(64) | {"calls_per_graph": ["5"] * 64}
    (kernel,) = fit(columns).calibration.kernels["gemm"].values()
    (silent,) = fit(gemm_rows(64)).calibration.kernels["gemm"].values()
    assert (kernel.graph_share_s, silent.graph_share_s) == (GRAPH_LAUNCH_S["hopper"] / 5, 0.0)
    shape, r = {"m": np.array(1.0), "n": np.array(8192.0), "k": np.array(8192.0)}, rates(H100, "bfloat16")
    saved = kernel.seconds(shape, r) - kernel.in_cuda_graph().seconds(shape, r)
    assert float(saved) == pytest.approx(kernel.graph_share_s)
    assert silent.in_cuda_graph() == silent
    tiny = replace(kernel, graph_share_s=1.0).in_cuda_graph()
    assert float(tiny.seconds(shape, r)) > 0, "a share larger than the launch leaves some of it"


def made_by(framework, library, *, bandwidth):
    """64 rows of one framework, whose kernels reach a share of the bandwidth."""
    planted = replace(GEMM_TILES.prior, bandwidth_fraction=bandwidth)
    return gemm_rows(64, parameters=planted) | {"framework": [framework] * 64, "kernel_source": [library] * 64}


def test_kernels_of_another_framework_and_of_a_second_library_are_fitted_apart():
    """The first framework's commonest library has the plain name; an engine finds its own, others the plain one."""
    sources = [("vllm", "cutlass", 0.9), ("vllm", "deepgemm", 0.7), ("sglang", "sgl_kernel", 0.5)]
    parts = [made_by(framework, library, bandwidth=share) for framework, library, share in sources]
    rows = kernel_table.concatenate([kernel_table.from_columns(part, "rows.csv", measured=True) for part in parts])
    calibration = calibrate(rows, H100, evidence="silicon").calibration
    assert set(calibration.kernels["gemm"]) == {"bfloat16", "bfloat16@deepgemm", "bfloat16@sglang"}
    op = Op("x", "gemm", 1, {"m": np.array(1.0), "n": np.array(8192.0), "k": np.array(8192.0)})
    seconds = {
        framework: float(
            op_time.op_seconds(
                op, calibration, dtype="bfloat16", kv_dtype="bfloat16", framework=framework
            ).seconds.value
        )
        for framework in ("", "vllm", "sglang", "deepgemm")
    }
    assert seconds[""] == seconds["vllm"] < seconds["deepgemm"] < seconds["sglang"]


def test_rows_without_a_framework_beside_others_are_a_group_of_their_own():
    parts = [made_by(framework, "cutlass", bandwidth=share) for framework, share in (("vllm", 0.9), ("", 0.5))]
    rows = kernel_table.concatenate([kernel_table.from_columns(part, "rows.csv", measured=True) for part in parts])
    result = calibrate(rows, H100, evidence="silicon")
    assert [group.name for group in result.groups] == ["bfloat16", "bfloat16@unnamed"]
    assert len(result.calibration.kernels["gemm"]) == 2


def test_a_calibration_file_reads_back_to_the_same_prediction(tmp_path):
    from scylla_sim.records import dump_json, write_text

    calibration = fit(gemm_rows(64)).calibration
    write_text(tmp_path / "c.json", dump_json(device_calibration.to_json(calibration)))
    again = device_calibration.read(tmp_path / "c.json")
    assert again.kernels == calibration.kernels
    assert again.hardware == calibration.hardware


def test_a_damaged_calibration_file_is_one_line(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"schema": "scylla-sim/calibration/1", "kernels": {}}')
    with pytest.raises(InputError, match="is damaged"):
        device_calibration.read(path)
    path.write_text('{"schema": "other"}')
    with pytest.raises(InputError, match="schema='other' must be"):
        device_calibration.read(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        device_calibration.read(path)


@pytest.mark.parametrize("name", device_calibration.shipped_devices())
def test_shipped_calibrations_are_this_catalogs_devices(name):
    calibration = device_calibration.shipped(name)
    assert calibration.hardware == catalog.hardware(name)
    assert calibration.evidence == "silicon"
    assert calibration.kernel("gemm").evidence == "silicon"
    assert calibration.kernel("decode_attention", kv_dtype="bfloat16", head_dim=128).evidence == "silicon"
    assert calibration.kernel("all_reduce").evidence == "silicon"


def test_each_engine_gets_its_own_attention_and_all_reduce_where_they_were_fitted():
    h100 = device_calibration.shipped("h100-sxm")
    shape = {
        "batch": 1,
        "kv_len": 1024,
        "q_len": 1,
        "num_heads": 32,
        "num_kv_heads": 8,
        "head_dim": 128,
        "window": 0,
    }
    columns = {name: np.asarray(float(value)) for name, value in shape.items()}
    r = rates(h100.hardware, "bfloat16", "bfloat16")
    vllm, sglang = (
        float(
            h100.kernel("decode_attention", kv_dtype="bfloat16", head_dim=128, sources=(framework,)).seconds(
                columns, r
            )
        )
        for framework in ("vllm", "sglang")
    )
    assert sglang < 0.9 * vllm  # measured: 11.7 and 13.6 us
    message = {"num_gpus": np.asarray(4.0), "bytes": np.asarray(65536.0)}
    vllm, sglang = (
        float(h100.kernel("all_reduce", sources=(framework,)).seconds(message, r))
        for framework in ("vllm", "sglang")
    )
    assert sglang < 0.9 * vllm
    assert h100.kernel("all_reduce", sources=("unknown",)) == h100.kernel("all_reduce")
    assert h100.kernel("decode_attention", kv_dtype="bfloat16", head_dim=120, sources=("sglang",)) == h100.kernel(
        "decode_attention", kv_dtype="bfloat16", head_dim=128, sources=("sglang",)
    )


def test_missing_head_size_falls_back_to_the_nearest_and_missing_op_to_the_prior():
    h100 = device_calibration.shipped("h100-sxm")
    assert h100.kernel("decode_attention", kv_dtype="bfloat16", head_dim=120) == h100.kernel(
        "decode_attention", kv_dtype="bfloat16", head_dim=128
    )
    assert h100.kernel("gemm", dtype="int8_wo").evidence == "theory"
    assert h100.kernel("gemm", dtype="int8_wo").parameters == GEMM_TILES.prior


def test_every_gpu_with_measurements_ships_its_own_calibration():
    assert set(device_calibration.shipped_devices()) == set(tables.DEVICES)
    assert all(catalog.calibration_name(name) == name for name in tables.DEVICES)


def test_shipped_fits_are_kept_for_dtypes_that_were_not_fitted():
    result = fit(gemm_rows(32)).calibration
    shipped = device_calibration.shipped("h100-sxm")
    whole, kept = result.completed_by(shipped)
    assert whole.kernels["gemm"]["bfloat16"] == result.kernels["gemm"]["bfloat16"]
    assert whole.kernels["gemm"]["fp8"] == shipped.kernels["gemm"]["fp8"]
    assert whole.kernels["decode_attention"] == shipped.kernels["decode_attention"]
    assert "gemm fp8" in kept and not any(name.startswith("gemm bfloat16") for name in kept)
