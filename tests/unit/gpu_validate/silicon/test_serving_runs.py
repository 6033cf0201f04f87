"""Serving runs of aiconfigurator-core as tidy rows: what is kept, what is dropped, and what a blank means."""

from pathlib import Path

import pytest

from gpu_validate.silicon import serving_runs
from scylla_sim.checks import InputError

HEADER = (
    "backend,backend_version,model_path,system,precision,mode,isl,osl,gemm_quant_mode,batch_size,tp_size,pp_size,"
    "attention_dp_size,silicon_ttft_ms,silicon_tpot_ms"
)
GOOD = "vllm,0.12.0,Qwen/Qwen3-32B,h100_sxm,,agg,1024,128,,8,2,1,,200,12.5"
LLAMA = "sglang,0.5,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,fp8,agg,1024,128,fp8_block,8,1,1,1,200,9"
OTHERS = {
    "saturated": GOOD.replace(",200,", ",5001,").replace(",8,2,", ",64,2,"),
    "disaggregated": GOOD.replace("agg", "disagg"),
    "a mixture of experts": GOOD.replace("Qwen/Qwen3-32B", "openai/gpt-oss-120b"),
    "another device": GOOD.replace("h100_sxm", "gb200"),
    "data parallel attention": GOOD.replace(",8,2,1,,", ",8,2,1,4,"),
    "pipeline parallel": GOOD.replace(",8,2,1,,", ",8,2,2,,"),
}


def write(folder: Path, *lines: str) -> Path:
    (folder / "silicon_sample.csv").write_text("\n".join((HEADER, *lines)) + "\n")
    return folder


def test_a_run_keeps_its_numbers_and_says_that_its_precision_was_blank(tmp_path: Path) -> None:
    frame = serving_runs.export(write(tmp_path, GOOD), "h100-sxm", "h100_sxm")
    row = frame.iloc[0]
    assert (row["device"], row["engine"], row["model"], row["dtype"]) == (
        "h100-sxm",
        "vllm",
        "qwen3-32b",
        "bfloat16",
    )
    assert (row["tp"], row["batch"], row["input_len"], row["output_len"]) == (2, 8, 1024, 128)
    assert (row["tpot_ms"], row["ttft_ms"]) == (12.5, 200)
    assert row["precision"] == serving_runs.NOTE_BLANK
    assert "aiconfigurator-core" in row["source"]


def test_the_precision_of_gemms_decides_if_it_is_given(tmp_path: Path) -> None:
    row = serving_runs.export(write(tmp_path, LLAMA), "h100-sxm", "h100_sxm").iloc[0]
    assert (row["dtype"], row["precision"]) == ("fp8_block", serving_runs.NOTE_GIVEN)


@pytest.mark.parametrize("why", OTHERS)
def test_runs_that_are_not_comparable_are_left_out(tmp_path: Path, why: str) -> None:
    assert len(serving_runs.export(write(tmp_path, GOOD, OTHERS[why]), "h100-sxm", "h100_sxm")) == 1


def test_a_configuration_that_ran_twice_counts_once_by_its_median(tmp_path: Path) -> None:
    frame = serving_runs.export(write(tmp_path, GOOD, GOOD.replace("12.5", "13.5")), "h100-sxm", "h100_sxm")
    assert frame["tpot_ms"].tolist() == [13.0]


def test_engine_and_dtype_select(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD, LLAMA)
    assert serving_runs.export(folder, "h100-sxm", "h100_sxm", engine="vllm")["engine"].tolist() == ["vllm"]
    assert serving_runs.export(folder, "h100-sxm", "h100_sxm", dtypes=["fp8_block"])["engine"].tolist() == [
        "sglang"
    ]
    with pytest.raises(InputError, match="framework='trtllm' is not known"):
        serving_runs.export(folder, "h100-sxm", "h100_sxm", engine="trtllm")
    with pytest.raises(InputError, match="dtype='fp8' is not known"):
        serving_runs.export(folder, "h100-sxm", "h100_sxm", dtypes=["fp8"])


def test_a_device_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device='l40s' has no serving runs"):
        serving_runs.export(write(tmp_path, GOOD), "l40s", "l40s")


def test_the_package_itself_holds_the_351_runs_of_blank_precision() -> None:
    pytest.importorskip("aiconfigurator_core")
    from gpu_validate.silicon import tables

    path = tables.systems().parent / "silicon_sample.csv"
    frame = serving_runs.runs(path, "h100-sxm", "h100_sxm")
    blank = frame[frame["precision"] == serving_runs.NOTE_BLANK]
    assert len(blank) == 351 - 20  # 20 are saturated
    assert set(blank["dtype"]) == {"bfloat16"}
