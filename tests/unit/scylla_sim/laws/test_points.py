"""Points from a CSV file, and the laws that they allow."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.laws import sdsl
from scylla_sim.laws.points import Selection, SizeColumn, choose_forms, choose_terms, read_points, x_of

TABLE = "layers,tokens,seed,tau\n1,1B,0,5\n2,1B,0,6\n4,10B,0,7\n1,1B,1,5.5\n2,1B,1,6.5\n4,10B,1,7.5\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(TABLE)
    return str(path)


def test_counts_are_divided_by_the_unit_of_their_column(file):
    points = read_points(Selection(file, ("layers", "tokens"), "tau", (1.0, 1e9), where=(("seed", "0"),)))
    assert [x.tolist() for x in points.x] == [[1, 2, 4], [1, 1, 10]]
    assert points.y.tolist() == [5, 6, 7]
    assert points.lines == [2, 3, 4]


def test_perplexity_needs_a_description_of_the_draft(file):
    plain = Selection(file, ("tokens",), "tau", (1e9,))
    with pytest.raises(InputError, match="is a law of the draft's perplexity"):
        x_of("sdsl", read_points(plain))
    described = Selection(file, ("tokens",), "tau", (1e9,), train_tokens=SizeColumn("tokens"), tuning_tokens=1e9)
    points = read_points(described)
    assert x_of("sdsl", points) == pytest.approx(sdsl.perplexity(train_tokens=points.x[0] * 1e9 + 1e9))
    assert points.perplexity_at is not None
    assert points.perplexity_at("10B") == pytest.approx(points.perplexity[2])


def test_laws_are_chosen_by_the_domain_of_the_points(tmp_path):
    path = tmp_path / "zero.csv"
    path.write_text("x,y\n0,1\n1,2\n2,3\n")
    points = read_points(Selection(str(path), ("x",), "y", (1.0,)))
    inside, outside = choose_forms(None, points)
    assert {"log1p", "linear"} <= set(inside)
    assert "log-linear" in outside
    with pytest.raises(InputError, match="x=0 must be above 0 for log-linear in line 2"):
        choose_forms(["log-linear"], points)
    assert choose_terms(None, points)[0] == [("log1p",), ("linear",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": ("a", "b", "c", "d"), "x_units": (1.0,) * 4}, "must be at most 3 columns"),
        ({"x_units": (1.0, 1.0)}, "must have one unit per column of x"),
        ({"tuning_tokens": 1e9}, "needs train_tokens"),
    ],
)
def test_bad_selections_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Selection(**{"file": "a.csv", "x": ("a",), "y": "y", "x_units": (1.0,)} | options)
