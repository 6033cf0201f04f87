"""``scylla-sim predict``: tokens per second and speed-up of one or many configurations."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from scylla_sim.acceptance.measured import measured_acceptance
from scylla_sim.checks import InputError, fail, whole
from scylla_sim.cli import _options
from scylla_sim.console import add_output, counts, emit, emit_text, name_list
from scylla_sim.prediction.breakdown import ALL_COLUMNS, breakdown_report
from scylla_sim.prediction.device_choice import calibration_for
from scylla_sim.prediction.report import point_labels, report
from scylla_sim.prediction.result import Result
from scylla_sim.prediction.scenario import THEOREM, Scenario
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.prediction.unused_options import DEFAULTS, DRAFT_OPTIONS
from scylla_sim.records import Row
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import WEIGHT_PRECISIONS
from scylla_sim.specs.other_words import known_word

EPILOG = """examples:
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --draft-len 3 \\
      --acceptance 0.76,0.74,0.77 --batch 1,8,32,64,128,256 --context 2048 --engine vllm
  scylla-sim predict --hardware h100-sxm,a100-sxm --tp 1,2 --model llama-3.1-8b --precision bf16,fp8 --batch 64
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --acceptance 0.62 --breakdown
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --acceptance 0.62 --draw
"""

SEARCHED = 512
"""Most batches between two given ones at which the last batch where drafting pays is searched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    _options.add_hardware_arguments(parser, lists=True)
    _options.add_drafting_arguments(parser, lists=True)
    _options.add_draft_tp_argument(parser)
    parser.add_argument(
        "--draft-len",
        metavar="N[,N]",
        help="drafted tokens of a path; default: as measured, else 3 (eagle2, scylla: 6; one-pass drafts: all)",
    )
    parser.add_argument(
        "--top-k", metavar="N[,N]", help="candidates kept per depth; default 1 (eagle2, scylla: 10)"
    )
    parser.add_argument(
        "--verify-tokens",
        metavar=f"N[,N]|{THEOREM}",
        help="tokens verified per sequence, root included: one value, or one per --batch",
    )
    _options.add_load_arguments(parser, batch="1", context="1024")
    _options.add_served_load_arguments(parser)
    _options.add_measured_plain_argument(parser)
    parser.add_argument(
        "--breakdown", action="store_true", help="print the parts of a cycle (json, csv: every operation)"
    )
    parser.add_argument("--all", action="store_true", help="with --breakdown: every operation in the table too")
    parser.add_argument("--draw", action="store_true", help="also draw the speed-up over the batch, as text")
    parser.add_argument(
        "--compare",
        metavar="FILE",
        help="benchmark result, or acceptance.json with measured times: prints predicted beside measured, at its "
        "concurrency and lengths, and the part that explains the difference",
    )
    add_output(parser)


def execute(args: argparse.Namespace) -> int:
    """Predict and print."""
    if args.compare is not None:
        from scylla_sim.cli import _compare  # readers of engines, which other predictions do not need

        return _compare.execute(args)
    _check_output(args)
    scenarios = _scenarios(args)
    results = _predicted(scenarios)
    rows = [row for result in results for row in result.rows()]
    predictions = [prediction for result in results for prediction in result.predictions]
    inputs = _options.input_files(args)
    text = "" if args.breakdown or args.format != "table" else _text(args, scenarios, rows, predictions)
    _options.print_notes(note for result in results for note in result.notes)
    if args.breakdown:
        _print_breakdown(args, results, rows, predictions, inputs)
    elif args.format == "table":
        emit_text(args, text)
    else:
        emit(args, "predict", rows, inputs=inputs)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Raise for options of the output that contradict each other."""
    if args.breakdown and args.measured_plain_tpot is not None:
        rule = "must not be given with --breakdown"
        raise fail("measured_plain_tpot", args.measured_plain_tpot, rule, "a breakdown has predicted seconds only")
    if args.all and not args.breakdown:
        raise fail("all", True, "must be given with --breakdown")
    if args.draw and (args.breakdown or args.format != "table"):
        raise fail("draw", True, "must be given without --breakdown and with --format table")


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    """Return the scenario of every combination of the options that take lists."""
    hardware, drafts = _names("hardware", args.hardware), _names("draft", args.draft)
    precisions: list[str | None] = [None]
    if args.precision is not None:
        precisions = [*_names("precision", args.precision)]
    tps = whole("tp", counts("tp", args.tp), 1).tolist()
    _check_names(hardware, drafts, precisions, calibration=args.calibration)
    several = len(drafts) > 1
    acceptance = _options.acceptance_of(args.acceptance, drafts)
    without = {name: DEFAULTS.get(name) for name in DRAFT_OPTIONS} if several else {}
    of_draft = {
        draft: without if several and draft == "none" else {"acceptance": acceptance[draft]} for draft in drafts
    }
    found = [
        Scenario(
            **_options.scenario_options(
                args, hardware=gpu, tp=tp, precision=precision, draft=draft, **of_draft[draft]
            )
        )
        for gpu, tp, precision, draft in product(hardware, tps, precisions, drafts)
    ]
    for scenario in found[: len(drafts)] if several else ():
        measured_acceptance(scenario.acceptance, scenario.acceptance_kind)  # raises: bad rates are not skipped
    return found


def _check_names(
    hardware: Sequence[str], drafts: Sequence[str], precisions: Sequence[str | None], *, calibration: str | None
) -> None:
    """Raise for an unknown name of a list: a combination with it is not skipped."""
    for name in hardware if len(hardware) > 1 else ():
        calibration_for(name, calibration)
    for name in drafts if len(drafts) > 1 else ():
        catalog.draft(name)
    for precision in precisions if len(precisions) > 1 else ():
        known_word("precision", str(precision), WEIGHT_PRECISIONS)


def _names(name: str, text: str) -> list[str]:
    """Return the distinct names of an option that takes a list."""
    names = list(dict.fromkeys(name_list(text)))
    if not names:
        raise fail(name, text, "must name at least one")
    return names


def _predicted(scenarios: Sequence[Scenario]) -> list[Result]:
    """Return the results of the scenarios that can run, and print how many cannot, by reason.

    Raises
    ------
    InputError
        If none can run.
    """
    results: list[Result] = []
    problems: list[InputError] = []
    for scenario in scenarios:
        try:
            results.append(scenario.predict())
        except InputError as error:
            problems.append(error)
    if not results:
        raise problems[0]
    reasons = Counter(map(str, problems))
    _options.print_notes(
        f"{count} of {len(scenarios)} combinations skipped: {reason}" for reason, count in reasons.items()
    )
    return results


def _text(
    args: argparse.Namespace, scenarios: Sequence[Scenario], rows: list[Row], predictions: Sequence[Prediction]
) -> str:
    """Return the report, and the chart of ``--draw``."""
    one = len(predictions) == 1 and len(scenarios) == 1
    text = report(rows, predictions, pays_up_to=_pays_up_to(scenarios[0], rows) if one else "")
    if not args.draw:
        return text
    from scylla_sim.cli._speedup_chart import speedup_chart

    return f"{text}\n{speedup_chart(scenarios)}"


def _pays_up_to(scenario: Scenario, rows: Sequence[Row]) -> str:
    """Return the last batch at which drafting pays, in words; empty if it pays at all batches, or at none."""
    if len({row["context_len"] for row in rows}) > 1 or scenario.measured_plain_tpot is not None:
        return ""
    ordered = sorted(rows, key=lambda row: int(row["batch_size"]))
    paying = [row["speedup"] > 1.0 for row in ordered]
    if all(paying) or not paying[0] or sorted(paying, reverse=True) != paying:
        return ""
    first, last = (ordered[paying.index(False) - i]["batch_size"] for i in (1, 0))
    step = -(-(last - first) // SEARCHED)
    found = replace(scenario, batch=list(range(first, last, step))).predict().rows()
    pays = max(row["batch_size"] for row in found if row["speedup"] > 1.0)
    return f"{'about ' if step > 1 else ''}batch {pays}"


def _print_breakdown(
    args: argparse.Namespace,
    results: Sequence[Result],
    rows: list[Row],
    predictions: Sequence[Prediction],
    inputs: list[str],
) -> None:
    """Print the groups of a cycle as a table, or every operation."""
    every = args.all or args.format != "table"
    if not every:
        emit_text(args, breakdown_report(rows, predictions, point_labels(rows)))
        return
    if args.input_len is not None:
        _options.print_notes(["a breakdown is that of one cycle, without prefills"])
    parts = [part for result in results for part in result.breakdown()]
    emit(args, "breakdown", parts, columns=ALL_COLUMNS, inputs=inputs)
