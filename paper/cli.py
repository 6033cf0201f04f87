"""``python -m paper``: parses, calls, prints what it wrote."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from paper.sources.results import Results
from scylla_sim import console
from scylla_sim.checks import fail

VERBS = {
    "tables": "the paper's tables as Markdown, LaTeX, CSV and HTML",
    "figures": "the paper's figures as SVG and PNG",
    "claims": "every claim of the abstract and the theorems, with status, evidence and the file that shows it",
    "summary": "ten lines on what a run found, to stdout",
}


def _parser(verb: str) -> console.Parser:
    out = "" if verb == "summary" else " --out results/paper"
    parser = console.Parser(
        prog=f"python -m paper {verb}",
        description=VERBS[verb],
        epilog=f"example:\n  python -m paper {verb} --results results{out}\n",
    )
    parser.add_argument(
        "--results", metavar="DIR", default="results", help="what the workflow wrote; default: results"
    )
    if verb != "summary":
        parser.add_argument("--out", metavar="DIR", required=True, help="where to write; made if missing")
    if verb in ("tables", "figures"):
        parser.add_argument("--only", metavar="NAME[,NAME]", help=f"some {verb} instead of all")
    return parser


def _execute(verb: str, arguments: list[str]) -> None:
    args = _parser(verb).parse_args(arguments)
    results = Results(Path(args.results))
    if not results.root.is_dir():
        raise fail("results", args.results, "is no folder", "run the workflow first, or name its folder")
    if verb == "summary":
        module = importlib.import_module("paper.summary")
        print("\n".join(module.lines(results)))
        return
    module = importlib.import_module(f"paper.{verb}.index")
    names = [args.only.split(",")] if getattr(args, "only", None) else []
    for path in module.write(results, Path(args.out), *names):
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    purpose = "Print what the result files of a run say about arXiv 2505.07858."
    return console.dispatch("paper", purpose, VERBS, _execute, argv)
