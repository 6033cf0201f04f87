"""The closed form of a deployment: agreement with predictions, limits of the scheduler, reasons for doubt."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.batching import MIXED
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.gain import PLAIN
from scylla_sim.serving.iteration import iteration_model
from scylla_sim.serving.load import Load
from scylla_sim.serving.replica import BUDGET, FULL_POOL, LOAD, POOL, SEATS, cycles_of, doubtful, replica
from scylla_sim.serving.serve import Settings, saturation_rate
from scylla_sim.serving.workload import Lengths, RequestClass
from scylla_sim.stats.estimate import exact

LENGTHS = ServedLoad(1000, 200)


def simulated_saturation(model, lengths):
    names = ("input_len", "output_len")
    chat = RequestClass("all", *(Lengths.parse(name, size) for name, size in zip(names, lengths)))
    settings = Settings(max_num_seqs=model.max_num_seqs)
    return saturation_rate(model, Load([chat], rate=1.0), PLAIN, [PLAIN], settings, MIXED)


def deployed(**options):
    scenario = Scenario("llama-3.1-8b", hardware="h100-sxm", engine="vllm")
    where, _ = scenario.deployments()
    options = {"max_context": 1200, "max_num_seqs": 64, "contexts": 3} | options
    return iteration_model(scenario.target_model(), None, where, **options)


@pytest.mark.parametrize(("tau", "length", "tokens"), [(2.4, 3, 199), (1.5, 1, 30), (5.2, 7, 400)])
def test_cycles_of_a_request_against_draws(tau, length, tokens):
    rng = np.random.default_rng(2)
    rates = np.linspace(0.001, 0.999, 5000)
    sums = (rates[:, None] ** np.arange(length + 1)).sum(axis=1)
    rate = float(np.interp(tau, sums, rates))
    count, left = np.zeros(4000), np.full(4000, tokens)
    while (left > 0).any():
        count += left > 0
        left = left - np.minimum(rng.geometric(1.0 - rate, left.size), length + 1)
    mean, spread = cycles_of(tau, length, tokens=tokens)
    assert mean == pytest.approx(count.mean(), rel=5e-3)
    assert spread == pytest.approx(count.std() / count.mean(), rel=0.08)


def test_a_replica_repeats_its_iteration_model():
    model = deployed()
    one = replica(model, LENGTHS)
    assert one.alone_s == model.prefill_s(1000)
    assert one.cycle_s[0] == model.decode_s(1, LENGTHS.context)
    both = model.seconds(1, LENGTHS.context, tokens=1000, attention_s=model.attention_s(1000))
    assert one.prompt_s[0] == pytest.approx(both - one.cycle_s[0], rel=1e-12)
    assert one.cycles[0] == 199.0
    assert one.max_rows == 64.0


def test_a_small_budget_limits_the_rate_to_what_it_can_read():
    """Each decoding request brings 1000 / 199 prompt tokens an iteration, beside its own token."""
    small = replica(deployed(max_num_batched_tokens=300, max_num_seqs=256), LENGTHS)
    assert 0.9 * 300 / (1000 / 199 + 1) < small.max_rows <= 300 / (1000 / 199 + 1)
    assert saturation(small) < saturation(replica(deployed(max_num_seqs=256), LENGTHS))


def test_a_small_pool_limits_the_requests():
    """10 requests of 1,100 tokens and one to verify; 0.75 of the shorter length is too little for a prompt."""
    assert replica(deployed(), LENGTHS, kv_tokens=11_160.0).max_rows == pytest.approx(10.0, rel=1e-12)


@pytest.mark.parametrize("tokens", [11_000.0, 70_000.0, 72_000.0, 1e6])
@pytest.mark.parametrize("lengths", [(1000, 200), (300, 600)])
def test_saturation_in_a_full_pool_is_near_the_simulated_one(tokens, lengths):
    """Pools of about 10 and 60 requests, almost all 64 seats, and all of them."""
    model = replace(deployed(max_num_seqs=64), kv_tokens=exact(tokens))
    assert float(saturation(replica(model, ServedLoad(*lengths)))) == pytest.approx(
        simulated_saturation(model, lengths), rel=0.06
    )


@pytest.mark.parametrize(("held", "lengths"), [(64, (200, 1000)), (256, (300, 600))])
def test_seats_that_the_pool_leaves_empty_do_not_change_saturation(held, lengths):
    load = ServedLoad(*lengths)
    few, many = (
        replace(deployed(max_num_seqs=seats), kv_tokens=exact(held * (load.context + 1.0)))
        for seats in (2 * held, 1024)
    )
    simulated = simulated_saturation(many, lengths)
    assert simulated == pytest.approx(simulated_saturation(few, lengths), rel=0.03)
    assert float(saturation(replica(many, load))) == pytest.approx(simulated, rel=0.06)


def test_a_full_pool_computes_tokens_again():
    """Per request, as many tokens as the answer has, at the price of two prompts read together."""
    model = replace(deployed(), kv_tokens=exact(11_010.0))
    both = model.seconds(1, 1100, tokens=2000, attention_s=2.0 * model.attention_s(1000), sampled=2)
    again = float(both - model.decode_s(1, 1100)) * 200 / 2000 * np.exp(-0.5 / 199)
    assert replica(model, LENGTHS).again_s[0] == pytest.approx(again, rel=1e-9)
    assert not replica(deployed(), LENGTHS).again_s.any()


def test_reasons_for_doubt():
    model = deployed()
    one = replica(model, LENGTHS)
    sane = curve(one, [5.0])
    assert not any(where.any() for where in doubtful(sane, model, LENGTHS, share=np.array([0.3])).values())
    full = doubtful(curve(one, [60.0]), model, LENGTHS, share=np.array([0.95]))
    assert [name for name in (BUDGET, SEATS, POOL, LOAD) if full[name][0]] == [SEATS, LOAD]
    assert doubtful(sane, deployed(max_num_batched_tokens=900), LENGTHS, share=np.array([0.3]))[BUDGET][0]


def test_a_mean_beyond_the_pool_is_doubted_even_where_the_quantile_of_the_batch_fails():
    """With a huge spread, the approximate quantile of the running requests falls below their mean."""
    model = deployed()
    sane = curve(replica(model, LENGTHS), [5.0])
    wild = replace(sane, running=np.array([2.0 * model.max_num_seqs]), tail_rows=np.array([0.0]))
    assert doubtful(wild, model, LENGTHS, share=np.array([0.3]))[SEATS][0]
    small = replace(model, kv_tokens=exact(11_010.0))
    assert doubtful(replace(wild, running=np.array([20.0])), small, LENGTHS, share=np.array([0.3]))[POOL][0]


def test_decodes_take_their_tokens_of_the_budget():
    """A prompt of 1,000 tokens needs two iterations where 64 decodes leave 986 of 1,050."""
    model = deployed(max_num_batched_tokens=1050)
    one = replica(model, LENGTHS)
    first = replica(model, LENGTHS, prefill_first=True)
    assert one.prompt_iterations[0] == pytest.approx(1.0)
    assert one.prompt_iterations[-1] == pytest.approx(1000 / 986)
    assert first.prompt_iterations[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("lengths", [ServedLoad(1000, 200, 0.99), ServedLoad(1000, 200, 1), ServedLoad(20, 1000)])
def test_an_answer_is_computed_again_in_one_chunk_and_not_token_by_token(lengths):
    model = replace(deployed(), kv_tokens=exact(40.0 * lengths.context))
    again_s = replica(model, lengths, full_pool=replace(FULL_POOL, smoothing=0.0)).again_s[-1]
    chunk_s = model.seconds(64, lengths.context, tokens=lengths.output_len) - model.decode_s(64, lengths.context)
    assert chunk_s < again_s < 2.0 * chunk_s, "attention comes on top"


def test_more_hits_in_the_prefix_cache_never_lower_the_saturation():
    model = replace(deployed(), kv_tokens=exact(40 * 1150.0))
    rates = [float(saturation(replica(model, ServedLoad(1000, 300, hit)))) for hit in (0.0, 0.5, 0.9, 0.99, 1.0)]
    assert rates == sorted(rates)
