"""Weights, activations and KV cache of a deployment against hand-counted numbers and published KV pools."""

from dataclasses import replace

import numpy as np
import pytest
from hf_configs import read

from scylla_sim.ops import memory
from scylla_sim.ops.memory import MemoryPlan
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import MemoryUse

NONE = catalog.draft("none")
DEEPSEEK = catalog.model("deepseek-v3")
GPT_OSS = catalog.model("gpt-oss-120b")
LLAMA8 = catalog.model("llama-3.1-8b")
QWEN_MOE = catalog.model("qwen3-235b-a22b")
H100 = catalog.hardware("h100-sxm")
GIB = 2.0**30


def sequence_bytes(plan, context):
    return float(memory.sequence_bytes(replace(plan, slots=0), context))


def test_mla_cache_holds_one_vector_per_token_and_layer_on_every_rank():
    assert DEEPSEEK.kv_elements_per_token == (512 + 64) * 61
    for tp in (1, 8):
        assert sequence_bytes(MemoryPlan(DEEPSEEK, NONE, tp=tp), 1000) == pytest.approx(2 * (512 + 64) * 61 * 1000)


def test_a_window_bounds_the_cache_that_is_kept():
    short, long = (sequence_bytes(MemoryPlan(GPT_OSS, NONE), s) for s in (128, 10128))
    assert long - short == 2 * 18 * (2 * 8 * 64) * 10000


def test_kv_heads_below_the_ranks_are_replicated():
    one, eight, sixteen = (sequence_bytes(MemoryPlan(LLAMA8, NONE, tp=tp), 1000) for tp in (1, 8, 16))
    assert (eight, sixteen) == (one / 8, one / 8)


def test_a_sequence_has_one_slot_per_verified_token():
    plan = MemoryPlan(LLAMA8, NONE)
    more = float(memory.sequence_bytes(replace(plan, slots=4), 1000)) - sequence_bytes(plan, 1000)
    assert more == 4 * 2 * 32 * 2 * 8 * 128


def test_the_draft_head_caches_its_own_layer():
    plan = MemoryPlan(LLAMA8, NONE)
    head = replace(plan, draft=catalog.draft("eagle3"))
    assert sequence_bytes(head, 1000) == pytest.approx(sequence_bytes(plan, 1000) * 33 / 32)


def test_eagle3_head_of_llama_8b_has_the_size_of_the_released_one():
    # yuhuili/EAGLE3-LLaMA3.1-Instruct-8B is a file of 850 MB in 16 bits; embeddings are the target's
    head = memory.draft_parameters(catalog.draft("eagle3"), LLAMA8)
    assert head / 1e6 == pytest.approx(425, rel=0.02)


def test_scylla_heads_grow_by_one_decoder_layer_each():
    sizes = [memory.draft_parameters(catalog.draft(f"scylla-{n}l"), LLAMA8) for n in (1, 2, 5)]
    assert sizes[1] - sizes[0] == LLAMA8.layer_parameters
    assert sizes[2] - sizes[1] == 3 * LLAMA8.layer_parameters


def test_states_of_linear_attention_do_not_grow_with_the_context():
    model = read("qwen3_next", mamba_ssm_dtype="float32")
    plan = MemoryPlan(model, NONE)
    cache = 2 * 2 * 2 * 2 * 16  # bytes, layers, keys and values, KV heads, head size
    assert sequence_bytes(plan, 2000) - sequence_bytes(plan, 1000) == 1000 * cache
    assert sequence_bytes(plan, 1000) == 1000 * cache + 4 * model.linear.sequence_bytes


def test_linear_attention_keeps_one_state_per_slot_of_a_cycle():
    plan = MemoryPlan(read("qwen3_next", mamba_ssm_dtype="float32"), NONE)
    one, four = (float(memory.sequence_bytes(replace(plan, slots=n), 1000)) for n in (1, 4))
    assert four - one == 3 * (plan.target.state_bytes + 2 * 2 * 2 * 2 * 16)


def test_layers_of_each_shape_have_their_own_cache():
    plan = MemoryPlan(read("mimo_v2_flash"), NONE)
    held = [sequence_bytes(plan, context) for context in (64, 128, 1128)]
    assert held[1] - held[0] == 64 * 2 * (4 * 4 + 2 * 2) * (24 + 16)
    assert held[2] - held[1] == 1000 * 2 * 2 * 2 * (24 + 16)  # only full layers grow


def test_draft_weights_have_their_own_precision():
    plan = MemoryPlan(LLAMA8, catalog.draft("eagle3"), dtype="fp8", draft_dtype="fp8")
    head = memory.draft_parameters(plan.draft, LLAMA8)
    more = memory.weight_bytes(replace(plan, draft_dtype="bfloat16")) - memory.weight_bytes(plan)
    assert more == pytest.approx(head)


@pytest.mark.parametrize(
    ("model", "dtype", "tp", "gib"),
    [
        ("llama-3-8b", "bfloat16", 1, 14.96),  # vllm-project/vllm #10511: "model weights take 14.96GiB"
        ("llama-3-8b", "bfloat16", 2, 7.48),  # same log with two ranks
        # RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8: 8.03 B parameters, of which 1.05 B stay in 16 bits
        ("llama-3.1-8b", "fp8", 1, (6.98e9 + 2 * 1.05e9) / GIB),
    ],
)
def test_weights_take_the_memory_that_engines_report(model, dtype, tp, gib):
    plan = MemoryPlan(catalog.model(model), NONE, tp=tp, dtype=dtype)
    assert memory.weight_bytes(plan) / GIB == pytest.approx(gib, rel=0.005)


POOLS = [
    # hardware, engine, share, model, dtype, tp, GiB per GPU, source
    ("h100-sxm", "vllm-2025", None, QWEN_MOE, "fp8_block", 4, 8.11, "vllm-project/vllm #21348"),
    ("h100-sxm", "sglang", None, QWEN_MOE, "fp8_block", 4, 16.46, "vllm-project/vllm #21348"),
    ("h100-sxm", "sglang", 0.93, QWEN_MOE, "fp8_block", 4, 16.46, "vllm-project/vllm #21348"),
    ("h100-sxm", "vllm-2025", 0.9, catalog.model("llama-3-8b"), "bfloat16", 1, 53.29, "vllm-project/vllm #10511"),
    ("h100-sxm", "vllm-2025", 0.9, catalog.model("llama-3-8b"), "bfloat16", 2, 58.97, "vllm-project/vllm #10511"),
    ("rtx-3090", "vllm-2025", 0.9, LLAMA8, "bfloat16", 1, 3.81, "vllm-project/vllm #10517, context of 20,000"),
    ("rtx-3090", "vllm-2025", 0.9, LLAMA8, "bfloat16", 1, 2.89, "vllm-project/vllm #10517, context of 29,000"),
    # 7,351 blocks of 16 tokens at 0.5 MiB, and 20,865 blocks at 80 KiB on each of four GPUs
    ("a100-sxm", "vllm-2023", 0.9, catalog.model("llama-2-7b"), "bfloat16", 1, 57.43, "vllm-project/vllm #2031"),
    ("a100-sxm", "vllm-2023", 0.9, catalog.model("llama-2-70b"), "bfloat16", 4, 25.47, "vllm-project/vllm #2031"),
    # 158,656 tokens at 128 KiB
    ("l40s", "vllm-2025", None, LLAMA8, "bfloat16", 1, 19.37, "vllm-project/vllm #17122"),
]


@pytest.mark.parametrize(("hardware", "engine", "share", "model", "dtype", "tp", "gib", "source"), POOLS)
def test_published_pools_lie_in_the_range(hardware, engine, share, model, dtype, tp, gib, source):
    use = catalog.engine(engine).memory
    use = use if share is None else replace(use, share=(share, share))
    plan = MemoryPlan(model, NONE, tp=tp, dtype=dtype)
    lower, upper = memory.cache_bytes(plan, catalog.hardware(hardware), use)
    assert lower <= gib * GIB <= upper, source


def test_version_of_the_largest_default_decides_the_lower_end_on_small_gpus():
    """The sampler of 1,024 sequences needs 5.0 GiB for 128,256 logits, that of 256 sequences 1.3 GiB."""
    plan, l40s = MemoryPlan(LLAMA8, NONE), catalog.hardware("l40s")
    ends = [memory.cache_bytes(plan, l40s, catalog.engine(name).memory) for name in ("vllm-2025", "vllm-2026")]
    assert ends[0][1] == ends[1][1]
    assert ends[1][0] - ends[0][0] == pytest.approx(41 * 128_256 * (1024 - 256), rel=0.2)
    assert 1.1 < ends[1][1] / ends[1][0] < 1.3


@pytest.mark.parametrize(
    ("engine", "tokens"), [("vllm-2025", 178_880), ("vllm-2026", 178_880), ("sglang", 367_404)]
)
def test_published_tokens_of_qwen3_235b_lie_in_the_range_of_the_defaults(engine, tokens):
    plan = MemoryPlan(QWEN_MOE, NONE, tp=4, dtype="fp8_block", slots=0)
    lower, upper = memory.stated_tokens(plan, H100, catalog.engine(engine).memory, max_context=40_960)
    assert lower < tokens < upper < 3 * lower


def test_sglang_keeps_more_memory_free_with_a_draft():
    """H100, TP 4: 0.5 GiB + 8,192 x 1.5 MiB + 512 x 2 MiB + 4/8 GiB, + 2 GiB for a head, + 6 GiB for a model."""
    use = catalog.engine("sglang").memory
    free = {"none": 14.0, "ngram": 14.0, "eagle3": 16.0, "llama-3.2-1b": 20.0}
    for name, gib in free.items():
        plan = MemoryPlan(LLAMA8, catalog.draft(name), tp=4)
        lower, upper = memory.memory_share(plan, H100, use)
        assert lower == pytest.approx(1 - gib * GIB / H100.memory_bytes)
        assert upper == 0.93


def test_blocks_round_a_context_up_to_whole_ones():
    """Llama-3.1-8B: 16 tokens of 131,072 bytes a block; 17 tokens take two."""
    plan, use = MemoryPlan(LLAMA8, NONE, slots=1), catalog.engine("vllm").memory
    pool = memory.block_pools(plan, use)[0]
    assert memory.sequence_bytes(plan, [15, 16, 32], pool).tolist() == [16 * 131072, 32 * 131072, 48 * 131072]


def test_mlp_without_gate_holds_one_or_two_arrays():
    """16,384 tokens of Apertus-1.5-8B: 2 bytes x (2 x 4,096 + one or two x 21,504)."""
    model = replace(LLAMA8, intermediate_size=21_504, gated_mlp=False)
    given = {"tokens": 16_384, "sequences": 1, "sampler_bytes": 8.0}
    found = [memory.activation_bytes(model, in_place=on, **given) for on in (True, False)]
    assert found == [2 * 16_384 * (8192 + n * 21_504) for n in (1, 2)]


def test_sampler_of_1024_sequences_dominates_the_activations_of_a_large_vocabulary():
    given = {"tokens": 8192, "tp": 4}
    few, many = (memory.activation_bytes(QWEN_MOE, sequences=n, sampler_bytes=41.0, **given) for n in (1, 1024))
    assert many == 41.0 * 1024 * 151_936
    assert few == 2 * 8192 * (2 * 4096 + 8 * (2 * 4096 + 3 * 1536 / 4))


def test_small_gpus_profile_few_sequences():
    use = MemoryUse(profiled_sequences=(256, 1024), small_gpu_sequences=(256, 256))
    plan = MemoryPlan(LLAMA8, NONE)
    large, small = (memory.reserved_bytes(plan, catalog.hardware(n), use, end=1) for n in ("h100-sxm", "l4"))
    assert large == 4 * small > 0


def test_communicator_is_reserved_with_several_ranks_only():
    use = MemoryUse(communicator_bytes=(1.0, 2.0))
    one, two = (memory.reserved_bytes(MemoryPlan(LLAMA8, NONE, tp=tp), H100, use, end=1) for tp in (1, 2))
    assert (one, two) == (0.0, 2.0)


def test_no_sequence_fits_where_the_weights_do_not():
    plan = MemoryPlan(catalog.model("llama-3.1-70b"), NONE)
    ends = memory.max_sequences(plan, H100, catalog.engine("vllm").memory, context=[1024, 4096])
    assert [end.tolist() for end in ends] == [[0, 0], [0, 0]]


def test_a_context_fits_as_often_as_its_cache_in_the_pool():
    use = MemoryUse(share=(0.9, 0.92))
    plan = MemoryPlan(LLAMA8, NONE)
    lower, upper = memory.max_sequences(plan, H100, use, context=[1023, 8191])
    weights, per_token = 2 * LLAMA8.parameters, 2 * LLAMA8.kv_elements_per_token
    for share, found in ((0.9, lower), (0.92, upper)):
        pool = share * 79.18 * GIB - weights
        assert found.tolist() == [pool // (per_token * 1024), pool // (per_token * 8192)]


def test_projections_in_16_bits_add_their_weights():
    plan = MemoryPlan(LLAMA8, NONE, dtype="int4_wo")
    kept = replace(plan, op_dtypes={"o_proj": "bfloat16", "lm_head": "bfloat16"})
    added = memory.weight_bytes(kept) - memory.weight_bytes(plan)
    assert added == pytest.approx((2.0 - 0.51953125) * 32 * 4096 * 4096)


def test_fp8_checkpoint_with_a_head_in_16_bits():
    """Llama-3.1-8B: 32 layers of attention and MLP at 1 byte, embedding and head of 128,256 words at 2 bytes."""
    layer = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
    words = 128256 * 4096
    plan = MemoryPlan(LLAMA8, NONE, dtype="fp8", op_dtypes={"lm_head": "bfloat16"})
    assert memory.weight_bytes(plan) == pytest.approx(32 * layer + 2 * 2 * words, rel=1e-3)
    split = replace(plan, tp=2, op_dtypes={"lm_head": "bfloat16", "down_proj": "bfloat16"})
    expected = (32 * (layer + 4096 * 14336) + 2 * 2 * words) / 2
    assert memory.weight_bytes(split) == pytest.approx(expected, rel=1e-3)


def test_replicated_projections_in_16_bits_add_all_their_weights_on_every_rank():
    """DeepSeek-V3: the down-projections of MLA, 7168 x (1536 + 512 + 64) in 61 layers, are on all 8 ranks."""
    plan = MemoryPlan(DEEPSEEK, NONE, tp=8, dtype="nvfp4")
    kept = replace(plan, op_dtypes={"qkv_a_proj": "bfloat16"})
    added = memory.weight_bytes(kept) - memory.weight_bytes(plan)
    assert added == pytest.approx((2.0 - 0.5625) * 61 * 7168 * (1536 + 512 + 64))


def test_language_model_as_an_fp8_draft_keeps_its_embedding_in_16_bits():
    """Llama-3.2-1B ties embedding and head: 128,256 words of 2048 elements at 2 bytes, the layers at 1 byte."""
    draft = catalog.draft("llama-3.2-1b")
    plan = MemoryPlan(LLAMA8, draft, draft_dtype="fp8")
    added = memory.weight_bytes(plan) - memory.weight_bytes(replace(plan, draft=NONE))
    layer = 2048 * (2048 + 2 * 512) + 2048 * 2048 + 3 * 2048 * 8192
    assert added == pytest.approx(16 * layer + 2 * 128256 * 2048, rel=1e-3)


def test_a_draft_on_one_rank_has_all_its_weights_there():
    plan = MemoryPlan(LLAMA8, catalog.draft("eagle3"), tp=4, draft_tp=1)
    shared = replace(plan, draft_tp=None)
    head = 2 * memory.draft_parameters(plan.draft, LLAMA8)
    assert memory.weight_bytes(plan) - memory.weight_bytes(shared) == pytest.approx(0.75 * head)
    assert sequence_bytes(plan, 1000) > sequence_bytes(shared, 1000)


def test_the_fewest_sequences_are_large_ones_in_the_small_pool(monkeypatch):
    sizes = {"large": 100.0, "small": 50.0}
    monkeypatch.setattr(memory, "block_pools", lambda plan, use: ("large", "small"))
    monkeypatch.setattr(memory, "sequence_bytes", lambda plan, context, pool: np.array([sizes[pool]]))
    monkeypatch.setattr(memory, "cache_bytes", lambda plan, hardware, use: (1000.0, 2000.0))
    ends = memory.max_sequences(MemoryPlan(LLAMA8, NONE), H100, catalog.engine("vllm").memory, context=[1024])
    assert [end.tolist() for end in ends] == [[10.0], [40.0]]
