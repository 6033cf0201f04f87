"""``scylla-sim predict``: tokens per second and speed-up of one or many configurations."""

from __future__ import annotations

import argparse

import scylla_sim
from scylla_sim.checks import fail
from scylla_sim.cli import _options
from scylla_sim.console import add_output, emit, emit_text
from scylla_sim.prediction.scenario import THEOREM

EPILOG = """example:
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --draft eagle3 --draft-len 3 \\
      --acceptance 0.76,0.74,0.77 --batch 1,8,32,64,128,256 --context 2048 --engine vllm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    _options.add_hardware_arguments(parser)
    _options.add_drafting_arguments(parser)
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
    parser.add_argument("--breakdown", action="store_true", help="print every operation of a cycle, no summary")
    add_output(parser)


def execute(args: argparse.Namespace) -> int:
    """Predict and print."""
    if args.breakdown and args.measured_plain_tpot is not None:
        rule = "must not be given with --breakdown"
        raise fail("measured_plain_tpot", args.measured_plain_tpot, rule, "a breakdown has predicted seconds only")
    result = scylla_sim.predict(**_options.scenario_options(args))
    _options.print_notes(result.notes)
    if args.breakdown and args.input_len is not None:
        _options.print_notes(["a breakdown is that of one cycle, without prefills"])
    inputs = _options.input_files(args)
    if args.breakdown:
        emit(args, "breakdown", result.breakdown(), inputs=inputs)
    elif args.format == "table":
        emit_text(args, result.to_text())
    else:
        emit(args, "predict", result.rows(), inputs=inputs)
    return 0
