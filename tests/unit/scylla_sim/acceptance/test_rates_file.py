"""Acceptance rates from option values and from JSON files."""

import json

import pytest

from scylla_sim.acceptance import rates_file
from scylla_sim.checks import InputError


def test_cumulative_rates_are_converted(tmp_path):
    conditional, scalar = rates_file.read_rates("0.8,0.4,0.2", "cumulative")
    assert conditional.tolist() == pytest.approx([0.8, 0.5, 0.5])
    assert not scalar
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"acceptance_rate": [0.8, 0.4, 0.2], "kind": "cumulative"}))
    assert rates_file.read_rates(str(file), "conditional")[0].tolist() == pytest.approx([0.8, 0.5, 0.5])
    file.write_text(json.dumps({"acceptance_rate": [0.8]}))
    with pytest.raises(InputError, match="must state the kind of its rates"):
        rates_file.read_rates(str(file), "conditional")


def test_spread_is_the_interval_of_accepted_tokens_over_their_mean(tmp_path):
    file = tmp_path / "a.json"
    content = {"acceptance_rate": [0.8, 0.5], "kind": "conditional", "tokens_per_cycle": 2.2}
    content |= {"tokens_per_cycle_lower": 2.08, "tokens_per_cycle_upper": 2.32}
    file.write_text(json.dumps(content))
    assert rates_file.read_spread(str(file)) == pytest.approx((0.9, 1.1))
    file.write_text(json.dumps(content | {"tokens_per_cycle_upper": 2.1}))
    with pytest.raises(InputError, match="must lie between its ends"):
        rates_file.read_spread(str(file))
    assert rates_file.read_spread("0.8,0.5") is None


@pytest.mark.parametrize("text", ["1.2", "-0.1", "nan", "high", "0.5,2"])
def test_rates_outside_zero_and_one_are_refused(text):
    with pytest.raises(InputError, match="acceptance"):
        rates_file.read_rates(text, "conditional")
