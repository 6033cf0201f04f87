"""Rows of other people's kernels: which regime each belongs to, and how many of each are sampled."""

from __future__ import annotations

import pytest

pd = pytest.importorskip("pandas")
from gpu_validate.silicon import sampling, tables  # noqa: E402
from scylla_sim.checks import InputError  # noqa: E402


def attention(**columns: object) -> pd.DataFrame:
    shape = {"device": "h100-sxm", "kv_dtype": "fp8", "batch": 1, "num_kv_heads": 8, "head_dim": 128, "window": 0}
    return pd.DataFrame({**shape, **columns})


def test_a_cache_beyond_the_l2_is_told_from_one_inside() -> None:
    # H100: 50 MiB of L2; 2 x 8 heads x 128 elements of one byte are 2048 bytes a token
    tokens = 1.5 * 50 * 2**20 / 2048
    frame = attention(kv_len=[tokens - 1, tokens + 1, tokens + 1], window=[0, 0, 1024])
    assert sampling.regime(frame, "decode_attention").tolist() == ["in_l2", "beyond_l2", ""]


def test_messages_and_experts_have_regimes_by_size() -> None:
    sizes = pd.DataFrame({"bytes": [4096, 8192, 2**24, 2**25]})
    assert sampling.regime(sizes, "all_reduce").tolist() == ["", "message", "message", "bulk"]
    moved = pd.DataFrame({"device": "h100-sxm", "bytes": [75 * 2**20, 75 * 2**20 + 1]})
    assert sampling.regime(moved, "elementwise").tolist() == ["in_l2", "beyond_l2"]
    tokens = pd.DataFrame({"num_tokens": [1, 512, 513, 16384]})
    assert sampling.regime(tokens, "experts").tolist() == ["drafting", "drafting", "large", ""]


def test_prefills_have_regimes_by_their_new_tokens() -> None:
    frame = attention(batch=[1, 4, 4, 8, 9, 64], q_len=[511, 128, 128, 4096, 4096, 15], window=[0, 0, 64, 0, 0, 0])
    regimes = ["short", "prompts", "", "prompts", "", ""]
    assert sampling.regime(frame, "context_attention").tolist() == regimes


def test_rows_of_fresh_prompts_are_read_with_their_lengths() -> None:
    pytest.importorskip("aiconfigurator_core")
    frame = tables.read("a100-sxm", "context_attention")
    assert len(frame) > 5000 and (frame["kv_len"] == frame["q_len"]).all()


def test_gemms_of_other_weights_have_a_regime_beyond_512_rows() -> None:
    sizes = {"m": [512, 513, 513, 512, 513, 8192, 16384, 4096], "n": [4096, 4096, *[256] * 5, 65536]}
    frame = pd.DataFrame({**sizes, "k": [4096, 4096, 4096, 4096, 128, 65536, 4096, 65536]})
    assert sampling.regime(frame, "gemm").tolist() == ["drafting", "large", "wide", "", "", "wide", "", ""]


def test_an_eighth_of_the_sampled_gemms_has_many_rows_and_another_eighth_other_weights_too() -> None:
    frame = pd.DataFrame({"dtype": "fp8", "kernel_source": "x", "m": range(1500)})
    frame["regime"] = ["drafting"] * 500 + ["large"] * 500 + ["wide"] * 500
    counts = sampling.sample(frame, "gemm", 256, 0)["regime"].value_counts().to_dict()
    assert counts["wide"] >= 32 and counts["large"] >= 32
    assert sum(counts.values()) == 256


def test_half_of_the_sampled_attention_reads_from_memory_while_there_is_enough_of_it() -> None:
    frame = attention(kv_len=range(1000), dtype="bfloat16", kernel_source="fa3")
    frame["regime"] = ["beyond_l2"] * 100 + ["in_l2"] * 900
    counts = sampling.sample(frame, "decode_attention", 64, 0)["regime"].value_counts()
    assert counts.to_dict() == {"beyond_l2": 32, "in_l2": 32}
    counts = sampling.sample(frame, "decode_attention", 400, 0)["regime"].value_counts()
    assert counts.to_dict() == {"in_l2": 300, "beyond_l2": 100}
    again = sampling.sample(frame, "decode_attention", 64, 0)
    assert again.equals(sampling.sample(frame, "decode_attention", 64, 0))


def test_experts_of_two_matrices_are_left_out() -> None:
    pytest.importorskip("aiconfigurator_core")
    frame = tables.read("h100-sxm", "experts")
    assert (frame["groups"] <= frame["num_experts"]).all()
    assert set(frame["dtype"]) == set(tables.EXPERT_DTYPES)
    assert not (frame["hidden_size"] == 2688).any()  # Nemotron 3 Nano, whose MLP is not gated


def test_even_loads_are_fitted_and_uneven_ones_only_scored_where_there_are_both() -> None:
    pytest.importorskip("aiconfigurator_core")
    seen = {
        (device, part): set(sampling.export(device, "experts", part=part)["distribution"])
        for device in ("h100-sxm", "a100-sxm")
        for part in ("train", "test")
    }
    uneven = {"power_law_1.01", "power_law_1.2"}
    assert seen["h100-sxm", "train"] == {"balanced"}
    assert seen["h100-sxm", "test"] == {"balanced", *uneven}
    assert seen["a100-sxm", "train"] == seen["a100-sxm", "test"] == uneven


def test_balanced_rows_of_a_router_that_is_limited_to_groups_are_left_out() -> None:
    pytest.importorskip("aiconfigurator_core")
    frame = tables.read("h100-sxm", "experts")
    deepseek = frame[(frame["hidden_size"] == 7168) & (frame["num_experts"] == 256)]
    assert set(deepseek["distribution"]) == {"power_law_1.01", "power_law_1.2"}


def test_held_out_models_share_no_shape_with_training() -> None:
    pytest.importorskip("aiconfigurator_core")
    by = sampling.SPLIT_BY["experts"]
    train, test = (sampling.export("h100-sxm", "experts", part=part) for part in ("train", "test"))
    assert not set(map(tuple, train[by].to_numpy())) & set(map(tuple, test[by].to_numpy()))


def test_block_scaled_gemms_come_from_the_framework_that_timed_them_in_a_graph() -> None:
    pytest.importorskip("aiconfigurator_core")
    default, asked = tables.read("l40s", "gemm"), tables.read("l40s", "gemm", framework="vllm")
    source = default.groupby("dtype")["framework"].unique().map(list).to_dict()
    assert source == {"bfloat16": ["vllm"], "fp8": ["vllm"], "fp8_block": ["trtllm"]}
    assert set(asked["framework"]) == {"vllm"}
    fastest = [frame.loc[frame["dtype"] == "fp8_block", "latency_ms"].min() for frame in (default, asked)]
    assert fastest[0] < 0.01 < 0.2 < fastest[1]
    keys = tables.KEYS["gemm"]
    assert default[keys].equals(default[keys].sort_values(keys))


def test_attention_of_sglang_is_one_kernel_of_each_kv_dtype_and_head_size() -> None:
    pytest.importorskip("aiconfigurator_core")
    frame = tables.read("b200-sxm", "decode_attention", framework="sglang")
    kernels = frame.groupby(["kv_dtype", "head_dim"])["kernel_source"].unique()
    assert all(len(names) == 1 for names in kernels)
    assert kernels["bfloat16", 128][0] == "trtllm_mha"


def test_what_was_not_measured_on_a_gpu_is_named() -> None:
    pytest.importorskip("aiconfigurator_core")
    with pytest.raises(InputError, match="op='elementwise' was not measured on a100-sxm"):
        tables.read("a100-sxm", "elementwise")


def test_low_bit_types_are_read_on_request_only() -> None:
    asked = sampling.export("a100-sxm", "gemm", dtypes=["int4_wo"])
    assert set(asked["dtype"]) == {"int4_wo"} and set(asked["framework"]) == {"trtllm"}
    assert (asked["calls_per_graph"] == 0).all()
    assert "int4_wo" not in set(sampling.export("a100-sxm", "gemm")["dtype"])
    with pytest.raises(InputError, match="device='h100-sxm' is not known"):
        sampling.export("h100-sxm", "gemm", dtypes=["int4_wo"])


def exported(part: str, rows: int | None = None) -> pd.DataFrame:
    return sampling.export("h100-sxm", "experts", part=part, rows=rows, dtypes=["int4_wo", "mxfp4"])


def test_slices_of_gpt_oss_alternate_between_fit_and_score() -> None:
    """2880 wide experts on 1, 2, 4 and 8 GPUs; 128 experts in the larger model and 32 in the smaller one."""
    pytest.importorskip("aiconfigurator_core")
    fitted, scored = (
        {(n, w) for n, w, t in exported(part)[["num_experts", "inter_size", "dtype"]].to_numpy() if t == "mxfp4"}
        for part in ("train", "test")
    )
    assert fitted == {(128, 2880), (128, 720), (32, 1440), (32, 360)}
    assert scored == {(128, 1440), (128, 360), (32, 2880), (32, 720)}


def test_low_bit_experts_are_fitted_to_as_many_rows_of_each_distribution() -> None:
    pytest.importorskip("aiconfigurator_core")
    counts = exported("train", rows=50).groupby(["dtype", "distribution"]).size()
    assert set(counts.index.get_level_values("distribution")) == {"balanced", "power_law_1.01", "power_law_1.2"}
    assert set(counts) == {50}


def test_a_second_framework_repeats_the_same_kind_of_kernel_only() -> None:
    pytest.importorskip("aiconfigurator_core")
    again = exported("repeat")
    assert set(again["dtype"]) == {"int4_wo"} and set(again["framework"]) == {"vllm"}
    assert again["kernel_source"].str.contains("marlin").all()
    with pytest.raises(InputError, match="part='repeat' has no rows: no two frameworks measured these kernels"):
        sampling.export("a100-sxm", "gemm", part="repeat", dtypes=["int4_wo"])
