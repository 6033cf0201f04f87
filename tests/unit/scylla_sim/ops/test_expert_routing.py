"""Mixtures of experts, sliding windows and latent attention against counts by hand and numbers in print."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, op_time
from scylla_sim.checks import InputError
from scylla_sim.cli import main
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.moe import expert_gemm_seconds
from scylla_sim.ops import forward, memory
from scylla_sim.ops import op as ops_op
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.expert_routing import (
    distinct_experts,
    even_loads,
    filled_tiles,
    routed_loads,
    routing_probabilities,
)
from scylla_sim.ops.op import Op
from scylla_sim.prediction import roofline
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs import catalog, dtypes
from scylla_sim.specs.model import MLA, MoE

NONE = catalog.draft("none")
MIXTRAL = catalog.model("mixtral-8x7b")
DEEPSEEK = catalog.model("deepseek-v3")
GPT_OSS = catalog.model("gpt-oss-120b")


def by_name(model, **shape):
    return {op.name: op for op in forward.forward_ops(model, **shape)}


@pytest.mark.parametrize(
    ("name", "total", "active", "embedding_counted"),
    [  # billions: Mixtral arXiv 2401.04088 and mistral.ai, Qwen3 arXiv 2505.09388, gpt-oss model card (arXiv
        # 2508.10925, table 1: the embedding is not active), DeepSeek-V3 arXiv 2412.19437
        ("mixtral-8x7b", 46.7, 12.9, True),
        ("qwen3-30b-a3b", 30.5, 3.3, True),
        ("qwen3-235b-a22b", 235, 22, True),
        ("gpt-oss-20b", 20.91, 3.61, False),
        ("gpt-oss-120b", 116.83, 5.13, False),
        ("deepseek-v3", 671, 37, True),
    ],
)
def test_parameters_are_those_in_print(name, total, active, embedding_counted):
    model = catalog.model(name)
    assert model.parameters / 1e9 == pytest.approx(total, rel=0.002)
    met = model.active_parameters - (0 if embedding_counted else model.head_parameters)
    assert met / 1e9 == pytest.approx(active, rel=0.017)


def test_every_weight_of_a_dense_model_is_active():
    dense = catalog.model("qwen2.5-72b")
    assert dense.active_parameters == dense.parameters


def test_experts_are_collected_like_coupons():
    rng = np.random.default_rng(0)
    experts = MoE(num_experts=64, experts_per_token=6, intermediate_size=1)
    drawn = [len({i for _ in range(9) for i in rng.choice(64, 6, replace=False)}) for _ in range(4000)]
    assert float(distinct_experts(experts, 9)) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 4000**0.5)


def test_a_router_skewed_without_bound_sends_every_token_to_the_same_experts():
    experts = MoE(num_experts=16, experts_per_token=2, intermediate_size=1, router_skew=8.0)
    assert float(distinct_experts(experts, 50)) < 3.1
    probabilities = routing_probabilities(experts)
    assert probabilities[0] == 1.0
    assert probabilities.sum() == pytest.approx(2.0)


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


def test_the_first_layers_of_deepseek_are_dense_and_the_others_have_a_shared_expert():
    ops = by_name(DEEPSEEK, batch=1, context=1)
    assert ops["gate_up_proj"].count == 3
    assert ops["expert_gate_up"].count == ops["shared_gate_up_proj"].count == 58
    assert float(ops["shared_gate_up_proj"].columns["n"]) == 2 * 2048


def test_latent_cache_keeps_one_vector_a_token_and_layer():
    assert DEEPSEEK.kv_elements_per_token == (512 + 64) * 61
    held = memory.resident_bytes(DEEPSEEK, NONE, batch=[0.5, 1.5], context=1000, tp=1)
    assert held[1] - held[0] == pytest.approx(2 * (512 + 64) * 61 * 1000)
    ranks = memory.resident_bytes(DEEPSEEK, NONE, batch=[0.5, 1.5], context=1000, tp=8)
    assert ranks[1] - ranks[0] == pytest.approx(held[1] - held[0])  # every rank keeps the whole cache


def test_latent_attention_moves_the_bytes_and_flops_of_the_absorbed_form():
    batch, context, n = 3.0, 1000.0, 4.0
    op = by_name(DEEPSEEK, batch=batch, context=context, tokens=n)["attention"]
    flops = 2 * 61 * batch * context * n * 128 * ((512 + 64) + 512)
    cache = 2 * 61 * batch * context * (512 + 64)
    queries = 2 * 61 * batch * n * 128 * ((512 + 64) + 512)
    assert op.kind == "latent_attention"
    assert float(op.flops()) == pytest.approx(flops)
    assert float(op.memory_bytes("bfloat16", "bfloat16")) == pytest.approx(cache + queries)


def test_latent_model_without_a_query_rank_projects_queries_whole():
    lite = replace(DEEPSEEK, mla=MLA(512, 64, 128, 128))
    ops = by_name(lite, batch=1, context=1)
    assert float(ops["q_proj"].columns["n"]) == 128 * 192
    assert float(ops["kv_a_proj"].columns["n"]) == 576


def test_local_and_global_layers_are_priced_by_their_window():
    ops = by_name(GPT_OSS, batch=1, context=10000, tokens=4)
    size = dtypes.element_bytes("bfloat16")
    local, all_of_it = ops["attention_window_128"], ops["attention"]
    assert local.count == all_of_it.count == 18
    assert float(ops_op.kv_bytes(all_of_it.columns, size)) == 2 * 2 * 10000 * 8 * 64
    assert float(ops_op.kv_bytes(local.columns, size)) == 2 * 2 * (128 + 3) * 8 * 64  # four windows overlap
    assert float(local.flops()) == 18 * 4 * 64 * 4 * 128 * 64


def test_a_window_bounds_the_cache_that_is_kept():
    held = [float(memory.resident_bytes(GPT_OSS, NONE, batch=1, context=s)) for s in (128, 10128)]
    assert held[1] - held[0] == 2 * 18 * (2 * 8 * 64) * 10000


@pytest.mark.parametrize("level", ["silicon", "theory"])
def test_a_mixture_of_experts_is_called_measured_where_it_was(level):
    a100 = device_calibration.shipped("a100-sxm")
    if level == "theory":
        a100 = replace(a100, kernels={op: part for op, part in a100.kernels.items() if op != "experts"})
    deployment = Deployment(a100, catalog.engine("ideal"))
    step = target_step(MIXTRAL, deployment, batch=[1, 64], context=1024)
    parts = {part.name: part for part in step.parts}
    assert step.evidence() == parts["expert_down"].evidence == level
    if level == "theory":
        wide, fitted = (parts[name].time.upper / parts[name].seconds for name in ("expert_down", "o_proj"))
        assert (wide > fitted).all()


@pytest.mark.parametrize(("dtype", "form"), [("bfloat16", "experts_layer"), ("fp8", "experts_padded")])
def test_two_expert_products_and_the_kernels_between_them_are_the_layer_that_was_measured(dtype, form):
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype=dtype),
        rates(catalog.hardware("h100-sxm"), dtype),
    )
    assert kernel.model.name == form
    names = ("num_tokens", "experts_per_token", "hidden_size", "inter_size")
    loads = even_loads(128.0, 8.0)
    layer = {name: np.array(value) for name, value in zip(names, (64.0, 2.0, 4096.0, 14336.0))} | loads
    products = sum(
        expert_gemm_seconds(kernel.model, kernel.parameters, {"m": np.array(128.0), "n": n, "k": k, **loads}, r)
        for n, k in ((2 * layer["inter_size"], layer["hidden_size"]), (layer["hidden_size"], layer["inter_size"]))
    )
    rest = float(kernel.seconds(layer, r)) - float(products)
    assert 3 * 1.5e-6 < rest < 0.05 * float(products)


def test_experts_that_fit_in_l2_are_warm_in_a_benchmark_and_cold_in_service():
    kernel, r = device_calibration.shipped("l40s").kernel("experts"), rates(catalog.hardware("l40s"), "bfloat16")
    cold = []
    for inter in (1792.0, 3584.0):  # 84 and 168 MiB of weights are touched; the L2 holds 96
        loads = even_loads(2.0, 2.0)
        layer = {"num_tokens": 1.0, "experts_per_token": 2.0, "hidden_size": 4096.0, "inter_size": inter, **loads}
        products = sum(
            float(expert_gemm_seconds(kernel.model, kernel.parameters, {"m": 2.0, "n": n, "k": k, **loads}, r))
            for n, k in ((2 * inter, 4096.0), (4096.0, inter))
        )
        cold.append(float(kernel.seconds(layer, r)) > products)
    assert cold == [False, True]


@pytest.mark.parametrize("dtype", ["bfloat16", "fp8"])
def test_more_experts_touched_cost_more(dtype):
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype=dtype),
        rates(catalog.hardware("h100-sxm"), dtype),
    )
    shape = {"m": np.array(256.0), "n": np.array(4096.0), "k": np.array(4096.0)}
    t = [
        float(expert_gemm_seconds(kernel.model, kernel.parameters, {**shape, **even_loads(256.0, g)}, r))
        for g in (8.0, 32.0, 128.0)
    ]
    assert t[0] < t[1] < t[2]


def test_part_filled_tiles_of_8_bit_experts_on_hopper_take_longer_than_full_ones():
    # aiconfigurator-core, H100, Mixtral-8x7B whole: 2245 us with 8 rows an expert, 1139 with 128, 3289 with 192
    kernel, r = (
        device_calibration.shipped("h100-sxm").kernel("experts", dtype="fp8"),
        rates(catalog.hardware("h100-sxm"), "fp8"),
    )
    columns = {"experts_per_token": 2.0, "hidden_size": 4096.0, "inter_size": 14336.0}
    few, full, more = (
        float(kernel.seconds({**columns, "num_tokens": 4.0 * rows, **even_loads(8.0 * rows, 8.0)}, r))
        for rows in (8, 128, 192)
    )
    assert few > 1.5 * full
    assert more == pytest.approx(few + full, rel=0.05)


@pytest.mark.parametrize("skew", [0.0, 1.3])
@pytest.mark.parametrize("rows", [4, 16])
def test_tiles_are_those_of_random_routings(skew, rows):
    rng = np.random.default_rng(1)
    experts = MoE(num_experts=12, experts_per_token=2, intermediate_size=1, router_skew=skew)
    drawn = rng.binomial(90, routing_probabilities(experts), size=(4000, 12))
    tiles = (-(-drawn // rows)).sum(axis=1)
    expected = float(filled_tiles(experts, 90, rows))
    assert expected == pytest.approx(tiles.mean(), abs=4 * tiles.std() / 4000**0.5)


def test_an_expert_that_takes_every_token_fills_its_tiles():
    experts = MoE(num_experts=4, experts_per_token=4, intermediate_size=1)
    assert filled_tiles(experts, [1, 64, 65, 200], 64).round(9).tolist() == [4, 4, 8, 16]
    loads = routed_loads(experts, [64.0, 65.0])
    assert loads["ragged"].tolist() == [4.0, 4.0]  # in service, whatever the fill


def test_a_skewed_router_fills_more_tiles_of_the_experts_it_meets():
    even, skewed = (MoE(128, 8, 768, router_skew=skew) for skew in (0.0, 1.0))
    assert filled_tiles(skewed, 16, 16) < filled_tiles(even, 16, 16)  # few rows: fewer experts
    per_expert = [
        float(routed_loads(e, 1024)["tiles_64"] / routed_loads(e, 1024)["groups"]) for e in (even, skewed)
    ]
    assert per_expert[1] > per_expert[0]


def test_a_group_of_one_costs_what_a_gemm_costs():
    shape = {name: np.array(value) for name, value in (("m", 64.0), ("n", 4096.0), ("k", 4096.0), ("groups", 1.0))}
    h100 = device_calibration.shipped("h100-sxm")
    one, grouped = (
        op_time.op_seconds(Op("x", kind, 1, shape), h100, dtype="bfloat16", kv_dtype="bfloat16")
        for kind in ("gemm", "grouped_gemm")
    )
    assert float(one.seconds.value) == float(grouped.seconds.value)


def test_heads_of_a_sparse_target_are_dense_unless_they_keep_its_experts():
    names = {
        name: {op.name for op in draft_ops(catalog.draft(name), DEEPSEEK, batch=1, context=10)}
        for name in ("eagle3", "mtp")
    }
    assert "expert_down" in names["mtp"] and "gate_up_proj" not in names["mtp"]
    assert "expert_down" not in names["eagle3"] and "qkv_a_second_input" in names["eagle3"]
    # the module of DeepSeek-V3 has 11.5 B weights of its own beside embedding and head (its repository's README)
    assert memory.draft_parameters(catalog.draft("mtp"), DEEPSEEK) / 1e9 == pytest.approx(11.5, rel=0.02)


def test_theorem_1_3_is_refused_where_bytes_are_not_linear_in_tokens():
    with pytest.raises(InputError, match="model='mixtral-8x7b' is a mixture of experts"):
        roofline.verify_work(MIXTRAL, batch=1, context=1024)
    assert float(roofline.verify_work(replace(DEEPSEEK, moe=None), batch=1, context=1024).flops) > 0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"moe": MoE(8, 2, 64, dense_layers=32)}, "dense_layers=32 must be below num_layers=32"),
        ({"windows": (128,)}, "windows=1 must have num_layers=32 entries"),
        ({"windows": (128,) * 32, "mla": MLA(8, 8, 8, 8)}, "cannot be combined with MLA"),
    ],
)
def test_models_that_cannot_be_are_refused(change, line):
    with pytest.raises(InputError, match=line):
        replace(MIXTRAL, **change)


def test_more_experts_a_token_than_there_are_is_refused():
    with pytest.raises(InputError, match="experts_per_token=9 exceeds num_experts=8"):
        MoE(8, 9, 64)
    with pytest.raises(InputError, match="router_skew=1 does not apply to llama-3.1-8b"):
        catalog.model("llama-3.1-8b").with_router_skew(1)


def test_a_skewed_router_speeds_up_both_verification_and_plain_decoding(capsys):
    def row(*more):
        argv = ["predict", "--hardware", "h100-sxm", "--model", "qwen3-30b-a3b", "--draft", "eagle3"]
        assert main([*argv, "--acceptance", "0.7", "--batch", "8", "--format", "json", *more]) == 0
        return json.loads(capsys.readouterr().out)["rows"][0]

    uniform, skewed = row(), row("--router-skew", "1")
    assert skewed["verify_s"] < uniform["verify_s"]
    assert skewed["plain_step_s"] < uniform["plain_step_s"]
    assert row("--router-skew", "0") == uniform
    assert uniform["evidence"] == "silicon"
