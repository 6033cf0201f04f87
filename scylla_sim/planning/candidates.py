"""Candidates of a plan: every draft configuration on every deployment under a load, in closed form.

The steps of the target are estimated once for all drafts on a deployment, and the curves of many candidates are
solved in one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, fail
from scylla_sim.planning.candidate_tables import CONTEXTS, Configs, Drafting, sparse_model, target_tables
from scylla_sim.planning.crossover import spans_of
from scylla_sim.planning.traffic import LOADS, Served, Traffic, highest_rates, planned_tpots, served
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.closed_form import Curve, curve, saturation
from scylla_sim.serving.configs import defaults_of
from scylla_sim.serving.iteration import IterationModel, iteration_model
from scylla_sim.serving.iteration_parts import decoding, kv_pool_tokens
from scylla_sim.serving.loop_state import Replica, joined
from scylla_sim.serving.replica import cycles_of, replica
from scylla_sim.specs.model import Model

Key = tuple[str, int, str, str]
"""Hardware, TP ranks, precision of the weights and of the KV cache."""
Result = tuple[float, float, str, float, Curve]
"""Saturation, highest rate, the limit that decides it, mean TPOT as planned, and curve of a candidate."""
_TOGETHER = 64
"""Drafts whose curves are solved in one array, so that memory stays bounded."""


def key_of(where: Deployment) -> Key:
    """Return what tells deployments apart."""
    return where.calibration.hardware.name, where.tp, where.dtype, where.kv_dtype


def _seats(
    model: Model, configs: Sequence[SpeculativeConfig], where: tuple[Deployment, Deployment], traffic: Traffic
) -> int:
    """Return the largest number of requests that seats, KV pool and budget allow; 0 if not even one fits."""
    load = traffic.load
    longest = traffic.longest
    widest = max(config.verify_tokens for config in configs)
    alone = kv_pool_tokens(model, configs, *where, context=float(longest))
    if alone.lower < longest:
        return 0
    pool = kv_pool_tokens(model, configs, *where, context=float(load.context))
    fits = float(pool.upper) / load.input_len  # engines admit a prompt where its tokens fit, and preempt later
    most, budget = traffic.limits_on(where[0])
    if budget < widest:
        rule = f"must be at least {widest}, the tokens that a request verifies"
        raise fail("max_num_batched_tokens", budget, rule, "or give shorter drafts")
    return int(min(most, max(fits, 1.0), budget // widest))


def candidates(
    model: Model,
    configs: Sequence[SpeculativeConfig],
    where: tuple[Deployment, Deployment],
    traffic: Traffic,
    *,
    schedule: bool = False,
) -> list[Served]:
    """Return each configuration of one draft on one deployment that fits in memory.

    Parameters
    ----------
    configs
        Configurations of one draft.
    where
        Deployment of the target and of the draft.
    schedule
        Whether to return a schedule of all draft lengths by batch too.
    """
    (found,) = candidates_of_drafts(model, [(configs, where)], traffic, schedule=schedule)
    return found


def candidates_of_drafts(
    model: Model,
    drafts: Sequence[tuple[Sequence[SpeculativeConfig], tuple[Deployment, Deployment]]],
    traffic: Traffic,
    *,
    schedule: bool = False,
) -> list[list[Served]]:
    """Return `candidates` of each of several drafts; the steps of the target are estimated once per deployment."""
    each = [Drafting(configs, where, _seats(model, configs, where, traffic)) for configs, where in drafts]
    by_target: dict[Key, list[int]] = {}
    for place, one in enumerate(each):
        if one.seats:
            by_target.setdefault(key_of(one.where[0]), []).append(place)
    loaded: dict[int, tuple[Replica, FloatArray]] = {}
    for places in by_target.values():
        loaded |= dict(zip(places, _replicas(model, [each[place] for place in places], traffic)))
    found: list[list[Served]] = [[] for _ in each]
    for start in range(0, len(loaded), _TOGETHER):
        places = list(loaded)[start : start + _TOGETHER]
        results = iter(_results([loaded[place] for place in places], traffic))
        for place in places:
            own = list(islice(results, len(each[place].configs)))
            found[place] = _served_by(model, each[place], own, traffic, schedule=schedule)
    return found


def _results(loaded: Sequence[tuple[Replica, FloatArray]], traffic: Traffic) -> list[Result]:
    """Return the results of some replicas with their rates at saturation, one configuration after the other."""
    full = np.concatenate([one for _, one in loaded])
    most = np.concatenate([np.full(one.size, each.rows[-1]) for each, one in loaded])
    curves = curve(joined([one for one, _ in loaded]), LOADS * most[:, None], full_per_s=full)
    if not (np.isfinite(full).all() and np.isfinite(curves.tpot_s).all()):
        raise RuntimeError("the closed form reads an entry that its tables do not have; see candidate_tables")
    rates = highest_rates(curves, full, traffic)
    tpots = planned_tpots(curves, [rate for rate, _ in rates], traffic)
    whole = zip(full.tolist(), rates, tpots)
    return [(each, *rate, tpot, curves.one(at)) for at, (each, rate, tpot) in enumerate(whole)]


def _replicas(model: Model, drafts: Sequence[Drafting], traffic: Traffic) -> Iterator[tuple[Replica, FloatArray]]:
    """Yield the replicas of each draft on one deployment, and their rates at saturation."""
    target = drafts[0].where[0]
    first = defaults_of(target).prefill_first
    tables = target_tables(
        model,
        drafts,
        load=traffic.load,
        longest=traffic.longest,
        budget=traffic.limits_on(target)[1],
        prefill_first=first,
    )
    for one in drafts:
        found = replica(sparse_model(model, one, tables), traffic.load, prefill_first=first)
        yield found, saturation(found)


def _served_by(
    model: Model,
    draft: Drafting,
    results: Sequence[Result],
    traffic: Traffic,
    *,
    schedule: bool,
) -> list[Served]:
    """Return the configurations of a draft under a load, by the result of each."""
    configs, where = draft.configs, draft.where

    @cache
    def first() -> IterationModel:
        return iteration_model(
            model,
            max(configs, key=lambda one: one.verify_tokens),
            *where,
            max_context=traffic.longest,
            mean_context=float(traffic.load.context),
            max_num_seqs=draft.seats,
            max_num_batched_tokens=traffic.limits_on(where[0])[1],
            contexts=CONTEXTS,
        )

    def whole(by_batch: Configs) -> Callable[[], IterationModel]:
        return lambda: _with_configs(first(), model, by_batch, where, traffic)

    each = []
    for config, (full, best, binds, tpot, along) in zip(configs, results):
        one = {1: config}
        each.append(Served(one, *where, whole(one), full, best, binds, tpot, along))
    if schedule and len(configs) > 1:
        by_batch = _schedule(configs, [whole({1: config})() for config in configs], traffic.load)
        if len(by_batch) > 1:
            each.append(served(by_batch, where, whole(by_batch)(), traffic))
    return each


def _with_configs(
    made: IterationModel, model: Model, configs: Configs, where: tuple[Deployment, Deployment], traffic: Traffic
) -> IterationModel:
    """Return an iteration model with other configurations of the same draft; prompts cost the same."""
    context = float(traffic.load.context)
    parts = decoding(model, configs, *where, max_batch=made.max_num_seqs, contexts=np.maximum(made.contexts, 1.0))
    pool = kv_pool_tokens(model, list(configs.values()), *where, context=context)
    return replace(made, decoding=parts, kv_tokens=pool)


def _schedule(configs: Sequence[SpeculativeConfig], made: Sequence[IterationModel], load: ServedLoad) -> Configs:
    """Return the draft length of each range of batches, by the decoding seconds of a whole request."""
    batch = np.arange(1, made[0].max_num_seqs + 1)
    work = [
        cycles_of(config.tokens_per_cycle, config.draft_len, tokens=load.output_len - 1.0)[0]
        * one.decode_s(batch, load.context)
        for config, one in zip(configs, made)
    ]
    return {first: configs[chosen] for first, _, chosen in spans_of(-np.log(np.stack(work)))}
