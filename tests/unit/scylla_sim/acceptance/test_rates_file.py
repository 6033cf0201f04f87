"""Acceptance rates from option values and from JSON files."""

import json

import pytest

from scylla_sim.acceptance import measured, rates_file
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


CONTENT = {"acceptance_rate": [0.8, 0.5], "kind": "conditional", "tokens_per_cycle": 2.2}
CONTENT |= {"tokens_per_cycle_lower": 2.08, "tokens_per_cycle_upper": 2.32}


def test_spread_is_the_interval_of_accepted_tokens_over_their_mean():
    assert rates_file.spread_of(CONTENT) == pytest.approx((0.9, 1.1))
    assert rates_file.spread_of({"acceptance_rate": [0.8]}) is None
    with pytest.raises(InputError, match="must lie between its ends"):
        rates_file.spread_of(CONTENT | {"tokens_per_cycle_upper": 2.1})


def test_rates_of_a_law_are_a_measured_tau():
    known = measured.of_content(CONTENT | {"position_law": "eagle3", "draft_len_max": 24}, "a.json")
    assert (known.tokens_per_cycle, known.tau_draft_len, known.longest) == (2.2, 2, 24)
    assert known.priced_len(24) == 2 and known.priced_len(5) == 5
    assert "drafts of at most 24 tokens were measured" in known.notes[0]
    assert measured.of_content(CONTENT, "a.json").rates.tolist() == [0.8, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acceptance_rate": [[0.7]]}, r"acceptance_rate=\[0.7\] must be a number"),
        ({"acceptance_rate": [".7"]}, "acceptance_rate='.7' must be a number"),
        ({"acceptance_rate": [True]}, "acceptance_rate=True must be a number"),
        ({"acceptance_rate": [10**200]}, "must lie in"),
        ({"acceptance_rate": []}, "must have 1 to 1000 rates"),
        ({"acceptance_rate": [0.7] * 2000}, "must have 1 to 1000 rates"),
        ({"kind": "magic"}, "kind='magic' is not known"),
        ({"tokens_per_cycle": [2.3]}, "must be one number"),
        ({"tokens_per_cycle_upper": [1, 2]}, "must be one number"),
        ({"position_law": "eagle3", "tokens_per_cycle": 9.0}, "must lie"),
        ({"position_law": "eagle3", "draft_len_max": 1e9}, "draft_len_max"),
    ],
)
def test_content_that_is_no_measurement_is_refused(change, message):
    with pytest.raises(InputError, match=f"{message}.*in a.json"):
        measured.of_content(CONTENT | change, "a.json")


def test_text_that_json_does_not_allow_is_refused(tmp_path):
    file = tmp_path / "a.json"
    for text in ('{"acceptance_rate": [NaN]}', '{"kind": 1, "kind": 2}', "[" * 100_000, f'{{"a": {"9" * 5000}}}'):
        file.write_text(text)
        with pytest.raises(InputError, match="is not JSON"):
            rates_file.read_content(str(file))


@pytest.mark.parametrize("text", ["1.2", "-0.1", "nan", "high", "0.5,2"])
def test_rates_outside_zero_and_one_are_refused(text):
    with pytest.raises(InputError, match="acceptance"):
        rates_file.read_rates(text, "conditional")
