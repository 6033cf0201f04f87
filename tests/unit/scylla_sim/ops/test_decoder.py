"""Operations of decoder layers against hand-counted FLOPs and bytes."""

from dataclasses import replace

import pytest

from scylla_sim.checks import InputError
from scylla_sim.ops import forward
from scylla_sim.ops import op as ops_op
from scylla_sim.specs import catalog, dtypes
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
