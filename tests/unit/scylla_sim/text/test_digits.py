"""Rounded numbers and intervals."""

import pytest

from scylla_sim.text.digits import interval, number, wrapped


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.6549, "1.65"),  # 1.655, rounded again, would be 1.66
        (9.996, "10.0"),
        (999.6, "1\u2009000"),
        (3127.4, "3\u2009130"),
        (123456.0, "123\u2009000"),
        (0.00123, "0.00123"),
        (1.234e-5, "1.23e-05"),
        (2.5e9, "2.50e+09"),
        (0.0, "0"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
        (None, "-"),
        ("", "-"),
        (1024, "1024"),
        (131072, "131\u2009072"),
        (-3127.4, "-3\u2009130"),
        (False, "no"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_decimals_are_a_limit():
    assert [number(x, decimals=2) for x in (0.984, 1.65, 12.34, 0.0)] == ["0.98", "1.65", "12.3", "0.00"]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((1.6549, 1.3951, 1.8494), "1.65 [1.40-1.85]"),
        ((98.64, 80.13, 126.4), "98.6 [80.1-126.4]"),
        ((5649.0, 4103.0, 7038.0), "5\u2009650 [4\u2009100-7\u2009040]"),
        ((293, 206, "never"), "293 [206-never]"),
        ((0.0, 0.0, 0.4251), "0 [0-0.425]"),
        ((0.0, -0.02, 0.4251), "0 [-0.020 to 0.425]"),
        ((0.07, 0.0, 0.597), "0.0700 [0-0.5970]"),
        ((293, 206, None), "293 [206-?]"),
        ((0.1, -0.2, 0.3), "0.100 [-0.200 to 0.300]"),
        ((2e-6, 1e-6, 3e-6), "2.00e-06 [1.00e-06 to 3.00e-06]"),
        ((None, None, None), "-"),
        ((1.5, None, None), "1.50"),
    ],
)
def test_interval(ends, text):
    assert interval(*ends) == text


def test_long_words_stay_whole():
    path = "/".join(["folder"] * 20)
    assert wrapped(f"wrote {path}\n") == f"wrote\n{path}\n"
    assert wrapped("") == ""
