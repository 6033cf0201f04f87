"""GEMMs of 8 bits whose input another kernel quantizes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.op_time import QUANTIZER, op_seconds
from scylla_sim.ops.op import Op
from scylla_sim.prediction.fused_quantizer import applies
from scylla_sim.prediction.prefill import prefill_step
from scylla_sim.prediction.step_time import Step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog

LLAMA = catalog.model("llama-3.1-8b")
VLLM = catalog.engine("vllm-2026")


def prefill(dtype: str, *, fuses: bool) -> Step:
    engine = replace(VLLM, fuses_quantizer=fuses)
    deployment = Deployment(device_calibration.shipped("h100-sxm"), engine, dtype)
    return prefill_step(LLAMA, deployment, tokens=2048)


def test_gemms_after_norms_and_activations_lose_the_quantizer() -> None:
    fused, apart = ({part.name: part for part in prefill("fp8", fuses=each).parts} for each in (True, False))
    for name in ("qkv_proj", "gate_up_proj", "down_proj"):
        assert fused[name].seconds < apart[name].seconds, name
        most = float(fused[name].sources[QUANTIZER].up + fused[name].seconds)
        assert most == pytest.approx(float(apart[name].seconds)), "the upper end holds a quantizer of its own"
    assert fused["o_proj"].seconds == apart["o_proj"].seconds, "attention is not fused"
    assert fused["attention"].seconds == apart["attention"].seconds


@pytest.mark.parametrize("dtype", ["bfloat16", "fp8_block"])
def test_other_data_types_stay(dtype: str) -> None:
    assert prefill(dtype, fuses=True).seconds == prefill(dtype, fuses=False).seconds


@pytest.mark.parametrize("gpu", ["h100-sxm", "h200-sxm"])
def test_the_fit_without_its_quantizer_is_nearer_to_gemms_of_quantized_inputs(gpu: str) -> None:
    """GEMMs of 1,024 rows of both campaigns, to which nothing is fitted."""
    record = json.loads((ROOT / f"gpu_validate/recorded/{gpu}/kernels.json").read_text())
    rows = [
        row
        for row in record["values"]
        if row["op"] == "gemm" and row["kernel_source"] == "torch_scaled_mm" and row["m"] == 1024
    ]
    assert len(rows) == 4
    bias = {}
    for fused in (True, False):
        errors = []
        for row in rows:
            op = Op("x", "gemm", 1, {name: np.asarray(float(row[name])) for name in "mnk"})
            found = op_seconds(
                op,
                device_calibration.shipped(gpu),
                dtype="fp8",
                kv_dtype="bfloat16",
                framework="vllm",
                fused_input=fused,
            )
            errors.append(1e3 * float(found.seconds.value) / row["latency_ms"] - 1.0)
        bias[fused] = float(np.median(errors))
    assert abs(bias[True]) < 0.15 < 0.25 < bias[False], bias


def test_an_eager_engine_has_no_compiled_graphs_that_fuse() -> None:
    op = Op("down_proj", "gemm", 1, {})
    found = [
        applies(op, "fp8", replace(VLLM, eager=eager), catalog.hardware("h200-sxm")) for eager in (False, True)
    ]
    assert found == [True, False]
