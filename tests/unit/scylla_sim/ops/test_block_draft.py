"""Operations of drafts that propose all tokens in one pass, against weights counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.ops import block_draft, memory
from scylla_sim.ops.draft import draft_ops
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Block, Draft, TokenHead

QWEN8 = catalog.model("qwen3-8b")
LAYERS = replace(QWEN8, name="layers", num_layers=5)
DFLASH = Draft("dflash", "block", 5, fused_features=5, model=LAYERS, block=Block(16))


def gemms(draft, tokens, batch=2, tp=1):
    ops = draft_ops(draft, QWEN8, batch=batch, context=1024, width=tokens, tp=tp)
    return {op.name: op for op in ops if op.kind == "gemm"}


def weights(draft, tokens):
    return sum(op.count * float(op.columns["n"] * op.columns["k"]) for op in gemms(draft, tokens).values())


def test_one_dflash_pass_reads_each_weight_once():
    context_kv = 5 * 2 * 8 * 128 * 4096  # read for the features, and again with q for the block
    held = memory.draft_parameters(DFLASH, QWEN8) + QWEN8.head_parameters
    assert weights(DFLASH, 15) == held + context_kv
    assert weights(DFLASH, 3) == weights(DFLASH, 15)


def test_rows_are_positions_features_and_drafted_tokens():
    ops = gemms(DFLASH, 15)
    rows = {name: float(np.ravel(op.columns["m"])[0]) for name, op in ops.items()}
    assert rows["qkv_proj"] == rows["down_proj"] == 2 * 16
    assert rows["fuse_features"] == rows["context_kv_proj"] == 2 * 16
    assert rows["lm_head"] == 2 * 15


def test_dspark_corrects_one_token_after_the_other():
    dspark = replace(DFLASH, block=Block(7, drafts_from_anchor=True, token_head=TokenHead("markov", 256)))
    ops = gemms(dspark, 7)
    assert float(np.ravel(ops["qkv_proj"].columns["m"])[0]) == 2 * 7
    logits = ops["token_head_logits"]
    assert (logits.count, float(logits.columns["n"]), float(logits.columns["k"])) == (7, 151936, 256)
    extra = memory.draft_parameters(dspark, QWEN8) - memory.draft_parameters(DFLASH, QWEN8)
    assert extra == 2 * 256 * 151936


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        (TokenHead("markov", 256), []),
        (TokenHead("gated", 256), [(256, 4096 + 256)]),
        (TokenHead("rnn", 256), [(3 * 256, 2 * 256 + 4096)]),
        (TokenHead("gru", 256, 1024), [(3072, 4096), (3072, 1024), (256, 4096 + 1024)]),
    ],
)
def test_token_heads_have_the_gemms_of_their_kind(head, shapes):
    ops = gemms(replace(DFLASH, block=Block(16, token_head=head)), 15)
    found = [(int(op.columns["n"]), int(op.columns["k"])) for name, op in ops.items() if name[-1].isdigit()]
    assert found == shapes
    assert block_draft.head_shapes(head, 4096) == shapes


def test_peagle_runs_its_layers_over_verified_tokens_and_masks():
    peagle = Draft(
        "p", "block", 4, fused_features=3, vocab_size=32000, model=LAYERS, block=Block(0, projects_context=False)
    )
    ops = gemms(peagle, 7)
    rows = {name: float(np.ravel(op.columns["m"])[0]) for name, op in ops.items()}
    assert rows["qkv_proj"] == rows["qkv_second_input"] == 2 * 14
    assert rows["lm_head"] == 2 * 7 and float(ops["lm_head"].columns["n"]) == 32000
    assert ops["qkv_second_input"].count == 1 and "context_kv_proj" not in ops


def test_an_mlp_speculator_runs_one_stage_per_token():
    mlp = Draft("s", "mlp", 4, inner_size=3072, reads_target_head=False)
    ops = gemms(mlp, 3)
    shapes = {name: (op.count, float(op.columns["n"]), float(op.columns["k"])) for name, op in ops.items()}
    assert shapes == {
        "first_stage_proj": (1, 3072, 4096),
        "stage_proj": (2, 3072, 3072),
        "lm_head": (3, 151936, 3072),
    }


def test_every_rank_projects_all_features_and_its_share_of_the_layers():
    ops = gemms(DFLASH, 15, tp=4)
    assert float(ops["fuse_features"].columns["n"]) == 4096
    assert float(ops["context_kv_proj"].columns["n"]) == 2 * 2 * 128
    assert float(ops["lm_head"].columns["n"]) == 151936 / 4
