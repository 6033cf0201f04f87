"""Operations of decoder layers against hand-counted FLOPs and bytes."""

from dataclasses import replace

import pytest
from hf_configs import NEMOTRON, read

from scylla_sim.checks import InputError
from scylla_sim.ops import forward
from scylla_sim.ops import op as ops_op
from scylla_sim.specs import catalog, dtypes
from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.layers import MLA, MoE

MIXTRAL = catalog.model("mixtral-8x7b")
DEEPSEEK = catalog.model("deepseek-v3")
GPT_OSS = catalog.model("gpt-oss-120b")


def by_name(model, **shape):
    return {op.name: op for op in forward.forward_ops(model, **shape)}


def test_one_token_reads_the_experts_it_is_routed_to():
    ops = by_name(MIXTRAL, batch=1, context=1)
    up, down = ops["expert_gate_up"], ops["expert_down"]
    weights = 2 * 32 * 2 * 3 * 4096 * 14336  # bf16, layers, experts, matrices
    rows = 2 * 32 * 2 * (4096 + 2 * 14336 + 14336 + 4096)  # operands and results of two experts
    assert float(
        up.memory_bytes("bfloat16", "bfloat16") + down.memory_bytes("bfloat16", "bfloat16")
    ) == pytest.approx(weights + rows)
    assert float(up.flops() + down.flops()) == 32 * 2 * 2 * 3 * 4096 * 14336


def test_a_full_batch_reads_every_expert_once():
    op = by_name(MIXTRAL, batch=512, context=1)["expert_gate_up"]
    assert float(op.columns["groups"]) == pytest.approx(8)
    assert float(op.columns["m"]) == 1024


@pytest.mark.parametrize("name", ["mixtral-8x7b", "deepseek-v3", "gpt-oss-20b"])
def test_gemm_flops_of_one_token_are_twice_the_active_weights(name):
    model = catalog.model(name)
    gemms = [op for op in forward.forward_ops(model, batch=1, context=1) if op.kind.endswith("gemm")]
    assert sum(float(op.flops()) for op in gemms) == 2 * (model.active_parameters - model.head_parameters)


def test_ranks_hold_a_slice_of_every_expert():
    one, four = (by_name(MIXTRAL, batch=4, context=64, tp=tp)["expert_down"] for tp in (1, 4))
    assert float(four.flops()) * 4 == float(one.flops())
    assert float(four.columns["groups"]) == float(one.columns["groups"])
    with pytest.raises(InputError, match="tp=32 must divide expert intermediate_size=720"):
        forward.check_tensor_parallel(replace(GPT_OSS, moe=MoE(128, 4, 720)), 32)


def test_deepseek_has_dense_first_layers_and_shared_experts():
    ops = by_name(DEEPSEEK, batch=1, context=1)
    assert ops["gate_up_proj"].count == 3
    assert ops["expert_gate_up"].count == ops["shared_gate_up_proj"].count == 58
    assert float(ops["shared_gate_up_proj"].columns["n"]) == 2 * 2048


def test_mla_flops_and_bytes_of_the_absorbed_form():
    batch, context, n = 3.0, 1000.0, 4.0
    op = by_name(DEEPSEEK, batch=batch, context=context, tokens=n)["attention"]
    flops = 2 * 61 * batch * context * n * 128 * ((512 + 64) + 512)
    cache = 2 * 61 * batch * context * (512 + 64)
    queries = 2 * 61 * batch * n * 128 * ((512 + 64) + 512)
    assert op.kind == "latent_attention"
    assert float(op.flops()) == pytest.approx(flops)
    assert float(op.memory_bytes("bfloat16", "bfloat16")) == pytest.approx(cache + queries)


def test_mla_without_query_rank_has_one_query_projection():
    lite = replace(DEEPSEEK, mla=MLA(512, 64, 128, 128))
    ops = by_name(lite, batch=1, context=1)
    assert float(ops["q_proj"].columns["n"]) == 128 * 192
    assert float(ops["kv_a_proj"].columns["n"]) == 576


def test_attention_ops_are_grouped_by_window():
    ops = by_name(GPT_OSS, batch=1, context=10000, tokens=4)
    size = dtypes.element_bytes("bfloat16")
    local, all_of_it = ops["attention_window_128"], ops["attention"]
    assert local.count == all_of_it.count == 18
    assert float(ops_op.kv_bytes(all_of_it.columns, size)) == 2 * 2 * 10000 * 8 * 64
    assert float(ops_op.kv_bytes(local.columns, size)) == 2 * 2 * (128 + 3) * 8 * 64  # four windows overlap
    assert float(local.flops()) == 18 * 4 * 64 * 4 * 128 * 64


# -- Linear attention ------------------------------------------------------------------------------------------


HYBRID = read("qwen3_next", mamba_ssm_dtype="float32")


@pytest.mark.parametrize("kind", ["qwen3_next", "qwen3_5_text", "mimo_v2_flash", "apertus", "llama4_text"])
def test_gemm_flops_of_one_token_are_twice_the_active_weights_of_every_family(kind):
    model = read(kind)
    gemms = [op for op in forward.forward_ops(model, batch=1, context=1) if op.kind.endswith("gemm")]
    convolution = model.linear.layers * model.linear.conv_width * 4 if model.linear else 0
    expected = model.active_parameters - model.head_parameters - convolution
    assert sum(float(op.flops()) for op in gemms) == 2 * expected


def test_state_is_read_once_and_written_once_per_token():
    state, convolution = 4.0 * 4 * 8 * 8, 2.0 * 3 * (2 * 2 * 8 + 4 * 8)
    one = by_name(HYBRID, batch=5, context=64)["linear_state"]
    assert one.kind == "state_update" and one.count == 4
    assert float(one.columns["bytes"]) == 5 * 2 * (state + convolution)
    four = by_name(HYBRID, batch=5, context=64, tokens=4)["linear_state"]
    assert float(four.columns["bytes"]) == 5 * (1 + 4) * (state + convolution)
    assert float(four.flops()) == 4 * 5 * 4 * 7 * (4 * 8 * 8)


def test_states_do_not_grow_with_the_context_but_the_cache_does():
    short, long = (by_name(HYBRID, batch=1, context=s) for s in (64, 4096))
    assert float(short["linear_state"].columns["bytes"]) == float(long["linear_state"].columns["bytes"])
    assert long["attention"].count == 2
    ratio = long["attention"].flops() / short["attention"].flops()
    assert float(ratio) == 64


def test_prefill_writes_states_by_chunk():
    def states(tokens):
        op = by_name(HYBRID, batch=1, context=1, tokens=tokens)["linear_state"]
        return float(op.columns["bytes"]) / HYBRID.linear.sequence_bytes - 1

    assert [states(n) for n in (8, 64, 2048, 8192)] == [8, 64, 64, 128]


def test_output_gate_widens_the_query_projection():
    ops = by_name(HYBRID, batch=1, context=1)
    assert float(ops["qkv_proj"].columns["n"]) == 16 * (2 * 4 + 2 * 2)
    assert "output_gate" in ops and "output_gate" not in by_name(read("qwen3"), batch=1, context=1)


def test_every_rank_has_its_heads_of_the_state():
    one, two = (by_name(HYBRID, batch=1, context=1, tp=tp)["linear_state"] for tp in (1, 2))
    assert float(one.columns["bytes"]) == 2 * float(two.columns["bytes"])
    with pytest.raises(InputError, match="tp=4 must divide linear key heads=2"):
        forward.check_tensor_parallel(HYBRID, 4)


# -- Layers of several shapes, sparse attention, latent experts ------------------------------------------------


def test_layers_of_two_shapes_have_their_own_projections():
    ops = by_name(read("mimo_v2_flash"), batch=3, context=1024)
    assert (ops["sliding_qkv_proj"].count, ops["full_qkv_proj"].count) == (4, 2)
    full = ops["attention"]
    assert float(full.flops()) == 2 * 3 * 2 * 4 * 1024 * (
        24 + 16
    )  # layers, batch, multiply-add, heads, keys, widths
    moved = full.memory_bytes("bfloat16", "bfloat16")
    assert float(moved) == 2 * 3 * (2 * 1024 * 2 * (24 + 16) + 2 * 4 * (24 + 16))


def test_sparse_attention_reads_the_tokens_that_each_query_picked():
    model = read("deepseek_v32")  # picks 64 tokens
    ops = by_name(model, batch=3, context=4096, tokens=2)
    attention, index = ops["attention"], ops["index_scores"]
    assert attention.kind == "sparse_attention"
    assert float(attention.flops()) == 6 * 2 * (3 * 2) * 4 * 64 * (2 * 16 + 4)
    assert float(index.flops()) == 6 * 2 * 3 * 2 * 2 * 4096 * 16
    assert float(by_name(model, batch=3, context=32)["attention"].columns["kv_len"]) == 32


def test_latent_experts_run_between_two_projections():
    model = replace(read("glm4_moe"), moe=replace(read("glm4_moe").moe, latent_size=16))
    ops = by_name(model, batch=1, context=1)
    assert float(ops["expert_gate_up"].columns["k"]) == float(ops["expert_down"].columns["n"]) == 16
    assert float(ops["latent_down_proj"].columns["n"]) == float(ops["latent_up_proj"].columns["k"]) == 16
    gemms = [op for op in ops.values() if op.kind.endswith("gemm")]
    assert sum(float(op.flops()) for op in gemms) == 2 * (model.active_parameters - model.head_parameters)


def test_each_sublayer_of_nemotron_h_has_one_norm_and_one_all_reduce():
    model = model_from_config("n", NEMOTRON)
    ops = by_name(model, batch=1, context=1, tp=2)
    assert ops["norms"].count == ops["all_reduce"].count == 4
    assert ops["up_proj"].count == ops["router"].count == ops["linear_state"].count == ops["attention"].count == 1
    assert "gate_up_proj" not in ops


def test_every_rank_runs_the_whole_router():
    ops = {op.name: op for op in forward.forward_ops(catalog.model("mixtral-8x7b"), batch=1, context=10, tp=2)}
    assert float(ops["router"].columns["n"]) == 8.0
