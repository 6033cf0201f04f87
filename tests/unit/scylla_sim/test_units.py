"""Prefixes and units against hand-written factors."""

import pytest

from scylla_sim.units import GIBI, GIGA, UNITS, parse_count, parse_rate, parse_seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("512", 512), ("10K", 10e3), ("10Ki", 10240), (" 2.5 B ", 2.5e9), ("1e3M", 1e9), ("-3k", -3e3)],
)
def test_count_with_a_suffix(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("30ms", 0.03), ("1.5s", 1.5), ("2 us", 2e-6), ("3min", 180), ("1h", 3600)]
)
def test_duration_with_a_unit(text, value):
    assert parse_seconds(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "many", "10X", "1 0", "k"])
def test_bad_counts_and_durations_are_refused(text):
    with pytest.raises(ValueError, match="is not a count such as"):
        parse_count(text)
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_seconds(text)


def test_binary_and_decimal_prefixes_differ():
    assert UNITS["GiB"] / UNITS["GB"] == GIBI / GIGA == 1.073741824


@pytest.mark.parametrize("text", ["40", "0.04", " 7 "])
def test_a_duration_without_a_unit_is_refused(text):
    with pytest.raises(ValueError, match="must have a unit"):
        parse_seconds(text)


@pytest.mark.parametrize(("text", "value"), [("200/s", 200.0), ("1.2K/min", 20.0), ("3600/h", 1.0)])
def test_rate_with_a_unit(text, value):
    assert parse_rate(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["200", "200/", "/s", "5/parsec", "5s"])
def test_bad_rates_are_refused(text):
    with pytest.raises(ValueError, match="is not a rate such as"):
        parse_rate(text)


@pytest.mark.parametrize(("unit", "factor"), [("GiB", 2**30), ("MiB", 2**20), ("GB", 1e9)])
def test_binary_and_decimal_units_differ(unit, factor):
    assert UNITS[unit] == factor
