"""Dispatch of attention backends by engine, GPU and data type of the KV cache."""

import tomllib
from importlib import resources

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.attention_backend import LATENT, AttentionBackend, dispatched
from scylla_sim.stats.estimate import exact

TABLE = tomllib.loads((resources.files("scylla_sim") / "data" / "attention_backends.toml").read_text("utf-8"))


@pytest.mark.parametrize(
    "framework, gpu, kv_dtype, name",
    [
        ("vllm", "h100-sxm", "bfloat16", "fa3"),
        ("sglang", "h200-sxm", "fp8", "fa3"),
        ("vllm", "a100-pcie", "bfloat16", "fa2"),
        ("vllm", "rtx-4090", "bfloat16", "fa2"),
        ("vllm", "a100-sxm", "fp8", "flashinfer_cast_piecewise"),
        ("sglang", "a100-sxm", "fp8", "flashinfer_cast"),
        ("vllm", "l40s", "fp8", "flashinfer_piecewise"),
        ("sglang", "a100-sxm", "bfloat16", "flashinfer"),
        ("vllm", "b200-sxm", "fp8", "trtllm_gen"),
        ("vllm", "rtx-5090", "bfloat16", "fa2"),
        ("vllm", "mi300x", "bfloat16", "triton"),
    ],
)
def test_backend_of_an_engine_on_a_gpu(framework, gpu, kv_dtype, name):
    assert dispatched(framework, catalog.hardware(gpu), kv_dtype=kv_dtype).name == name


def test_the_fraction_of_flashattention_2_belongs_to_the_gpu():
    found = [dispatched("vllm", catalog.hardware(gpu), kv_dtype="bfloat16") for gpu in ("a100-sxm", "rtx-3090")]
    assert [float(one.settings["compute_fraction"].value) for one in found] == [0.51, 0.84]


@pytest.mark.parametrize(
    ("device", "backend"),
    [
        ("h200-sxm", "flashmla"),
        ("b200-sxm", "trtllm_mla"),
        ("rtx-pro-6000", "triton_mla"),
        ("rtx-5090", "triton_mla"),
        ("a100-sxm", "triton_mla"),
    ],
)
def test_mla_has_backends_of_its_own(device, backend):
    """trtllm-gen needs compute capability 10, which Blackwell cards with GDDR7 do not have."""
    assert dispatched("vllm", catalog.hardware(device), kv_dtype="bfloat16", attention=LATENT).name == backend


def test_without_a_framework_the_fitted_kernel_verifies():
    assert dispatched("", catalog.hardware("a100-sxm"), kv_dtype="bfloat16") is None


def test_every_entry_has_a_source_and_every_backend_is_dispatched():
    entries = [*TABLE["backend"].values(), *TABLE["dispatch"]]
    settings = [value for entry in TABLE["dispatch"] for value in entry.values() if isinstance(value, dict)]
    assert all(item["source"] for item in (*entries, *settings))
    assert all(item["lower"] <= item["value"] <= item["upper"] for item in settings)
    assert {entry["backend"] for entry in TABLE["dispatch"]} == set(TABLE["backend"])


def test_unknown_tiling_or_setting_is_refused():
    with pytest.raises(InputError, match="tiling='rows'"):
        AttentionBackend("x", "X", tiling="rows")
    with pytest.raises(InputError, match="setting='speed'"):
        AttentionBackend("x", "X", settings={"speed": exact(1.0)})
