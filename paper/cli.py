"""Command line of the package: ``python -m paper {tables,figures,claims,overview,summary,scores}``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from paper.sources import frozen_scores, frozen_serving, serving_scores
from paper.sources.results import Results
from scylla_sim import console
from scylla_sim.checks import fail

VERBS = {
    "tables": "write the tables as Markdown, LaTeX, CSV and HTML",
    "figures": "write the figures as SVG and PNG",
    "claims": "write the claims of the paper with status, evidence and result file",
    "overview": "write index.html: claims, accuracy, figures and tables on one page",
    "summary": "print the main results of a run in ten lines",
    "scores": "compare the scores of served predictions with the frozen ones, or freeze them",
}
"""Verb -> description of its help page."""


WRITING = ("tables", "figures", "claims", "overview")
"""Verbs that write into an output folder."""


def _parser(verb: str) -> console.Parser:
    """Return the argument parser of a verb."""
    out = " --out results/paper" if verb in WRITING else ""
    parser = console.Parser(
        prog=f"python -m paper {verb}",
        description=VERBS[verb],
        epilog=f"example:\n  python -m paper {verb} --results results{out}\n",
    )
    parser.add_argument(
        "--results", metavar="DIR", default="results", help="folder that the workflow wrote (default: results)"
    )
    if verb in WRITING:
        parser.add_argument("--out", metavar="DIR", required=True, help="output folder, created if missing")
    if verb in ("tables", "figures"):
        parser.add_argument("--only", metavar="NAME[,NAME]", help=f"write these {verb} instead of all")
    if verb == "scores":
        parser.add_argument("--freeze", metavar="REASON", help="write the scores as the frozen ones, with a reason")
    return parser


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder that can be read; a name that no file can have is none."""
    try:
        os.scandir(path).close()
    except (OSError, ValueError):
        return False
    return True


def _scores(results: Results, reason: str | None) -> int:
    """Freeze the scores of served and of serving runs, or print what is worse than frozen; return the exit code.

    Scores whose result file is missing are left alone, but those of served runs are needed.
    """
    kept = [frozen_scores]
    if (results.root / serving_scores.RUNS).is_file() and (reason or frozen_serving.FROZEN.is_file()):
        kept.append(frozen_serving)
    if reason is not None:
        print("\n".join(str(one.update(results, reason)) for one in kept))
        return 0
    worse = [line for one in kept for line in one.check(results)]
    print("\n".join(worse or ["no group is worse than frozen by more than its noise"]))
    return 1 if worse else 0


def _execute(verb: str, arguments: list[str]) -> int | None:
    """Run a verb and print the paths of the written files, the summary, or the scores that are worse."""
    args = _parser(verb).parse_args(arguments)
    results = Results(Path(args.results))
    if not _is_folder(results.root):
        raise fail("results", args.results, "is not a folder", "run the workflow first, or give its folder")
    if verb == "summary":
        module = importlib.import_module("paper.summary")
        print("\n".join(module.lines(results)))
        return None
    if verb == "scores":
        return _scores(results, args.freeze)
    module = importlib.import_module(f"paper.{verb}.index")
    names = [args.only.split(",")] if getattr(args, "only", None) else []
    for path in module.write(results, Path(args.out), *names):
        print(path)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    purpose = "Print tables, figures and claims of arXiv 2505.07858 from the result files of a run."
    return console.dispatch("paper", purpose, VERBS, _execute, argv)
