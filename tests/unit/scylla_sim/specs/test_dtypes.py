"""Data types: sizes, peaks and names on the command line."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import dtypes
from scylla_sim.specs.hardware import PEAKS


@pytest.mark.parametrize("item", dtypes.DTYPES.values(), ids=lambda item: item.name)
def test_sizes_and_peaks_are_consistent(item):
    assert item.peak in PEAKS
    assert 0 < item.stored_bytes <= item.activation_bytes <= item.output_bytes
    assert item.quantizes_input == (item.activation_bytes < item.output_bytes)
    assert dtypes.DTYPES[item.name] is item


def test_nvfp4_stores_one_fp8_scale_for_16_values():
    assert dtypes.dtype_of("nvfp4").stored_bytes == (16 * 0.5 + 1) / 16


def test_int4_stores_a_scale_for_each_group():
    """32 values with a 16-bit scale; 64 and 128 values with a scale and a 4-bit zero point."""
    stored = [dtypes.dtype_of(name).stored_bytes for name in ("int4_wo_g32", "int4_wo_g64", "int4_wo")]
    assert stored == [0.5 + 2 / 32, 0.5 + 2.5 / 64, 0.5 + 2.5 / 128]


def test_command_line_names():
    assert dtypes.WEIGHT_PRECISIONS == {
        "bf16": "bfloat16",
        "fp8": "fp8",
        "fp32": "float32",
        "fp8_block": "fp8_block",
        "int4": "int4_wo",
        "int8": "sq",
        "int8_wo": "int8_wo",
        "mxfp4": "mxfp4",
        "mxfp4_fp8": "mxfp4_fp8",
        "nvfp4": "nvfp4",
    }
    assert list(dtypes.KV_PRECISIONS) == ["bf16", "fp8", "fp32", "nvfp4"]


def test_kv_dtype_replaces_the_stored_size_only():
    size = dtypes.element_bytes("float32", "fp8")
    assert (size.stored, size.activation, size.output) == (1.0, 4.0, 4.0)


def test_unknown_dtype_is_refused():
    for call in (dtypes.canonical_dtype, dtypes.dtype_of, dtypes.element_bytes):
        with pytest.raises(InputError, match="dtype='bf17' is not known"):
            call("bf17")
    with pytest.raises(InputError, match="kv_dtype='int9' is not known"):
        dtypes.element_bytes("bfloat16", "int9")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("bfloat16", 2.0),
        ("fp8", 1.0),
        ("mxfp4", (32 * 0.5 + 1) / 32),  # 32 values share one byte
        ("int4_wo", (128 * 0.5 + 2 + 0.5) / 128),  # 128 values share a 16-bit scale and a 4-bit zero point
        ("int4_wo_g64", (64 * 0.5 + 2 + 0.5) / 64),
        ("int4_wo_g32", (32 * 0.5 + 2) / 32),
    ],
)
def test_stored_bytes_contain_the_scales(name, stored):
    assert dtypes.dtype_of(name).stored_bytes == stored
