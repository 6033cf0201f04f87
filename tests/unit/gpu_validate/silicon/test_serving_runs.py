"""Serving runs of aiconfigurator-core as tidy rows: which are kept, and why the others are left out."""

from pathlib import Path

import pytest

from gpu_validate.silicon import serving_runs
from scylla_sim.checks import InputError

HEADER = (
    "silicon_data_source,backend,backend_version,model_path,system,precision,mode,isl,osl,gemm_quant_mode,batch_size,"
    "tp_size,pp_size,attention_dp_size,moe_tp_size,moe_ep_size,silicon_ttft_ms,silicon_tpot_ms"
)
GOOD = "other.csv,vllm,0.12.0,Qwen/Qwen3-32B,h100_sxm,,agg,1024,128,,8,2,1,,,1,200,12.5"
LLAMA = "other.csv,sglang,0.5,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,fp8,agg,1024,128,fp8_block,8,1,1,1,,1,200,9"
H100 = {"h100-sxm": "h100_sxm"}
REASONS = {
    "saturated: first token after more than 5 s": GOOD.replace(",200,", ",5001,").replace(",8,2,", ",64,2,"),
    "data-parallel attention": GOOD.replace(",8,2,1,,", ",8,2,1,4,"),
    "expert parallelism": GOOD.replace(",,1,200", ",,2,200"),
    "pipeline parallelism": GOOD.replace(",8,2,1,,", ",8,2,2,,"),
    "several nodes": GOOD.replace(",8,2,1,,", ",8,16,1,,"),
    "model is not known": GOOD.replace("Qwen/Qwen3-32B", "a/Model"),
    "the same numbers as another row": GOOD.replace("0.12.0", "0.13.0"),
    "another summary of runs of InferenceX": GOOD.replace(
        "other.csv", "source_file=kimi-k2.5-gap-analysis.csv"
    ).replace("12.5", "12.6"),
}
OTHERS = {
    "disaggregated": GOOD.replace("agg", "disagg"),
    "another device": GOOD.replace("h100_sxm", "gb200"),
}


def write(folder: Path, *lines: str) -> Path:
    (folder / "silicon_sample.csv").write_text("\n".join((HEADER, *lines)) + "\n")
    return folder


def test_a_run_keeps_its_numbers_and_says_that_its_precision_was_blank(tmp_path: Path) -> None:
    kept, _ = serving_runs.export(write(tmp_path, GOOD), H100)
    row = kept.iloc[0]
    assert (row["device"], row["framework"], row["engine"], row["model"], row["dtype"]) == (
        *("h100-sxm", "vllm", "vllm-2025", "qwen3-32b"),
        "bfloat16",
    )
    assert (row["tp"], row["batch"], row["input_len"], row["output_len"]) == (2, 8, 1024, 128)
    assert (row["tpot_ms"], row["ttft_ms"], row["documented"]) == (12.5, 200, "no")
    assert row["note"] == serving_runs.NOTE_BLANK
    assert "aiconfigurator-core" in row["source"]


def test_the_catalog_or_the_files_of_the_package_name_the_model(tmp_path: Path) -> None:
    minimax = GOOD.replace("Qwen/Qwen3-32B", "MiniMaxAI/MiniMax-M2.5").replace("h100_sxm,", "h100_sxm,fp8")
    kept, _ = serving_runs.export(write(tmp_path, LLAMA, minimax), H100)
    assert kept["dtype"].tolist() == ["fp8_block", ""]
    assert kept["model"].tolist() == [
        "llama-3.1-8b",
        str(tmp_path.parent / "model_configs/MiniMaxAI--MiniMax-M2.5_config.json"),
    ]


@pytest.mark.parametrize("reason", REASONS)
def test_runs_that_are_not_comparable_are_left_out_with_a_reason(tmp_path: Path, reason: str) -> None:
    kept, left_out = serving_runs.export(write(tmp_path, GOOD, REASONS[reason]), H100)
    assert (len(kept), left_out["excluded"].tolist()) == (1, [reason])


def test_more_gpus_of_experts_than_of_attention_mean_copies_of_attention(tmp_path: Path) -> None:
    """The labels of Qwen3-235B on H200: attention on 1 GPU, experts on 4, and no number of copies."""
    copied = GOOD.replace(",8,2,1,,,1,", ",8,1,1,,4,1,")
    kept, left_out = serving_runs.export(write(tmp_path, GOOD, copied), H100)
    assert (len(kept), left_out["excluded"].tolist()) == (1, ["data-parallel attention"])


@pytest.mark.parametrize("why", OTHERS)
def test_other_runs_are_not_read(tmp_path: Path, why: str) -> None:
    kept, left_out = serving_runs.export(write(tmp_path, GOOD, OTHERS[why]), H100)
    assert (len(kept), len(left_out)) == (1, 0)


def test_of_two_copies_the_one_with_documented_arrivals_is_kept(tmp_path: Path) -> None:
    documented = GOOD.replace("other.csv", "source_file=2026-04-06.csv; measured=2026-03-01T00:00:00Z")
    kept, left_out = serving_runs.export(write(tmp_path, GOOD, documented), H100)
    assert (kept["documented"].tolist(), len(left_out)) == (["yes"], 1)


def test_a_configuration_that_ran_twice_counts_once_by_its_median(tmp_path: Path) -> None:
    kept, _ = serving_runs.export(write(tmp_path, GOOD, GOOD.replace("12.5", "13.5")), H100)
    assert (kept["tpot_ms"].tolist(), kept["repeats"].tolist()) == ([13.0], [2])


def test_engine_and_dtype_select(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD, LLAMA)
    assert serving_runs.export(folder, H100, framework="vllm")[0]["framework"].tolist() == ["vllm"]
    assert serving_runs.export(folder, H100, dtypes=["fp8_block"])[0]["framework"].tolist() == ["sglang"]
    with pytest.raises(InputError, match="framework='trtllm' is not known"):
        serving_runs.export(folder, H100, framework="trtllm")
    with pytest.raises(InputError, match="dtype='fp8' is not known"):
        serving_runs.export(folder, H100, dtypes=["fp8"])


def test_a_device_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device='l40s' has no serving runs"):
        serving_runs.export(write(tmp_path, GOOD), {"l40s": "l40s"})


def test_the_package_itself_holds_3619_aggregated_runs() -> None:
    pytest.importorskip("aiconfigurator_core")
    from gpu_validate.silicon import tables

    kept, left_out = serving_runs.export(tables.systems().parent, dict(tables.DEVICES))
    assert int(kept["repeats"].sum()) + len(left_out) == 3619
    vllm = int(kept.loc[kept["framework"] == "vllm", "repeats"].sum()) + int(
        (left_out["framework"] == "vllm").sum()
    )
    assert vllm == 1328
    assert (left_out["excluded"] != "model is not known").all()
