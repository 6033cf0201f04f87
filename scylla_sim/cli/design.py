"""``scylla-sim design``: the draft to train and its tree, for a training budget and a serving load."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scylla_sim.checks import fail, one_of, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, count, emit
from scylla_sim.planning.draft_design import LAW_TOKENS, LAWS, Budget, Design, design
from scylla_sim.prediction.model_notes import draft_notes, model_notes
from scylla_sim.prediction.precisions import head_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs.engine_support import no_trees, support_notes
from scylla_sim.text.digits import interval
from scylla_sim.text.tables import Column

EPILOG = """example:
  scylla-sim design --hardware h100-sxm --model llama-3.1-8b --batch 1,16,64 --context 2048 --train-tokens 10B
  scylla-sim design --hardware h100-sxm --model llama-3.1-8b --batch 16 --train-flop 1e20 --law theorems,sdsl
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
NOTES = {
    "theorems": "theorems: tokens per cycle are those of Fig. 1 of arXiv 2505.07858 (Vicuna-7B); "
    "the effects of layers and tokens are assumed to add; the position law of the head transfers them to other "
    "shapes",
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
        help="source of acceptance: theorems (1.1 and 1.2) or sdsl (arXiv 2603.11053); default theorems",
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
    notes += _short_training(found) if "theorems" in chosen else []
    notes += support_notes(deployment.engine, head, trees=False)
    _options.print_notes([*notes, *head_notes(draft_deployment.dtype), *(NOTES[law] for law in chosen)])
    rows: list[dict[str, Any]] = [{**asdict(item), "evidence": "published"} for item in found]
    if args.format != "json":
        rows = [
            {key: f"{value[0]}-{value[1]}" if isinstance(value, tuple) else value for key, value in row.items()}
            for row in rows
        ]
        rows = [{**row, "train_tokens_B": row["train_tokens"] / 1e9} for row in rows]
    footer = "as good: designs within 2 % of the best; law's ends: the best at both ends of the law's interval"
    emit(args, "design", rows, columns=TABLE_COLUMNS, lead=_answer(rows), footer=footer)
    return 0


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
