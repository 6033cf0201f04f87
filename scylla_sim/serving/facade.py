"""One call from names and plain values to latencies under load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

from scylla_sim.checks import InputError, fail
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.records import Row
from scylla_sim.serving import report
from scylla_sim.serving.gain import Gain, gains
from scylla_sim.serving.limits import METRICS, Limit, parse_limit
from scylla_sim.serving.load import Load
from scylla_sim.serving.metrics import check_counted
from scylla_sim.serving.serve import COOLDOWN, SEEDS, WARMUP, Served, Settings
from scylla_sim.serving.serve import serve as simulate_load
from scylla_sim.serving.traces import read_trace
from scylla_sim.serving.workload import Lengths, RequestClass
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model

DECIDED = ("batch", "context", "batch_mode", "measured_plain_tpot")
"""Options of `scylla_sim.predict` that a load decides."""


@dataclass(frozen=True, repr=False, eq=False)
class ServeResult:
    """Latencies and rates of a replica under a load.

    Attributes
    ----------
    served
        Simulated runs.
    scenario, load, settings
        What was simulated; settings as they were given.
    limits
        Limits on latencies.
    gains
        Gains over plain decoding of the same requests; empty without a draft.
    notes
        Assumptions, each once.
    """

    served: Served
    scenario: Scenario
    load: Load
    settings: Settings
    limits: Sequence[Limit]
    gains: Sequence[Gain]
    notes: tuple[str, ...]

    def rows(self) -> list[Row]:
        """Return one row per metric and statistic, with the value and its 90 % interval."""
        return report.rows(self.served)

    @property
    def limits_met(self) -> dict[str, str]:
        """``yes``, ``no`` or ``undecided`` for each limit."""
        return dict(zip(map(str, self.limits), report.limits_met(self.served, self.limits)))

    @property
    def saturation_per_s(self) -> float | None:
        """Requests per second beyond which the queue grows without end; ``None`` in a closed loop."""
        return None if self.served.saturation is None else self.served.saturation[0]

    def __repr__(self) -> str:
        """Return what ``scylla-sim serve-sim`` prints."""
        assumed = report.assumptions(self.served, self.scenario, self.load, self.settings)
        return report.text(self.served, self.gains, load=self.load, limits=self.limits, assumed=assumed)


def serve(
    model: str | Model,
    *,
    hardware: str | Hardware,
    rate: float | None = None,
    concurrency: int | None = None,
    trace: str | PathLike[str] | None = None,
    input_len: float | str | None = None,
    output_len: float | str | None = None,
    prefix_hit: float = 0.0,
    burstiness: float = 1.0,
    ttft: str | None = None,
    tpot: str | None = None,
    e2e: str | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    schedule: Mapping[int, int] | None = None,
    requests: int | None = None,
    seeds: int = SEEDS,
    seed: int = 0,
    scheduling: str | None = None,
    warmup: float = WARMUP,
    cooldown: float = COOLDOWN,
    **deployment: Any,
) -> ServeResult:
    """Simulate requests on one replica and return their latencies.

    Parameters
    ----------
    model, hardware
        Names of the catalog, files, or objects, as in `scylla_sim.predict`.
    rate
        Requests per second (Poisson).
    concurrency
        Clients of a closed loop, each with one request at a time.
    trace
        File with arrivals and lengths; with ``rate`` or ``concurrency`` the lengths only.
    input_len, output_len
        Tokens of prompts and answers: a number, ``"uniform:800,1000"`` or ``"lognormal:1000,0.8"``.
    prefix_hit
        Share of each prompt that is in the KV cache already.
    burstiness
        Shape of the gaps between arrivals; 1 is Poisson, smaller values are burstier.
    ttft, tpot, e2e
        Limits such as ``"p95:500ms"``, or ``"40ms"`` for the mean.
    max_num_seqs, max_num_batched_tokens
        Limits of the scheduler; default: those of the engine on the GPU.
    schedule
        First batch -> draft length, in place of ``draft_len``.
    requests, seeds, seed
        Requests of a run, number of runs, and the seed of the first one.
    scheduling
        ``"mixed"`` or ``"prefill-first"``; default: that of the engine.
    warmup, cooldown
        Shares of the requests that do not count, at the begin and at the end.
    **deployment
        Other options of `scylla_sim.predict`, such as ``draft``, ``draft_len``, ``acceptance``, ``tp``,
        ``precision`` and ``engine``.

    Raises
    ------
    InputError
        When a value cannot be used. The message is one line: name and value, the rule, and a hint.

    Examples
    --------
    >>> found = serve(
    ...     "llama-3.1-8b", hardware="h100-sxm", rate=5.0, input_len=500, output_len=50, ttft="p95:200ms",
    ...     max_num_seqs=32, requests=200, seeds=2,
    ... )
    >>> found.limits_met, found.saturation_per_s > 20.0
    ({'TTFT p95 <= 200 ms': 'yes'}, True)
    """
    _check_deployment(deployment)
    check_counted(warmup, cooldown)
    scenario = Scenario(model, hardware=hardware, **deployment)
    given = {"ttft": ttft, "tpot": tpot, "e2e": e2e}
    limits = [parse_limit(name, text) for name in METRICS if (text := given[name]) is not None]
    load = Load(
        _classes(trace, input_len, output_len, prefix_hit),
        rate=rate,
        burstiness=burstiness,
        concurrency=concurrency,
        trace=None if trace is None else read_trace(str(trace)),
        prefix_hit=prefix_hit if trace is not None else 0.0,
    )
    settings = Settings(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        schedule=schedule,
        requests=requests,
        seeds=seeds,
        seed=seed,
        policy=scheduling,
        warmup=warmup,
        cooldown=cooldown,
    )
    served = simulate_load(scenario, load, settings, limits=limits)
    speculates = served.configs[1].draft.kind != "none"
    compared = gains(served, scenario, load) if speculates else []
    return ServeResult(served, scenario, load, settings, limits, compared, served.notes)


def _check_deployment(deployment: Mapping[str, Any]) -> None:
    """Raise for an option that `serve` does not have, or that the load decides."""
    known = {item.name for item in fields(Scenario)}
    for name, value in deployment.items():
        if name in DECIDED:
            raise fail(name, value, "must not be given", "the load decides it")
        if name not in known:
            raise TypeError(f"serve() got an unexpected keyword argument {name!r}")


def _classes(
    trace: str | PathLike[str] | None,
    input_len: float | str | None,
    output_len: float | str | None,
    prefix_hit: float,
) -> list[RequestClass]:
    """Return the requests of the lengths that were given; none with a trace."""
    if trace is not None and input_len is None and output_len is None:
        return []
    lengths = {"input_len": input_len, "output_len": output_len}
    for name, value in lengths.items():
        if value is None:
            raise InputError(f"{name} must be given; for example {name}=300")
    prompt, answer = (Lengths.parse(name, str(value)) for name, value in lengths.items())
    return [RequestClass("all", prompt, answer, prefix_hit=prefix_hit)]
