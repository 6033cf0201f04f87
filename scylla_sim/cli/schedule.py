"""``scylla-sim schedule``: best draft length per batch and context, the crossover batch, and engine settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from scylla_sim.acceptance import draft_shape
from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import fail, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, emit, emit_text, note
from scylla_sim.engines import flags as engines_flags
from scylla_sim.engines.setting import Flags
from scylla_sim.planning import draft_design
from scylla_sim.planning.crossover import Crossover
from scylla_sim.planning.schedule import MAX_SEQUENCES, Choice, Schedule, schedule
from scylla_sim.prediction import measured_plain
from scylla_sim.prediction.evidence import shares_in_words
from scylla_sim.prediction.footer import footer, interval_coverage
from scylla_sim.prediction.model_notes import deployment_notes, model_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import notes_of
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.prediction.verdict import FASTER, FASTER_BELOW, SLOWER, UNDECIDED, verdict
from scylla_sim.records import dump_json, table
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.specs.model import Model
from scylla_sim.text.tables import text_table

EPILOG = """example:
  scylla-sim schedule --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --acceptance 0.62 \\
      --batch 1,16,64,128,256 --context 1024,4096 --engine vllm
"""

CHAINS = tuple(range(1, 8))
"""Default draft lengths to consider. Examples of engines use 2 to 5, and SpecBundle measured up to 7."""
TABLE_COLUMNS = (
    *("batch_size", "context_len", "best", "tokens_per_cycle", "tpot_ms", "tokens_per_s", "speedup"),
    *(
        "speedup_lower",
        "speedup_upper",
        "p_slower",
        "may_be_best",
        "loss_at_most",
        "gain_over_fixed",
        "bound",
        "fits_memory",
    ),
)
"""Columns of the text table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    _options.add_hardware_arguments(parser)
    _options.add_drafting_arguments(parser)
    _options.add_draft_tp_argument(parser)
    parser.add_argument(
        "--draft-len",
        metavar="N[,N]",
        help="candidates; default 1 to 7 and the longest block (eagle2, scylla: trees too)",
    )
    parser.add_argument("--top-k", metavar="N[,N]", help="candidates; default 1, and those of the trees")
    parser.add_argument("--verify-tokens", metavar="N[,N]", help="candidate sizes of trees, root included")
    _options.add_load_arguments(parser, batch="1,2,4,8,16,32,64,128,256", context="1024")
    _options.add_served_load_arguments(parser)
    _options.add_measured_plain_argument(parser)
    parser.add_argument(
        "--max-batch",
        type=int,
        default=MAX_SEQUENCES,
        help="last batch of the search for the crossover, at least the largest of --batch; "
        f"default {MAX_SEQUENCES}",
    )
    add_output(parser)


def _shapes(scenario: Scenario, draft: Draft) -> list[DraftShape]:
    """Return all candidate shapes of the options; by default chains, and trees for tree drafts."""
    default = draft_shape.shape(draft, None, None, None)
    given = (scenario.draft_len, scenario.top_k, scenario.verify_tokens)
    if given == (None, None, None) and default.top_k > 1:
        return draft_design.shapes()
    depths = [n for n in CHAINS if not draft.max_len or n <= draft.max_len]
    depths += [draft.max_len] if draft.max_len > CHAINS[-1] else []
    lengths = depths
    if scenario.draft_len is not None:
        lengths = whole("draft_len", scenario.draft_len, 1, hint="0 is always a candidate").tolist()
    widths = [default.top_k] if scenario.top_k is None else whole("top_k", scenario.top_k, 1).tolist()
    sizes = [None] if scenario.verify_tokens is None else whole("verify_tokens", scenario.verify_tokens, 2).tolist()
    found = [
        draft_shape.shape(draft, length, width, None if width == 1 else size)
        for length, width, size in product(lengths, widths, sizes)
    ]
    return list(dict.fromkeys(found))


def _candidates(scenario: Scenario) -> tuple[list[SpeculativeConfig], list[str]]:
    """Return the configurations to choose from, and notes on their acceptance."""
    draft = scenario.draft_model()
    if draft.kind == "none":
        raise fail("draft", scenario.draft, "leaves nothing to schedule", "name one, for example --draft eagle3")
    return scenario.speculative_configs(_shapes(scenario, draft))


def label(item: SpeculativeConfig) -> str:
    """Return a short name of a candidate.

    The name is ``plain``, the draft length of a chain, or ``length x top-k / verified tokens`` of a tree.
    """
    if item.draft.kind == "none":
        return "plain"
    return str(item.draft_len) if item.top_k == 1 else f"{item.draft_len}x{item.top_k}/{item.verify_tokens}"


def _row(choice: Choice, crossover: Crossover, fixed: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one batch and context, with the keys that scripts rely on."""
    config = choice.config
    where = ("context_len", "drafting")
    crossover_columns = {name: value for name, value in _crossover_row(crossover).items() if name not in where}
    speeds = ("tpot_s", "tokens_per_s", "plain_tokens_per_s", "speedup", "speedup_lower", "speedup_upper")
    return {
        **fixed,
        "batch_size": choice.batch_size,
        "context_len": choice.context_len,
        "best": label(config),
        "draft_len": config.draft_len,
        "top_k": config.top_k,
        "verify_tokens": config.verify_tokens,
        "tokens_per_cycle": config.tokens_per_cycle,
        **{name: getattr(choice, name) for name in speeds},
        "next_best": None if choice.next_best is None else label(choice.next_best),
        "lead": choice.lead,
        "may_be_best": " ".join(label(item) for item in choice.may_be_best),
        "loss_at_most": choice.loss_at_most,
        "gain_over_fixed": choice.gain_over_fixed,
        "bound": choice.bound,
        "fits_memory": choice.fits_memory,
        **crossover_columns,
        "evidence": choice.evidence,
        "acceptance_evidence": config.acceptance_evidence,
        "p_slower": choice.p_slower,
        "evidence_shares": shares_in_words([choice.evidence_shares]),
        "verdict": verdict(choice.p_slower, speculates=config.draft.kind != "none"),
    }


def _crossover_row(item: Crossover) -> dict[str, Any]:
    """Return the row of one crossover."""
    return {
        "context_len": item.context_len,
        "drafting": "best" if item.config is None else label(item.config),
        "crossover_batch": item.batch,
        "crossover_lower": item.lower,
        "crossover_upper": item.upper,
        "searched_to": item.searched_to,
        "search_limit": item.limit,
    }


def _main_crossovers(found: Schedule) -> list[Crossover]:
    """Return the crossovers to print: all of few candidates, or those of the chosen candidates."""
    chosen = {None, found.fixed, found.fixed_chain, *(span.config for span in (*found.spans, *found.chain_spans))}
    chosen |= {choice.config for choice in found.choices}
    few = len({item.config for item in found.crossovers}) <= 1 + len(CHAINS)
    return [item for item in found.crossovers if few or item.config in chosen]


def _crossover_text(items: Sequence[Crossover]) -> str:
    """Return the crossovers as a text table; a missing one names the last batch of the search."""

    def cell(value: int | None, item: Crossover) -> str:
        if item.searched_to == 0:
            return "does not fit"
        return f"none to {item.searched_to}" if value is None else str(value)

    rows = [
        {
            "context_len": item.context_len,
            "drafting": "best" if item.config is None else label(item.config),
            "plain_wins_from_batch": cell(item.batch, item),
            "at_the_earliest": cell(item.lower, item),
            "at_the_latest": cell(item.upper, item),
            "search_ended_by": "memory" if item.limit == "memory" else "--max-batch",
        }
        for item in items
    ]
    return text_table(rows)


def _undecided(choices: Sequence[Choice]) -> str:
    """Return one line that names the batches at which the best draft may be slower; empty if there are none."""
    speculating = [choice for choice in choices if choice.config.draft.kind != "none"]
    batches = [choice.batch_size for choice in speculating if verdict(choice.p_slower) != FASTER]
    if not batches:
        return ""
    named = ", ".join(map(str, dict.fromkeys(batches)))
    return f"undecided whether the draft helps at batch {named}: P(slower) is at least {FASTER_BELOW}; measure it\n"


def _fixed_verdicts(p_slower: Mapping[int, Sequence[float]]) -> str:
    """Return the batches at which a fixed configuration is slower, or may be; empty if it is faster at all."""
    text = ""
    for word in (SLOWER, UNDECIDED):
        found = [batch for batch, each in p_slower.items() if verdict(max(each)) == word]
        text += f"; {word} at batch {', '.join(map(str, found))}" if found else ""
    return text


def _settings_text(found: Schedule, flags: Sequence[Flags]) -> str:
    """Return the best fixed configuration and the engine settings as text."""
    if found.fixed is None or not found.spans:
        return engines_flags.text_of(flags)
    gain = f"geometric mean speed-up {found.fixed_gain:.3g}"
    text = f"Best fixed configuration: {label(found.fixed)}, {gain}{_fixed_verdicts(found.fixed_p_slower)}.\n"
    return text + engines_flags.text_of(flags)


def _measured_plain(scenario: Scenario, model: Model, target: Deployment) -> dict[int, float] | None:
    """Return the measured times of plain decoding by batch, and print how they compare with the prediction."""
    measured = scenario.measured_plain()
    if measured is not None:
        none = no_drafting(Draft("none", "none"))
        plain = predict(
            model, none, target, batch=list(measured), context=scenario.contexts(), load=scenario.load()
        )
        _options.print_notes(measured_plain.notes_of([plain], measured))
    return measured


def execute(args: argparse.Namespace) -> int:
    """Find the best configuration of every batch and context, and print it."""
    scenario = Scenario(**_options.scenario_options(args))
    target, draft_target = scenario.deployments()
    model = scenario.target_model()
    candidates, notes = _candidates(scenario)
    found = schedule(
        model,
        candidates,
        target,
        batch=whole("batch", scenario.batch, 1).tolist(),
        context=scenario.contexts(),
        max_batch=args.max_batch,
        draft_deployment=draft_target,
        measured_plain_s=_measured_plain(scenario, model, target),
        served=scenario.load(),
    )
    _options.print_notes(
        [
            *(*scenario.name_notes(), *model_notes(model, scenario.contexts())),
            *(*notes_of(scenario.load(), scenario.context), *scenario.precision_notes(), *notes),
            *deployment_notes(model, candidates, target, draft_target),
        ]
    )
    draft = candidates[0].draft
    fixed = {
        "hardware": target.calibration.hardware.name,
        "model": model.name,
        "tp": target.tp,
        "precision": precision_name(target.dtype),
        "engine": target.engine.name,
        "draft": draft.name,
        "draft_tp": draft_target.tp,
    }
    best = {item.context_len: item for item in found.crossovers if item.config is None}
    rows = [_row(choice, best[choice.context_len], fixed) for choice in found.choices]
    engines = [target.engine.framework] if target.engine.framework else engines_flags.ENGINES
    flags = [
        item
        for engine in engines
        for item in engines_flags.flags(
            engine,
            draft,
            found=found,
            target=model,
            draft_tp=draft_target.tp if draft_target.tp < target.tp else None,
            preset=target.engine.name,
        )
    ]
    uncertain = any(item.tau_lower < item.tau_upper for item in candidates)
    coverage = interval_coverage(
        target.engine, tp=target.tp, acceptance=uncertain, load=scenario.load() is not None
    )
    _print(args, found, rows, flags, coverage=coverage)
    return 0


def _print(
    args: argparse.Namespace, found: Schedule, rows: list[dict[str, Any]], flags: list[Flags], *, coverage: str
) -> None:
    """Print rows, crossovers and engine settings in the format of ``--format``; CSV has the rows only."""
    if args.format == "csv":
        emit(args, "schedule", rows)
        note("note: --format table and json also print the crossover of each draft length and the engine settings")
        return
    if args.format == "json":
        value = table("scylla-sim/schedule/1", rows, inputs=_options.input_files(args))
        provenance = value.pop("provenance")
        value["crossovers"] = [_crossover_row(item) for item in found.crossovers]
        value["settings"] = [asdict(item) for item in flags]
        emit_text(args, dump_json({**value, "provenance": provenance}))
        return
    shown = [{**row, "tpot_ms": 1e3 * row["tpot_s"], "p_slower": round(row["p_slower"], 2)} for row in rows]
    shares = [choice.evidence_shares for choice in found.choices]
    parts = (
        text_table(shown, TABLE_COLUMNS) + footer(rows, shares, coverage) + _undecided(found.choices),
        _crossover_text(_main_crossovers(found)),
        _settings_text(found, flags),
    )
    emit_text(args, "\n".join(parts))
