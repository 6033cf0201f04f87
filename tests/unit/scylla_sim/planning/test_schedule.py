"""Schedules by hand: crossovers of given speed-ups, runs of batches, choices as predict has them, engine flags."""

import csv
import json
import re

import numpy as np
import pytest
from running import ROOT

from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.engines import flags as engines_flags
from scylla_sim.planning.crossover import Crossover, Span, crossover_batch, spans_of
from scylla_sim.planning.schedule import Schedule, schedule
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

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
    return next(item for item in found.crossovers if item.drafting is None)


@pytest.mark.parametrize(
    ("speedup", "batch"),
    [
        ([1.5, 1.2, 1.0, 0.9], 3),
        ([1.5, 0.9, 1.01, 0.9], 4),
        ([0.9, 0.8], 1),
        ([0.9, 1.1], None),
        ([1.0, 1.0], 1),
        ([], None),
    ],
)
def test_plain_decoding_wins_from_the_batch_after_the_last_that_pays(speedup, batch):
    assert crossover_batch(np.array(speedup)) == batch


def test_a_schedule_changes_where_it_pays_and_not_for_one_tile():
    steady = np.log(np.full(64, 2.0))
    better_later = np.where(np.arange(1, 65) < 20, np.log(1.5), np.log(2.5))
    assert spans_of(np.stack([steady, better_later])) == [(1, 19, 0), (20, 64, 1)]
    hop = steady.copy()
    hop[30] += 0.01
    assert spans_of(np.stack([steady, hop - 1e-3])) == [(1, 64, 0)]
    alone = np.where(np.arange(1, 65) > 40, -np.inf, steady)
    assert spans_of(np.stack([alone, steady - 1.0]))[-1] == (41, 64, 1), "what does not fit is never chosen"


def test_the_schedule_by_hand_of_two_candidates_and_its_price_of_a_change():
    # over one doubling, 4 to 8, the second leads by 3 %: 3 % x ln 2, above a price of 2 % x ln 2, below 4 % x ln 2
    first = np.zeros(7)
    second = np.where(np.arange(1, 8) >= 4, 0.03, -1.0)
    assert len(spans_of(np.stack([first, second]), worth=0.02)) == 2
    assert len(spans_of(np.stack([first, second]), worth=0.04)) == 1


def test_the_choice_is_the_fastest_that_predict_finds():
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


def test_the_crossover_is_where_the_predicted_speedup_falls_to_one():
    found = scheduled(0.4)
    item = best_crossover(found)
    assert item.lower < item.batch < item.upper < item.searched_to
    batch = np.arange(1.0, item.searched_to + 1)
    best = np.max(
        [predict(LLAMA8, chain(n, 0.4), H100, batch=batch, context=256).speedup for n in range(1, 6)], axis=0
    )
    assert best[item.batch - 2] > 1 >= best[item.batch - 1 :].max()


def test_a_search_that_ends_at_the_memory_says_so_and_at_the_limit_too():
    memory = best_crossover(scheduled(0.8, context=(8192,)))
    assert (memory.batch, memory.limit) == (None, "memory")
    item, one = chain(1, 0.8), memory.searched_to
    fits = predict(LLAMA8, item, H100, batch=[one, one + 1], context=8192).fits_memory
    assert fits.tolist() == [True, False]
    limited = best_crossover(scheduled(0.8, context=(8192,), batch=(1,), max_batch=10))
    assert (limited.searched_to, limited.limit) == (10, "max_batch")


def test_plain_decoding_is_chosen_where_the_draft_does_not_fit_any_more():
    ends = best_crossover(scheduled(0.8, context=(8192,)))
    beyond = ends.searched_to + 1
    (choice,) = scheduled(0.8, context=(8192,), batch=(beyond,)).choices
    assert choice.drafting.draft.kind == "none"
    assert choice.fits_memory
    assert choice.speedup == choice.speedup_lower == choice.speedup_upper == 1.0


def test_what_may_be_best_holds_the_choice_and_bounds_the_loss():
    for choice in scheduled(0.62, batch=(1, 16, 64, 128, 256)).choices:
        assert choice.drafting in choice.may_be_best
        assert choice.loss_at_most >= 0
        assert (len(choice.may_be_best) > 1) == (choice.loss_at_most > 0)
        if choice.lead < 0.001:
            assert choice.next_best in choice.may_be_best


def test_one_drafting_for_all_loses_to_the_best_of_each_and_to_nothing_where_it_is_the_best():
    found = scheduled(0.62)
    gains = [choice.gain_over_fixed for choice in found.choices]
    assert min(gains) >= 0 < max(gains)
    for choice in found.choices:
        assert (choice.drafting == found.fixed) == (choice.gain_over_fixed == 0)


def test_nothing_to_choose_from_and_an_endless_search_are_refused():
    with pytest.raises(InputError, match="at least one candidate"):
        schedule(LLAMA8, [], H100, batch=[1], context=[1])
    with pytest.raises(InputError, match=r"max_batch=100000.0 must lie in \[1, 16384\]"):
        scheduled(0.5, max_batch=100000)


def specbundle():
    """Measured chains and trees of SGLang on an H200 by head and task: candidates with measured tau, and tokens/s.

    The engine's preset was derived from the chains of this source on MT-Bench, so costs are not all foreseen.
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


def test_the_draft_length_that_was_measured_as_fastest_is_chosen_or_named_and_little_is_lost():
    where = Deployment(device_calibration.shipped("h200-sxm"), catalog.engine("sglang"))
    chosen, losses = 0, []
    for measured in specbundle().values():
        (choice,) = schedule(LLAMA8, list(measured), where, batch=[1], context=[512], max_batch=1).choices
        fastest = max(measured, key=measured.get)
        assert fastest in choice.may_be_best
        chosen += choice.drafting == fastest
        losses.append(measured[fastest] / measured[choice.drafting] - 1)
        assert losses[-1] <= choice.loss_at_most
    assert len(losses) == 14
    assert chosen >= 10
    assert max(losses) < 0.02


# -- Engine flags ----------------------------------------------------------------------------------------------


def made_up(items, spans, gain=1.5):
    """A schedule as the flags see it."""
    drafted = [item for item in items if item.draft.kind != "none"]
    chains = [item for item in drafted if item.top_k == 1]
    fixed, chain_ = (group[0] if group else None for group in (drafted, chains))
    return Schedule([], [], fixed, gain, chain_, gain, spans, [s for s in spans if s.drafting.top_k == 1])


def test_vllm_gets_a_length_by_batch_range_and_the_longest_as_its_window():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, three), Span(41, 90, one), Span(91, 256, PLAIN)])
    fixed, ranged = engines_flags.flags("vllm", three.draft, found)
    config = '{"method": "eagle3", "model": "<path of your draft>", "num_speculative_tokens": 3}'
    assert fixed.options == f"--speculative-config '{config}'"
    config = json.loads(re.fullmatch(r"--speculative-config '(.*)'", ranged.options)[1])
    assert config["num_speculative_tokens"] == 3
    assert config["num_speculative_tokens_per_batch_size"] == [[1, 40, 3], [41, 90, 1], [91, 256, 0]]


def test_sglang_counts_the_root_and_gets_steps_by_batch():
    three, one = chain(3, 0.7), chain(1, 0.7)
    found = made_up([three, one], [Span(1, 40, three), Span(41, 90, one), Span(91, 256, PLAIN)])
    fixed, ranged = engines_flags.flags("sglang", three.draft, found)
    assert "--speculative-algorithm EAGLE3" in fixed.options
    assert "--speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4" in fixed.options
    assert "--speculative-adaptive-config adaptive.json" in ranged.options
    steps = {"1": {"candidate_steps": [3]}, "41": {"candidate_steps": [1]}, "91": {"candidate_steps": [0]}}
    assert json.loads(ranged.file) == steps


def test_a_tree_is_for_sglang_and_vllm_says_that_it_has_none():
    tree = SpeculativeConfig(catalog.draft("eagle2"), 4, 4, 16, 3.0, 3.0, 3.0)
    found = made_up([tree], [Span(1, 64, tree)])
    (nothing,) = engines_flags.flags("vllm", tree.draft, found)
    assert nothing.options == ""
    assert "tree attention was removed" in nothing.notes[0]
    fixed = engines_flags.flags("sglang", tree.draft, found)[0]
    assert "--speculative-eagle-topk 4 --speculative-num-draft-tokens 16" in fixed.options


@pytest.mark.parametrize(
    ("draft", "vllm", "sglang"),
    [
        ("eagle", '"method": "eagle"', "EAGLE "),
        ("eagle2", '"method": "eagle"', "EAGLE "),
        ("eagle3", '"method": "eagle3"', "EAGLE3 "),
        ("scylla-2l", '"method": "eagle"', "EAGLE "),
        ("mtp", '{"method": "mtp", "num', "EAGLE --speculative-num-steps"),
        ("llama-68m", '"method": "draft_model", "model": "<path', "STANDALONE "),
        ("ngram", '"method": "ngram", "prompt_lookup_max": 4', "NGRAM --speculative-num-draft-tokens 3"),
        ("medusa", '"method": "medusa", "model": "<path', None),
    ],
)
def test_every_draft_has_the_name_that_each_engine_knows_it_by(draft, vllm, sglang):
    item = chain(2, 0.6, draft)
    found = made_up([item], [Span(1, 64, item)])
    assert vllm in engines_flags.flags("vllm", item.draft, found)[0].options
    options = engines_flags.flags("sglang", item.draft, found)[0].options
    assert options == "" if sglang is None else f"--speculative-algorithm {sglang}" in options


def test_where_plain_decoding_wins_everywhere_the_advice_is_to_leave_it_off():
    item = chain(2, 0.1)
    found = made_up([item], [Span(1, 64, PLAIN)], gain=0.8)
    for engine in engines_flags.ENGINES:
        for flags in engines_flags.flags(engine, item.draft, found):
            assert flags.options == ""
            assert "leave speculation off" in flags.notes[0]


def test_a_crossover_of_nothing_that_fits_is_none():
    huge = schedule(catalog.model("llama-3.1-70b"), [chain(2, 0.7)], H100, batch=[1], context=[1024], max_batch=16)
    assert best_crossover(huge) == Crossover(1024, None, None, None, None, 0, "memory")
    assert huge.spans == []
    (choice,) = huge.choices
    assert not choice.fits_memory
