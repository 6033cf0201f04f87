"""Engine settings of made-up schedules."""

import json
import re

import pytest

from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.engines import flags as engines_flags
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs import catalog

TARGET = catalog.model("deepseek-v3")
PLAIN = no_drafting(catalog.draft("none"))


def chain(length, rate, draft="eagle3"):
    tau = float(iid_tokens_per_cycle(rate, length))
    return SpeculativeConfig(catalog.draft(draft), length, 1, length + 1, tau, tau, tau)


def made_up(items, spans, gain=1.5):
    """Return a schedule with the fields that the flags read."""
    drafted = [item for item in items if item.draft.kind != "none"]
    chains = [item for item in drafted if item.top_k == 1]
    fixed, chain_ = (group[0] if group else None for group in (drafted, chains))
    return Schedule([], [], fixed, gain, chain_, gain, spans, [s for s in spans if s.config.top_k == 1])


def test_vllm_gets_a_draft_length_per_batch_range():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, three), Span(41, 90, one), Span(91, 256, PLAIN)])
    fixed, ranged, adaptive = engines_flags.flags("vllm", three.draft, found=found, target=TARGET)
    config = '{"method": "eagle3", "model": "<path-of-your-draft>", "num_speculative_tokens": 3}'
    assert fixed.options == f"--speculative-config '{config}'"
    config = json.loads(re.fullmatch(r"--speculative-config '(.*)'", ranged.options)[1])
    assert config["num_speculative_tokens"] == 3
    assert config["num_speculative_tokens_per_batch_size"] == [[1, 40, 3], [41, 90, 1], [91, 256, 0]]
    assert '"enable_adaptive_verification": true' in adaptive.options
    assert "-20 to -5 % at concurrency 4 to 32, +6 to +70 % at concurrency 64 to 256" in adaptive.notes[0]


def test_trtllm_gets_the_last_batch_of_each_range_and_nothing_beyond():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, three), Span(41, 90, one), Span(91, 256, PLAIN)])
    _, ranged = engines_flags.flags("trtllm", three.draft, found=found, target=TARGET)
    assert "  draft_len_schedule: {40: 3, 90: 1}" in ranged.file.splitlines()
    assert "batches above 90 draft nothing: plain decoding is faster there" in ranged.notes


def test_trtllm_refuses_a_schedule_that_does_not_start_with_its_longest_draft():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, one), Span(41, 90, three)])
    _, ranged = engines_flags.flags("trtllm", three.draft, found=found, target=TARGET)
    assert ranged.options == ""
    assert "needs the longest draft at the smallest batches" in ranged.notes[0]


@pytest.mark.parametrize(("engine", "preset"), [("vllm", "vllm-2025"), ("sglang", "sglang-2025")])
def test_older_versions_get_no_draft_length_by_batch(engine, preset):
    three = chain(3, 0.7)
    found = made_up([three], [Span(1, 40, three), Span(41, 90, PLAIN)])
    fixed, ranged = engines_flags.flags(engine, three.draft, found=found, target=TARGET, preset=preset)
    assert fixed.options
    assert ranged.options == ""
    assert preset in ranged.notes[0]


def test_sglang_counts_the_root_and_gets_steps_per_batch():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, three), Span(41, 90, one), Span(91, 256, PLAIN)])
    fixed, ranged = engines_flags.flags("sglang", three.draft, found=found, target=TARGET)
    assert "--speculative-algorithm EAGLE3" in fixed.options
    assert "--speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4" in fixed.options
    assert "--speculative-adaptive-config adaptive.json" in ranged.options
    steps = {"1": {"candidate_steps": [3]}, "41": {"candidate_steps": [1]}, "91": {"candidate_steps": [0]}}
    assert json.loads(ranged.file) == steps


def test_trees_have_settings_for_sglang_but_not_for_vllm():
    tree = SpeculativeConfig(catalog.draft("eagle2"), 4, 4, 16, 3.0, 3.0, 3.0)
    found = made_up([tree], [Span(1, 64, tree)])
    (nothing,) = engines_flags.flags("vllm", tree.draft, found=found, target=TARGET)
    assert nothing.options == ""
    assert "drafts chains only" in nothing.notes[0]
    fixed = engines_flags.flags("sglang", tree.draft, found=found, target=TARGET)[0]
    assert "--speculative-eagle-topk 4 --speculative-num-draft-tokens 16" in fixed.options


@pytest.mark.parametrize(
    ("draft", "vllm", "sglang"),
    [
        ("eagle", '"method": "eagle"', "EAGLE "),
        ("eagle2", '"method": "eagle"', "EAGLE "),
        ("eagle3", '"method": "eagle3"', "EAGLE3 "),
        ("scylla-2l", '"method": "eagle"', "EAGLE "),
        ("mtp", '{"method": "mtp", "num', "EAGLE --speculative-num-steps"),
        ("llama-68m", '"method": "draft_model", "model": "<path', "STANDALONE "),
        ("ngram", '"method": "ngram", "prompt_lookup_max": 4', "NGRAM --speculative-num-draft-tokens 3"),
        ("medusa", '"method": "medusa", "model": "<path', None),
    ],
)
def test_each_engine_gets_its_own_name_of_a_draft(draft, vllm, sglang):
    item = chain(2, 0.6, draft)
    found = made_up([item], [Span(1, 64, item)])
    assert vllm in engines_flags.flags("vllm", item.draft, found=found, target=TARGET)[0].options
    options = engines_flags.flags("sglang", item.draft, found=found, target=TARGET)[0].options
    assert options == "" if sglang is None else f"--speculative-algorithm {sglang}" in options


def test_speculation_stays_off_when_the_baseline_always_wins():
    item = chain(2, 0.1)
    found = made_up([item], [Span(1, 64, PLAIN)], gain=0.8)
    for engine in engines_flags.ENGINES:
        for flags in engines_flags.flags(engine, item.draft, found=found, target=TARGET):
            assert flags.options == ""
            assert "leave speculation off" in flags.notes[0]


def test_adaptive_verification_gets_the_longest_draft_of_the_schedule():
    two, five, one = chain(2, 0.7), chain(5, 0.7), chain(1, 0.7)
    found = made_up([two, five, one], [Span(1, 8, two), Span(9, 40, five), Span(41, 90, one)])
    _, ranged, adaptive = engines_flags.flags("vllm", five.draft, found=found, target=TARGET)
    assert '"num_speculative_tokens": 5' in adaptive.options
    assert '"num_speculative_tokens": 5' in ranged.options
