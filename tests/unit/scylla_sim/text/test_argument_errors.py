"""Options of other programs, and misspelt ones, are refused with the option to write."""

import pytest
from command_line import PREDICT, refused

from scylla_sim.text.argument_errors import OTHER_OPTIONS, advice, reworded


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("--tensor-parallel-size=2", "--tp"),
        ("--num-speculative-tokens", "--draft-len"),
        ("--kv-cache-dtype", "--kv-precision"),
        ("--quantization", "--precision"),
        ("--gpu-memory-utilization", "--memory-share"),
        ("--batchs", "--batch"),
    ],
)
def test_predict_names_its_own_option(capsys, given, option):
    line = refused(capsys, *PREDICT, given, "1")
    assert f"for {given.partition('=')[0]} write {option}; see scylla-sim predict --help" in line


def test_a_missing_option_is_found_among_the_words_that_were_given(capsys):
    assert "for --gpu write --hardware" in refused(capsys, "predict", "--gpu", "h100", "--model", "llama-3.1-8b")


def test_an_option_that_the_verb_does_not_have_is_not_advised():
    assert advice(["--request-rate", "3"], ["--batch", "--context"]) == ""


def test_no_known_option_is_taken_for_one_of_another_program():
    """An entry that a verb accepts would never be read."""
    assert set(OTHER_OPTIONS) & set(OTHER_OPTIONS.values()) == set()


def test_other_messages_stay_as_they_are():
    assert reworded("one of the arguments is required") == "one of the arguments is required"
