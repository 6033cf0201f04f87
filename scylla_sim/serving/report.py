"""A served load as rows and words: latencies, rates, and the assumptions behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scylla_sim.prediction.footer import interval_coverage
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.batching import MIXED, PREFILL_FIRST
from scylla_sim.serving.gain import Gain
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.load import Load
from scylla_sim.serving.metrics import LATENCIES, Metric
from scylla_sim.serving.serve import Served, Settings
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.digits import interval, number, wrapped
from scylla_sim.text.tables import text_table

GROWS = ("ttft_s", "e2e_s", "waiting", "goodput_per_s")
"""Metrics that have no value if the queue grows without end."""
HIGH_LOAD = 0.95
"""Share of the saturation from which latencies depend on the length of a run."""
WORDS = {MIXED: "prompts beside decodes (mixed)", PREFILL_FIRST: "prompts before decodes (prefill-first)"}
"""Policy -> words."""
LABELS = {
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "output tokens/s",
    "goodput_per_s": "goodput, requests/s",
    "running": "requests running",
    "waiting": "requests waiting",
    "busy": "share of time busy",
    "kv_use": "KV pool in use",
    "kv_use max": "KV pool in use, most",
    "preemptions": "preemptions per request",
}
"""Metric that is no latency -> label in the text table."""


def rows(served: Served) -> list[dict[str, Any]]:
    """Return one row per metric and statistic, with the value, both intervals, and both ends of the step model.

    A value is ``None`` if it grows with the length of the run, because the queue does.
    """
    found = []
    for name, metric in served.metrics.items():
        quantity, _, statistic = name.partition(" ")
        grows = quantity in GROWS and not served.stable["value"]
        found.append(
            {
                "metric": quantity,
                "statistic": statistic or "mean",
                **{key: None if grows else value for key, value in _numbers(quantity, metric, served).items()},
                "stable": served.stable["value"],
            }
        )
    return found


def text(
    served: Served, compared: Sequence[Gain], *, load: Load, limits: Sequence[Limit], assumed: Sequence[str]
) -> str:
    """Return the answer, the tables of latencies, rates and gains, and what is assumed."""
    answer = " ".join([headline(served, load), *limit_verdicts(served, limits)])
    parts = (
        wrapped(answer),
        text_table(latency_table(served)),
        text_table(rate_table(served, goodput=bool(limits))),
        *([text_table(gain_table(compared))] if compared else []),
        "".join(wrapped(one, indent="  ") for one in assumed),
    )
    return "\n".join(parts)


def _numbers(quantity: str, metric: Metric, served: Served) -> dict[str, float | None]:
    """Return the columns of a metric; an end at which the queue grows without end is ``None``."""
    slow = metric.slow if served.stable["upper"] or quantity not in GROWS else None
    falls = quantity == "goodput_per_s"
    lower, upper = float(metric.value.lower), float(metric.value.upper)
    return {
        "value": float(metric.value.value),
        "lower": 0.0 if slow is None and falls else lower,
        "upper": None if slow is None and not falls else upper,
        "seeds_lower": float(metric.seeds.lower),
        "seeds_upper": float(metric.seeds.upper),
        "fast_steps": metric.fast,
        "slow_steps": slow,
    }


def latency_table(served: Served) -> list[dict[str, Any]]:
    """Return one row per latency with text cells ``value [lower-upper]`` for the mean and three percentiles."""
    by_key = {(row["metric"], row["statistic"]): row for row in rows(served)}
    found = []
    for name in LATENCIES:
        unit, scale = ("s", 1.0) if name == "e2e_s" else ("ms", 1e3)
        cells = {one: _cell(by_key.get((name, one)), scale) for one in ("mean", "p50", "p90", "p99")}
        found.append({"latency": f"{name.removesuffix('_s').upper()}, {unit}", **cells})
    return found


def _cell(row: dict[str, Any] | None, scale: float = 1.0) -> str:
    """Return a value with its interval; ``grows`` if it has none."""
    if row is None:
        return "-"
    if row["value"] is None:
        return "grows"
    upper = "grows" if row["upper"] is None else scale * row["upper"]
    return interval(scale * row["value"], scale * row["lower"], upper)


def rate_table(served: Served, *, goodput: bool) -> list[dict[str, Any]]:
    """Return one row per rate and mean over time, with its interval as text."""
    by_key = {row["metric"] + (" max" if row["statistic"] == "max" else ""): row for row in rows(served)}
    shown = [name for name in LABELS if goodput or name != "goodput_per_s"]
    return [{"quantity": LABELS[name], "value": _cell(by_key[name])} for name in shown]


def headline(served: Served, load: Load) -> str:
    """Return the answer in a sentence or two."""
    if served.saturation is None:
        rate = served.metrics["requests_per_s"].value
        return f"Closed loop of {load.concurrency} clients: {number(float(rate.value))} requests/s."
    share = _percent(served.offered / served.saturation[0])
    most = interval(*served.saturation)
    if not served.stable["value"]:
        return (
            f"The queue grows without end: {number(served.offered)} requests/s are {share} of the saturation of "
            f"{most} requests/s. Latencies have no value."
        )
    text = f"{number(served.offered)} requests/s are {share} of the saturation of {most} requests/s."
    if not served.stable["upper"]:
        text += " With slow steps the queue grows without end, so latencies have no upper end."
    elif served.offered > HIGH_LOAD * served.saturation[0]:
        text += " Latencies this close to saturation depend on the length of the run."
    return text


def assumptions(served: Served, scenario: Scenario, load: Load, settings: Settings) -> list[str]:
    """Return what is assumed about deployment, load, scheduler and simulation."""
    target = scenario.deployments()[0]
    model, config = served.model, served.configs[1]
    pool = model.kv_tokens
    drafting = config.draft.kind != "none"
    limits = ", ".join(
        f"{name} {getattr(model, name)}" + (" (default of the engine)" if getattr(settings, name) is None else "")
        for name in ("max_num_seqs", "max_num_batched_tokens")
    )
    found = [
        f"{scenario.target_model().name} on {target.tp}x {target.calibration.hardware.name}, "
        f"{precision_name(target.dtype)}, {_draft_text(served)}, engine {target.engine.name}",
        f"load: {'; '.join(load.describe())}",
        f"scheduler: {WORDS[served.policy]}, {limits}; KV pool {interval(*_thousands(pool))} thousand tokens "
        "(range of the engine's defaults), first come first served, preemption by recompute",
        f"{_runs_text(len(served.cases), served.run.requests.count)}; the first "
        f"{_percent(settings.warmup)} and the last {_percent(settings.cooldown)} of the requests are not counted",
        f"{_coverage(served, target)} Seeds are covered too, and all steps move together.",
        "not modelled: tokenizing, network and front end, contents of the prefix cache, several replicas",
    ]
    if drafting:
        found.insert(3, "acceptance is independent from cycle to cycle, at one rate for all positions")
    if load.prefix_hit or any(one.prefix_hit for one in load.classes):
        found.insert(3, "each request holds its own copy of a cached prefix in the KV pool")
    if model.max_num_batched_tokens > MAX_STEP_TOKENS:
        found.insert(3, f"iterations beyond {MAX_STEP_TOKENS} tokens take time in proportion to their tokens")
    return found


def _coverage(served: Served, target: Deployment) -> str:
    """Return what the intervals of the steps cover."""
    configs = served.configs.values()
    acceptance = any(one.tau_lower < one.tau_upper for one in configs) if served.configs[1].draft_len else None
    return interval_coverage(target.engine, tp=target.tp, acceptance=acceptance, load=True)


def _runs_text(runs: int, count: int) -> str:
    return f"{runs} runs of {count} requests" if runs > 1 else f"one run of {count} requests"


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"


def _thousands(pool: Estimate) -> tuple[float, float, float]:
    return float(pool.value) / 1e3, float(pool.lower) / 1e3, float(pool.upper) / 1e3


def _draft_text(served: Served) -> str:
    """Return the draft and its lengths in words."""
    configs = served.configs
    draft = configs[1].draft
    if draft.kind == "none":
        return "no draft"
    if len(configs) > 1:
        ranges = ", ".join(f"{one.draft_len} from batch {start}" for start, one in sorted(configs.items()))
        return f"draft {draft.name} with draft_len {ranges}"
    one = configs[1]
    return f"draft {draft.name} with draft_len {one.draft_len}, {one.tokens_per_cycle:.3g} tokens per cycle"


def gain_table(found: Sequence[Gain]) -> list[dict[str, Any]]:
    """Return one row per metric with the gain over no draft and the verdict."""
    return [
        {"gain over no draft": one.metric, "ratio": _gain_text(one.value), "verdict": one.verdict} for one in found
    ]


def _gain_text(value: Estimate | None) -> str:
    return "queue grows" if value is None else interval(float(value.value), float(value.lower), float(value.upper))


def gain_rows(found: Sequence[Gain]) -> list[dict[str, Any]]:
    """Return the gains as numbers."""
    return [
        {
            "metric": one.metric,
            **{
                key: None if one.value is None else float(getattr(one.value, key))
                for key in ("value", "lower", "upper")
            },
            "verdict": one.verdict,
        }
        for one in found
    ]


def limits_met(served: Served, limits: Sequence[Limit]) -> list[str]:
    """Return ``yes``, ``no`` or ``undecided`` for each limit: all, none or part of the interval is within it.

    A limit on a latency that grows without end is not met. In a diverging queue no limit is met.
    """
    found = []
    for limit in limits:
        metric = served.metrics.get(f"{limit.metric}_s {limit.statistic}")
        if metric is None or not served.stable["value"]:
            found.append("no")
            continue
        lower, upper = float(metric.value.lower), float(metric.value.upper)
        if upper <= limit.seconds and served.stable["upper"]:
            found.append("yes")
        else:
            found.append("undecided" if lower <= limit.seconds else "no")
    return found


def limit_verdicts(served: Served, limits: Sequence[Limit]) -> list[str]:
    """Return one sentence for each limit."""
    words = {"yes": "is met", "no": "is not met", "undecided": "may be met: the interval contains it"}
    return [f"{limit} {words[met]}." for limit, met in zip(limits, limits_met(served, limits))]
