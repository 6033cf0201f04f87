"""Command line of the package: ``python -m paper {tables,figures,claims,summary}``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from paper.sources.results import Results
from scylla_sim import console
from scylla_sim.checks import fail

VERBS = {
    "tables": "write the tables as Markdown, LaTeX, CSV and HTML",
    "figures": "write the figures as SVG and PNG",
    "claims": "write the claims of the paper with status, evidence and result file",
    "summary": "print the main results of a run in ten lines",
}
"""Verb -> description of its help page."""


def _parser(verb: str) -> console.Parser:
    """Return the argument parser of a verb."""
    out = "" if verb == "summary" else " --out results/paper"
    parser = console.Parser(
        prog=f"python -m paper {verb}",
        description=VERBS[verb],
        epilog=f"example:\n  python -m paper {verb} --results results{out}\n",
    )
    parser.add_argument(
        "--results", metavar="DIR", default="results", help="folder that the workflow wrote (default: results)"
    )
    if verb != "summary":
        parser.add_argument("--out", metavar="DIR", required=True, help="output folder, created if missing")
    if verb in ("tables", "figures"):
        parser.add_argument("--only", metavar="NAME[,NAME]", help=f"write these {verb} instead of all")
    return parser


def _execute(verb: str, arguments: list[str]) -> None:
    """Run a verb and print the paths of the written files, or the summary."""
    args = _parser(verb).parse_args(arguments)
    results = Results(Path(args.results))
    if not results.root.is_dir():
        raise fail("results", args.results, "is not a folder", "run the workflow first, or give its folder")
    if verb == "summary":
        module = importlib.import_module("paper.summary")
        print("\n".join(module.lines(results)))
        return
    module = importlib.import_module(f"paper.{verb}.index")
    names = [args.only.split(",")] if getattr(args, "only", None) else []
    for path in module.write(results, Path(args.out), *names):
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    purpose = "Print tables, figures and claims of arXiv 2505.07858 from the result files of a run."
    return console.dispatch("paper", purpose, VERBS, _execute, argv)
