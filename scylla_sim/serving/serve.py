"""A scenario under a load: iteration model, runs over seeds, and their metrics.

`serve` is the entry point that the library and ``scylla-sim serve-sim`` share. Every run is repeated with all steps
at both ends of their interval, because errors of a step grow through the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from scylla_sim.acceptance.profiles import cycle_distribution, iid_rate
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, whole
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.batching import Work
from scylla_sim.serving.configs import Configs, class_configs, configs_of, defaults_of, policy_of
from scylla_sim.serving.iteration import IterationModel, iteration_model
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.load import Load
from scylla_sim.serving.metrics import Metric, counted, metrics, summary, unloaded
from scylla_sim.serving.serving_scalars import left_out
from scylla_sim.serving.simulation import Run, simulate
from scylla_sim.serving.workload import Requests, closed_loop_arrivals, draw_cycles

REQUESTS, SEEDS = 2000, 5
"""Defaults: requests of a run, and number of runs."""
WARMUP, COOLDOWN = 0.2, 0.1
"""Shares of the requests that are run but not counted, at the begin and at the end."""
ENDS = ("value", "lower", "upper")
"""Ends of the step model at which each seed runs: the estimate, fast steps, slow steps."""
ALONE_REQUESTS = 200
"""Requests that are served one by one, to know the latencies of an empty replica."""
FULL_SEATS = 8
"""Requests for each one that runs at a time, in the run that measures the rate at saturation."""


@dataclass(frozen=True)
class Settings:
    """Settings of the scheduler and of the simulation.

    Attributes
    ----------
    max_num_seqs, max_num_batched_tokens
        As the options of vLLM: requests that run together, and tokens of an iteration. ``None`` for the defaults of
        the engine on the GPU; `resolved` returns them.
    policy
        One of `scylla_sim.serving.batching.POLICIES`; ``None`` for that of the engine.
    schedule
        First batch -> draft length; empty for one draft length.
    requests, seeds, seed
        Requests of a run, runs, and the seed of the first one. ``None`` runs all requests of a trace.
    warmup, cooldown
        Shares of the requests that do not count, at the begin and at the end.
    """

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    policy: str | None = None
    schedule: Mapping[int, int] | None = None
    requests: int | None = None
    seeds: int = SEEDS
    seed: int = 0
    warmup: float = WARMUP
    cooldown: float = COOLDOWN


@dataclass(frozen=True)
class Served:
    """Result of `serve`.

    Attributes
    ----------
    metrics
        Name of a metric -> its estimate; see `scylla_sim.serving.metrics.summary`.
    saturation
        Requests per second at saturation: value, and with slow and with fast steps; ``None`` in a closed loop.
    stable
        Whether the queue stays finite at the value, with fast and with slow steps.
    offered
        Requests per second that arrive; 0 in a closed loop.
    configs, by_class
        First batch of each range -> configuration: that of the scenario, and those of each class.
    policy
        How prompts are scheduled.
    settings
        Settings with the limits that hold.
    cases
        Requests of each seed, and the cycles that they need.
    summaries
        Metrics of each seed, with steps at their value.
    run
        Run of the first seed.
    model
        Iteration model.
    notes
        Assumptions.
    """

    metrics: Mapping[str, Metric]
    saturation: tuple[float, float, float] | None
    stable: Mapping[str, bool]
    offered: float
    configs: Configs
    by_class: Sequence[Configs]
    policy: str
    settings: Settings
    cases: Sequence[tuple[Requests, Work]]
    summaries: Sequence[Mapping[str, float]]
    run: Run
    model: IterationModel
    notes: tuple[str, ...]


def emitted(config: SpeculativeConfig) -> FloatArray:
    """Return the probabilities of 1, 2, ... tokens in a cycle, for independent positions of one rate.

    The rate is that at which a chain of the draft length yields the tokens per cycle of the configuration.

    Examples
    --------
    >>> from scylla_sim.specs.draft import Draft
    >>> found = emitted(SpeculativeConfig(Draft("eagle3", "head", num_layers=1), 2, 1, 3, 1.75, 1.7, 1.8))
    >>> found.round(3).tolist()
    [0.5, 0.25, 0.25]
    """
    length = min(config.draft_len, config.verify_tokens - 1)
    if length == 0 or config.tokens_per_cycle == 1.0:
        return np.ones(1)
    return cycle_distribution(np.full(length, float(iid_rate(config.tokens_per_cycle, length))))


def work_of(
    requests: Requests, configs: Configs, by_class: Sequence[Configs], rng: np.random.Generator, *, seats: int
) -> Work:
    """Return the cycles that requests need.

    Parameters
    ----------
    configs
        Configurations of the scenario, by batch.
    by_class
        The same with the acceptance of each class.
    seats
        Largest batch.
    """
    starts = sorted(configs)
    cycles = np.zeros((len(starts), requests.count), dtype=np.int64)
    for row, start in enumerate(starts):
        for index, own in enumerate(by_class):
            members = requests.class_index == index
            cycles[row, members] = draw_cycles(rng, requests.output_tokens[members] - 1, emitted(own[start]))
    gained = np.array([configs[start].tokens_per_cycle for start in starts])
    of_batch = np.maximum(np.searchsorted(starts, np.arange(seats + 1), side="right") - 1, 0)
    return Work(cycles, gained, of_batch.astype(np.int64))


def serve(
    scenario: Scenario,
    load: Load,
    settings: Settings | None = None,
    *,
    limits: Sequence[Limit] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Served:
    """Simulate a scenario under a load.

    Parameters
    ----------
    scenario
        Model, hardware, draft and engine, with one draft length.
    load
        Arrivals, lengths and classes of the requests.
    settings
        Settings of the scheduler and of the simulation; default: `Settings`.
    limits
        Limits on latencies, for the goodput.
    progress
        Function of the finished and of all runs, called after every run.

    Examples
    --------
    >>> from scylla_sim.serving.workload import Lengths, RequestClass
    >>> one = RequestClass("all", Lengths.parse("input_len", 500), Lengths.parse("output_len", 50))
    >>> found = serve(
    ...     Scenario("llama-3.1-8b", hardware="h100-sxm"),
    ...     Load([one], rate=2.0),
    ...     Settings(max_num_seqs=16, requests=100, seeds=2),
    ... )
    >>> found.stable["upper"], 0.01 < float(found.metrics["ttft_s mean"].value.value) < 0.03
    (True, True)
    """
    settings = settings or Settings()
    given = settings.requests
    count = load.default_count(REQUESTS) if given is None else int(whole("requests", given, 1))
    configs, notes = configs_of(scenario, settings.schedule)
    by_class = [
        class_configs(scenario, load, name, configs=configs, schedule=settings.schedule)
        for name in load.class_names
    ]
    policy = policy_of(scenario.deployments()[0], settings.policy)
    settings = resolved(settings, scenario, configs)
    cases = _cases(load, count, configs, by_class, settings)
    model = model_of(scenario, configs, [requests for requests, _ in cases], settings)
    total, done = len(ENDS) * (len(cases) + (load.concurrency is None)), 0
    found: dict[str, list[dict[str, float]]] = {end: [] for end in ENDS}
    saturation: dict[str, float] = {}
    runs: list[Run] = []
    for end in ENDS:
        at = model if end == "value" else model.at_end(end)
        if load.concurrency is None:
            saturation[end] = saturation_rate(at, load, configs, by_class, settings, policy)
            progress(done := done + 1, total)
        for requests, work in cases:
            run = simulate(at, requests, work, policy=policy)
            time = counted(run, warmup=settings.warmup, cooldown=settings.cooldown)
            found[end].append(summary(run, time, limits=limits, pool=float(at.kv_tokens.value)))
            runs += [run] if end == "value" else []
            progress(done := done + 1, total)
    offered = _offered(load, cases[0][0])
    return Served(
        metrics=metrics(*(found[end] for end in ENDS), floor=_floor(model.at_end("lower"), *cases[0], policy)),
        saturation=(saturation["value"], saturation["upper"], saturation["lower"]) if saturation else None,
        stable={end: not saturation or offered < saturation[end] for end in ENDS},
        offered=offered,
        configs=configs,
        by_class=by_class,
        policy=policy,
        settings=settings,
        cases=cases,
        summaries=found["value"],
        run=runs[0],
        model=model,
        notes=(*dict.fromkeys(notes), *left_out(scenario.deployments()[:1])),
    )


def resolved(settings: Settings, scenario: Scenario, configs: Configs) -> Settings:
    """Return settings with the limits of the engine where the user sets none.

    Fewer requests run together by default where an iteration does not hold the tokens that they verify.
    """
    found = defaults_of(scenario.deployments()[0])
    budget, seats = settings.max_num_batched_tokens, settings.max_num_seqs
    budget = found.max_num_batched_tokens if budget is None else budget
    widest = max(config.verify_tokens for config in configs.values())
    seats = max(min(found.max_num_seqs, budget // widest), 1) if seats is None else seats
    return replace(settings, max_num_seqs=seats, max_num_batched_tokens=budget)


def _limits(settings: Settings) -> tuple[int, int]:
    """Return ``max_num_seqs`` and ``max_num_batched_tokens`` of `resolved` settings."""
    if settings.max_num_seqs is None or settings.max_num_batched_tokens is None:
        raise ValueError("settings must be resolved")
    return settings.max_num_seqs, settings.max_num_batched_tokens


def _cases(
    load: Load, count: int, configs: Configs, by_class: Sequence[Configs], settings: Settings
) -> list[tuple[Requests, Work]]:
    """Return the requests of each seed and their work; one seed is enough where nothing is random."""
    found, (seats, _) = [], _limits(settings)
    for index in range(int(whole("seeds", settings.seeds, 1))):
        rng = np.random.default_rng(settings.seed + index)
        requests = load.draw(rng, count)
        found.append((requests, work_of(requests, configs, by_class, rng, seats=seats)))
        if index and _equal(found[0], found[1]):
            return found[:1]
    return found


def _floor(model: IterationModel, requests: Requests, work: Work, policy: str) -> dict[str, float]:
    """Return the latencies of the first requests if each has the replica for itself."""
    count = min(requests.count, ALONE_REQUESTS)
    first = {item.name: getattr(requests, item.name)[:count] for item in fields(Requests)}
    alone = Requests(**{**first, "arrival_s": closed_loop_arrivals(count, 1)})
    return unloaded(simulate(model, alone, replace(work, cycles=work.cycles[:, :count]), policy=policy))


def _equal(one: tuple[Requests, Work], other: tuple[Requests, Work]) -> bool:
    """Return whether two runs have the same requests and cycles."""
    pairs = [(getattr(one[0], item.name), getattr(other[0], item.name)) for item in fields(Requests)]
    return all(np.array_equal(*pair) for pair in [*pairs, (one[1].cycles, other[1].cycles)])


def _offered(load: Load, requests: Requests) -> float:
    """Return the requests per second that arrive; 0 in a closed loop, and for a trace of one request."""
    if load.rate is not None:
        return load.rate
    if load.concurrency is not None or requests.count < 2:
        return 0.0
    return (requests.count - 1) / max(float(requests.arrival_s[-1]), 1e-9)


def model_of(
    scenario: Scenario, configs: Configs, requests: Sequence[Requests], settings: Settings
) -> IterationModel:
    """Return the iteration model of a scenario for the requests of all runs; settings are `resolved`."""
    longest, (seats, budget) = max(one.longest for one in requests), _limits(settings)
    target, draft = scenario.deployments()
    return iteration_model(
        replace(scenario, context=longest).target_model(),
        configs,
        target,
        draft,
        max_context=longest,
        mean_context=float(np.mean([one.mean_context for one in requests])),
        max_num_seqs=seats,
        max_num_batched_tokens=budget,
    )


def saturation_rate(
    model: IterationModel,
    load: Load,
    configs: Configs,
    by_class: Sequence[Configs],
    settings: Settings,
    policy: str,
) -> float:
    """Return the requests per second of a replica that always has more of them waiting.

    The first answers, as many as seats and KV pool hold, are cut at random, as if their requests had started
    earlier. Answers of equal length would otherwise start and end together for ever, as random arrivals never do.
    """
    rng, seats = np.random.default_rng(settings.seed), model.max_num_seqs
    loop = replace(load, rate=None, burstiness=1.0, concurrency=2 * seats)
    first = int(np.clip(float(model.kv_tokens.value) / loop.draw(rng, REQUESTS).mean_context, 1, seats))
    requests = loop.draw(rng, max(REQUESTS, FULL_SEATS * first)).cut_to(round(float(model.contexts[-1])))
    tokens = requests.output_tokens.copy()
    tokens[:first] = np.maximum(np.ceil(tokens[:first] * rng.random(first)), 1)
    requests = replace(requests, output_tokens=tokens)
    run = simulate(model, requests, work_of(requests, configs, by_class, rng, seats=seats), policy=policy)
    return throughput_by_residence(run)


def throughput_by_residence(run: Run) -> float:
    """Return the requests per second of a run by Little's law: mean requests inside over their mean residence.

    The middle half of the requests, by their start, counts. Answers of equal length end in waves, which rates of
    finished requests would follow. A preempted request stays inside: its wait belongs to its residence too.
    """
    order = np.argsort(run.admit_s, kind="stable")
    middle = order[order.size // 4 : (3 * order.size) // 4 + 1]
    start, end = float(run.admit_s[middle[0]]), float(run.admit_s[middle[-1]])
    inside = np.clip(np.minimum(run.finish_s, end) - np.maximum(run.admit_s, start), 0.0, None)
    residence = float(np.mean(run.finish_s[middle] - run.admit_s[middle]))
    return float(inside.sum()) / (end - start) / residence
