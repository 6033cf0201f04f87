"""Configs of drafts: each format is read for what it is, and unknown ones are refused by name."""

import json
import re

import pytest

from scylla_sim.checks import InputError
from scylla_sim.ops import memory
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Block, Draft, TokenHead
from scylla_sim.specs.draft_config import READERS, draft_from_config
from scylla_sim.specs.draft_method import ARCHITECTURES, SPECULATORS
from scylla_sim.specs.model import Model

# Sizes of sgl-project/SpecForge, configs: llama3-8B-eagle3.json and qwen3-8b-{dflash,dspark,domino,peagle}.json.
LLAMA8 = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
QWEN8 = {**LLAMA8, "model_type": "qwen3", "intermediate_size": 12288, "head_dim": 128, "vocab_size": 151936}
QWEN4 = {**QWEN8, "hidden_size": 2560, "intermediate_size": 9728}
EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    **LLAMA8,
    "num_hidden_layers": 1,
    "draft_vocab_size": 32000,
}
FEATURES = {"mask_token_id": 151669, "target_layer_ids": [1, 9, 17, 25, 33]}
DFLASH = {
    "architectures": ["DFlashDraftModel"],
    **QWEN8,
    "num_hidden_layers": 5,
    "block_size": 16,
    "dflash_config": FEATURES,
}
DSPARK = {
    **DFLASH,
    "architectures": ["DSparkDraftModel"],
    "block_size": 7,
    "dflash_config": {**FEATURES, "projector_type": "dspark", "markov_head_type": "vanilla", "markov_rank": 256},
}
DOMINO = {
    **DFLASH,
    "architectures": ["DominoDraftModel"],
    "dflash_config": {**FEATURES, "projector_type": "domino", "emb_dim": 256, "gru_hidden_dim": 1024},
}
PEAGLE = {**EAGLE3, "architectures": ["PEagleDraftModel"], **QWEN8, "num_hidden_layers": 4}


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def test_eagle3_config_gives_the_weights_of_its_head():
    draft = draft_from_config("head", EAGLE3)
    assert (draft.kind, draft.method, draft.fused_features, draft.vocab_size) == ("head", "eagle3", 3, 32000)
    # fusion 3h -> h, q k v from 2h, o, MLP, and a head over 32,000 words
    parts = (3 * 4096**2, 2 * 4096 * 6144, 4096**2, 3 * 4096 * 14336, 4096 * 32000)
    assert [round(part / 1e6, 1) for part in parts] == [50.3, 50.3, 16.8, 176.2, 131.1]
    assert memory.draft_parameters(draft, catalog.model("llama-3.1-8b")) == sum(parts)


def test_eagle3_is_known_by_its_vocabulary_when_the_file_declares_a_llama():
    # yuhuili/EAGLE3-LLaMA3.1-Instruct-8B declares LlamaForCausalLM
    assert draft_from_config("head", {**EAGLE3, "architectures": ["LlamaForCausalLM"]}).method == "eagle3"


def test_one_decoder_layer_of_a_llama_is_an_eagle1_head_and_says_so():
    config = {**without(EAGLE3, "draft_vocab_size"), "architectures": ["LlamaForCausalLM"]}
    draft = draft_from_config("head", config)
    assert (draft.kind, draft.method, draft.fused_features, draft.reads_target_head) == ("head", "eagle", 1, True)
    assert "is read as an EAGLE-1 head" in draft.notes[0]
    # fusion 2h -> h and one decoder layer; embedding and vocabulary projection are the target's
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert memory.draft_parameters(draft, catalog.model("llama-3.1-8b")) == 2 * 4096**2 + layer


def test_a_full_vocabulary_is_no_reduced_one():
    draft = draft_from_config("head", {**EAGLE3, "draft_vocab_size": 128256})
    assert draft.vocab_size == 0 and not draft.reads_target_head


def test_eagle3_of_another_width_reads_the_features_of_its_target():
    config = {**EAGLE3, "hidden_size": 2048, "target_hidden_size": 4096, "num_attention_heads": 16}
    draft = draft_from_config("head", config)
    llama = catalog.model("llama-3.1-8b")
    attention = 2 * 2048 * 128 * (16 + 2 * 8) + 2048 * 2048
    parts = (3 * 4096 * 2048, attention, 3 * 2048 * 14336, 2048 * 32000, 2048 * 128256)
    assert memory.draft_parameters(draft, llama) == sum(parts), "with an embedding of its own"
    with pytest.raises(InputError, match="reads hidden states of 4096 elements, but qwen3-32b has 5120"):
        memory.draft_parameters(draft, catalog.model("qwen3-32b"))


def test_layers_of_eagle_config_count_the_features():
    config = {**EAGLE3, "eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 9, 17, 25]}}
    assert draft_from_config("head", config).fused_features == 4
    with pytest.raises(InputError, match="use_aux_hidden_state=False is not modelled"):
        draft_from_config("head", {**EAGLE3, "eagle_config": {"use_aux_hidden_state": False}})


@pytest.mark.parametrize(
    ("config", "method", "block"),
    [
        (DFLASH, "dflash", Block(16)),
        (DSPARK, "dspark", Block(7, drafts_from_anchor=True, token_head=TokenHead("markov", 256))),
        (DOMINO, "domino", Block(16, token_head=TokenHead("gru", 256, 1024))),
    ],
)
def test_block_drafters_are_read_with_their_blocks(config, method, block):
    draft = draft_from_config("block", config)
    assert (draft.kind, draft.method, draft.block) == ("block", method, block)
    assert (draft.num_layers, draft.fused_features, draft.reads_target_head) == (5, 5, True)
    assert draft.max_len == {"dflash": 15, "dspark": 7, "domino": 15}[method]


def test_dflash_of_qwen3_4b_has_the_weights_of_the_released_one():
    # z-lab/Qwen3-4B-DFlash-b16 has 0.5 B weights; embedding and vocabulary projection are the target's
    draft = draft_from_config("block", {**DFLASH, **QWEN4})
    qwen4 = Model("qwen3-4b", 36, 2560, 9728, 32, 8, 128, 151936)
    assert memory.draft_parameters(draft, qwen4) / 1e9 == pytest.approx(0.54, abs=0.005)


def test_peagle_is_a_block_drafter_without_a_limit():
    draft = draft_from_config("p", PEAGLE)
    assert (draft.kind, draft.method, draft.max_len, draft.own_embedding) == ("block", "p-eagle", 0, True)
    assert draft.block.positions(5) == 6 + 4, "six verified tokens and four masks"


def test_windows_of_a_block_drafter_are_read():
    kinds = ["sliding_attention"] * 4 + ["full_attention"]
    config = {**DFLASH, "layer_types": kinds, "sliding_window": 2048, "use_sliding_window": True}
    assert draft_from_config("block", config).model.windows == (2048,) * 4 + (0,)


def test_medusa_heads_are_read_in_both_formats():
    config = {"model_type": "medusa", "num_heads": 4, "num_hidden_layers": 2, "hidden_size": 4096}
    draft = draft_from_config("m", {**config, "vocab_size": 128256, "truncated_vocab_size": 32000})
    assert (draft.kind, draft.num_layers, draft.blocks_per_head, draft.vocab_size) == ("medusa", 4, 2, 32000)
    weights = 4 * (2 * 4096**2 + 4096 * 32000)
    assert memory.draft_parameters(draft, catalog.model("llama-3.1-8b")) == weights
    old = draft_from_config("m", {"medusa_num_heads": 3, "medusa_num_layers": 1})
    assert (old.num_layers, old.blocks_per_head, old.vocab_size) == (3, 1, 0)


def test_mlp_speculator_of_llama3_8b_has_the_weights_of_the_released_one():
    # ibm-ai-platform/llama3-8b-accelerator: 4 stages of 3072 with tied weights
    config = {
        "model_type": "mlp_speculator",
        "emb_dim": 4096,
        "inner_dim": 3072,
        "n_predict": 4,
        "vocab_size": 128256,
    }
    tied = draft_from_config("s", {**config, "tie_weights": True})
    assert (tied.kind, tied.method, tied.max_len) == ("mlp", "mlp_speculator", 4)
    llama = catalog.model("llama-3.1-8b")
    shared = 3072 * 4096 + 3072**2 + 2 * 3072 * 128256
    assert memory.draft_parameters(tied, llama) == shared
    own = draft_from_config("s", config)
    assert memory.draft_parameters(own, llama) == 3072 * 4096 + 3 * 3072**2 + 8 * 3072 * 128256


def test_mtp_module_keeps_the_experts_of_its_target():
    config = {"architectures": ["DeepseekV3ForCausalLMNextN"], "hidden_size": 7168, "num_hidden_layers": 1}
    draft = draft_from_config("nextn", config)
    deepseek = catalog.model("deepseek-v3")
    assert memory.draft_parameters(draft, deepseek) == memory.draft_parameters(catalog.draft("mtp"), deepseek)
    assert not draft.is_hypothetical_mtp(catalog.model("llama-3.1-8b")), "the file holds the module"


def test_speculators_format_fills_in_the_defaults_it_leaves_out():
    layers = {"model_type": "qwen3", "num_hidden_layers": 5, "num_key_value_heads": 8, "intermediate_size": 12288}
    config = {
        "architectures": ["DFlashSpeculator"],
        "speculators_model_type": "dflash",
        "transformer_layer_config": layers,
        "draft_vocab_size": 32000,
        "block_size": 8,
        "aux_hidden_state_layer_ids": [1, 17, 33],
    }
    draft = draft_from_config("s", config)
    assert (draft.model.hidden_size, draft.model.head_dim, draft.model.num_heads) == (4096, 128, 32)
    assert (draft.fused_features, draft.max_len, draft.vocab_size, draft.reads_target_head) == (3, 7, 32000, False)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {**EAGLE3, "architectures": ["HydraForCausalLM"]},
            "draft architecture='HydraForCausalLM' is not modelled",
        ),
        ({"architectures": ["Gemma4DSparkModel"]}, "draft architecture='Gemma4DSparkModel' is not modelled"),
        ({"speculators_model_type": "new"}, "draft speculators_model_type='new' is not modelled"),
        ({"architectures": ["X"], "draft_vocab_size": 5}, "draft architecture='X' is not modelled"),
        (without(DFLASH, "block_size"), "block_size=None must be a whole number of at least 1"),
        ({**DFLASH, "block_size": 1}, "block_size=1 must leave at least one position to draft"),
        (without(EAGLE3, "hidden_size"), "hidden_size=None must be a whole number"),
        ({"model_type": "medusa"}, "medusa_num_heads=None must be a whole number"),
        ({**DSPARK, "dflash_config": {"markov_head_type": "deep"}}, "markov_head_type='deep' is not modelled"),
        ({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "model_type='mamba' is not modelled"),
    ],
)
def test_unknown_drafts_are_refused_by_name(config, line):
    with pytest.raises(InputError, match=re.escape(line)):
        draft_from_config("d", config)


def test_every_method_has_a_reader():
    assert {*ARCHITECTURES.values(), *SPECULATORS.values()} == set(READERS)


def test_a_language_model_is_an_independent_draft():
    config = {**LLAMA8, "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}
    draft = draft_from_config("small", config)
    assert (draft.kind, draft.model.num_layers) == ("model", 2)


def test_a_draft_file_is_refused_as_a_target(tmp_path):
    path = tmp_path / "head.json"
    path.write_text(json.dumps(EAGLE3))
    with pytest.raises(InputError, match=r"is the config of a draft \(eagle3\); give it to --draft"):
        catalog.model(str(path))
    assert catalog.draft(str(path)).name == "head"
    with pytest.raises(InputError, match="draft_layers=2 does not apply to the draft"):
        catalog.draft(str(path), layers=2)


def test_fields_of_a_kind_are_required():
    with pytest.raises(InputError, match="draft block=None cannot be combined with kind='block'"):
        Draft("x", "block", 1)
    with pytest.raises(InputError, match="token head state_size=0 must be at least 1"):
        TokenHead("gru", 4)


def test_one_layer_without_architectures_is_an_independent_model():
    config = without(EAGLE3, "draft_vocab_size", "architectures")
    draft = draft_from_config("small", config)
    assert (draft.kind, draft.method) == ("model", "draft_model")
