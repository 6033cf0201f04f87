"""JSON and TOML of users: what the formats forbid is one line, and files of other programs are read leniently."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.text.formats import parse_json, parse_toml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number of JSON"),
        ('{"a": 1e999}', "1e999 must be a finite number"),
        (f'{{"a": {"9" * 400}}}', "a whole number of 400 digits is too large"),
        (f'{{"a": {"9" * 5001}}}', "a whole number of 5001 digits is too large"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' appears twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_the_format_forbids(text, message):
    with pytest.raises(InputError, match=f"file='a.json' is not JSON.*{message}" if text != "{" else message):
        parse_json(text, "a.json")


def test_json_of_other_programs_is_lenient():
    text = '\ufeff{"a": NaN, "b": 1e999, "d": 1, "d": 2}'
    assert parse_json(text, "a.json", lenient=True) == {"a": None, "b": None, "d": 2}
    with pytest.raises(InputError, match="a whole number of 5001 digits is too large"):
        parse_json("9" * 5001, "a.json", lenient=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "is not TOML"),
        ("a = nan", "must be a finite number"),
        ("a = 1e999", "must be a finite number"),
        ("a = [{b = 1" + "0" * 400 + "}]", "more than 300 digits"),
        ("a = 1" + "0" * 5000, "is not TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, "is not TOML"),
        ("a = 1\na = 2", "is not TOML"),
    ],
)
def test_toml_that_cannot_be_used(text, message):
    with pytest.raises(InputError, match=message):
        parse_toml(text, "a.toml")
