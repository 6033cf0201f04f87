"""``scylla-sim plan --rate``: replicas, GPUs, cost and latencies for a request rate."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from scylla_sim.checks import fail, number, whole
from scylla_sim.cli import _options
from scylla_sim.cli._plan_candidates import Gathered, gather, hardware_names, prices_of
from scylla_sim.console import count, name_list
from scylla_sim.planning.decision import Decision, decide
from scylla_sim.planning.traffic import MAX_LOAD, Traffic
from scylla_sim.planning.traffic_rows import TrafficPoint
from scylla_sim.planning.traffic_search import TrafficPlan, points, search_traffic
from scylla_sim.prediction.model_notes import check_context, model_notes
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.limits import parse_limit
from scylla_sim.serving.serving_scalars import left_out
from scylla_sim.serving.workload import Lengths
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model
from scylla_sim.units import parse_rate

FINALISTS = 3
"""Candidates that are simulated by default."""

TRAFFIC_OPTIONS = (
    *(
        "input_len",
        "output_len",
        "prefix_hit",
        "burstiness",
        "ttft",
        "max_load",
        "max_num_seqs",
        "max_num_batched_tokens",
    ),
    *("draft_schedule", "pareto", "plot", "draw", "what_if", "finalists", "seed"),
)
"""Options that need ``--rate``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a plan with traffic."""
    parser.add_argument("--rate", metavar="RATE", help="requests of all replicas together, e.g. 200/s or 90/min")
    parser.add_argument(
        "--input-len", metavar="N|DIST", help="tokens of each prompt; uniform:LOW,HIGH or lognormal:MEAN,CV"
    )
    parser.add_argument("--output-len", metavar="N|DIST", help="tokens of each answer")
    parser.add_argument(
        "--burstiness", type=float, metavar="X", help="shape of the gaps between arrivals; default 1, Poisson"
    )
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
        "--max-num-seqs", metavar="N", help="requests that run together; default: that of the engine on each GPU"
    )
    parser.add_argument(
        "--max-num-batched-tokens", metavar="N", help="tokens of an iteration; default: that of the engine"
    )
    parser.add_argument(
        "--draft-schedule", action="store_true", help="consider draft lengths by batch too, from --draft-len"
    )
    parser.add_argument("--pareto", action="store_true", help="print the front of tokens/s/user and tokens/s/GPU")
    parser.add_argument("--plot", metavar="FILE", help="draw the front, as SVG or PNG")
    parser.add_argument("--draw", action="store_true", help="also draw the front, as text")
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
    _options.scenario_options(args, input_len=None, output_len=None)


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
    decision
        Operating points, best first; finalists are simulated.
    prices
        Price per GPU-hour by hardware.
    """

    model: Model
    traffic: Traffic
    gathered: Gathered
    plan: TrafficPlan
    decision: Decision
    prices: Mapping[str, float]

    @property
    def rows(self) -> list[TrafficPoint]:
        """Operating points, best first."""
        return self.decision.rows


def _rate(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise fail("rate", text, f"is not understood ({error})") from None


def _whole_option(name: str, text: str | None) -> int | None:
    return None if text is None else int(whole(name, count(name, text), 1))


def traffic_of(args: argparse.Namespace) -> Traffic:
    """Return the load and the limits of a command line."""
    for name in ("input_len", "output_len"):
        if getattr(args, name) is None:
            raise fail("rate", args.rate, f"needs {name}", "give --input-len and --output-len")
    for name in ("batch", "context", "rank"):
        if getattr(args, name) is not None:
            hint = "the load decides it" if name != "rank" else "rows are ranked by cost, or by GPUs without prices"
            raise fail(name, getattr(args, name), "must not be given with rate", hint)
    prompt, answer = (Lengths.parse(name, getattr(args, name)) for name in ("input_len", "output_len"))
    whole("output_len", round(answer.mean), 2, hint="one token has no time per token")
    cached = 0.0 if args.prefix_hit is None else number("prefix_hit", args.prefix_hit, 0, 1)
    load = ServedLoad(max(round(prompt.mean), 1), round(answer.mean), cached)
    limits = [
        parse_limit(name, getattr(args, name)) for name in ("ttft", "tpot") if getattr(args, name) is not None
    ]
    return Traffic(
        _rate(args.rate),
        load,
        limits,
        max_load=MAX_LOAD if args.max_load is None else args.max_load,
        max_num_seqs=_whole_option("max_num_seqs", args.max_num_seqs),
        max_num_batched_tokens=_whole_option("max_num_batched_tokens", args.max_num_batched_tokens),
        input_lengths=prompt,
        output_lengths=answer,
        burstiness=1.0 if args.burstiness is None else args.burstiness,
    )


def _without_lengths(args: argparse.Namespace, longest: int) -> argparse.Namespace:
    """Return the options of the candidates, which do not depend on the lengths of requests."""
    found = copy(args)
    found.input_len = found.output_len = found.prefix_hit = None
    found.context = str(longest)
    return found


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
    longest = traffic.longest
    if not args.allow_long_context:
        check_context(model, longest)
    notes += model_notes(model, longest)
    if args.expert_overlap is not None:
        model = model.with_expert_overlap(args.expert_overlap)
    gathered = gather(_without_lengths(args, longest), model, names)
    if args.draft_schedule and set(name_list(args.draft)) <= {"none"}:
        raise fail("draft_schedule", True, "needs a draft", "give --draft, for example --draft eagle3")
    found = search_traffic(model, gathered.groups, traffic, prices=prices, schedule=args.draft_schedule)
    finalists = FINALISTS if args.finalists is None else int(whole("finalists", args.finalists, 0))
    chosen = found.feasible if args.all else found.best_of_each()
    chosen = chosen[: FINALISTS if best_only else args.top or None]
    finalists = min(finalists, 1) if best_only else finalists
    seed = 0 if args.seed is None else int(whole("seed", args.seed, 0))
    decision = decide(
        points(model, chosen, traffic), chosen, traffic, finalists=finalists, seed=seed, gain=not best_only
    )
    notes += left_out(each.deployment for each in gathered.groups)
    return Planned(model, traffic, gathered, found, decision, prices), [*notes, *gathered.notes]
