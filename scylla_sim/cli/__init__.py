"""``scylla-sim``: parses, calls, prints. Each verb is a module: ``EPILOG``, ``add_arguments``, ``execute``.

Only the module of the verb that was asked for is imported, so that ``predict`` never pays for scipy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from scylla_sim import __version__, console
from scylla_sim.checks import one_of

VERBS = {
    "predict": "tokens/s and speed-up of one or many configurations",
    "turning-points": "arithmetic intensity, ridge point, and the k where verification turns compute-bound",
    "design": "the draft to train, and the tree to run, for a training budget and a serving load",
    "plan": "what-if capacity planning: which deployments fit, meet a latency limit, and cost least",
    "kernels": "seconds of given kernel shapes, CSV in and out",
    "steps": "seconds of given decode and verify steps, CSV in and out",
    "cycles": "whole draft-verify cycles of given configurations, CSV in and out",
    "tpot": "mean time per output token of serving runs, prefills of others included, CSV in and out",
    "calibrate": "fit a device's kernel parameters to measured rows",
    "laws": "fit and compare acceptance laws on a CSV",
    "decay": "tokens per cycle of longer drafts from shorter ones, each series by a law fitted on the others",
    "catalog": "list or show hardware, models, drafts and engines with value, unit and source",
}


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {what}" for name, what in VERBS.items())
    return (
        "usage: scylla-sim VERB [options]      (scylla-sim VERB --help shows an example)\n\n"
        "Predict the throughput of speculative decoding, and fit the laws it rests on.\n\n"
        f"{verbs}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def call() -> int | None:
        if not arguments or arguments[0] in ("-h", "--help"):
            sys.stdout.write(_overview())
            return 0
        if arguments[0] == "--version":
            print(f"scylla-sim {__version__}")
            return 0
        verb = one_of("verb", arguments[0], VERBS)
        module = importlib.import_module(f"scylla_sim.cli.{verb.replace('-', '_')}")
        parser = console.Parser(prog=f"scylla-sim {verb}", description=VERBS[verb], epilog=module.EPILOG)
        module.add_arguments(parser)
        code: int | None = module.execute(parser.parse_args(arguments[1:]))
        return code

    return console.run("scylla-sim", call)
