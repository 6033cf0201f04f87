"""Numbers of CSV columns: values, rules, and one wording for every bad cell."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.number_columns import AT_LEAST_ONE, COUNT, POSITIVE, NumberRule, line_of, parse_numbers

PLACE = line_of("folder/shapes.csv")


def test_numbers_keep_every_bit():
    cells = ["0.1", " 2 ", "1e-7", "3.0000000000000004"]
    assert parse_numbers("x", cells, PLACE).tolist() == [float(cell) for cell in cells]


def test_only_the_given_rows_are_parsed():
    assert parse_numbers("m", ["many", "2", "3"], PLACE, rows=[2, 1]).tolist() == [3.0, 2.0]


def test_empty_cells_take_the_default():
    assert parse_numbers("window", ["", "4", "  "], PLACE, rule=COUNT, empty=0.0).tolist() == [0.0, 4.0, 0.0]
    assert np.isnan(parse_numbers("cycle_s", ["", "1"], PLACE, rule=POSITIVE, empty=np.nan)).tolist() == [
        True,
        False,
    ]


def test_counts_with_a_suffix_are_divided_by_their_unit():
    assert parse_numbers("tokens", ["10B", "2.5"], PLACE, count_unit=1e9).tolist() == [10.0, 2.5]


@pytest.mark.parametrize(
    ("cell", "rule", "message"),
    [
        ("x", COUNT, "m='x' must be a whole number of at least 1 on line 3 of shapes.csv"),
        ("", COUNT, "m='' must be a whole number of at least 1 on line 3"),
        ("1.5", COUNT, "m='1.5' must be a whole number of at least 1 on line 3"),
        ("0", POSITIVE, "m='0' must be a number above 0 on line 3"),
        ("nan", POSITIVE, "m='nan' must be a number above 0"),
        ("inf", AT_LEAST_ONE, "m='inf' must be a number of at least 1"),
        ("2", NumberRule(0.0, 1.0), r"m='2' must be a number in \[0, 1\]"),
        ("0", NumberRule(0.0, 1.0, above=True), r"m='0' must be a number in \(0, 1\]"),
        ("3", NumberRule(high=2.0), "m='3' must be a number of at most 2"),
        ("10B", NumberRule(), "m='10B' must be a finite number on line 3"),
    ],
)
def test_bad_cell_is_named_with_rule_line_and_file(cell, rule, message):
    with pytest.raises(InputError, match=message):
        parse_numbers("m", ["1", cell, "also bad"], PLACE, rule=rule, rows=[0, 1])


def test_error_names_the_line_of_the_file_not_of_the_selection():
    with pytest.raises(InputError, match="on line 5 of shapes.csv"):
        parse_numbers("m", ["1", "2", "3", "x"], PLACE, rows=[1, 3])
