"""Kernels that others measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from scylla_sim.checks import InputError


def test_kernel_groups_are_named_in_words(finished_results: Path) -> None:
    groups = [row["group"] for row in only(finished_results, "silicon-gemm").rows]
    ours = ["vLLM, bf16, small batch", "vLLM, fp8, small batch", "all"]
    assert groups[:6] == [*ours, "SGLang, bf16, small batch", "SGLang, fp8, small batch", "all"]
    pooled = only(finished_results, "silicon-gemm-pooled").rows
    assert [(row["dtype"], row["regime"]) for row in pooled] == [
        ("bf16", "small batch"),
        ("bf16", "any batch"),
        ("fp8", "small batch"),
        ("fp8", "any batch"),
    ]
    reduced = [row["group"] for row in only(finished_results, "silicon-all-reduce").rows][:5]
    assert reduced == ["vLLM, eager", "vLLM, CUDA graph", "all", "SGLang, eager", "SGLang, CUDA graph"]


def test_mla_is_next_to_the_dense_kernel_as_fallback(finished_results: Path) -> None:
    table = only(finished_results, "silicon-latent-attention")
    assert [row["group"] for row in table.rows][:3] == ["KV fp8, beyond L2", "KV fp8, in L2", "all"]
    assert {(row["median_ape"], row["stand_in_median_ape"]) for row in table.rows} == {(0.05, 0.25)}
    assert "dense kernel as fallback: median error" in [column.heading for column in table.columns]


def test_no_silicon_comparison_at_all_is_an_error(own_results: Path) -> None:
    for path in (own_results / "compare").glob("silicon-*-gemm.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"silicon-\*-gemm.json.*is missing"):
        only(own_results, "silicon-gemm")


def test_kernels_of_few_bits_have_tables_of_their_own(finished_results: Path) -> None:
    layers = only(finished_results, "silicon-experts-low-bits")
    assert layers.caption == "Predicted and measured MoE layer kernels of few bits, by device"
    groups = ["mxfp4, balanced, small batch", "mxfp4, power law 1.2, large batch", "all"]
    assert [row["group"] for row in layers.rows][:3] == groups
    assert "Small batch: up to 512 tokens. Large batch: up to 8192 tokens." in layers.notes
    gemms = only(finished_results, "silicon-gemm-low-bits").rows
    assert {row["group"] for row in gemms} == {"int4_wo, small batch"}
    assert "int4_wo, small batch" not in [row["group"] for row in only(finished_results, "silicon-gemm").rows]


def test_attention_of_prefills_states_its_regimes(finished_results):
    table = only(finished_results, "silicon-context-attention")
    groups = [row["group"] for row in table.rows]
    assert "vLLM, prefill" in groups and "SGLang, short prefill" in groups
    assert "Short prefill: fewer than 512 new tokens" in " ".join(table.notes)


def test_a_run_without_kernels_of_few_bits_has_an_empty_table_that_says_so(own_results: Path) -> None:
    for path in (own_results / "compare").glob("silicon-*-gemm-low-bits.json"):
        path.unlink()
    table = only(own_results, "silicon-gemm-low-bits")
    assert not table.rows
    assert "No GPU of this run has measurements of these kernels" in table.nothing
