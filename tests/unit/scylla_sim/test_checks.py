"""Argument checks: every error is one line that names the value and the rule."""

import numpy as np
import pytest

from scylla_sim.checks import InputError, fail, in_range, number, one_of, positive, show, whole


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: in_range("x", [0.5, 2.0], 0, 1), r"x=2 must lie in \[0, 1\]"),
        (lambda: in_range("x", 0, 0, 1, above=True), r"x=0 must lie in \(0, 1\]"),
        (lambda: in_range("x", -1, 0), "x=-1 must be at least 0"),
        (lambda: in_range("x", 3, high=2), "x=3 must be at most 2"),
        (lambda: in_range("x", np.inf), "x=inf must be finite"),
        (lambda: in_range("x", [[1.0, np.nan]]), "x=nan must be finite"),
        (lambda: in_range("x", None), "x=None must be a number"),
        (lambda: number("x", [1.0, 2.0]), r"x=\[1.0, 2.0\] must be one number"),
        (lambda: one_of("engine", "vLLM", ["ideal", "vllm"]), r"did you mean vllm\? known"),
        (lambda: one_of("engine", None, ["vllm"]), "engine=None is not known; known: vllm"),
        (lambda: in_range("x", "many"), "x='many' must be a number or an array of numbers"),
        (lambda: positive("x", 0, hint="try 1"), "x=0 must be above 0; try 1"),
        (lambda: whole("n", 1.5, 1), "n=1.5 must be a whole number"),
        (lambda: whole("n", 2.0**54), "n=1.8014398509481984e.16 must be at most"),
        (lambda: one_of("op", "gmem", ["gemm", "moe"]), "did you mean gemm. known: gemm, moe"),
        (lambda: one_of("model", "gemma-3-27b", ["llama-3-70b"]), "model='gemma-3-27b' is not known; known: llama"),
        (
            lambda: one_of("op", "zzz", ["gemm"], hint="see --help"),
            "op='zzz' is not known; known: gemm; see --help",
        ),
    ],
)
def test_bad_values_raise_one_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_good_values_keep_their_shape_and_become_numbers():
    assert in_range("x", [[0, 1]], 0, 1).tolist() == [[0.0, 1.0]]
    assert whole("n", [1.0, 2.0]).dtype == np.int64
    assert one_of("op", "gemm", iter(["moe", "gemm"])) == "gemm"


def test_shown_value_is_short_and_of_one_line():
    assert show("a\nb") == "'a\\nb'"
    assert show(np.arange(3).reshape(3, 1)) == "[[0] [1] [2]]"
    assert len(show("x" * 200)) == 80
    assert str(fail("batch", np.float64(2.0), "is odd")) == "batch=2 is odd"


@pytest.mark.parametrize("value", [2, 2.0, np.float64(2.0), True + 1, np.asarray(2.0)])
def test_single_numbers_are_checked_as_arrays_are(value):
    found = in_range("x", value, 2, 2)
    assert found.dtype == np.float64 and found.shape == () and found == 2.0
    assert whole("x", value, 2, 2).dtype == np.int64
    for low, high, above in ((2.5, 3, False), (0, 1.5, False), (2, 3, True)):
        with pytest.raises(InputError):
            in_range("x", value, low, high, above=above)
        with pytest.raises(InputError):
            in_range("x", [value], low, high, above=above)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_single_numbers_must_be_finite(value):
    with pytest.raises(InputError, match="must be finite"):
        in_range("x", value)


def test_a_whole_number_beyond_every_float_is_one_error() -> None:
    for check in (whole, positive, in_range, number):
        with pytest.raises(InputError, match="must be a number"):
            check("gpus", 10**400)
