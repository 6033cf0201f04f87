"""``scylla-sim schedule``: best draft length per batch and context, the crossover batch, and engine settings."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import Any

from scylla_sim.acceptance import positions
from scylla_sim.acceptance.speculative_config import no_drafting
from scylla_sim.checks import fail, whole
from scylla_sim.cli import _options, _schedule_answer, _schedule_text
from scylla_sim.cli._schedule_answer import label
from scylla_sim.cli._schedule_search import candidates_of, last_batch
from scylla_sim.console import add_output, emit, emit_text, note
from scylla_sim.engines import flags as engines_flags
from scylla_sim.engines.setting import Flags
from scylla_sim.planning.choices import Choice
from scylla_sim.planning.crossover import Crossover
from scylla_sim.planning.schedule import MAX_SEQUENCES, Schedule, schedule
from scylla_sim.prediction import measured_plain, static_batch
from scylla_sim.prediction.evidence import shares_in_words
from scylla_sim.prediction.footer import footer, interval_coverage
from scylla_sim.prediction.model_notes import deployment_notes, model_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.prediction.verdict import verdict
from scylla_sim.records import dump_json, table
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import exact
from scylla_sim.text.digits import wrapped

EPILOG = """example:
  scylla-sim schedule --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --acceptance 0.62 \\
      --batch 1,16,64,128,256 --context 1024,4096 --engine vllm
"""


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
        metavar="N",
        help="last batch of the search for the crossover, at least the largest of --batch; default: --max-num-seqs",
    )
    parser.add_argument(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="sequences that the server runs at most; default: largest default of vLLM on this GPU, else "
        f"{MAX_SEQUENCES}",
    )
    parser.add_argument(
        "--break-even", action="store_true", help="also print the acceptance at which each batch breaks even"
    )
    parser.add_argument(
        "--all", action="store_true", help="also print every crossover, and all settings with their notes"
    )
    parser.add_argument(
        "--draw", action="store_true", help="also draw the speed-up of the main candidates over the batch, as text"
    )
    add_output(parser)


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
        "prefill_per_token_s": choice.prefill_per_token_s,
        "prefill_share": choice.prefill_share,
        "plain_prefill_share": choice.plain_prefill_share,
        "draft_fits_memory": choice.draft_fits,
        "batch_wait": choice.batch_wait,
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
    if args.draw and args.format != "table":
        raise fail("draw", True, "must be given with --format table")
    scenario = Scenario(**_options.scenario_options(args))
    target, draft_target = scenario.deployments()
    model = scenario.target_model()
    candidates, notes = candidates_of(scenario, target.engine, model)
    batch = sorted({*whole("batch", scenario.batch, 1).tolist()})
    last, beyond, limit_notes = last_batch(args, target, batch)
    found = schedule(
        model,
        candidates,
        target,
        batch=batch,
        context=scenario.contexts(),
        max_batch=last,
        beyond=beyond,
        draft_deployment=draft_target,
        measured_plain_s=_measured_plain(scenario, model, target),
        served=scenario.load(),
        static_output_len=scenario.static_output_len(),
    )
    _options.print_notes(
        [
            *(*scenario.name_notes(), *model_notes(model, scenario.contexts())),
            *(*scenario.load_notes(), *scenario.precision_notes(), *notes, *limit_notes),
            *deployment_notes(model, candidates, target, draft_target),
            *static_batch.notes_of(scenario.batch_mode, [exact(choice.batch_wait) for choice in found.choices]),
        ]
    )
    uncertain = any(item.tau_lower < item.tau_upper for item in candidates)
    served = scenario.load() is not None
    fixed = _fixed(target, draft_target, model, candidates[0].draft, batch_mode=scenario.batch_mode)
    best = {item.context_len: item for item in found.crossovers if item.config is None}
    _print(
        args,
        found,
        [_row(choice, best[choice.context_len], fixed) for choice in found.choices],
        _settings(found, target, draft_target, model, candidates[0].draft),
        drawn=_drawn(scenario, found) if args.draw else "",
        needed=_break_even_rows(found, scenario, fixed) if args.break_even else [],
        engine=target.engine.framework,
        coverage=interval_coverage(
            target.engine,
            tp=target.tp,
            acceptance=uncertain,
            load=served,
            static=scenario.static_output_len() is not None,
        ),
        experts=model.moe is not None,
    )
    return 0


def _fixed(
    target: Deployment, draft_target: Deployment, model: Model, draft: Draft, *, batch_mode: str
) -> dict[str, Any]:
    """Return the columns with one value in all rows."""
    return {
        "hardware": target.calibration.hardware.name,
        "model": model.name,
        "tp": target.tp,
        "precision": precision_name(target.dtype),
        "engine": target.engine.name,
        "draft": draft.name,
        "draft_tp": draft_target.tp,
        "batch_mode": batch_mode,
    }


def _settings(
    found: Schedule, target: Deployment, draft_target: Deployment, model: Model, draft: Draft
) -> list[Flags]:
    """Return the settings of the engine, or of all engines for an engine without a framework."""
    engines = [target.engine.framework] if target.engine.framework else engines_flags.ENGINES
    draft_tp = draft_target.tp if draft_target.tp < target.tp else None
    each = (
        engines_flags.flags(engine, draft, found=found, target=model, draft_tp=draft_tp, preset=target.engine.name)
        for engine in engines
    )
    return [item for items in each for item in items]


def _drawn(scenario: Scenario, found: Schedule) -> str:
    """Return a chart of the chains of the main candidates, at the first context."""
    from scylla_sim.cli._speedup_chart import speedup_chart

    configs = [item.config for item in _schedule_text.main_crossovers(found) if item.config is not None]
    lengths = sorted({config.draft_len for config in configs if config.top_k == 1})
    if not lengths:
        raise fail("draw", True, "needs a chain among the candidates", "give --top-k 1")
    context = None if scenario.context is None else scenario.contexts()[:1]
    chains = replace(scenario, draft_len=lengths, top_k=1, verify_tokens=None, context=context)
    return speedup_chart([chains]).rstrip("\n")


def _break_even_rows(found: Schedule, scenario: Scenario, fixed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per batch, context and candidate, with the acceptance that it needs."""
    law = positions.law_of(scenario.draft_model().method_name, scenario.position_exponent)
    rows = []
    for item in found.break_even:
        config = item.config
        chain = config.top_k == 1
        rates = item.first_rates(law) if chain else (None, None, None)
        given = float(law.first_rate(config.tokens_per_cycle, config.draft_len)) if chain else None
        names = [f"break_even_acceptance{end}" for end in ("", "_lower", "_upper")]
        rows.append(
            {
                **fixed,
                "batch_size": item.batch_size,
                "context_len": item.context_len,
                "drafting": label(config),
                "break_even_tokens_per_cycle": item.tokens_per_cycle,
                "break_even_lower": item.lower,
                "break_even_upper": item.upper,
                "tokens_per_cycle": config.tokens_per_cycle,
                **dict(zip(names, rates)),
                "acceptance": given,
            }
        )
    return rows


def _print(
    args: argparse.Namespace,
    found: Schedule,
    rows: list[dict[str, Any]],
    flags: list[Flags],
    *,
    drawn: str,
    needed: list[dict[str, Any]],
    engine: str,
    coverage: str,
    experts: bool,
) -> None:
    """Print rows, crossovers and engine settings in the format of ``--format``; CSV has the rows only."""
    if args.format == "csv":
        emit(args, "schedule", needed or rows)
        note("note: --format table and json also print the crossover of each draft length and the engine settings")
        return
    if args.format == "json":
        value = table("scylla-sim/schedule/1", rows, inputs=_options.input_files(args))
        provenance = value.pop("provenance")
        value["answer"] = " ".join(_schedule_answer.answer(found, engine=engine).split())
        value["crossovers"] = [_crossover_row(item) for item in found.crossovers]
        value["contexts"] = [asdict(item) | {"words": item.in_words()} for item in found.contexts]
        value |= {"break_even": needed} if args.break_even else {}
        value["settings"] = [asdict(item) for item in flags]
        emit_text(args, dump_json({**value, "provenance": provenance}))
        return
    fixed = "" if found.fixed is None else label(found.fixed)
    load = args.input_len is not None
    crossovers = _schedule_text.main_crossovers(found)
    under = footer(rows, [choice.evidence_shares for choice in found.choices], coverage)
    parts = [
        wrapped(_schedule_answer.answer(found, engine=engine), indent="  "),
        _schedule_text.choice_table(rows, load=load, fixed=fixed),
        _schedule_answer.rise_line(found, experts=experts),
        _schedule_text.undecided(found.choices),
        _schedule_text.crossover_lines(crossovers),
        _schedule_text.context_lines(found.contexts) if found.contexts else "",
        f"\n{drawn}\n" if drawn else "",
        f"\n{_schedule_text.break_even_table(needed)}\n" if needed else "",
        f"\n{_schedule_text.crossover_table(found.crossovers)}\n" if args.all else "",
        _schedule_text.settings_text(found, flags, everything=args.all),
        wrapped(under, indent="  "),
    ]
    emit_text(args, "".join(parts))
