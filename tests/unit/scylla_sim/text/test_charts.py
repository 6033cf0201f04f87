"""Charts in the terminal: where curves, their intervals, the reference and the marks stand."""

import pytest

from scylla_sim.text.charts import BAND, LINE, MARK, REFERENCE, Curve, chart
from scylla_sim.text.digits import WIDTH, encodable

BATCH = [1, 8, 64, 512]
FALLING = Curve("K = 3", BATCH, [2.0, 1.5, 1.0, 0.5], [1.8, 1.3, 0.8, 0.4], [2.2, 1.7, 1.2, 0.6])


def plotted(text, height=14):
    """Return the cells of the plotted area, row by row, without the labels of the y axis."""
    lines = text.splitlines()[1 : height + 1]
    margin = max(len(line.partition(" ")[0]) for line in lines)
    left = max(len(line) - len(line.lstrip()) for line in text.splitlines()[height + 1 : height + 2]) or margin
    return [line[left:].ljust(WIDTH - left) for line in lines]


def test_a_falling_curve_falls_from_the_left_to_the_right():
    rows = plotted(chart([FALLING], x_name="batch", y_name="speed-up"))
    columns = [next(i for i, sign in enumerate(row) if sign == LINE) for row in rows if LINE in row]
    assert columns == sorted(columns)
    assert rows[0].lstrip().startswith(BAND), "the upper end of the interval starts at the top"


def test_the_crossover_stands_where_the_curve_meets_the_reference():
    rows = plotted(chart([FALLING], x_name="batch", y_name="speed-up", reference=1.0, marks={64: "from batch 64"}))
    reference = next(row for row in rows if REFERENCE in row)
    mark = next(row.index(MARK) for row in rows if MARK in row)
    assert reference[mark] == LINE


def test_several_curves_have_letters_and_a_legend():
    flat = Curve("K = 1", BATCH, [1.2] * 4, [1.0] * 4, [1.4] * 4)
    text = chart([FALLING, flat], x_name="batch", y_name="speed-up")
    assert BAND not in text and "A K = 3   B K = 1" in text
    assert sum("BBB" in line for line in text.splitlines()) == 1, "a flat curve is one row"


def test_points_without_lines():
    text = chart([Curve("GPUs", BATCH, [4.0, 3.0, 2.0, 1.0], connected=False)], x_name="x", y_name="y")
    assert sum(line.count(LINE) for line in text.splitlines()[:-1]) == 4


@pytest.mark.parametrize("curve", [Curve("one", [1], [1.0]), Curve("flat", [1, 2], [3.0, 3.0])])
def test_one_point_and_a_flat_curve_are_drawn(curve):
    text = chart([curve], x_name="batch", y_name="speed-up", marks={1: "here"})
    assert LINE in text and max(map(len, text.splitlines())) <= WIDTH


def test_axis_labels_do_not_touch():
    label_line = chart([FALLING], x_name="batch", y_name="speed-up").splitlines()[15]
    assert label_line.split() == ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512"]


def test_a_terminal_without_unicode_gets_plain_signs():
    text = encodable(chart([FALLING], x_name="batch", y_name="speed-up", reference=1.0), "ascii")
    assert text.isascii() and "####" in text and "?" not in text
