"""``scylla-sim design``: the draft to train and its tree, for a training budget and a serving load."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

from scylla_sim.checks import fail, one_of, positive, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, count, emit
from scylla_sim.planning.draft_design import (
    LAW_TOKENS,
    LAWS,
    Budget,
    Design,
    design,
    training_flop_per_token,
)
from scylla_sim.planning.training_cost import training_cost, utilization
from scylla_sim.prediction.model_notes import draft_notes, model_notes
from scylla_sim.prediction.precisions import head_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import no_trees, support_notes
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.digits import interval, number
from scylla_sim.text.tables import Column
from scylla_sim.units import parse_rate

EPILOG = """example:
  scylla-sim design --hardware h100-sxm --model llama-3.1-8b --batch 1,16,64 --context 2048 --train-tokens 10B
  scylla-sim design --hardware h100-sxm --model llama-3.1-8b --batch 16 --train-flop 1e20 --law theorems,sdsl
  scylla-sim design --hardware h100-sxm --model llama-3.1-8b --batch 16 --train-tokens 10B --traffic 20k/s
"""

TABLE_COLUMNS = (
    Column("law", fold=True),
    Column("batch_size", "batch", fold=True),
    Column("layers", fold=True),
    Column("train_tokens", "B tokens", scale=1e-9, fold=True),
    Column("draft_len", "K"),
    Column("top_k", "top-k", fold=True),
    Column("verify_tokens", "verified"),
    Column("tokens_per_cycle", "tokens/cycle"),
    Column("tokens_per_s", "tokens/s"),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("optimum_layers", "layers at law's ends", fold=True),
    Column("layers_range", "layers as good", fold=True),
    Column("draft_len_range", "K as good", fold=True),
    Column("verify_tokens_range", "verified as good", fold=True),
    Column("designs_as_good", "designs as good"),
)
"""Columns of the text table."""
COST_COLUMNS = (
    *TABLE_COLUMNS[:5],
    Column("train_gpu_hours", "GPU-h to train"),
    Column("plain_gpus", "plain GPUs"),
    Column("draft_gpus", "GPUs"),
    Column(
        "saved_gpu_hours_per_day",
        "GPU-h saved/day [90 %]",
        ends=("saved_gpu_hours_per_day_lower", "saved_gpu_hours_per_day_upper"),
    ),
    Column("payback_days", "days to repay", decimals=2),
)
"""Columns of the text table with ``--traffic``."""
NOTES = {
    "theorems": "theorems: tokens per cycle are those of Fig. 1 of arXiv 2505.07858 (Vicuna-7B); "
    "the effects of layers and tokens are assumed to add; the position law of the head transfers them to other "
    "shapes",
    "bounded": "bounded: the same figure, with a law that stops rising at 50 B tokens and 10 layers, and stays "
    "below the longest cycle",
    "product": "product: the same figure, with a slope in layers that grows with the tokens, as in drafts of this "
    "project",
    "sdsl": "sdsl: the head is treated as an independent draft model with as many weights (arXiv 2603.11053, "
    "cited at second hand), with one rate at all positions; its perplexity follows the law of arXiv 2203.15556",
}
"""Law -> note on its assumptions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    _options.add_hardware_arguments(parser)
    _options.add_precision_arguments(parser)
    parser.add_argument(
        "--draft", default="eagle2", help="type of head: eagle, eagle2, eagle3 or mtp; default eagle2"
    )
    parser.add_argument(
        "--batch", default="1,8,64", metavar="N[,N]", help="sequences decoded together; each batch gets a design"
    )
    _options.add_context_argument(parser)
    parser.add_argument("--train-tokens", default="100B", help="maximum number of pretraining tokens; default 100B")
    parser.add_argument("--train-flop", metavar="FLOP", help="maximum number of training FLOPs, for example 1e21")
    parser.add_argument(
        "--law",
        default="theorems",
        metavar="LAW[,LAW]",
        help="source of acceptance: theorems (1.1 and 1.2), bounded or product (other laws that the paper's figure "
        "allows), or sdsl (arXiv 2603.11053); default theorems",
    )
    parser.add_argument(
        "--traffic",
        metavar="N/s",
        help="output tokens per second of all replicas, for example 20k/s: adds the GPU-hours of training, "
        "and those that the draft saves",
    )
    parser.add_argument(
        "--train-utilization",
        type=float,
        metavar="SHARE",
        help="share of the dense bf16 peak at which training runs; default 0.4 (arXiv 2407.21783, Table 4)",
    )
    _options.add_engine_argument(parser)
    add_output(parser)


def execute(args: argparse.Namespace) -> int:
    """Search the designs of every law and batch, and print the best."""
    scenario = Scenario(**_options.scenario_options(args))
    deployment, draft_deployment = scenario.deployments()
    head = scenario.draft_model()
    if head.kind != "head":
        raise fail("draft", args.draft, "has no training laws", "drafts with laws: eagle, eagle2, eagle3, mtp")
    traffic = _traffic(args)
    tokens = count("train_tokens", args.train_tokens)
    flop = count("train_flop", args.train_flop) if args.train_flop else float("inf")
    chosen = list(dict.fromkeys(one_of("law", law, LAWS) for law in args.law.split(",")))
    model, context = scenario.target_model(), int(whole("context", count("context", args.context), 1))
    without_trees = no_trees(deployment.engine, head, model)
    found = [
        item
        for law in chosen
        for item in design(
            model,
            head,
            deployment,
            batch=whole("batch", scenario.batch, 1).tolist(),
            context=context,
            budget=Budget(tokens=tokens, flop=flop),
            law=law,
            draft_deployment=draft_deployment,
            trees=not without_trees,
        )
    ]
    notes = [*model_notes(model, context), *draft_notes(head, model, context), *scenario.precision_notes()]
    notes += [f"candidates are chains: {without_trees}"] if without_trees else []
    notes += _short_training(found) if {*chosen} - {"sdsl"} else []
    notes += support_notes(deployment.engine, head, trees=False)
    _options.print_notes([*notes, *head_notes(draft_deployment.dtype), *(NOTES[law] for law in chosen)])
    used = utilization() if args.train_utilization is None else args.train_utilization
    rows: list[dict[str, Any]] = [
        {**asdict(item), **_cost(item, head, model, deployment, traffic, used), "evidence": "published"}
        for item in found
    ]
    if args.format != "json":
        rows = [
            {key: f"{value[0]}-{value[1]}" if isinstance(value, tuple) else value for key, value in row.items()}
            for row in rows
        ]
        rows = [{**row, "train_tokens_B": row["train_tokens"] / 1e9} for row in rows]
    footer = "as good: designs within 2 % of the best; law's ends: the best at both ends of the law's interval"
    if traffic is not None:
        footer += f"\n{_cost_note(deployment, traffic, used)}"
    columns = TABLE_COLUMNS if traffic is None else COST_COLUMNS
    emit(args, "design", rows, columns=columns, lead=_answer(rows), footer=footer)
    return 0


def _traffic(args: argparse.Namespace) -> float | None:
    """Return the output tokens per second of ``--traffic``."""
    if args.traffic is None:
        if args.train_utilization is not None:
            raise fail(
                "train_utilization", args.train_utilization, "needs --traffic", "for example --traffic 20k/s"
            )
        return None
    try:
        return float(positive("traffic", parse_rate(args.traffic)))
    except ValueError as error:
        raise fail("traffic", args.traffic, f"is not understood ({error})") from None


def _cost(
    item: Design, head: Draft, model: Model, deployment: Deployment, traffic: float | None, used: float
) -> dict[str, float | None]:
    """Return the columns of the training cost of a design; none without traffic."""
    if traffic is None:
        return {}
    cost = training_cost(
        item.train_tokens * training_flop_per_token(replace(head, num_layers=item.layers), model),
        Estimate.of(item.speedup, item.speedup_lower, item.speedup_upper),
        tokens_per_s=item.tokens_per_s,
        traffic=traffic,
        tp=deployment.tp,
        peak_flop_per_s=deployment.calibration.hardware.peak_flop_per_s["bf16"],
        used=used,
    )
    row: dict[str, float | None] = {name: getattr(cost, name) for name in ("train_flop", "train_gpu_hours")}
    row |= {name: getattr(cost, name) for name in ("plain_gpus", "draft_gpus")}
    for name in ("saved_gpu_hours_per_day", "payback_days"):
        found: Estimate = getattr(cost, name)
        ends = (float(found.value), float(found.lower), float(found.upper))
        keys = (name, f"{name}_lower", f"{name}_upper")
        row |= {key: end if isfinite(end) else None for key, end in zip(keys, ends)}
    return row


def _cost_note(deployment: Deployment, traffic: float, used: float) -> str:
    """Return the assumptions behind the training cost."""
    return (
        f"training: 6 FLOPs per weight of the head and 2 per weight of the target and token, at {used:.0%} of the "
        f"bf16 peak of {deployment.calibration.device}; saved: GPUs for {number(traffic)} output tokens/s "
        "at this batch, all day, without reserve and without prompts; data and failed runs cost more"
    )


def _short_training(found: Sequence[Design]) -> list[str]:
    """Return a note on designs whose pretraining is below the range of the law."""
    least = min(item.train_tokens for item in found)
    if least >= LAW_TOKENS:
        return []
    return [
        f"the budget allows {least / 1e9:.3g} B tokens, and the law is stated from {LAW_TOKENS / 1e9:g} B on: "
        "below, tau is near that of a head without pretraining, whose fine-tuning on dialogues is not in the budget"
    ]


def _answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the designs of the smallest and of the largest batch in words."""
    ends = [rows[0]] if len(rows) == 1 else [rows[0], rows[-1]]
    texts = [
        f"at batch {row['batch_size']}, {row['layers']} layer{'s' if row['layers'] > 1 else ''} and {_shape(row)}: "
        f"{interval(row['speedup'], row['speedup_lower'], row['speedup_upper'], decimals=2)} times plain decoding"
        for row in ends
    ]
    return f"Best draft {'; '.join(texts)}."


def _shape(row: Mapping[str, Any]) -> str:
    """Return the draft length of a chain, or the size of a tree."""
    return f"K = {row['draft_len']}" if row["top_k"] == 1 else f"a tree of {row['verify_tokens']} tokens"
