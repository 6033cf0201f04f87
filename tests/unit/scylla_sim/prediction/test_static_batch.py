"""Static batches in predictions and schedules."""

from dataclasses import replace

import numpy as np
import pytest

import scylla_sim
from scylla_sim.checks import InputError
from scylla_sim.prediction import breakdown
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_runs import RAGGED, ServedRun, predict_run
from scylla_sim.stats.estimate import Estimate

BASE = Scenario(
    "llama-3.1-8b",
    hardware="h100-sxm",
    draft="eagle3",
    draft_len=3,
    tokens_per_cycle=2.0,
    batch=[1, 8],
    context=512,
)
STATIC = {"batch_mode": "static", "output_len": 64}


def predicted(**options):
    return replace(BASE, **options).predict()


def test_the_speed_up_falls_by_the_wait_and_plain_decoding_does_not_change():
    refilled, static = predicted().rows(), predicted(**STATIC).rows()
    for before, after in zip(refilled, static):
        assert after["speedup"] * after["batch_wait"] == pytest.approx(before["speedup"])
        assert after["tokens_per_s"] * after["batch_wait"] == pytest.approx(before["tokens_per_s"])
        assert after["plain_tokens_per_s"] == before["plain_tokens_per_s"]
        assert after["cycle_s"] == before["cycle_s"]
        assert (before["batch_mode"], after["batch_mode"]) == ("continuous", "static")
        assert before["batch_wait"] == before["batch_wait_upper"] == 1.0


def test_prompts_that_differ_widen_the_interval_downwards():
    before, after = (predicted(**options).rows()[1] for options in ({}, STATIC))
    down, up = (
        [row["speedup"] / row["speedup_lower"], row["speedup_upper"] / row["speedup"]] for row in (before, after)
    )
    wait = after["batch_wait_upper"] / after["batch_wait"]
    assert up[0] - 1.0 == pytest.approx(np.hypot(down[0] - 1.0, wait - 1.0), rel=1e-6)
    assert after["speedup_upper"] / after["speedup"] == pytest.approx(before["speedup_upper"] / before["speedup"])


def test_the_wait_stretches_cycles_and_not_prefills():
    static = predicted(**STATIC, input_len=500).rows()[1]
    refilled = predicted(input_len=500, output_len=64).rows()[1]
    prefills = [row["prefill_share"] * row["tpot_s"] for row in (refilled, static)]
    assert prefills[1] == pytest.approx(prefills[0])
    assert static["tpot_s"] - prefills[1] == pytest.approx(
        (refilled["tpot_s"] - prefills[0]) * static["batch_wait"]
    )


def test_a_batch_does_not_depend_on_the_others():
    alone, among = predicted(**STATIC, batch=24).rows()[0], predicted(**STATIC, batch=[1, 24, 64]).rows()[1]
    assert alone["speedup"] == among["speedup"]


def test_every_context_has_a_wait_of_its_own():
    both = predicted(**STATIC, context=[512, 8192]).rows()
    assert [row["batch_wait"] for row in both if row["context_len"] == 512] == [
        row["batch_wait"] for row in predicted(**STATIC).rows()
    ]


def test_drafts_share_the_prompts_that_they_wait_for():
    """Slow prompts are slow with another draft too, so only the difference of both waits widens a ratio."""
    short, long = (predicted(**STATIC, draft_len=length).predictions[0] for length in (3, 5))
    alone = predicted(draft_len=3).predictions[0].over(predicted(draft_len=5).predictions[0])
    differ = (short.wait.upper / short.wait.value) / (long.wait.upper / long.wait.value)
    down, up = np.maximum(differ - 1.0, 0.0), np.maximum(1.0 / differ - 1.0, 0.0)
    ratio = short.over(long)
    assert ratio.value / ratio.lower - 1.0 == pytest.approx(np.hypot(alone.value / alone.lower - 1.0, down))
    assert ratio.upper / ratio.value - 1.0 == pytest.approx(np.hypot(alone.upper / alone.value - 1.0, up))
    assert (up + down)[1, 0] < 0.7 * max(one.wait.upper[1, 0] / one.wait.value[1, 0] - 1.0 for one in (short, long))


def test_published_batches_without_refill_are_static():
    run = ServedRun(
        *("vllm", "h100-sxm", "llama-3.1-8b", "", "", "eagle3", 1, 3, 1, 4, 8, 512, 0, 64), batch_kind=RAGGED
    )
    (row,) = predicted(**STATIC, batch=8).rows()
    assert predict_run(run, 2.0)["speedup"] == row["speedup"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_mode": "static"}, "batch_mode='static' needs output_len"),
        (
            {"batch_mode": "static", "output_len": 5000},
            "output_len=5000 must be at most 4096 with batch_mode=static",
        ),
        ({"batch_mode": "ragged"}, "batch_mode='ragged' is not known; known: continuous, static"),
        ({"batch_mode": "static", "output_len": 64, "prefix_hit": 0.5}, "needs input_len"),
        ({"output_len": 64}, "output_len=64 needs input_len"),
    ],
)
def test_modes_that_cannot_be_predicted_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        predicted(**options)


def test_what_is_assumed_is_said():
    (note,) = (note for note in predicted(**STATIC).notes if note.startswith("static batch"))
    assert "times its mean number of cycles, up to" in note
    plain = scylla_sim.predict("llama-3.1-8b", hardware="h100-sxm", **STATIC)
    assert "batch_mode=static has no effect without drafted tokens" in " ".join(plain.notes)
    assert not any("static" in note for note in predicted().notes)


def test_break_even_asks_for_the_wait_too():
    from scylla_sim.planning.break_even import break_even_tokens

    before, after = (predicted(**options).predictions[0] for options in ({}, STATIC))
    needed: list[Estimate] = [break_even_tokens(out) for out in (before, after)]
    assert (needed[1].value / needed[0].value)[1, 0] == pytest.approx(after.wait.value[1, 0])


def test_the_breakdown_adds_up_to_the_time_per_token():
    (out,) = predicted(**STATIC, input_len=500).predictions
    found = breakdown.groups(out)
    total = sum(cycle for cycle, _ in found.values())
    assert total / 2.0 == pytest.approx(out.tpot_s.ravel())
    assert breakdown.WAIT not in breakdown.groups(predicted().predictions[0])
