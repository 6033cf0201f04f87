"""The command ``scylla-sim``: one module per verb, with ``EPILOG``, ``add_arguments`` and ``execute``.

Only the module of the requested verb is imported, so ``predict`` does not load scipy.
"""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim import console

VERBS = {
    "predict": "predict tokens/s and speed-up of one or many configurations",
    "turning-points": "find the tree size at which verification becomes compute-bound, per batch",
    "design": "find the draft to train and its tree for a training budget and a serving load",
    "schedule": "find the best draft length per batch and context, the crossover batch, and engine settings",
    "plan": "rank deployments that fit in memory and meet a latency limit, by throughput or cost",
    "serve-sim": "simulate continuous batching under a load: latency percentiles, goodput, saturation",
    "explore": "serve a page that draws predictions while sliders move, or write it as one file",
    "kernels": "predict the seconds of kernels listed in a CSV file",
    "steps": "predict the seconds of decode and verify steps listed in a CSV file",
    "cycles": "predict draft-verify cycles listed in a CSV file",
    "blind": "predict the rows of a measurement before it is made, and hash the predictions",
    "served": "predict published serving runs beside their measurements and baselines, listed in a CSV file",
    "tpot": "predict TPOT, TTFT, E2E and requests per second of closed-loop serving runs, listed in a CSV file",
    "calibrate": "fit the kernel parameters of a device to measured rows",
    "laws": "fit and compare acceptance laws on a CSV file",
    "decay": "predict tokens per cycle of longer drafts from shorter ones",
    "acceptance": "compute tokens per cycle of a chain, a tree or a dynamic tree from acceptance rates",
    "ingest": "read acceptance from engine logs, metrics or counts, and write acceptance.json for predict",
    "catalog": "list hardware, models, drafts and engines with value, unit and source",
}
"""Verb -> description in the overview and in ``--help``."""


def _execute(verb: str, arguments: list[str]) -> int | None:
    """Run the module of a verb."""
    return console.execute_module("scylla-sim", f"scylla_sim.cli.{verb.replace('-', '_')}", VERBS[verb], arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``scylla-sim`` and return the exit code.

    Parameters
    ----------
    argv
        Command line without the program; default: ``sys.argv[1:]``.

    Returns
    -------
    int
        0 for success, 2 for bad input, 1 for other errors.
    """
    purpose = (
        "Predict the throughput of speculative decoding, and fit its cost and acceptance models.\n"
        "Start with predict, schedule and plan. explore draws their predictions while sliders move."
    )
    return console.dispatch("scylla-sim", purpose, VERBS, _execute, argv)
