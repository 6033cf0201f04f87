"""Operations of drafts."""

import pytest

from scylla_sim.ops import memory
from scylla_sim.ops.draft import draft_ops
from scylla_sim.specs import catalog

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
