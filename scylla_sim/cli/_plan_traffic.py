"""``scylla-sim plan --rate``: replicas, GPUs, cost and latencies for a request rate."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scylla_sim.checks import fail, number, whole
from scylla_sim.cli import _options
from scylla_sim.cli._plan_candidates import Gathered, gather, hardware_names, prices_of
from scylla_sim.console import count
from scylla_sim.planning.finalists import confirm
from scylla_sim.planning.traffic import MAX_LOAD, MAX_SEATS, Traffic
from scylla_sim.planning.traffic_rows import SIMULATION, TrafficPoint
from scylla_sim.planning.traffic_search import TrafficPlan, points, search_traffic
from scylla_sim.prediction.footer import interval_coverage
from scylla_sim.prediction.model_notes import check_context, model_notes
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.verdict import UNDECIDED
from scylla_sim.serving.limits import parse_limit
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model
from scylla_sim.text import digits
from scylla_sim.text.tables import Column
from scylla_sim.units import GIGA, parse_rate

FINALISTS = 3
"""Candidates that are simulated by default."""

TRAFFIC_OPTIONS = (
    *("input_len", "output_len", "prefix_hit", "ttft", "max_load", "max_num_seqs", "max_num_batched_tokens"),
    *("draft_schedule", "pareto", "plot", "what_if", "finalists", "seed"),
)
"""Options that need ``--rate``."""

TABLE_COLUMNS = (
    Column("gpus", "GPUs [90 %]", ends=("gpus_lower", "gpus_upper"), decimals=0, right=True),
    Column("where", "each"),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("lengths", "K", fold=True, right=True),
    Column("load", "load %", scale=100.0, decimals=0),
    Column("tpot_mean_s", "TPOT ms", scale=1e3),
    Column("tpot_p95_s", "p95", scale=1e3),
    Column("ttft_p95_s", "TTFT p95", scale=1e3),
    Column("cost_per_million_tokens", "per M", fold=True),
    Column("gain", "gain [90 %]", ends=("gain_lower", "gain_upper"), decimals=2, fold=True),
    Column("binds_short", "binds", fold=True),
    Column("method", "by", fold=True),
    Column("evidence", fold=True),
)
"""Columns of the table; ``gain`` is the rate over that of the same GPUs without speculation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a plan with traffic."""
    parser.add_argument("--rate", metavar="RATE", help="requests of all replicas together, e.g. 200/s or 90/min")
    parser.add_argument("--input-len", metavar="N", help="tokens of each prompt")
    parser.add_argument("--output-len", metavar="N", help="tokens of each answer")
    parser.add_argument(
        "--prefix-hit", type=float, metavar="X", help="share of each prompt in the KV cache already; default 0"
    )
    parser.add_argument(
        "--ttft", metavar="[STAT:]TIME", help="limit on the time to the first token, e.g. p95:500ms"
    )
    parser.add_argument(
        "--tpot",
        metavar="[STAT:]TIME",
        help="limit on the time per output token, e.g. p95:40ms; STAT is mean (default), p50, p90, p95 or p99",
    )
    parser.add_argument(
        "--max-load", type=float, metavar="X", help=f"highest share of saturation; default {MAX_LOAD:g}"
    )
    parser.add_argument(
        "--max-num-seqs", metavar="N", help=f"requests that run together; default {MAX_SEATS}, or what memory holds"
    )
    parser.add_argument(
        "--max-num-batched-tokens", metavar="N", help=f"tokens of an iteration; default {MAX_STEP_TOKENS}"
    )
    parser.add_argument(
        "--draft-schedule", action="store_true", help="consider draft lengths by batch too, from --draft-len"
    )
    parser.add_argument("--pareto", action="store_true", help="print the front of tokens/s/user and tokens/s/GPU")
    parser.add_argument("--plot", metavar="FILE", help="draw the front, as SVG or PNG")
    parser.add_argument(
        "--what-if",
        action="append",
        metavar="NAME=VALUE",
        help='plan again with another value, e.g. "hardware=h200-sxm", "rate=2x" or "context=32k"; repeatable',
    )
    parser.add_argument(
        "--finalists", type=int, metavar="N", help=f"candidates to simulate; default {FINALISTS}, 0 for none"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the simulation; default 0")
    for name, what in _options.NOT_MODELLED.items():
        parser.add_argument(f"--{name}", type=int, default=1, help=f"must be 1: {what} is not modelled")
    parser.add_argument("--disaggregated", action="store_true", help="refused: prefill on GPUs of its own")


def refuse_without_rate(args: argparse.Namespace) -> None:
    """Raise for options that need a request rate."""
    _refuse_not_modelled(args)
    for name in TRAFFIC_OPTIONS:
        value = getattr(args, name)
        if value is not None and value is not False:
            raise fail(name, value, "needs rate", "give --rate, for example --rate 5/s")


def _refuse_not_modelled(args: argparse.Namespace) -> None:
    if args.disaggregated:
        raise fail("disaggregated", True, "must not be given", "prefill on GPUs of its own is not modelled")
    _options.scenario_options(args)


@dataclass(frozen=True)
class Planned:
    """A plan with its rows.

    Attributes
    ----------
    model, traffic
        Model and load.
    gathered
        Candidates, and those that cannot run.
    plan
        All candidates under the load.
    rows
        Operating points, best first; finalists are simulated.
    prices
        Price per GPU-hour by hardware.
    """

    model: Model
    traffic: Traffic
    gathered: Gathered
    plan: TrafficPlan
    rows: list[TrafficPoint]
    prices: Mapping[str, float]


def _rate(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise fail("rate", text, f"is not understood ({error})") from None


def _whole_option(name: str, text: str | None, default: int) -> int:
    return default if text is None else int(whole(name, count(name, text), 1))


def traffic_of(args: argparse.Namespace) -> Traffic:
    """Return the load and the limits of a command line."""
    for name in ("input_len", "output_len"):
        if getattr(args, name) is None:
            raise fail("rate", args.rate, f"needs {name}", "give --input-len and --output-len")
    for name in ("batch", "context", "rank"):
        if getattr(args, name) is not None:
            hint = "the load decides it" if name != "rank" else "rows are ranked by cost, or by GPUs without prices"
            raise fail(name, getattr(args, name), "must not be given with rate", hint)
    load = ServedLoad(
        _whole_option("input_len", args.input_len, 1),
        int(whole("output_len", count("output_len", args.output_len), 2, hint="one token has no time per token")),
        0.0 if args.prefix_hit is None else number("prefix_hit", args.prefix_hit, 0, 1),
    )
    limits = [
        parse_limit(name, getattr(args, name)) for name in ("ttft", "tpot") if getattr(args, name) is not None
    ]
    return Traffic(
        _rate(args.rate),
        load,
        limits,
        max_load=MAX_LOAD if args.max_load is None else args.max_load,
        max_num_seqs=_whole_option("max_num_seqs", args.max_num_seqs, MAX_SEATS),
        max_num_batched_tokens=_whole_option(
            "max_num_batched_tokens", args.max_num_batched_tokens, MAX_STEP_TOKENS
        ),
    )


def planned(args: argparse.Namespace, *, best_only: bool = False) -> tuple[Planned, list[str]]:
    """Return the plan of a command line, and notes.

    Parameters
    ----------
    best_only
        Whether to make the row of the best candidate only.
    """
    _refuse_not_modelled(args)
    traffic = traffic_of(args)
    names, notes = hardware_names(args)
    prices = prices_of(args.price, names)
    model = catalog.model(args.model)
    longest = traffic.load.input_len + traffic.load.output_len
    if not args.allow_long_context:
        check_context(model, longest)
    notes += model_notes(model, longest)
    if args.expert_overlap is not None:
        model = model.with_expert_overlap(args.expert_overlap)
    gathered = gather(args, model, names)
    found = search_traffic(model, gathered.groups, traffic, prices=prices, schedule=args.draft_schedule)
    finalists = FINALISTS if args.finalists is None else int(whole("finalists", args.finalists, 0))
    chosen = found.feasible if args.all else found.best_of_each()
    chosen = chosen[:1] if best_only else chosen[: args.top or None]
    rows = points(model, chosen, traffic)
    seed = 0 if args.seed is None else int(whole("seed", args.seed, 0))
    rows = [
        confirm(row, option, traffic, seed=seed) if i < finalists else row
        for i, (row, option) in enumerate(zip(rows, chosen))
    ]
    rows.sort(key=lambda row: row.gpus if row.cost_per_million_tokens is None else row.cost_per_million_tokens)
    return Planned(model, traffic, gathered, found, rows, prices), [*notes, *gathered.notes]


def row_of(point: TrafficPoint) -> dict[str, Any]:
    """Return a point as a row of a table, with its latencies as columns."""
    found = asdict(point)
    found |= {name: round(seconds, 9) for name, seconds in found.pop("latency_s").items()}
    found["schedule"] = " ".join(f"{start}:{length}" for start, length in point.schedule)
    found["doubts"] = ", ".join(point.doubts)
    for name in ("replicas_lower", "replicas_upper", "gpus_lower", "gpus_upper", "tpot_mean_upper_s"):
        found[name] = found[name] if np.isfinite(found[name]) else None
    return found


def shown(point: TrafficPoint) -> dict[str, Any]:
    """Return a row with the texts of the printed table."""
    found = row_of(point)
    found["where"] = f"{point.tp}x {point.hardware}"
    found["lengths"] = lengths_in_words(point)
    found["binds_short"] = point.binds.partition(" <=")[0]
    found["gpus_upper"] = "no limit" if found["gpus_upper"] is None else int(found["gpus_upper"])
    found["gpus_lower"] = int(point.gpus_lower)
    if point.draft == "none":
        found["gain"] = found["gain_lower"] = found["gain_upper"] = None
    return found


def lengths_in_words(point: TrafficPoint) -> str:
    """Return the draft length, or those of a schedule from the first batch on."""
    if point.draft == "none":
        return "-"
    lengths = dict.fromkeys(length for _, length in point.schedule)
    return "/".join(str(length) for length in lengths) if point.schedule else str(point.draft_len)


def answer(done: Planned) -> str:
    """Return the best row in words."""
    if not done.rows:
        return "No candidate meets the limits."
    best = done.rows[0]
    draft = "plain decoding" if best.draft == "none" else f"{best.draft} with K = {lengths_in_words(best)}"
    most = "no limit" if not np.isfinite(best.gpus_upper) else f"{best.gpus_upper:.0f}"
    first = "Cheapest" if done.prices else "Fewest GPUs"
    cost = best.cost_per_million_tokens
    price = "" if cost is None else f" {digits.number(cost)} per million output tokens."
    ms = {name: digits.number(1e3 * seconds) for name, seconds in best.latency_s.items()}
    each = f"{best.replicas} x ({best.tp}x {best.hardware})"
    times = (
        f"{name} {ms[f'{name.lower()}_mean_s']} ms, p95 {ms[f'{name.lower()}_p95_s']}" for name in ("TPOT", "TTFT")
    )
    lines = [
        f"{first}: {best.gpus} GPUs [{best.gpus_lower:.0f}-{most}], {each}, {draft}, "
        f"at {100 * best.load:.0f} % of saturation.{price}",
        f"{'; '.join(times)}. {digits.number(best.running)} requests decode in a replica.",
        f"They hold {100 * best.kv_use:.0f} % of its KV pool; weights take "
        f"{digits.number(best.weights_bytes / GIGA)} GB of each GPU. A step 1 % slower makes TPOT "
        f"{best.amplification:.1f} % longer.",
    ]
    if best.verdict == UNDECIDED:
        lines.append("Speculation is undecided here: its gain over plain decoding is below the error.")
    return "\n".join(lines)


def assumptions(done: Planned) -> list[str]:
    """Return what a plan assumes, for the footer."""
    traffic, load = done.traffic, done.traffic.load
    limited = {limit.metric for limit in traffic.limits}
    engine = done.gathered.groups[0].deployment.engine
    missing = [name.upper() for name in ("ttft", "tpot") if name not in limited]
    cached = f", {load.prefix_hit:.0%} of each prompt cached" if load.cached_tokens else ""
    kv = ", ".join(dict.fromkeys(row.kv_precision for row in done.rows))
    most = f"up to {traffic.max_num_seqs} requests or what memory holds"
    limits = [*map(str, traffic.limits), f"load <= {100 * traffic.max_load:g} % of saturation"]
    found = [
        f"{done.model.name}, {traffic.rate_per_s:g} requests/s (Poisson, the same rate to every replica), "
        f"{load.input_len} in, {load.output_len} out{cached}; engine {engine.name}, KV cache {kv}, "
        f"{traffic.max_num_batched_tokens} tokens an iteration, {most}. No spare replicas.",
        f"Limits: {'; '.join(limits)}." + (f" No limit on {' and '.join(missing)}." if missing else ""),
    ]
    if any(row.method == SIMULATION for row in done.rows):
        found.append("Rows by simulation have latencies of simulated runs; rows by formula are estimates.")
    doubtful = [row for row in done.rows if row.doubts and row.method != SIMULATION]
    if doubtful:
        reasons = ", ".join(dict.fromkeys(reason for row in doubtful for reason in row.doubts))
        found.append(f"The formula does not hold in {len(doubtful)} rows ({reasons}): simulate them (--finalists).")
    configs = [config for each in done.gathered.groups for config in each.configs]
    drafting = [config for config in configs if config.draft.kind != "none"]
    uncertain = any(config.tau_lower < config.tau_upper for config in drafting)
    tp = max(each.deployment.tp for each in done.gathered.groups)
    covered = interval_coverage(engine, tp=tp, acceptance=uncertain if drafting else None, load=True)
    found.append(f"{covered.rstrip('.')}. Rates and lengths are taken as exact.")
    hidden = len(done.plan.feasible) - len(done.rows)
    if hidden:
        found.append(f"Best of each GPU and TP (--all: {hidden} more).")
    return found


def summary(done: Planned) -> list[str]:
    """Return how many candidates were considered and why others are left out, for stderr."""
    plan = done.plan
    total = len(plan.options) + plan.too_large
    lines = [
        f"{total} configurations: {len(plan.feasible)} feasible, {plan.too_large} do not fit in memory, "
        f"{plan.too_slow} miss a limit without any load",
        *done.gathered.skipped_lines(),
    ]
    if not plan.feasible and plan.options:
        lines.append(closest(done))
    return lines


def closest(done: Planned) -> str:
    """Return the lowest unloaded latencies of all candidates, or that none fits in memory."""
    if not done.plan.options:
        return "none fits in memory"
    at = [option.served.curve.at_rate([0.0]) for option in done.plan.options]
    tpot, ttft = min(float(one.tpot_s[0]) for one in at), min(float(one.ttft_s[0]) for one in at)
    asked = "; ".join(map(str, done.traffic.limits))
    return (
        f"without load, the fastest take {digits.number(1e3 * tpot)} ms per token and "
        f"{digits.number(1e3 * ttft)} ms to the first ({asked})"
    )
