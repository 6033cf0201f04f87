"""Words of other projects are refused with what to write here instead."""

import re
import tomllib
from importlib import resources

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import KV_PRECISIONS, WEIGHT_PRECISIONS
from scylla_sim.specs.other_words import advice_for, known_word

WORDS = tomllib.loads((resources.files("scylla_sim") / "data" / "other_words.toml").read_text("utf-8"))
ENGINES = [*catalog.names("engines"), "vllm", "sglang", "trtllm"]
KNOWN = {
    "precision": [*WEIGHT_PRECISIONS],
    "kv_precision": [*KV_PRECISIONS],
    "draft": catalog.names("drafts"),
    "engine": ENGINES,
}


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("awq", "int4"),
        ("gptq", "int8_wo"),
        ("GPTQ_Int8", "int8_wo"),
        ("w4a16", "int4"),
        ("AWQ_Marlin", "int4"),
        ("w8a8", "int8"),
        ("w8a16", "int8_wo"),
        ("fp4", "nvfp4"),
        ("fp8-kv", "--kv-precision"),
        ("fp8_e4m3", "fp8"),
        ("float16", "bf16"),
        ("q4_k_m", "not modelled"),
        ("auto", "leave the option out"),
        ("compressed-tensors", "config.json"),
    ],
)
def test_other_names_of_precisions(word: str, name: str) -> None:
    with pytest.raises(InputError, match="is not known; .*; known: ") as error:
        known_word("precision", word, WEIGHT_PRECISIONS)
    assert name in str(error.value).split("; known:")[0]


def test_capital_letters_need_no_advice() -> None:
    with pytest.raises(InputError, match="did you mean fp8?"):
        known_word("precision", "FP8", WEIGHT_PRECISIONS)


def test_a_known_word_is_returned() -> None:
    assert known_word("precision", "int4", WEIGHT_PRECISIONS) == "int4"


def test_a_repository_is_told_how_to_be_fetched() -> None:
    with pytest.raises(InputError, match="hf download me/my-eagle3 config.json --local-dir DIR"):
        catalog.draft("me/my-eagle3")
    with pytest.raises(InputError, match="hf download me/model config.json"):
        catalog.model("me/model")


def test_versions_of_engines_name_the_presets() -> None:
    with pytest.raises(InputError, match=r"vllm-2026 \(0.14 and newer\)"):
        catalog.engine("vllm-0.11")


def test_draft_precisions_use_the_words_of_precisions() -> None:
    with pytest.raises(InputError, match="draft_precision='awq' is not known; AWQ is int4"):
        known_word("draft_precision", "awq", WEIGHT_PRECISIONS, kind="precision")


@pytest.mark.parametrize("kind", KNOWN)
def test_advice_to_write_a_word_names_a_known_one(kind: str) -> None:
    written = [said.removeprefix("write ") for said in WORDS[kind].values() if said.startswith("write ")]
    firsts = {re.split(r"[ ,]", said)[0] for said in written}
    assert firsts <= {*KNOWN[kind]}


@pytest.mark.parametrize("kind", KNOWN)
def test_every_pattern_is_reached(kind: str) -> None:
    for pattern, said in WORDS[kind].items():
        word = pattern.replace("*", "") or "x"
        assert advice_for(kind, word) == said or any(
            advice_for(kind, word.replace("-", f"-{x}")) == said for x in "1a"
        ), pattern
