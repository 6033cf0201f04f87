"""Every setting that we print is valid by the documented fields of its engine, for many drafts and schedules."""

import json
import shlex
from functools import cache
from importlib import resources
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.engines import flags as engines_flags
from scylla_sim.engines.flags import ENGINES, WIDTH, text_of
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Block, Draft
from scylla_sim.specs.engine_support import OLDER

TARGET = catalog.model("deepseek-v3")
NAMED = ("eagle", "eagle2", "eagle3", "scylla-2l", "mtp", "ngram", "medusa", "llama-68m")
BLOCKS = tuple(
    Draft(
        f"my-{method}", "block", num_layers=5, method=method, block=Block(16, projects_context=method != "p-eagle")
    )
    for method in ("dflash", "dspark", "domino", "p-eagle")
)
drafts = st.sampled_from([*map(catalog.draft, NAMED), *BLOCKS])
presets = st.sampled_from(["", "vllm-2025", "vllm-2026", "sglang-2025", "sglang-2026", "trtllm-2026"])


@cache
def schema(engine):
    text = (resources.files("scylla_sim") / "data" / "engine_settings" / f"{engine}.json").read_text("utf-8")
    return json.loads(text)


@cache
def validator(engine, part=""):
    rules = schema(engine)["$defs"][part] if part else schema(engine)
    Draft202012Validator.check_schema(rules)
    return Draft202012Validator(rules)


def config(draft, length, width):
    verify = length * width + 1
    return SpeculativeConfig(draft, length, width, verify, 1.5, 1.2, 1.8) if length else no_drafting(draft)


@st.composite
def schedules(draw):
    """Return a draft, a schedule with one to five ranges, the TP ranks of the draft, and a preset."""
    draft = draw(drafts)
    longest = min(draft.max_len or 7, 7)
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=5))
    lasts = sorted(draw(st.sets(st.integers(1, 600), min_size=len(lengths), max_size=len(lengths))))
    firsts = [1, *(last + 1 for last in lasts[:-1])]
    spans = [Span(a, b, config(draft, n, 1)) for a, b, n in zip(firsts, lasts, lengths)]
    if not any(lengths):
        spans = [Span(1, lasts[-1], no_drafting(catalog.draft("none")))]
    chain = config(draft, draw(st.integers(1, longest)), 1)
    trees = draft.kind in ("head", "model")
    fixed = config(draft, chain.draft_len, draw(st.sampled_from((1, 4)))) if trees else chain
    gain = draw(st.sampled_from((0.9, 1.5)))
    found = Schedule([], [], fixed, gain, chain, gain, spans, spans)
    return draft, found, draw(st.sampled_from((None, 1))), draw(presets)


def option_value(item):
    words = shlex.split(item.options)
    assert words[0] == "--speculative-config"
    return json.loads(words[1])


def check_vllm(item):
    value = option_value(item)
    validator("vllm").validate(value)
    ranges = value.get("num_speculative_tokens_per_batch_size")
    if ranges is None:
        return
    assert ranges[0][0] == 1
    for (_, last, _), (first, _, _) in pairwise(ranges):
        assert first == last + 1
    assert all(first <= last and length <= value["num_speculative_tokens"] for first, last, length in ranges)


def check_sglang(item):
    words, found = shlex.split(item.options), {}
    for name, value in zip(words, [*words[1:], "--end"]):
        if name.startswith("--"):
            found[name[2:]] = True if value.startswith("--") else int(value) if value.isdigit() else value
    validator("sglang").validate(found)
    if "speculative-eagle-topk" in found and found["speculative-eagle-topk"] == 1:
        assert found["speculative-num-draft-tokens"] == found["speculative-num-steps"] + 1
    if item.file:
        assert found["speculative-adaptive-config"] == item.file_name
        validator("sglang", "adaptive_file").validate(json.loads(item.file))


def check_trtllm(item):
    assert item.options == f"--config {item.file_name}"
    value = yaml.safe_load(item.file)
    inner = value["speculative_config"]
    tiers = inner.get("draft_len_schedule")
    if tiers is not None:
        assert tiers[min(tiers)] == inner["max_draft_len"] == max(tiers.values())
        inner["draft_len_schedule"] = {str(batch): length for batch, length in tiers.items()}
    validator("trtllm").validate(value)


CHECKS = {"vllm": check_vllm, "sglang": check_sglang, "trtllm": check_trtllm}


@settings(max_examples=100, deadline=None)
@given(schedules())
def test_every_printed_setting_has_documented_fields_only(case):
    draft, found, draft_tp, preset = case
    for engine in ENGINES:
        items = engines_flags.flags(engine, draft, found=found, target=TARGET, draft_tp=draft_tp, preset=preset)
        assert items
        for item in items:
            if not item.options:
                assert item.notes, "a setting that is left out states its reason"
                continue
            assert item.version
            assert item.source
            CHECKS[engine](item)
            assert item.scope == "fixed" or preset not in OLDER or not preset.startswith(engine)


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_the_printed_text_pastes_as_the_same_options(case):
    draft, found, draft_tp, preset = case
    for engine in ENGINES:
        for item in engines_flags.flags(
            engine, draft, found=found, target=TARGET, draft_tp=draft_tp, preset=preset
        ):
            text = text_of([item], notes=0)
            assert max(map(len, text.splitlines())) <= WIDTH
            if item.options and not item.file:
                command = text.split("\n", 1)[1].replace("\\\n", " ")
                assert _same(shlex.split(command.split("...", 1)[1]), shlex.split(item.options))


def _same(printed, options):
    """Return whether two lists of words are equal, with JSON compared by value."""
    return len(printed) == len(options) and all(
        a == b or json.loads(a) == json.loads(b) for a, b in zip(printed, options)
    )


@pytest.mark.parametrize(
    ("engine", "wrong"),
    [
        ("vllm", {"method": "eagle3", "model": "x", "num_speculative_tokens": 3, "disable_by_batch_size": 8}),
        ("vllm", {"method": "eagle3", "num_speculative_tokens": 3}),
        ("vllm", {"method": "eagle3", "model": "x", "num_speculative_tokens": 0}),
        ("vllm", {"method": "ngram", "prompt_lookup_max": 4, "num_speculative_tokens": 3}
         | {"enable_adaptive_verification": True}),
        ("sglang", {"speculative-algorithm": "EAGLE3", "speculative-num-steps": 3}),
        ("sglang", {"speculative-algorithm": "NGRAM", "speculative-adaptive": True, "speculative-eagle-topk": 1}),
        ("trtllm", {"speculative_config": {"decoding_type": "Eagle", "max_draft_len": 3}}),
    ],
)  # fmt: skip
def test_the_schemas_refuse_mistakes(engine, wrong):
    assert not validator(engine).is_valid(wrong)
