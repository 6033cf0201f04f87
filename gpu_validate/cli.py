"""``gpu-validate``: parses, calls, prints. Each verb is a module: ``EPILOG``, ``add_arguments``, ``execute``.

Only the module of the verb that was asked for is imported: ``compare`` needs no torch, ``measure`` no pandas.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from scylla_sim import __version__, console
from scylla_sim.checks import one_of

VERBS = {
    "device": "facts about the device that measure would use, as JSON",
    "measure": "time kernels, decoder steps and speculative decoding on this machine",
    "rows": "a measured record as rows of CSV, split into train and test by shape",
    "compare": "errors of predicted against measured rows, beside the noise floor",
    "silicon": "rows that others measured on real GPUs, from aiconfigurator-core",
}


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {what}" for name, what in VERBS.items())
    return (
        "usage: gpu-validate VERB [options]      (gpu-validate VERB --help shows an example)\n\n"
        "Measure what the simulator predicts, and say how far the two are apart.\n\n"
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
            print(f"gpu-validate {__version__}")
            return 0
        verb = one_of("verb", arguments[0], VERBS)
        module = importlib.import_module(f"gpu_validate.{verb}")
        parser = console.Parser(prog=f"gpu-validate {verb}", description=VERBS[verb], epilog=module.EPILOG)
        module.add_arguments(parser)
        code: int | None = module.execute(parser.parse_args(arguments[1:]))
        return code

    return console.run("gpu-validate", call)
