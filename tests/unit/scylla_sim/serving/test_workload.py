"""Lengths, arrivals and cycles of requests have the moments that their parameters state."""

from __future__ import annotations

import numpy as np
import pytest

from scylla_sim.acceptance.generation import cycles_distribution
from scylla_sim.acceptance.profiles import cycle_distribution
from scylla_sim.checks import InputError
from scylla_sim.serving.workload import (
    Lengths,
    RequestClass,
    closed_loop_arrivals,
    draw_cycles,
    draw_lengths,
    gamma_arrivals,
)


def test_lengths_have_their_mean_and_spread() -> None:
    rng = np.random.default_rng(0)
    drawn = Lengths.parse("input_len", "lognormal:1000,0.8").draw(rng, 200_000)
    assert drawn.mean() == pytest.approx(1000, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(0.8, rel=0.02)
    flat = Lengths.parse("input_len", "uniform:80,100").draw(rng, 100_000)
    assert (flat.min(), flat.max()) == (80, 100)
    assert flat.mean() == pytest.approx(90, rel=0.01)
    assert set(Lengths.parse("output_len", "1Ki").draw(rng, 5).tolist()) == {1024}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("normal:10,2", "input_len='normal:10,2' must be 300, uniform:LOW,HIGH or lognormal:MEAN,CV"),
        ("lognormal:1000", "must be 300"),
        ("uniform:9,3", "must have its ends in ascending order"),
        ("lognormal:1000,0", "input_len=0 must be above 0; the second number is the coefficient of variation"),
        ("0", "input_len=0 must lie in"),
        ("12.5", "input_len=12.5 must be a whole number"),
        ("many", "is not understood"),
    ],
)
def test_bad_lengths_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        Lengths.parse("input_len", text)
    assert message in str(error.value)


@pytest.mark.parametrize(("burstiness", "cv"), [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)])
def test_gaps_between_arrivals_have_the_rate_and_the_burstiness(burstiness: float, cv: float) -> None:
    gaps = np.diff(gamma_arrivals(np.random.default_rng(1), 200_000, rate=5.0, burstiness=burstiness))
    assert gaps.mean() == pytest.approx(0.2, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.02)


def test_infinite_burstiness_gives_equal_gaps() -> None:
    found = gamma_arrivals(np.random.default_rng(1), 5, rate=4.0, burstiness=np.inf)
    np.testing.assert_allclose(found, [0.0, 0.25, 0.5, 0.75, 1.0])


def test_a_closed_loop_starts_all_clients_at_once() -> None:
    assert closed_loop_arrivals(4, 2).tolist() == [0.0, 0.0, np.inf, np.inf]


def test_classes_share_the_requests() -> None:
    short, long = (Lengths.parse("input_len", text) for text in ("100", "900"))
    classes = [RequestClass("chat", short, short, share=3.0), RequestClass("rag", long, short, prefix_hit=0.5)]
    prompt, cached, _, index = draw_lengths(np.random.default_rng(2), classes, 20_000)
    assert (index == 1).mean() == pytest.approx(0.25, abs=0.01)
    assert set(prompt[index == 1].tolist()) == {900}
    assert set(cached[index == 1].tolist()) == {450}
    assert cached[index == 0].max() == 0


def test_cycles_follow_their_exact_distribution() -> None:
    rates = [0.8, 0.7, 0.6]
    exact = cycles_distribution(rates, 100)
    drawn = draw_cycles(np.random.default_rng(3), np.full(40_000, 100), cycle_distribution(rates))
    found = np.bincount(drawn, minlength=exact.size) / drawn.size
    assert np.abs(found[: exact.size] - exact).max() < 0.01
    assert drawn.mean() == pytest.approx(float(exact @ np.arange(exact.size)), rel=2e-3)
