"""``scylla-sim serve-sim``: latencies and throughput of a deployment under a load, by simulation."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from scylla_sim.checks import InputError, fail, whole
from scylla_sim.cli import _options, _plot
from scylla_sim.console import add_output, assignments, count, emit, emit_text, note
from scylla_sim.prediction.model_notes import deployment_notes, model_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving import report
from scylla_sim.serving.batching import POLICIES
from scylla_sim.serving.gain import Gain, gains
from scylla_sim.serving.iteration import MAX_BUDGET, MAX_SEATS
from scylla_sim.serving.limits import METRICS, Limit, parse_limit
from scylla_sim.serving.load import Load, read_classes
from scylla_sim.serving.metrics import check_counted
from scylla_sim.serving.serve import COOLDOWN, REQUESTS, SEEDS, WARMUP, Served, Settings, serve
from scylla_sim.serving.traces import read_trace
from scylla_sim.serving.workload import FORMS, Lengths, RequestClass
from scylla_sim.text.formats import parse_json
from scylla_sim.units import parse_rate

EPILOG = """example:
  scylla-sim serve-sim --hardware h100-sxm --model llama-3.1-8b --rate 10/s --input-len 1000 --output-len 200 \\
      --ttft p95:500ms --tpot p95:40ms
"""

PROGRESS_S = 5.0
"""Seconds between two lines of progress on stderr."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    _options.add_hardware_arguments(parser)
    _add_load(parser)
    _add_scheduler(parser)
    _options.add_drafting_arguments(parser)
    _options.add_draft_tp_argument(parser)
    parser.add_argument("--draft-len", metavar="N", help="drafted tokens of a path; default: as measured, else 3")
    parser.add_argument("--top-k", metavar="N", help="candidates kept per depth; default 1 (eagle2, scylla: 10)")
    _options.add_deployment_arguments(parser)
    parser.add_argument("--plot", metavar="FILE", help="draw latencies and the batch over time (SVG or PNG)")
    add_output(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", metavar="N/s", help="requests per second, e.g. 5/s or 90/min (open loop)")
    parser.add_argument("--concurrency", type=int, metavar="N", help="clients with one request each (closed loop)")
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="requests with arrival_s,input_tokens,output_tokens, or a trace of Azure or Mooncake; with --rate or "
        "--concurrency only its lengths are used",
    )
    parser.add_argument(
        "--burstiness", metavar="X", help="shape of the gamma arrivals of --rate: 1 Poisson (default), inf regular"
    )
    parser.add_argument("--input-len", metavar="LENGTH", help=f"tokens of each prompt: {FORMS}")
    parser.add_argument("--output-len", metavar="LENGTH", help="tokens of each answer, as --input-len")
    parser.add_argument(
        "--prefix-hit", type=float, metavar="X", help="share of each prompt in the KV cache already; default 0"
    )
    parser.add_argument("--classes", metavar="FILE.toml", help="classes of requests, each with its own lengths")
    for metric in METRICS:
        example = "p95:10s" if metric == "e2e" else "p95:500ms"
        parser.add_argument(f"--{metric}", metavar="pN:TIME", help=f"limit on {metric.upper()}, e.g. {example}")


def _add_scheduler(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-num-seqs", metavar="N", help="requests that run together; default: that of the engine"
    )
    parser.add_argument(
        "--max-num-batched-tokens",
        metavar="N",
        help="tokens of an iteration, prompts and decodes; default: that of the engine, 8192 on most GPUs",
    )
    parser.add_argument(
        "--scheduling", choices=POLICIES, help="of prompts; default: prefill-first for sglang, else mixed"
    )
    parser.add_argument(
        "--schedule", metavar="BATCH:LEN,...", help="draft length from each batch on, e.g. 1:4,65:2,171:0"
    )
    parser.add_argument("--requests", metavar="N", help=f"requests of a run; default {REQUESTS}, or all of a trace")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"runs; default {SEEDS}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run; default 0")
    parser.add_argument(
        "--warmup", type=float, default=WARMUP, metavar="X", help=f"share of requests not counted; default {WARMUP}"
    )
    parser.add_argument(
        "--cooldown", type=float, default=COOLDOWN, metavar="X", help=f"the same at the end; default {COOLDOWN}"
    )
    parser.add_argument(
        "--disaggregation-mode", metavar="MODE", help="not modelled: prefill and decode on separate GPUs"
    )


def _load(args: argparse.Namespace) -> Load:
    """Return the load of the options."""
    given = {name: getattr(args, name) for name in ("input_len", "output_len", "prefix_hit")}
    one = [name for name, value in given.items() if value is not None]
    acceptance: dict[str, dict[str, Any]] = {}
    classes: list[RequestClass] = []
    if args.classes is not None:
        if one:
            raise fail(one[0], given[one[0]], "must not be given beside classes", "give it in the file")
        if args.trace is not None:
            raise fail("classes", args.classes, "must not be given beside a trace")
        classes, acceptance = read_classes(args.classes)
    elif args.trace is None:
        for name in ("input_len", "output_len"):
            if given[name] is None:
                raise InputError(f"{name} must be given; for example --{name.replace('_', '-')} 300")
        prompt, answer = (Lengths.parse(name, given[name]) for name in ("input_len", "output_len"))
        classes = [RequestClass("all", prompt, answer, prefix_hit=args.prefix_hit or 0.0)]
    else:
        for name in ("input_len", "output_len"):
            if given[name] is not None:
                raise fail(name, given[name], "must not be given beside a trace", "the trace has lengths")
    return Load(
        classes,
        rate=None if args.rate is None else _parsed("rate", args.rate, parse_rate),
        burstiness=1.0 if args.burstiness is None else _parsed("burstiness", args.burstiness, float),
        concurrency=args.concurrency,
        trace=None if args.trace is None else read_trace(args.trace),
        prefix_hit=(args.prefix_hit or 0.0) if args.trace is not None else 0.0,
        acceptance=acceptance,
    )


def _parsed(name: str, text: str, parse: Callable[[str], float]) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise fail(name, text, f"is not understood ({error})") from None


def _schedule(text: str | None) -> dict[int, int] | None:
    """Return the draft length by first batch of ``1:4,65:2``, or of vLLM's ``[[1, 64, 4], [65, 256, 2]]``."""
    if text is None:
        return None
    hint = "such as 1:4,65:2"
    try:
        if text.lstrip().startswith("["):
            rows = parse_json(text, text[:20], option="schedule")
            return {int(whole("schedule", row[0], 1)): int(whole("schedule", row[2], 0)) for row in rows}
        pairs = assignments("schedule", text.replace(":", "="))
        found = {int(first): int(length) for first, length in pairs.items()}
    except InputError:
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise fail("schedule", text, f"is not understood ({error})", hint) from None
    whole("schedule", list(found), 1)
    whole("schedule", list(found.values()), 0)
    return found


ROUNDS = 5
"""Requests of each client in a closed loop, at least; fewer measure the start of the loop only."""


def _requests(args: argparse.Namespace) -> int | None:
    """Return the requests of a run; ``None`` for the default, or for all of a trace."""
    least = ROUNDS * (args.concurrency or 0)
    if args.requests is None:
        return least if args.trace is None and least > REQUESTS else None
    found = int(whole("requests", _count(args, "requests"), 1))
    if found < least:
        raise fail(
            "requests", found, f"must be at least {least}", f"{ROUNDS} for each of {args.concurrency} clients"
        )
    return found


def _settings(args: argparse.Namespace) -> Settings:
    check_counted(args.warmup, args.cooldown)
    return Settings(
        max_num_seqs=_whole_or_none(args, "max_num_seqs", MAX_SEATS),
        max_num_batched_tokens=_whole_or_none(args, "max_num_batched_tokens", MAX_BUDGET),
        policy=args.scheduling,
        schedule=_schedule(args.schedule),
        requests=_requests(args),
        seeds=args.seeds,
        seed=int(whole("seed", args.seed, 0)),
        warmup=args.warmup,
        cooldown=args.cooldown,
    )


def _whole_or_none(args: argparse.Namespace, name: str, most: int) -> int | None:
    """Return a whole number from 1, or ``None`` for the default of the engine."""
    return None if getattr(args, name) is None else int(whole(name, _count(args, name), 1, most))


def _count(args: argparse.Namespace, name: str) -> float:
    return count(name, getattr(args, name))


def _limits(args: argparse.Namespace) -> list[Limit]:
    return [parse_limit(name, getattr(args, name)) for name in METRICS if getattr(args, name) is not None]


def _progress() -> Callable[[int, int], None]:
    """Return a function that prints the finished runs on stderr, from `PROGRESS_S` on."""
    last = time.monotonic()

    def print_runs(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_S and done < total:
            last = time.monotonic()
            note(f"{done} of {total} runs")

    return print_runs


def execute(args: argparse.Namespace) -> int:
    """Simulate and print."""
    if args.disaggregation_mode is not None:
        rule = "must not be given: prefill and decode on separate GPUs are not modelled"
        raise fail("disaggregation_mode", args.disaggregation_mode, rule)
    if args.plot:
        _plot.check_format(args.plot)
    load, settings, limits = _load(args), _settings(args), _limits(args)
    options = _options.scenario_options(args, input_len=None, output_len=None, prefix_hit=None)
    scenario = Scenario(**options)
    progress = _progress()
    served = serve(scenario, load, settings, limits=limits, progress=progress)
    speculates = served.configs[1].draft.kind != "none"
    compared = gains(served, scenario, load, progress=progress) if speculates else []
    target, draft = scenario.deployments()
    model = scenario.target_model()
    _options.print_notes(
        [
            *(*scenario.name_notes(), *model_notes(model, served.run.requests.longest)),
            *(*scenario.precision_notes(), *served.notes),
            *deployment_notes(model, list(served.configs.values()), target, draft),
        ]
    )
    assumed = report.assumptions(served, scenario, load, settings)
    _print(args, served, compared, load=load, limits=limits, assumed=assumed)
    if args.plot:
        _plot.draw_served(args.plot, served.run, pool=float(served.model.kv_tokens.value))
        note(f"wrote {args.plot}")
    return 0


def _print(
    args: argparse.Namespace,
    served: Served,
    compared: list[Gain],
    *,
    load: Load,
    limits: list[Limit],
    assumed: list[str],
) -> None:
    """Print the result in the format of ``--format``."""
    if args.format == "table":
        emit_text(args, report.text(served, compared, load=load, limits=limits, assumed=assumed))
        return
    files = [name for name in (args.trace, args.classes) if name is not None]
    facts: dict[str, Any] = {
        "inputs": [*_options.input_files(args), *files],
        "assumptions": assumed,
        "saturation_requests_per_s": served.saturation,
        "offered_requests_per_s": served.offered or None,
        "gains_over_no_draft": report.gain_rows(compared),
        "limits_met": dict(zip(map(str, limits), report.limits_met(served, limits))),
    }
    emit(args, "serve-sim", report.rows(served), **facts)
    note(" ".join([report.headline(served, load), *report.limit_verdicts(served, limits)]))
