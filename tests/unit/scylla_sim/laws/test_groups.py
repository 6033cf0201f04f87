"""Groups and replicates of points."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.laws.groups import groups, mean_of, replicates, spread
from scylla_sim.laws.points import Selection

TABLE = "layers,tokens,seed,tau\n1,1B,0,5\n2,1B,0,6\n4,10B,0,7\n1,1B,1,5.5\n2,1B,1,6.5\n4,10B,1,7.5\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(TABLE)
    return str(path)


def test_groups_and_replicates(file):
    selection = Selection(file, ("layers",), "tau", (1.0,))
    assert [labels for labels, _ in groups(selection, ["seed"])] == [{"seed": "0"}, {"seed": "1"}]
    assert groups(selection, []) == [({}, selection)]
    repeated = replicates(selection, "seed")
    assert mean_of(repeated).y.tolist() == [5.25, 6.25, 7.25]
    row = spread("log-linear", repeated, 0.9)
    assert row["replicates"] == 2
    assert row["c_replicates_mean"] == pytest.approx(5.25)
    assert row["a_replicates_lower"] == pytest.approx(1 / np.log(2)) == row["a_replicates_upper"]


def test_replicates_need_the_same_x(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(TABLE.replace("4,10B,1", "8,10B,1"))
    with pytest.raises(InputError, match="must have the same layers for every value"):
        replicates(Selection(str(path), ("layers",), "tau", (1.0,)), "seed")
