"""Regret: the throughput that a chosen draft length loses, by hand."""

import pytest
from served_results import run, served_rows

from paper.sources import served_regret


def test_the_choice_of_the_fixture_loses_a_fifth():
    (ladder,) = served_regret.ladders(served_rows())
    assert ladder.lengths.tolist() == [0, 1, 3, 5]
    regrets = {name: values.tolist() for name, values in served_regret.regrets([ladder]).items()}
    assert regrets == {"followed": [pytest.approx(0.2)], "always_3": [0.0], "always_5": [pytest.approx(0.2)]}


def test_plain_decoding_is_a_choice():
    rows = [run("a", draft_len=n, measured_speedup=m, speedup=0.9) for n, m in ((1, 1.25), (2, 0.5))]
    (ladder,) = served_regret.ladders(rows)
    assert served_regret.followed(ladder) == 0
    assert served_regret.regret(ladder, 0) == pytest.approx(0.2)
    assert served_regret.regret(ladder, served_regret.fixed(ladder, 5)) == pytest.approx(0.6)


def test_plain_decoding_can_be_the_best():
    rows = [run("a", draft_len=n, measured_speedup=0.8, speedup=1.1) for n in (1, 2)]
    (ladder,) = served_regret.ladders(rows)
    assert served_regret.regret(ladder, served_regret.followed(ladder)) == pytest.approx(0.2)


@pytest.mark.parametrize("change", [{"tau_from": "fitted"}, {"top_k": 4}, {"draft_len": 3}, {"batch": 9}])
def test_a_ladder_has_two_lengths_of_one_load_with_stated_tokens(change):
    assert served_regret.ladders([run("a"), run("a", **{"draft_len": 5, **change})]) == []
