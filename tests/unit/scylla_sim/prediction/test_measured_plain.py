"""A measured time of plain decoding: how it is read, and what it changes."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.prediction.measured_plain import measured_seconds
from scylla_sim.prediction.predict import predict

CHAIN = {"hardware": "h100-sxm", "draft": "eagle3", "acceptance": 0.7, "engine": "vllm"}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("9.1", "'9.1' must have a unit"),
        (["7ms", "9"], "'9' must have a unit"),
        (9.1, "9.1 must have a unit"),
        ("9.1ms", "must have one value for each of 2 batches"),
        ("0ms,1ms", "'0ms' must be above 0"),
        ("1ms,fast", "'fast' is not understood"),
        ("1ms,", "'' is not understood"),
    ],
)
def test_a_time_that_cannot_be_used_is_refused(given, rule):
    with pytest.raises(InputError, match=rule):
        measured_seconds(given, batch=[8, 64], context=[1024])


def test_one_context_and_one_value_per_batch():
    with pytest.raises(InputError, match="needs one context"):
        measured_seconds("9ms", batch=[8], context=[1024, 2048])
    with pytest.raises(InputError, match="has two values for batch 8"):
        measured_seconds("9ms,8ms", batch=[8, 8], context=[1024])
    assert measured_seconds("9ms,9ms", batch=[8, 8], context=[1024]) == pytest.approx({8: 0.009})


def test_throughput_is_the_measured_baseline_times_the_predicted_speedup():
    without, measured = (
        predict("llama-3.1-8b", batch=[8, 64], **CHAIN, **more).rows()
        for more in ({}, {"measured_plain_tpot": "6.5ms,10ms"})
    )
    for before, row, tpot in zip(without, measured, (0.0065, 0.010)):
        for name in ("speedup", "speedup_lower", "speedup_upper", "p_slower", "cycle_s", "plain_step_s"):
            assert row[name] == pytest.approx(before[name])
        assert row["plain_tpot_s"] == pytest.approx(tpot)
        plain = row["batch_size"] / tpot
        assert row["plain_tokens_per_s"] == row["plain_tokens_per_s_lower"]
        assert row["plain_tokens_per_s"] == pytest.approx(plain)
        for end in ("", "_lower", "_upper"):
            assert row[f"tokens_per_s{end}"] == pytest.approx(plain * row[f"speedup{end}"])
        assert row["tpot_s"] == pytest.approx(row["batch_size"] / row["tokens_per_s"])


def test_values_follow_their_batch_when_verified_tokens_differ():
    rows = predict(
        "llama-3.1-8b",
        **(CHAIN | {"draft": "eagle2", "acceptance": None}),
        batch=[64, 8],
        verify_tokens=[16, 32],
        measured_plain_tpot=["10ms", "7ms"],
    ).rows()
    assert {row["batch_size"]: row["plain_tpot_s"] for row in rows} == pytest.approx({64: 0.010, 8: 0.007})


def test_a_measurement_outside_the_prediction_is_reported():
    near = predict("llama-3.1-8b", batch=8, **CHAIN, measured_plain_tpot="6.5ms").notes
    far = predict("llama-3.1-8b", batch=8, **CHAIN, measured_plain_tpot="65ms").notes
    assert not any("outside its interval" in note for note in near)
    assert any("65 ms at batch 8 is" in note and "outside its interval" in note for note in far)
