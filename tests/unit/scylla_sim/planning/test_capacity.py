"""From options to a drafting configuration, and from configurations to a ranking."""

import json

import numpy as np
import pytest

from scylla_sim.acceptance import drafting
from scylla_sim.acceptance.drafting import no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.planning import capacity
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog

EAGLE3 = catalog.draft("eagle3")
LLAMA8 = catalog.model("llama-3.1-8b")
NONE = no_drafting(catalog.draft("none"))


def chain(length, **options):
    return drafting.resolve(EAGLE3, drafting.shape(EAGLE3, length, None, None), **options)


def test_chain_tau_by_hand():
    item, remarks = chain(3, rates=np.array([0.8, 0.5, 0.5]))
    assert item.tokens_per_cycle == pytest.approx(1 + 0.8 + 0.4 + 0.2)
    assert item.verify_tokens == 4
    assert remarks == []


def test_a_short_list_repeats_its_last_value_and_says_so():
    item, (remark,) = chain(3, rates=np.array([0.8, 0.5]))
    assert item.tokens_per_cycle == pytest.approx(1 + 0.8 + 0.4 + 0.2)
    assert "2 values; a longer draft repeats the last" in remark


def test_tokens_per_cycle_overrides_everything():
    item, _ = chain(3, tokens_per_cycle=2.4, rates=np.array([0.1]))
    assert item.tokens_per_cycle == 2.4


def test_a_draft_without_acceptance_is_told_what_to_give():
    with pytest.raises(InputError, match="--acceptance 0.7"):
        chain(3)


def test_cumulative_rates_are_not_conditional_ones(tmp_path):
    conditional, scalar = drafting.read_rates("0.8,0.4,0.2", "cumulative")
    assert conditional.tolist() == pytest.approx([0.8, 0.5, 0.5])
    assert not scalar
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"acceptance_rate": [0.8, 0.4, 0.2], "kind": "cumulative"}))
    assert drafting.read_rates(str(file), "conditional")[0].tolist() == pytest.approx([0.8, 0.5, 0.5])
    file.write_text(json.dumps({"acceptance_rate": [0.8]}))
    with pytest.raises(InputError, match="must say its kind"):
        drafting.read_rates(str(file), "conditional")


def test_the_interval_of_measured_rates_reaches_the_drafting_also_at_another_length(tmp_path):
    file = tmp_path / "a.json"
    content = {"acceptance_rate": [0.8, 0.5], "kind": "conditional", "tokens_per_cycle": 2.2}
    content |= {"tokens_per_cycle_lower": 2.08, "tokens_per_cycle_upper": 2.32}
    file.write_text(json.dumps(content))
    rates, _ = drafting.read_rates(str(file), "conditional")
    spread = drafting.read_spread(str(file))
    assert spread == pytest.approx((0.9, 1.1))
    item, _ = chain(2, rates=rates, spread=spread)
    assert (item.tau_lower, item.tau_upper) == (pytest.approx(2.08), pytest.approx(2.32))
    item, _ = chain(1, rates=rates, spread=spread)
    assert (item.tau_lower, item.tau_upper) == (pytest.approx(1.72), pytest.approx(1.88))
    file.write_text(json.dumps(content | {"tokens_per_cycle_upper": 2.1}))
    with pytest.raises(InputError, match="must lie between its ends"):
        drafting.read_spread(str(file))
    assert drafting.read_spread("0.8,0.5") is None


@pytest.mark.parametrize("text", ["1.2", "-0.1", "nan", "high", "0.5,2"])
def test_rates_outside_zero_and_one_are_refused(text):
    with pytest.raises(InputError, match="acceptance"):
        drafting.read_rates(text, "conditional")


def test_eagle2_and_scylla_draft_the_reference_tree_by_default():
    tree = drafting.shape(catalog.draft("scylla-5l"), None, None, None)
    assert (tree.draft_len, tree.top_k, tree.verify_tokens) == (6, 10, 61)
    assert drafting.shape(EAGLE3, None, None, None).verify_tokens == 4


def test_carrying_tau_to_a_shorter_draft_lowers_it_and_back_restores_it():
    long, short = drafting.DraftShape(6, 10, 61), drafting.DraftShape(3, 1, 4)
    there = drafting.transfer(4.5, long, short)
    assert 1 < there < 4
    assert drafting.transfer(there, short, long) == pytest.approx(4.5, abs=1e-3)


def test_a_chain_verifies_its_length_plus_one():
    with pytest.raises(InputError, match=r"verify_tokens=9 must be draft_len \+ 1 = 4"):
        drafting.shape(EAGLE3, 3, 1, 9)


def search(**options):
    settings = [Deployment(device_calibration.shipped(name), catalog.engine("vllm")) for name in ("h100-sxm", "l4")]
    item, _ = chain(3, tokens_per_cycle=2.4)
    return capacity.search(LLAMA8, [NONE, item], settings, batch=[1, 8, 64, 4096], context=4096, **options)


def test_plans_keep_to_memory_and_latency():
    found = search(tpot_limit_s=0.02)
    assert found.points
    for item in found.points:
        assert item.tpot_s <= 0.02
        assert item.batch_size < 4096  # 2 TB of KV cache
    assert all(item.hardware != "l4" or item.draft != "none" for item in found.points)


def test_ranking_by_throughput_and_by_cost():
    by_rate = search().points
    assert [d.tokens_per_s_per_gpu for d in by_rate] == sorted(
        (d.tokens_per_s_per_gpu for d in by_rate), reverse=True
    )
    cheap = search(prices={"h100-sxm": 1000.0, "l4": 0.01}, rank="cost_per_million_tokens").points
    assert cheap[0].hardware == "l4"


def test_an_impossible_limit_says_how_close_it_came():
    found = search(tpot_limit_s=1e-6)
    assert not found.points
    assert found.too_slow == found.considered == 4
    assert found.fastest_tpot_s > 1e-3


def test_cost_by_hand():
    # 2 per hour, 1000 tokens/s: 3.6 million tokens an hour
    assert float(capacity.cost_per_million(2.0, 1, np.array(1000.0))) == pytest.approx(2 / 3.6)
