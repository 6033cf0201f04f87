"""Schedules: choices, crossovers and spans agree with the predictions they are made from."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.planning import schedule as planning
from scylla_sim.planning.crossover import Crossover
from scylla_sim.planning.schedule import schedule
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.stats.estimate import exact

LLAMA8 = catalog.model("llama-3.1-8b")
H100 = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))
PLAIN = no_drafting(catalog.draft("none"))


def chain(length, rate, draft="eagle3", *, spread=0.0):
    tau = float(iid_tokens_per_cycle(rate, length))
    low, high = (1 + (tau - 1) * (1 - spread), min(1 + (tau - 1) * (1 + spread), length + 1))
    return SpeculativeConfig(catalog.draft(draft), length, 1, length + 1, tau, low, high)


def scheduled(rate, *, lengths=range(1, 6), deployment=H100, batch=(1, 64, 256), context=(256,), **options):
    items = [chain(length, rate) for length in lengths]
    return schedule(LLAMA8, items, deployment, batch=list(batch), context=list(context), **options)


def best_crossover(found):
    return next(item for item in found.crossovers if item.config is None)


def test_choice_is_the_fastest_prediction():
    found = scheduled(0.62, batch=(1, 100, 400))
    for choice in found.choices:
        rates = {
            item: float(predict(LLAMA8, item, H100, batch=choice.batch_size, context=256).tokens_per_s)
            for item in [PLAIN, *(chain(n, 0.62) for n in range(1, 6))]
        }
        best, *others = sorted(rates.values(), reverse=True)
        assert choice.tokens_per_s == pytest.approx(best)
        assert choice.lead == pytest.approx(best / others[0] - 1)
        assert rates[choice.next_best] == pytest.approx(others[0])


def test_crossover_is_the_batch_where_the_speedup_falls_to_one():
    found = scheduled(0.4)
    item = best_crossover(found)
    assert item.lower < item.batch < item.upper < item.searched_to
    batch = np.arange(1.0, item.searched_to + 1)
    best = np.max(
        [predict(LLAMA8, chain(n, 0.4), H100, batch=batch, context=256).speedup for n in range(1, 6)], axis=0
    )
    assert best[item.batch - 2] > 1 >= best[item.batch - 1 :].max()


def test_crossover_names_the_limit_of_its_search():
    memory = best_crossover(scheduled(0.8, context=(8192,)))
    assert (memory.batch, memory.limit) == (None, "memory")
    item, one = chain(1, 0.8), memory.searched_to
    fits = predict(LLAMA8, item, H100, batch=[one, one + 1], context=8192).fits_memory
    assert fits.tolist() == [True, False]
    limited = best_crossover(scheduled(0.8, context=(8192,), batch=(1,), max_batch=10))
    assert (limited.searched_to, limited.limit) == (10, "max_batch")


def test_baseline_is_chosen_where_the_draft_does_not_fit():
    ends = best_crossover(scheduled(0.8, context=(8192,)))
    beyond = ends.searched_to + 1
    (choice,) = scheduled(0.8, context=(8192,), batch=(beyond,)).choices
    assert choice.config.draft.kind == "none"
    assert choice.fits_memory
    assert choice.speedup == choice.speedup_lower == choice.speedup_upper == 1.0


def test_may_be_best_contains_the_choice():
    for choice in scheduled(0.62, batch=(1, 16, 64, 128, 256)).choices:
        assert choice.config in choice.may_be_best
        assert choice.loss_at_most >= 0
        assert (len(choice.may_be_best) > 1) == (choice.loss_at_most > 0)
        if choice.lead < 0.001:
            assert choice.next_best in choice.may_be_best


def test_gain_over_fixed_is_zero_only_for_the_fixed_configuration():
    found = scheduled(0.62)
    gains = [choice.gain_over_fixed for choice in found.choices]
    assert min(gains) >= 0 < max(gains)
    for choice in found.choices:
        assert (choice.config == found.fixed) == (choice.gain_over_fixed == 0)


def test_no_candidate_and_a_too_large_search_are_refused():
    with pytest.raises(InputError, match="at least one candidate"):
        schedule(LLAMA8, [], H100, batch=[1], context=[1])
    with pytest.raises(InputError, match=r"max_batch=100000 must lie in \[1, 16384\]"):
        scheduled(0.5, max_batch=100000)


def specbundle():
    """Return measured throughput of SGLang on an H200 by head and task, for candidates with measured tau.

    The engine preset was fitted to the MT-Bench chains of this source, so this is not a blind test.
    """
    found = {}
    for row in csv.DictReader((ROOT / "paper/published/specbundle_cycles.csv").read_text().splitlines()):
        if row["draft_len"] == "0":
            continue
        length, width, verified = (int(row[name]) for name in ("draft_len", "top_k", "verify_tokens"))
        tau = float(row["tokens_per_cycle"])
        item = SpeculativeConfig(catalog.draft("eagle3"), length, width, verified, tau, tau, tau)
        found.setdefault((row["draft_head"], row["task"]), {})[item] = float(row["tokens_per_s"])
    return found


def test_measured_fastest_configuration_may_be_best():
    where = Deployment(device_calibration.shipped("h200-sxm"), catalog.engine("sglang"))
    chosen, losses = 0, []
    for measured in specbundle().values():
        (choice,) = schedule(LLAMA8, list(measured), where, batch=[1], context=[512], max_batch=1).choices
        fastest = max(measured, key=measured.get)
        assert fastest in choice.may_be_best
        chosen += choice.config == fastest
        losses.append(measured[fastest] / measured[choice.config] - 1)
        assert losses[-1] <= choice.loss_at_most
    assert len(losses) == 14
    assert chosen >= 10
    assert max(losses) < 0.02


def test_no_crossover_when_nothing_fits():
    huge = schedule(catalog.model("llama-3.1-70b"), [chain(2, 0.7)], H100, batch=[1], context=[1024], max_batch=16)
    assert best_crossover(huge) == Crossover(1024, None, None, None, None, 0, "memory")
    assert huge.spans == []
    (choice,) = huge.choices
    assert not choice.fits_memory


def test_the_fixed_configuration_has_the_highest_geometric_mean():
    """Speed-ups 4 and 0.5 have the mean 2.25 and the geometric mean 1.41; 1.5 twice has 1.5."""
    head = catalog.draft("eagle3")
    candidates = [PLAIN, *(SpeculativeConfig(head, n, 1, n + 1, 2.0, 2.0, 2.0) for n in (1, 2))]
    rate = np.array([[1.0, 1.0], [4.0, 0.5], [1.5, 1.5]])[:, :, None]
    at, gain = planning._fixed(candidates, rate, np.ones_like(rate, dtype=bool), [0, 1, 2])
    assert (at, gain) == (2, pytest.approx(1.5))


def test_the_best_crossover_leaves_out_drafts_that_do_not_fit():
    """A large draft is twice as fast at every batch, but fits at batch 1 only; the small one pays up to batch 2."""
    sizes, head = np.arange(1.0, 5.0), catalog.draft("eagle3")

    def made_up(config, speedup, fits):
        value = np.asarray(speedup)
        return SimpleNamespace(
            config=config, speedup_estimate=exact(value), tokens_per_s=value, fits_memory=np.asarray(fits)
        )

    large, small = (SpeculativeConfig(head, n, 1, n + 1, 2.0, 2.0, 2.0) for n in (5, 1))
    found = [
        made_up(PLAIN, np.ones(4), [True] * 4),
        made_up(large, 2.0 * np.ones(4), [True, False, False, False]),
        made_up(small, [1.5, 1.2, 0.9, 0.8], [True] * 4),
    ]
    load = SimpleNamespace(predict=lambda batch, context: found)
    best = planning._searched(load, 100, sizes, "max_batch")[0][0]
    assert (best.batch, best.searched_to) == (3, 4)
