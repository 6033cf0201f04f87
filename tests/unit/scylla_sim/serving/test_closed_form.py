"""The closed form of a served load against hand values."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.loop_state import Replica

ROWS = np.arange(1.0, 257.0)


def linear(base=0.005, slope=5e-5, prompt=0.03, *, cycles=199.0, output=200.0, seats=256.0):
    """Return a replica whose iterations grow linearly with the decoding requests."""
    flat = np.full(256, prompt)
    return Replica(
        rows=ROWS,
        cycle_s=base + slope * ROWS,
        cycles=np.full(256, cycles),
        prompt_s=flat,
        next_prompt_s=flat,
        alone_s=np.array(prompt),
        output_len=np.array(output),
        max_rows=np.array(seats),
        cycles_cv=np.array(0.0),
    )


def test_an_unloaded_replica_has_exactly_the_unloaded_latency():
    found = curve(linear(), [0.0])
    assert found.rate_per_s[0] == 0.0
    for seconds in (found.tpot_s, found.tpot_quantile(0.99)):
        assert seconds[0] == pytest.approx(0.00505, rel=1e-12)
    for seconds in (found.ttft_s, found.ttft_quantile(0.99)):
        assert seconds[0] == pytest.approx(0.03, rel=1e-12)


def test_rate_by_hand():
    """m = rate * K * (d0 + d1 m) / (1 - rate P) is solved by rate = m / (K (d0 + d1 m) + m P)."""
    found = curve(linear(), [10.0])
    assert found.rate_per_s[0] == pytest.approx(10.0 / (199 * 0.0055 + 10 * 0.03), rel=1e-9)
    assert found.prefill_share[0] == pytest.approx(0.03 * found.rate_per_s[0], rel=1e-12)


def test_requests_find_one_more_than_the_mean_where_nothing_fluctuates():
    """Without slope and prompts the batch is Poisson, and the time per token is that of an iteration."""
    found = curve(linear(slope=0.0, prompt=1e-9), [5.0, 50.0])
    assert found.tpot_s == pytest.approx(np.full(2, 0.005), rel=1e-6)
    assert found.spread == pytest.approx(np.ones(2), rel=2e-3)
    assert found.tpot_deviation_s == pytest.approx(np.zeros(2), abs=1e-6)


def test_prompts_alone_wait_for_the_running_iteration():
    """Iterations of constant length D and short prompts: half an iteration to wait, then one."""
    found = curve(linear(slope=0.0, prompt=1e-9), [100.0])
    assert found.ttft_s[0] == pytest.approx(1.5 * 0.005, rel=1e-3)
    assert found.wait_deviation_s[0] == pytest.approx(0.005 / np.sqrt(12), rel=1e-2)


def test_one_seat_is_a_queue_with_constant_service():
    """M/D/1 by Pollaczek and Khinchine: load * service / (2 (1 - load)), on top of a fresh prompt."""
    service, load = 199 * 0.005, np.array([0.2, 0.7, 0.9])
    found = curve(linear(slope=0.0, prompt=1e-9, seats=1.0), load)
    assert found.queue == pytest.approx(load, rel=1e-6)
    assert found.queue * found.queue_s == pytest.approx(load * service / (2.0 * (1.0 - load)), rel=1e-6)


def test_some_seats_are_taken_as_sakasegawa_says():
    """Of 8 seats at 70 % load, 0.7^(sqrt(18) - 1) of the requests wait; Erlang's formula gives 27 %, M/M/8."""
    found = curve(linear(slope=0.0, prompt=1e-9, seats=8.0), [5.6])
    assert found.queue[0] == pytest.approx(0.7 ** (np.sqrt(18.0) - 1.0), rel=1e-6)
    assert found.queue[0] == pytest.approx(0.27, abs=0.05)


def test_a_late_request_waits_longer_than_the_ones_before_it_by_an_exponential():
    found = curve(linear(seats=8.0), [7.0])
    share, mean = float(found.queue[0]), float(found.queue_s[0])
    alone = replace(found, queue=np.zeros(1))
    for p in (0.5 * (1.0 - share), 1.0 - share / 2.0, 1.0 - share / 20.0):
        wait = mean * max(np.log(share / (1.0 - p)), 0.0)
        assert (found.ttft_quantile(p) - alone.ttft_quantile(p))[0] == pytest.approx(wait, abs=1e-9)


def test_saturation_by_hand():
    """At n = seats: n / (K D(n) + n P)."""
    for seats in (16.0, 256.0):
        hand = seats / (199 * (0.005 + 5e-5 * seats) + seats * 0.03)
        assert saturation(linear(seats=seats)) == pytest.approx(hand, rel=1e-12)


def test_a_slower_iteration_at_more_rows_limits_the_rate_before_the_seats_do():
    one = linear()
    jump = replace(one, cycle_s=np.where(ROWS > 100, 10.0, one.cycle_s))
    assert saturation(jump) == pytest.approx(saturation(linear(seats=100.0)), rel=1e-12)


def test_at_rate_inverts_the_curve_and_broadcasts():
    grid = np.linspace(0.0, 100.0, 300)
    many = linear()
    many = replace(many, cycle_s=np.stack([many.cycle_s, 2.0 * many.cycle_s]), alone_s=np.array([0.03, 0.03]))
    many = replace(many, output_len=np.array([200.0, 200.0]), cycles_cv=np.zeros(2), max_rows=np.full(2, 256.0))
    found = curve(many, grid)
    at = found.at_rate(np.array([[2.0, 5.0]]))
    assert at.rate_per_s == pytest.approx(np.array([[2.0, 5.0], [2.0, 5.0]]))
    assert at.running.shape == (2, 2)
    alone = curve(linear(), grid).at_rate([2.0, 5.0])
    assert at.tpot_s[0] == pytest.approx(alone.tpot_s)
    assert (at.tpot_s[1] > 1.9 * at.tpot_s[0]).all()


def test_one_output_token_is_refused():
    with pytest.raises(InputError, match="output_len=1 must be at least 2; one token has no time per output token"):
        linear(output=1.0)


def test_prompts_one_at_a_time_are_a_queue_with_constant_service():
    """Iterations of 5 ms, and prompts of 4 iterations and 20 ms more: M/D/1 with 40 ms of service."""
    one = replace(linear(slope=0.0, prompt=0.02), prompt_iterations=np.full(256, 4.0))
    found = curve(one, np.linspace(0.0, 250.0, 400)).at_rate([15.0])
    service, rate = 4 * 0.005 + 0.02, 15.0
    busy = rate * service
    iteration = 0.005 / (1.0 - rate * 0.02)
    assert found.wait_s[0] == pytest.approx(service + 0.5 * iteration + busy * service / (2 * (1 - busy)), rel=5e-3)
    assert found.wait_floor_s[0] == pytest.approx(service, rel=1e-6)


def test_prompts_of_others_lengthen_a_stay_by_their_share_of_the_time():
    """Flat iterations: 199 of 5 ms over 1 - rate P, and the own prompt lets more prompts follow."""
    found = curve(linear(slope=1e-12), [10.0])
    share = 0.03 * found.rate_per_s[0]
    own = share * 0.03 / ((1 - share) * (1 - share**2))
    assert found.tpot_s[0] == pytest.approx((199 * 0.005 / (1 - share) + own) / 199, rel=1e-6)


def test_an_arrival_meets_long_iterations_more_often():
    """Flat iterations of mean D / (1 - share) and variance P share mean / (1 - share^2): half of one is left."""
    found = curve(linear(slope=1e-12), [40.0])
    share, rate = float(found.prefill_share[0]), float(found.rate_per_s[0])
    mean = 0.005 / (1 - share)
    seen = mean + 0.03 * share / (1 - share**2)
    expected = 0.005 + 0.03 + (0.5 + rate * 0.03) * seen
    assert found.wait_s[0] == pytest.approx(expected, rel=1e-3)


def test_percentiles_spread_around_the_mean():
    found = curve(linear(), [20.0])
    low, high = found.tpot_quantile(0.1)[0], found.tpot_quantile(0.99)[0]
    assert low < found.tpot_s[0] < high
    assert found.tpot_quantile(0.99)[0] > found.tpot_quantile(0.9)[0] > found.tpot_quantile(0.5)[0]


def test_quantiles_of_the_first_token_rise_where_few_requests_find_a_busy_replica():
    """A busy iteration hides the host's work, so that its least wait is below that of an idle replica."""
    found = curve(replace(linear(), alone_s=np.array(0.05)), [0.05])
    quantiles = [float(found.ttft_quantile(p)[0]) for p in (0.5, 0.9, 0.95, 0.99)]
    assert float(found.wait_floor_s[0]) < 0.05 == quantiles[0]
    assert quantiles == sorted(quantiles)
