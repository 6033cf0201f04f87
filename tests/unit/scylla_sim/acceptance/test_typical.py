"""Typical acceptance: published values by method and task."""

import numpy as np
import pytest

from scylla_sim.acceptance import positions, tau_transfer, typical
from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.checks import InputError

DATA = typical._data()
METHODS = [name for name in DATA if name != "sources"]


def transfer(tau, source, target):
    return tau_transfer.transfer(tau, DraftShape(*source), DraftShape(*target), positions.law_of("eagle3"))


def chain(draft_len):
    return (draft_len, 1, draft_len + 1)


def found(method, shape, task=None):
    return typical.typical_tau(method, shape, task, transfer=transfer)


def ends(item):
    return float(item.tau.lower), float(item.tau.value), float(item.tau.upper)


@pytest.mark.parametrize("method", METHODS)
def test_every_series_is_possible_and_has_a_source_and_a_task(method):
    entry = DATA[method]
    for item in entry["chains"]:
        assert item["source"] in DATA["sources"]
        assert item["task"] in (*typical.TASKS, typical.ALL)
        assert len(item["draft_len"]) == len(item["tokens_per_cycle"])
        for length, tau in zip(item["draft_len"], item["tokens_per_cycle"]):
            assert 1 < tau < length + 1, item
    for item in entry["trees"]:
        assert 1 < item["tokens_per_cycle"] < entry["tree"]["draft_len"] + 1


def test_every_source_is_used_and_no_series_stands_twice():
    items = [item for name in METHODS for kind in ("chains", "trees") for item in DATA[name][kind]]
    assert {item["source"] for item in items} == set(DATA["sources"])
    for name in METHODS:
        for kind in ("chains", "trees"):
            labels = [(item["source"], item["series"]) for item in DATA[name][kind]]
            assert len(labels) == len(set(labels))


def test_one_published_value_is_returned_as_it_is():
    # SpecDecode-Bench, n-gram, sharegpt: cumulative rates 0.1605, 0.1284 and 0.1067 at draft length 3.
    assert ends(found("ngram", chain(3), "chat"))[1] == pytest.approx(1.3956)
    # Card of amazon/GPT-OSS-120B-P-EAGLE: 3.55 on GSM8K with 5 tokens.
    assert ends(found("p-eagle", chain(5), "math"))[1] == pytest.approx(3.55)


def test_the_value_is_the_median_of_the_series():
    # EAGLE-3, Table 1, rows Medusa on MT-Bench and Alpaca: 2.59 and 2.45. The median is taken in log odds of 5.
    share = [np.log(value / (5 - value)) for value in (1.59, 1.45)]
    assert ends(found("medusa", (5, 10, 64), "chat"))[1] == pytest.approx(1 + 5 / (1 + np.exp(-np.mean(share))))
    # DSpark on Kimi-K3, vLLM blog: 2.37 on QA with 7 tokens.
    assert ends(found("dspark", chain(7), "qa"))[1] == pytest.approx(2.37)


def test_a_length_between_published_ones_follows_the_law_over_positions():
    # DSpark on Kimi-K3, QA: 2.37 at 7, transferred to 5 with the exponent 0.29 of DSpark.
    def tau(odds, length):
        total = reached = 1.0
        for position in range(1, length + 1):
            weight = odds * position**-0.29
            reached *= weight / (1 + weight)
            total += reached
        return total

    odds = min(np.arange(0.5, 9.0, 0.001), key=lambda value: abs(tau(value, 7) - 2.37))
    lower, value, upper = ends(found("dspark", chain(5), "qa"))
    assert value == pytest.approx(tau(odds, 5), abs=0.002)
    assert 1 < lower < value < upper < 6


@pytest.mark.parametrize("method", typical.methods())
@pytest.mark.parametrize("task", [None, *typical.TASKS])
def test_intervals_are_wide_and_possible(method, task):
    for shape in (chain(3), chain(5)):
        lower, value, upper = ends(found(method, shape, task))
        assert 1 < lower < value < upper < shape[0] + 1
        assert (upper - lower) / (value - 1) > 0.15


def test_interval_covers_nine_in_ten_series_of_its_task():
    inside = total = 0
    for method, length in (("eagle3", 7), ("dflash", 7), ("dspark", 7), ("eagle3", 3)):
        for task in ("chat", "code", "math"):
            lower, _, upper = ends(found(method, chain(length), task))
            for item in DATA[method]["chains"]:
                if item["task"] == task and length in item["draft_len"]:
                    tau = item["tokens_per_cycle"][item["draft_len"].index(length)]
                    inside, total = inside + (lower <= tau <= upper), total + 1
    assert total > 100
    assert 0.85 < inside / total <= 1


def test_spreads_are_those_of_the_series():
    lengths = {"eagle3": 3, "mtp": 3}

    def values(method, kind, items):
        if kind == "trees":
            return np.array([item["tokens_per_cycle"] for item in items]), DATA[method]["tree"]["draft_len"] + 1
        length = lengths.get(method, 7)
        return typical._at_length(items, length, [positions.law_of(method)])[0], length + 1

    def pooled(tasks):
        squares = freedom = 0.0
        for method in METHODS:
            for kind in ("chains", "trees"):
                for task in tasks:
                    items = [item for item in DATA[method][kind] if task in (None, item["task"])]
                    if len(items) >= 5:
                        scaled = typical._to_scale(*values(method, kind, items))
                        squares, freedom = (
                            squares + ((scaled - scaled.mean()) ** 2).sum(),
                            freedom + scaled.size - 1,
                        )
        return np.sqrt(squares / freedom)

    assert pooled(typical.TASKS) == pytest.approx(typical.TASK_SPREAD, abs=0.01)
    assert pooled((None,)) == pytest.approx(typical.METHOD_SPREAD, abs=0.01)


def test_a_task_without_values_uses_all_tasks_and_says_so():
    item = found("mtp", chain(3), "chat")
    assert item.remarks == ("no value of mtp is published for task chat; those of all tasks are used",)
    assert item.tau == found("mtp", chain(3)).tau


def test_eagle2_has_the_values_of_its_head_and_of_its_tree():
    assert found("eagle2", chain(3)) == found("eagle", chain(3))
    tree = found("eagle2", (6, 10, 61))
    assert tree.series == 40
    assert tree.remarks == ()
    # EAGLE-3, Table 1, rows EAGLE-2 at temperature 0 and 1: medians of 40 values between 3.13 and 5.41.
    assert 3.7 < float(tree.tau.value) < 4.1


def test_another_tree_than_the_published_one_is_transferred_with_a_remark():
    item = found("eagle3", (6, 10, 61), "chat")
    assert "published trees of eagle3 (depth 8, 60 nodes)" in item.remarks[0]
    assert ends(item)[1] < ends(found("eagle3", (8, 10, 61), "chat"))[1]


def test_medusa_chains_come_from_its_tree_with_a_wider_interval():
    item = found("medusa", chain(5))
    lower, value, upper = ends(item)
    assert value < 2.5
    assert upper / lower > 1.5
    assert "published trees of medusa" in item.remarks[0]


def test_unknown_methods_and_tasks_are_refused_by_name():
    with pytest.raises(InputError, match=r"no tokens per cycle are published for 'hydra'; known: eagle,"):
        found("hydra", chain(3))
    with pytest.raises(InputError, match=r"task='poems' is not known"):
        found("eagle3", chain(3), "poems")


def test_the_typical_value_is_a_median_and_the_interval_that_of_a_new_value():
    """Three values on the scale of log odds at -1, 0 and 4; the variance is shrunk to that of the prior."""
    scaled = np.array([-1.0, 0.0, 4.0])
    values = 1.0 + 3.0 / (1.0 + np.exp(-scaled))
    found = typical._summary(values, 4.0, prior=0.5)
    assert float(found.value) == pytest.approx(2.5)
    variance = (1.0 + 16.0 + typical.PRIOR_SERIES * 0.25) / (3 + typical.PRIOR_SERIES)
    half = typical.Z * np.sqrt(variance * (1 + 1 / 3))
    assert float(found.upper) == pytest.approx(1.0 + 3.0 / (1.0 + np.exp(-half)))
