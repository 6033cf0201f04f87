"""Records: written whole, checked when read, resumed after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_validate.device.facts import Device, catalog_name
from gpu_validate.device.hardware_toml import hardware_toml
from gpu_validate.device.timer import summarize
from gpu_validate.records import record_file, rows
from scylla_sim.checks import InputError
from scylla_sim.specs import catalog

DEVICE = Device(
    kind="cpu",
    name='A "quoted" CPU',
    hardware="local",
    memory_bytes=8 * 2.0**30,
    cache_bytes=32 * 2.0**20,
    threads=1,
    versions={"python": "3.11", "torch": "2.6", "numpy": "2.0"},
)


def result(m: int, n: int, k: int, *, seconds: float = 1e-3) -> tuple[dict[str, Any], dict[str, Any]]:
    summary = summarize([seconds] * 5, stopping_reason="converged", clock="monotonic", cache="rotating")
    row = {
        "case": f"gemm-m{m}-n{n}-k{k}",
        **{"op": "gemm", "device": "local", "dtype": "float32", "m": m, "n": n, "k": k, "kernel_source": "x"},
        **{"latency_ms": seconds * 1e3, "interval_low_ms": 0.9, "interval_high_ms": 1.1},
        **{"flop": 2.0 * m * n * k, "bytes": 4.0 * n * k},
        **{"flop_per_s": 2.0 * m * n * k / seconds, "bytes_per_s": 4.0 * n * k / seconds},
    }
    return row, summary.row()


RESULTS = [result(m, n, 512) for n in (256, 512, 768, 1024, 2048, 4096) for m in (1, 4, 16)]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "kernels.json"
    record_file.write(path, record_file.build("kernels", RESULTS, DEVICE, scale="ci"))
    return path


def test_a_record_reads_back_as_it_was_written(record: Path) -> None:
    value = record_file.read(record)
    assert len(value["values"]) == len(value["samples"]) == len(RESULTS)
    assert value["evidence"] == "live"
    assert value["stopping_reason"] == "converged"
    assert value["provenance"]["versions"]["torch"] == "2.6"
    assert value["provenance"]["device"]["name"] == DEVICE.name


def _edit_latency(value: dict[str, Any]) -> None:
    value["values"][0]["latency_ms"] /= 2


def _other_schema(value: dict[str, Any]) -> None:
    value["schema"] = "gpu-validate/record/0"


def _no_samples(value: dict[str, Any]) -> None:
    del value["samples"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_edit_latency, "checksum"), (_other_schema, "gpu-validate/record/1"), (_no_samples, "lacks 'samples'")],
)
def test_a_spoilt_record_is_refused_in_one_line(
    record: Path, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    value = json.loads(record.read_text())
    spoil(value)
    record.write_text(json.dumps(value))
    with pytest.raises(InputError, match=said) as error:
        record_file.read(record)
    assert "\n" not in str(error.value)


def test_a_truncated_record_is_refused(record: Path) -> None:
    record.write_text(record.read_text()[:-200])
    with pytest.raises(InputError, match="is not JSON"):
        record_file.read(record)


def test_a_record_whose_samples_belong_elsewhere_is_refused_even_with_a_fresh_checksum(record: Path) -> None:
    value = json.loads(record.read_text())
    value["samples"].reverse()
    value["sha256"] = record_file.checksum(value)
    record.write_text(json.dumps(value))
    with pytest.raises(InputError, match="do not belong"):
        record_file.read(record)


def test_one_case_that_did_not_converge_is_said_at_the_top() -> None:
    row, summary = result(2, 256, 512)
    value = record_file.build("kernels", [RESULTS[0], (row, {**summary, "stopping_reason": "time_limit"})], DEVICE)
    assert value["stopping_reason"] == "time_limit"


def test_partial_results_are_taken_up_under_the_same_conditions_only(tmp_path: Path) -> None:
    partial = record_file.Partial.of(tmp_path, "kernels", DEVICE, {"scale": "ci"})
    for row, summary in RESULTS[:3]:
        partial.append(row, summary)
    assert list(partial.load()) == [row["case"] for row, _ in RESULTS[:3]]
    assert not record_file.Partial.of(tmp_path, "kernels", DEVICE, {"scale": "full"}).load()
    partial.remove()
    assert not partial.load()


def test_a_line_cut_off_by_an_interruption_costs_that_case_only(tmp_path: Path) -> None:
    partial = record_file.Partial.of(tmp_path, "kernels", DEVICE, {})
    for row, summary in RESULTS[:2]:
        partial.append(row, summary)
    partial.path.write_text(partial.path.read_text()[:-30])
    assert list(partial.load()) == [RESULTS[0][0]["case"]]
    partial.append(*RESULTS[2])
    assert list(partial.load()) == [RESULTS[0][0]["case"], RESULTS[2][0]["case"]]


def test_train_and_test_share_no_weight_matrix_and_lose_no_row(record: Path) -> None:
    value = record_file.read(record)
    train, test = rows.export(value, "train"), rows.export(value, "test")
    pairs = [{(row["n"], row["k"]) for row in part} for part in (train, test)]
    assert pairs[0] and pairs[1] and not pairs[0] & pairs[1]
    assert len(train) + len(test) == len(rows.export(value, "all")) == len(RESULTS)
    assert all(row["evidence"] == "live" for row in train)
    renamed = rows.export(value, "all", device="mine", evidence="recorded")
    assert {(row["device"], row["evidence"]) for row in renamed} == {("mine", "recorded")}


def test_copies_calibrate_elementwise_kernels_and_are_never_scored() -> None:
    copy = {**RESULTS[0][0], "case": "copy-64MiB", "op": "copy", "bytes": 1.34e8}
    value = record_file.build("kernels", [*RESULTS, (copy, RESULTS[0][1])], DEVICE)
    train = rows.export(value, "train")
    assert [row["bytes"] for row in train if row["op"] == "elementwise"] == [1.34e8]
    assert all(row["op"] == "gemm" for row in rows.export(value, "test"))


def again(row: dict[str, Any], summary: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {**row, "case": f"{row['case']}@2", "pass": 2, "latency_ms": 1.1 * row["latency_ms"]}, summary


def test_the_second_pass_is_exported_by_its_number_and_one_that_was_not_measured_is_refused() -> None:
    value = record_file.build("kernels", [*RESULTS, *(again(*result) for result in RESULTS[:4])], DEVICE)
    first, second = (rows.export(value, "all", number=number) for number in (1, 2))
    assert (len(first), len(second)) == (len(RESULTS), 4)
    assert [row["latency_ms"] for row in second] == [1.1 * row["latency_ms"] for row in first[:4]]
    assert "pass" not in first[0]
    with pytest.raises(InputError, match=r"pass=3 was not measured by suite kernels; passes: \[1, 2\]"):
        rows.export(value, "all", number=3)


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    values = [row for row, _ in RESULTS]
    assert rows.held_out_keys(values) == rows.held_out_keys(values[::-1])


def attention(batch: int, kv_len: int) -> dict[str, Any]:
    heads = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    return {"op": "decode_attention", "batch": batch, "kv_len": kv_len, **heads}


def test_attention_is_split_within_each_batch() -> None:
    """Shapes of the first campaign: hashes alone held out every shape of 64 sequences."""
    sizes = {1: (512, 2048, 8192, 32768), 8: (512, 2048, 8192, 32768), 64: (512, 2048, 8192)}
    shapes = [attention(batch, kv_len) for batch, some in sizes.items() for kv_len in some]
    held_out = rows.held_out_keys(shapes)
    test = [shape for shape in shapes if rows.shape_key(shape) in held_out]
    assert sorted(shape["batch"] for shape in test) == [1, 8, 64]


def test_strata_of_one_shape_are_fitted_but_for_one_of_the_operation() -> None:
    shapes = [attention(batch, 512) for batch in (1, 8, 64)]
    assert len(rows.held_out_keys(shapes)) == 1
    assert rows.held_out_keys([]) == set()


def test_the_hardware_description_is_read_by_the_catalog_and_holds_the_best_rates(tmp_path: Path) -> None:
    value = record_file.build("kernels", [*RESULTS, result(64, 4096, 512, seconds=2e-3)], DEVICE)
    path = tmp_path / "hardware.toml"
    path.write_text(hardware_toml(value))
    local = catalog.hardware(str(path))
    assert local.name == "local"
    assert local.peak("fp32") == pytest.approx(2 * 64 * 4096 * 512 / 2e-3, rel=1e-5)
    assert local.memory_bytes_per_s == pytest.approx(4 * 4096 * 512 / 1e-3, rel=1e-5)
    assert local.memory_bytes == pytest.approx(DEVICE.memory_bytes, rel=1e-5)


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "local"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "local"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H800", "h800-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("NVIDIA A100-PCIE-40GB", "local"),
        ("NVIDIA B200", "b200-sxm"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", "local"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "local"),
        ("NVIDIA GeForce RTX 3090 Ti", "local"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_product_names_map_to_the_catalog_or_to_local(product: str, name: str) -> None:
    assert catalog_name(product) == name
    assert name == "local" or name in catalog.names("hardware")


def test_peaks_of_two_precisions_are_told_apart() -> None:
    row, summary = result(64, 4096, 512, seconds=1e-4)
    value = record_file.build("kernels", [*RESULTS, ({**row, "case": "x", "dtype": "bfloat16"}, summary)], DEVICE)
    local = hardware_toml(value)
    best = max(row["flop_per_s"] for row, _ in RESULTS) / 1e9
    assert f"peak_fp32 = {{ value = {best:.6g}" in local
    assert f"peak_bf16 = {{ value = {row['flop_per_s'] / 1e9:.6g}" in local


def test_a_copy_without_git_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a rented GPU a .git that travelled along may be that of another commit."""
    from scylla_sim import records as plain

    plain.git_state.cache_clear()
    monkeypatch.setenv(plain.COMMIT_VARIABLE, "0123abc")
    assert plain.git_state() == {"git_sha": "0123abc", "git_dirty": None}
    monkeypatch.delenv(plain.COMMIT_VARIABLE)
    plain.git_state.cache_clear()
