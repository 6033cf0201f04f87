"""Values with intervals, and the quadrature of their deviations, by hand."""

import numpy as np

from scylla_sim.stats.estimate import Estimate, exact, quadrature, root_sum, with_deviations


def ends(found):
    return [np.asarray(end).tolist() for end in (found.lower, found.value, found.upper)]


def test_independent_deviations_add_as_the_root_of_their_squares():
    three, four = np.array([3.0, 0.0]), np.array([4.0, 2.0])
    assert quadrature([three, four]).tolist() == [5.0, 2.0]
    assert root_sum([np.array(16.0), np.array(9.0)]) == 5.0
    assert quadrature([]) == 0.0


def test_each_side_has_its_own_deviations():
    found = with_deviations(np.array(10.0), [np.array(1.0)], [np.array(6.0), np.array(8.0)])
    assert ends(found) == [9.0, 10.0, 20.0]
    assert (float(found.down), float(found.up)) == (1.0, 10.0)


def test_errors_that_go_the_same_way_add_in_full():
    assert ends(Estimate.of(5.0, 4.0, 7.0).plus(Estimate.of([1.0, 2.0], 0.5, 2.0))) == [4.5, [6.0, 7.0], 9.0]


def test_scaling_keeps_the_relative_interval():
    assert ends(Estimate.of(2.0, 1.0, 5.0).scaled([1.0, 3.0])) == [[1.0, 3.0], [2.0, 6.0], [5.0, 15.0]]


def test_exact_value_has_no_interval():
    assert ends(exact(3)) == [3.0, 3.0, 3.0]
    assert ends(exact(3).broadcast_to((2,))) == [[3.0, 3.0]] * 3


def test_sums_and_multiples_of_exact_values_stay_exact():
    two, wide = exact(2.0), Estimate.of(2.0, 1.0, 4.0)
    assert two.plus(two).scaled(3.0).or_where(True, two).is_exact
    for found in (two.plus(wide), wide.plus(two), two.or_where(False, wide), wide.scaled(2.0)):
        assert not found.is_exact


def test_each_end_comes_from_the_estimate_that_holds():
    found = Estimate.of([1.0, 1.0], [0.5, 0.5], [2.0, 2.0]).or_where([True, False], Estimate.of(5.0, 4.0, 7.0))
    assert [end.tolist() for end in (found.value, found.lower, found.upper)] == [[5, 1], [4, 0.5], [7, 2]]
