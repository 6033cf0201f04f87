"""``python -m paper``: parses, calls, prints what it wrote."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from paper.results import Results
from scylla_sim import __version__, console
from scylla_sim.checks import fail, one_of

VERBS = {
    "tables": "the paper's tables as Markdown, LaTeX, CSV and HTML",
    "figures": "the paper's figures as SVG and PNG",
    "claims": "every claim of the abstract and the theorems, with status, evidence and the file that shows it",
}


def _overview() -> str:
    verbs = "\n".join(f"  {name:9}{what}" for name, what in VERBS.items())
    return (
        "usage: python -m paper VERB --results DIR --out DIR      (VERB --help shows an example)\n\n"
        f"Print what the result files of a run say about arXiv 2505.07858.\n\n{verbs}\n"
    )


def _parser(verb: str) -> console.Parser:
    parser = console.Parser(
        prog=f"python -m paper {verb}",
        description=VERBS[verb],
        epilog=f"example:\n  python -m paper {verb} --results results --out results/paper\n",
    )
    parser.add_argument(
        "--results", metavar="DIR", default="results", help="what the workflow wrote; default: results"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="where to write; made if missing")
    if verb != "claims":
        parser.add_argument("--only", metavar="NAME[,NAME]", help=f"some {verb} instead of all")
    return parser


def _execute(verb: str, args: argparse.Namespace) -> None:
    if not Path(args.results).is_dir():
        raise fail("results", args.results, "is no folder", "run the workflow first, or name its folder")
    module = importlib.import_module(f"paper.{verb}")
    results, folder = Results(Path(args.results)), Path(args.out)
    if verb == "claims":
        paths = module.write(results, folder)
    else:
        paths = module.write(results, folder, args.only.split(",") if args.only else [])
    for path in paths:
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def call() -> int | None:
        if not arguments or arguments[0] in ("-h", "--help"):
            sys.stdout.write(_overview())
            return 0
        if arguments[0] == "--version":
            print(f"paper {__version__}")
            return 0
        verb = one_of("verb", arguments[0], VERBS)
        _execute(verb, _parser(verb).parse_args(arguments[1:]))
        return 0

    return console.run("paper", call)
