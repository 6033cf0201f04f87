"""Calibrations of devices: files, shipped ones, and look-ups of fitted kernels."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_rows import fit, gemm_rows

from gpu_validate.silicon import tables
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.operation import KernelQuery
from scylla_sim.specs import catalog


def test_calibration_file_round_trips(tmp_path):
    from scylla_sim.records import dump_json, write_text

    calibration = fit(gemm_rows(64)).calibration
    write_text(tmp_path / "c.json", dump_json(device_calibration.to_json(calibration)))
    again = device_calibration.read(tmp_path / "c.json")
    assert again.kernels == calibration.kernels
    assert again.hardware == calibration.hardware


def test_damaged_calibration_file_is_refused_in_one_line(tmp_path):
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


@pytest.mark.parametrize("where", ["file", "kernel"])
def test_an_unknown_evidence_level_is_refused(where):
    value = device_calibration.to_json(device_calibration.shipped("l40s"))
    (value if where == "file" else next(iter(value["kernels"]["gemm"].values())))["evidence"] = "magic"
    with pytest.raises(InputError, match="evidence='magic' is not known"):
        device_calibration.from_json(value)


@pytest.mark.parametrize("name", device_calibration.shipped_devices())
def test_shipped_calibrations_are_this_catalogs_devices(name):
    calibration = device_calibration.shipped(name)
    assert calibration.hardware == catalog.hardware(name)
    assert calibration.evidence == "silicon"
    assert calibration.kernel("gemm").evidence == "silicon"
    assert calibration.kernel("decode_attention", kv_dtype="bfloat16", head_dim=128).evidence == "silicon"
    assert calibration.kernel("all_reduce").evidence == "silicon"


def test_each_framework_has_its_own_attention_and_all_reduce():
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


def test_missing_head_size_uses_the_nearest_and_missing_dtype_a_transferred_fit():
    h100 = device_calibration.shipped("h100-sxm")
    assert h100.kernel("decode_attention", kv_dtype="bfloat16", head_dim=120) == h100.kernel(
        "decode_attention", kv_dtype="bfloat16", head_dim=128
    )
    assert h100.kernel("gemm", dtype="int8_wo").evidence == "transferred"
    assert h100.without("gemm").kernel("gemm", dtype="int8_wo").parameters == GEMM_TILES.prior


def test_every_gpu_with_measurements_ships_its_own_calibration():
    assert set(device_calibration.shipped_devices()) == set(tables.DEVICES)
    assert all(catalog.calibration_name(name) == name for name in tables.DEVICES)


def test_base_calibration_fills_missing_dtypes():
    result = fit(gemm_rows(32)).calibration
    shipped = device_calibration.shipped("h100-sxm")
    whole, kept = result.completed_by(shipped)
    assert whole.kernels["gemm"]["bfloat16"] == result.kernels["gemm"]["bfloat16"]
    assert whole.kernels["gemm"]["fp8"] == shipped.kernels["gemm"]["fp8"]
    assert whole.kernels["decode_attention"] == shipped.kernels["decode_attention"]
    assert "gemm fp8" in kept and not any(name.startswith("gemm bfloat16") for name in kept)


def test_kernels_of_a_gpu_are_not_transferred_to_a_device_without_sms():
    h100 = device_calibration.shipped("h100-sxm")
    with pytest.raises(InputError, match="sm_count=0 must be above 0, because the kernels of h100-sxm"):
        h100.transferred_to(replace(h100.hardware, name="mine", sm_count=0))
    with pytest.raises(InputError, match="l2_bytes=0 must be above 0 for mine, which has sm_count"):
        replace(h100.hardware, name="mine", l2_bytes=0)


def test_types_that_few_devices_measured_are_transferred_with_wider_bands():
    a100, h100 = (device_calibration.shipped(name) for name in ("a100-sxm", "h100-sxm"))
    own, borrowed = (calibration.kernel("gemm", dtype="int4_wo") for calibration in (a100, h100))
    assert (own.evidence, borrowed.evidence) == ("silicon", "transferred")
    assert borrowed.band == own.band.powered(2.0)


def test_experts_use_a_device_of_the_same_family_first():
    pro = device_calibration.shipped("rtx-pro-6000")
    b200 = device_calibration.shipped("b200-sxm")
    assert pro.kernel("experts", dtype="int4_wo").parameters == b200.kernel("experts", dtype="int4_wo").parameters


def test_nearest_type_is_used_with_evidence_theory():
    h100 = device_calibration.shipped("h100-sxm")
    near = h100.kernel("experts", dtype="nvfp4_wo")
    assert near.evidence == "theory"
    assert near.parameters == h100.kernel("experts", dtype="int4_wo").parameters
    cache = device_calibration.shipped("b200-sxm").kernel("decode_attention", kv_dtype="nvfp4", head_dim=128)
    assert cache.evidence == "theory"


def test_device_without_fits_borrows_none():
    bare = device_calibration.Calibration("x", catalog.hardware("h100-sxm"), {})
    assert bare.kernel("gemm", dtype="int4_wo").parameters == GEMM_TILES.prior


@pytest.mark.parametrize(
    ("name", "op", "dtype"),
    [
        ("a100-sxm", "gemm", "int4_wo"),
        ("a100-sxm", "gemm", "sq"),
        ("h100-sxm", "experts", "int4_wo"),
        ("h100-sxm", "experts", "mxfp4"),
        ("b200-sxm", "experts", "nvfp4"),
        ("b200-sxm", "experts", "int4_wo"),
        ("b200-sxm", "experts", "mxfp4_fp8"),
        ("rtx-pro-6000", "experts", "nvfp4"),
    ],
)
def test_low_bit_kernels_with_measurements_are_fitted(name, op, dtype):
    assert device_calibration.shipped(name).kernel(op, dtype=dtype).evidence == "silicon"


def test_int8_on_hopper_is_transferred_and_leaves_the_other_fits_as_they_are():
    """Its peak is in the datasheet, its GEMMs were measured on A100 only."""
    h100, query = device_calibration.shipped("h100-sxm"), KernelQuery("sq", "", (), {})
    kernel = h100.find("gemm", query)
    measured = device_calibration.shipped("a100-sxm").find("gemm", query)
    assert (kernel.evidence, measured.evidence, h100.evidence) == ("transferred", "silicon", "silicon")
    assert kernel.band.upper_ratio > 1.3 * measured.band.upper_ratio
    assert {one.evidence for groups in h100.kernels.values() for one in groups.values()} == {"silicon"}
    assert h100.hardware.peak("int8") == h100.hardware.peak("fp8")


def test_a_further_peak_is_the_same_device_and_another_peak_is_not():
    h100 = catalog.hardware("h100-sxm")
    fewer = replace(h100, peak_flop_per_s={"bf16": h100.peak("bf16")})
    other = replace(h100, peak_flop_per_s={**h100.peak_flop_per_s, "bf16": 1e14})
    assert h100.has_the_rates_of(fewer) and not fewer.has_the_rates_of(h100)
    assert not other.has_the_rates_of(h100) and not replace(h100, l2_bytes=1e7).has_the_rates_of(h100)
