"""``scylla-sim plan``: deployments for a model, a context and a latency limit, ranked by throughput or cost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import InputError, fail, in_range, one_of, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, assignments, counts, emit, name_list, note
from scylla_sim.ops import forward
from scylla_sim.planning.capacity import RANKINGS, Candidates, search
from scylla_sim.prediction.footer import interval_coverage
from scylla_sim.prediction.model_notes import deployment_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model
from scylla_sim.units import parse_seconds

EPILOG = """example:
  scylla-sim plan --model llama-3.1-70b --hardware h100-sxm,h200-sxm,a100-sxm --tp 2,4,8 --context 4096 \\
      --draft none,eagle3 --draft-len 2,3,5 --acceptance 0.75 --tpot 25ms \\
      --price h100-sxm=2.5,h200-sxm=3.3,a100-sxm=1.4
"""

TABLE_COLUMNS = (
    *("hardware", "tp", "draft", "draft_len", "batch_size", "tpot_ms", "tokens_per_s", "tokens_per_s_per_gpu"),
    *("speedup", "speedup_lower", "speedup_upper", "p_slower", "bound"),
)
"""Columns of the text table, after the rank."""
DEFAULT_BATCH = "1,2,4,8,12,16,24,32,48,64,96,128,192,256,384,512"
"""Batches to consider by default."""


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
    _options.add_precision_arguments(parser)
    parser.add_argument(
        "--batch", default=DEFAULT_BATCH, metavar="N[,N]", help="batches to consider; default 1 to 512"
    )
    _options.add_context_argument(parser)
    parser.add_argument("--draft", default="none", metavar="NAME[,NAME]", help="drafts to consider; default none")
    parser.add_argument(
        "--draft-len", metavar="N[,N]", help="draft lengths to consider; default: as measured, else 3"
    )
    parser.add_argument("--draft-precision", help="of the drafts; default: of their checkpoints, or --precision")
    parser.add_argument(
        "--draft-tp", type=int, choices=[1], help="1 runs every draft on one GPU; default: on those of the target"
    )
    _options.add_acceptance_arguments(parser)
    _options.add_expert_overlap_argument(parser)
    _options.add_engine_argument(parser)
    parser.add_argument("--tpot", metavar="TIME", help="limit on the mean time per output token, e.g. 25ms")
    parser.add_argument("--price", metavar="NAME=P[,NAME=P]", help="price per GPU-hour, in any currency")
    parser.add_argument("--rank", choices=RANKINGS, help="default: cost with --price, else tokens/s per GPU")
    parser.add_argument("--top", type=int, default=10, help="rows to print; default 10; 0 prints all")
    add_output(parser)


def _prices(text: str | None, hardware: list[str]) -> dict[str, float]:
    """Return the price per GPU-hour by hardware name."""
    prices = {}
    for given, value in assignments("price", text or "").items():
        name = one_of("price", catalog.canonical_name("hardware", given), hardware)
        try:
            price = float(value)
        except ValueError:
            raise fail("price", f"{given}={value}", "must be NAME=NUMBER") from None
        prices[name] = float(in_range("price", price, 0, 1e9, above=True))
    return prices


def _candidates(
    args: argparse.Namespace, model: Model, names: list[str], configs: Mapping[str, list[SpeculativeConfig]]
) -> list[Candidates]:
    """Return every draft on every device and number of TP ranks that the model's heads and the links allow."""
    found = []
    problems = []
    for name in names:
        for tp in whole("tp", counts("tp", args.tp), 1).tolist():
            scenarios = {draft: _scenario(args, name, tp, draft) for draft in configs}
            pairs = {draft: scenario.deployments() for draft, scenario in scenarios.items()}
            try:
                forward.check_tensor_parallel(model, tp)
                device = next(iter(pairs.values()))[0].calibration.hardware
                if tp > 1 and device.link_bytes_per_s <= 0:
                    raise fail("tp", tp, f"needs a link between GPUs, and {name} has none")
            except InputError as error:
                problems.append(str(error))
                continue
            found += [Candidates(configs[draft], *pair) for draft, pair in pairs.items()]
    if not found:
        raise InputError(problems[0])
    return found


def _scenario(args: argparse.Namespace, hardware: str, tp: int, draft: str) -> Scenario:
    return Scenario(**_options.scenario_options(args, hardware=hardware, tp=tp, draft=draft))


def _configs(args: argparse.Namespace, names: list[str]) -> tuple[dict[str, list[SpeculativeConfig]], list[str]]:
    """Return the configurations of every draft, and notes on their acceptance and on the precisions."""
    found, precisions, notes = {}, [], []
    for draft in args.draft.split(","):
        found[draft], remarks = _scenario(args, names[0], 1, draft).speculative_configs()
        notes += remarks
        for name in names:
            precisions += _scenario(args, name, 1, draft).precision_notes()
    return found, [*precisions, *notes]


def _scope(candidates: Sequence[Candidates], context: int) -> str:
    """Return the engine and the context of all candidates, and what their intervals cover."""
    engine = candidates[0].deployment.engine
    configs = [config for each in candidates for config in each.configs]
    drafting = [config for config in configs if config.draft.kind != "none"]
    uncertain = any(config.tau_lower < config.tau_upper for config in drafting)
    coverage = interval_coverage(
        engine, tp=max(each.deployment.tp for each in candidates), acceptance=uncertain if drafting else None
    )
    return f"engine {engine.name}, context {context}; {coverage}"


def _tpot_limit(text: str | None) -> float | None:
    """Return the limit in seconds per output token; ``None`` without a limit."""
    if text is None:
        return None
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise fail("tpot", text, f"is not understood ({error})") from None


def execute(args: argparse.Namespace) -> int:
    """Search the deployments and print the best."""
    names = name_list(args.hardware)
    if not names:
        raise fail("hardware", args.hardware, "must name at least one device")
    whole("top", args.top, 0)
    if args.rank == "cost_per_million_tokens" and not args.price:
        raise fail("rank", args.rank, "needs prices", "give --price NAME=P")
    named = [Scenario(args.model, hardware=name).name_notes() for name in names]
    names = [catalog.canonical_name("hardware", name) for name in names]
    prices = _prices(args.price, names)
    limit = _tpot_limit(args.tpot)
    model, context = _options.served_model(args)
    configs, notes = _configs(args, names)
    _options.print_notes([*(text for remarks in named for text in remarks), *notes])
    candidates = _candidates(args, model, names, configs)
    _options.print_notes(
        text
        for each in candidates
        for text in deployment_notes(model, each.configs, each.deployment, each.draft_deployment)
    )
    found = search(
        model,
        candidates,
        batch=whole("batch", counts("batch", args.batch), 1).tolist(),
        context=context,
        tpot_limit_s=limit,
        prices=prices,
        rank=args.rank or ("cost_per_million_tokens" if prices else "tokens_per_s_per_gpu"),
    )
    kept = found.points[: args.top or None]
    rows: list[dict[str, Any]] = [{"rank": i + 1, **asdict(item)} for i, item in enumerate(kept)]
    if args.format == "table":
        rows = [{**row, "tpot_ms": 1e3 * row["tpot_s"], "p_slower": round(row["p_slower"], 2)} for row in rows]
    columns = ("rank", *TABLE_COLUMNS, *(("cost_per_million_tokens",) if prices else ()))
    emit(args, "plan", rows, columns=columns)
    note(
        f"{found.considered} configurations: {len(found.points)} feasible, "
        f"{found.too_large} do not fit in memory, {found.too_slow} miss the latency limit"
    )
    note(_scope(candidates, context))
    if not rows and found.fastest_tpot_s is not None:
        note(f"the fastest configuration that fits in memory takes {1e3 * found.fastest_tpot_s:.1f} ms per token")
    return 0
