"""``scylla-sim plan``: deployments for a request rate, or for a decoding batch, ranked by cost or by GPUs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scylla_sim.checks import fail, whole
from scylla_sim.cli import _options, _plan_front, _plan_traffic, _plan_what_if, _plan_words, _plot
from scylla_sim.cli._plan_candidates import Gathered, gather, hardware_names, named, prices_of
from scylla_sim.cli._plan_commands import commands
from scylla_sim.console import add_output, counts, emit, emit_text, note
from scylla_sim.planning.capacity import RANKINGS, OperatingPoint, Search, derived_batches, search
from scylla_sim.prediction.footer import interval_coverage
from scylla_sim.prediction.served_load import DEFAULT_CONTEXT
from scylla_sim.serving.limits import parse_limit
from scylla_sim.specs.model import Model
from scylla_sim.text.digits import number
from scylla_sim.text.tables import Column

EPILOG = """examples:
  scylla-sim plan --model llama-3.3-70b --precision fp8 --hardware h100-sxm,h200-sxm --tp 2,4 \\
      --rate 20/s --input-len 2000 --output-len 300 --ttft p95:1s --tpot p95:50ms \\
      --draft none,eagle3 --draft-len 1,2,3 --acceptance 0.7 --price h100-sxm=2.5,h200-sxm=3.2
  scylla-sim plan --model llama-3.1-70b --hardware h100-sxm,h200-sxm,a100-sxm --tp 2,4,8 --context 4096 \\
      --draft none,eagle3 --draft-len 2,3,5 --acceptance 0.75 --tpot 25ms      (decoding only)
"""

DECODING_ONLY = (
    "DECODING ONLY: prompts are not counted; give --rate, --input-len and --output-len for GPUs and price."
)
"""Line of a plan without a request rate."""

TABLE_COLUMNS = (
    Column("where", "GPUs"),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("draft_len", "K", fold=True),
    Column("batch_size", "batch"),
    Column("tpot_s", "ms/token", scale=1e3),
    Column("tokens_per_s", "tokens/s"),
    Column("tokens_per_s_per_gpu", "per GPU"),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("cost_per_million_tokens", "per M tokens", fold=True),
    Column("bound", "limited by", fold=True),
    Column("evidence", fold=True),
)
"""Columns of the table of decoding."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--model", required=True, metavar="NAME|config.json", help="see scylla-sim catalog models")
    parser.add_argument(
        "--hardware", required=True, metavar="NAME[,NAME]", help="hardware to consider: names or TOML files"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="calibration of all hardware; default: the shipped ones"
    )
    parser.add_argument(
        "--tp", default="1,2,4,8", metavar="N[,N]", help="tensor-parallel GPUs to consider; default 1,2,4,8"
    )
    _options.add_precision_arguments(parser, lists=True)
    parser.add_argument(
        "--batch", metavar="N[,N]", help="batches to consider; default: up to what memory holds (decoding only)"
    )
    parser.add_argument(
        "--context", help=f"tokens in each KV cache, one value; default {DEFAULT_CONTEXT} (decoding only)"
    )
    _options.add_long_context_argument(parser)
    parser.add_argument("--draft", default="none", metavar="NAME[,NAME]", help="drafts to consider; default none")
    parser.add_argument(
        "--draft-len",
        metavar="N[,N]",
        help="draft lengths to consider; default: 1 to 7, or as far as measured",
    )
    parser.add_argument("--draft-precision", help="of the drafts; default: of their checkpoints, or --precision")
    parser.add_argument(
        "--draft-tp", type=int, choices=[1], help="1 runs every draft on one GPU; default: on those of the target"
    )
    _options.add_acceptance_arguments(parser)
    _options.add_expert_overlap_argument(parser)
    _options.add_engine_argument(parser)
    _plan_traffic.add_arguments(parser)
    parser.add_argument(
        "--price", metavar="FILE|NAME=P[,NAME=P]", help="price per GPU-hour, in any currency; a file is TOML"
    )
    parser.add_argument(
        "--rank", choices=RANKINGS, help="of decoding; default: cost with --price, else tokens/s per GPU"
    )
    parser.add_argument("--top", type=int, default=10, help="rows to print; default 10; 0 prints all")
    parser.add_argument("--all", action="store_true", help="all candidates instead of the best of each GPU and TP")
    add_output(parser)


def _scope(gathered: Gathered, context: int) -> str:
    """Return what all candidates share, and what their intervals cover."""
    engine = gathered.groups[0].deployment.engine
    configs = [config for each in gathered.groups for config in each.configs]
    drafting = [config for config in configs if config.draft.kind != "none"]
    uncertain = any(config.tau_lower < config.tau_upper for config in drafting)
    coverage = interval_coverage(
        engine, tp=max(each.deployment.tp for each in gathered.groups), acceptance=uncertain if drafting else None
    )
    return f"engine {engine.name}, context {context}; {coverage}"


def _tpot_limit(text: str | None) -> float | None:
    """Return the limit in seconds per output token; ``None`` without a limit."""
    if text is None:
        return None
    limit = parse_limit("tpot", text)
    if limit.probability is not None:
        raise fail("tpot", text, "must limit the mean, because decoding alone has no percentiles", "give --rate")
    return limit.seconds


def execute(args: argparse.Namespace) -> int:
    """Search the deployments and print the best."""
    whole("top", args.top, 0)
    if args.rate is not None:
        return _for_a_rate(args)
    _plan_traffic.refuse_without_rate(args)
    args.context = str(DEFAULT_CONTEXT) if args.context is None else args.context
    if args.rank == "cost_per_million_tokens" and not args.price:
        raise fail("rank", args.rank, "needs prices", "give --price NAME=P")
    names, notes = hardware_names(args)
    prices = prices_of(args.price, names)
    limit = _tpot_limit(args.tpot)
    model, context = _options.served_model(args)
    gathered = gather(args, model, names)
    _options.print_notes([*notes, *gathered.notes])
    rank = args.rank or ("cost_per_million_tokens" if prices else "tokens_per_s_per_gpu")
    batch, twice = derived_batches(model, gathered.groups, context=context), list[str]()
    if args.batch is not None:
        batch, twice = _options.once("batch", whole("batch", counts("batch", args.batch), 1).tolist())
    _options.print_notes(twice)
    found = search(
        *(model, gathered.groups), batch=batch, context=context, tpot_limit_s=limit, prices=prices, rank=rank
    )
    _print(args, model, found, rank)
    note(
        f"{found.considered} configurations: {len(found.points)} feasible, "
        f"{len(found.too_large)} do not fit in memory, {len(found.too_slow)} miss the latency limit"
    )
    for reason, labels in (("do not fit in memory", found.too_large), ("miss the latency limit", found.too_slow)):
        if labels:
            note(f"{reason}: {named(labels, every=args.all)}")
    for line in gathered.skipped_lines():
        note(line)
    note(f"batches considered: {', '.join(map(str, batch))}")
    note(_scope(gathered, context))
    return 0


def _for_a_rate(args: argparse.Namespace) -> int:
    """Plan for a request rate, and print the answer."""
    changes = _plan_what_if.changes_of(args)
    if args.plot:
        _plot.check_format(args.plot)
    if args.draw and (args.format != "table" or args.out is not None):
        raise fail("draw", True, "must be given with --format table and without --out")
    done, notes = _plan_traffic.planned(args)
    _options.print_notes(notes)
    if args.plot:
        _plan_front.draw(args.plot, done.plan)
    if args.pareto:
        emit(args, "plan-front", _plan_front.rows(done.plan), columns=_plan_front.TABLE_COLUMNS)
    elif changes:
        _plan_what_if.emit_changes(args, changes, done)
    else:
        table, following = args.format == "table", commands(args, done)
        rows = [(_plan_words.shown if table else _plan_words.row_of)(row) for row in done.rows]
        emit(
            args,
            "plan",
            [{"rank": i + 1, **row} for i, row in enumerate(rows)],
            columns=_plan_words.TABLE_COLUMNS if rows else [],
            lead=_plan_words.answer(done),
            footer="\n".join([*_plan_words.assumptions(done), *_plan_words.next_steps(following)]),
            commands=following,
            left_out={**_plan_words.left_out(done), **{"skipped": done.gathered.skipped_lines()}},
        )
    if args.draw:
        emit_text(args, _plan_front.as_text(done.plan) + "\n")
    for line in _plan_words.summary(done, every=args.all):
        note(line)
    return 0


def _print(args: argparse.Namespace, model: Model, found: Search, rank: str) -> None:
    """Print the answer and the rows."""
    kept = found.points if args.all or args.format != "table" else _best_of_each(found.points)
    kept = kept[: args.top or None]
    rows: list[dict[str, Any]] = [{"rank": i + 1, **asdict(item)} for i, item in enumerate(kept)]
    if args.format == "table":
        rows = [{**row, "where": f"{row['tp']}x {row['hardware']}"} for row in rows]
    hidden = len(found.points) - len(kept)
    footer = f"{model.name}, best of each GPU and TP (--all: {hidden} more)" if hidden and not args.all else ""
    lead = "\n".join([_answer(kept[0], rank) if kept else _none(found), DECODING_ONLY])
    emit(args, "plan", rows, columns=TABLE_COLUMNS, lead=lead, footer=footer)


def _none(found: Search) -> str:
    """Return why no configuration remains, in words."""
    if found.fastest_tpot_s is None:
        return "No configuration fits in memory."
    return f"No configuration meets the limit; the fastest takes {number(1e3 * found.fastest_tpot_s)} ms a token."


def _best_of_each(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the best point of each device, precision and number of TP ranks; points are sorted, best first."""
    best: dict[tuple[str, int, str], OperatingPoint] = {}
    for point in points:
        best.setdefault((point.hardware, point.tp, point.precision), point)
    return list(best.values())


def _answer(best: OperatingPoint, rank: str) -> str:
    """Return the first row in words."""
    first = {"cost_per_million_tokens": "Cheapest", "tpot_s": "Fastest"}.get(rank, "Most tokens per GPU")
    draft = "plain decoding" if best.draft == "none" else f"{best.draft} with K = {best.draft_len}"
    cost = best.cost_per_million_tokens
    price = "" if cost is None else f", {number(cost)} per million tokens"
    return (
        f"{first}: {best.tp}x {best.hardware}, {draft}, batch {best.batch_size}: {number(1e3 * best.tpot_s)} ms a "
        f"token, {number(best.tokens_per_s_per_gpu)} tokens/s per GPU{price}."
    )
