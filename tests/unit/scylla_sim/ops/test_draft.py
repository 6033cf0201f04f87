"""Operations of drafts."""

from dataclasses import replace

import pytest

from scylla_sim.checks import InputError
from scylla_sim.ops import memory
from scylla_sim.ops.draft import draft_ops
from scylla_sim.specs import catalog
from scylla_sim.specs.layers import SparseIndexer

DEEPSEEK = catalog.model("deepseek-v3")
LLAMA8 = catalog.model("llama-3.1-8b")


def test_heads_of_a_sparse_target_are_dense_unless_they_keep_its_experts():
    names = {
        name: {op.name for op in draft_ops(catalog.draft(name), DEEPSEEK, batch=1, context=10)}
        for name in ("eagle3", "mtp")
    }
    assert "expert_down" in names["mtp"] and "gate_up_proj" not in names["mtp"]
    assert "expert_down" not in names["eagle3"] and "qkv_a_second_input" in names["eagle3"]
    # the module of DeepSeek-V3 has 11.5 B weights of its own beside embedding and head (its repository's README)
    assert memory.draft_parameters(catalog.draft("mtp"), DEEPSEEK) / 1e9 == pytest.approx(11.5, rel=0.02)


def test_medusa_and_ngram_drafts_have_no_sequential_decoder_passes():
    assert draft_ops(catalog.draft("ngram"), LLAMA8, batch=1, context=10) == []
    names = {op.name for op in draft_ops(catalog.draft("medusa"), LLAMA8, batch=1, context=10)}
    assert "attention" not in names and "medusa_block" in names


def test_a_head_of_a_sparse_attention_target_has_one_indexer_per_layer():
    mla = replace(DEEPSEEK.mla, indexer=SparseIndexer(layers=21, num_heads=32, head_dim=128, top_k=2048))
    target = replace(DEEPSEEK, mla=mla)
    ops = {op.name: op for op in draft_ops(catalog.draft("mtp"), target, batch=1, context=10)}
    assert ops["index_q_proj"].count == 1
    # query_rank 1536 x 32 heads x 128, and hidden_size 7168 x (128 keys + 32 weights)
    mtp = catalog.draft("mtp")
    extra = memory.draft_parameters(mtp, target) - memory.draft_parameters(mtp, DEEPSEEK)
    assert extra == 1536 * 32 * 128 + 7168 * (128 + 32)


def test_eagle_3_fuses_three_features_and_eagle_one_with_the_embedding():
    for name, vectors in (("eagle3", 3), ("eagle", 2)):
        ops = {op.name: op for op in draft_ops(catalog.draft(name), LLAMA8, batch=1, context=10)}
        assert float(ops["fuse_features"].columns["k"]) == vectors * LLAMA8.hidden_size


def test_every_tp_rank_runs_the_whole_fusion():
    for name in ("eagle3", "eagle"):
        ops = {op.name: op for op in draft_ops(catalog.draft(name), LLAMA8, batch=1, context=10, tp=4)}
        assert float(ops["fuse_features"].columns["n"]) == LLAMA8.hidden_size


def test_a_reduced_vocabulary_shortens_the_projection_of_a_head():
    small = replace(catalog.draft("eagle3"), vocab_size=1000)
    ops = {op.name: op for op in draft_ops(small, LLAMA8, batch=1, context=10)}
    assert float(ops["lm_head"].columns["n"]) == 1000.0


def test_every_medusa_head_has_a_projection_of_its_own():
    medusa = catalog.draft("medusa")
    ops = {op.name: op for op in draft_ops(medusa, LLAMA8, batch=1, context=10)}
    assert medusa.num_layers > 1
    assert ops["lm_head"].count == medusa.num_layers


def test_a_draft_that_ranks_do_not_divide_is_pointed_to_one_gpu():
    target, draft = catalog.model("qwen3-32b"), catalog.draft("qwen2.5-7b")
    shape = {"batch": 1, "context": 100, "width": 1, "dtype": "bfloat16"}
    with pytest.raises(
        InputError, match="tp=8 must divide num_heads=28 of qwen2.5-7b; draft_tp=1 runs the draft on"
    ):
        draft_ops(draft, target, tp=8, **shape)
    assert draft_ops(draft, target, tp=1, **shape)
