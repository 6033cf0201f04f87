"""Groups of measured rows: frameworks and libraries apart, and rows that cannot be fitted."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_rows import H100, fit, gemm_rows

from scylla_sim.calibration import kernel_table, op_time
from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.checks import InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.registry import models_for
from scylla_sim.ops.op import Op

HEADS = {"num_heads": 32.0, "num_kv_heads": 8.0, "head_dim": 128.0, "window": 0.0}


def test_too_few_rows_are_refused():
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


def test_query_lengths_count_as_distinct_attention_shapes():
    result = fit(attention_rows((1, 64), (512, 8192), (1, 2, 4, 8, 16, 64)))
    (group,) = result.groups
    assert not result.refused and group.rows == 24 and group.median_error < 0.02
    with pytest.raises(InputError, match="of one size"):
        fit(attention_rows((8,), (2048,), range(1, 25)))


def test_rows_of_one_size_are_refused():
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


def made_by(framework, library, *, bandwidth):
    """64 rows of one framework, whose kernels reach a share of the bandwidth."""
    planted = replace(GEMM_TILES.prior, bandwidth_fraction=bandwidth)
    return gemm_rows(64, parameters=planted) | {"framework": [framework] * 64, "kernel_source": [library] * 64}


def test_frameworks_and_libraries_are_fitted_apart():
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


def test_rows_without_a_framework_are_a_separate_group():
    parts = [made_by(framework, "cutlass", bandwidth=share) for framework, share in (("vllm", 0.9), ("", 0.5))]
    rows = kernel_table.concatenate([kernel_table.from_columns(part, "rows.csv", measured=True) for part in parts])
    result = calibrate(rows, H100, evidence="silicon")
    assert [group.name for group in result.groups] == ["bfloat16", "bfloat16@unnamed"]
    assert len(result.calibration.kernels["gemm"]) == 2
