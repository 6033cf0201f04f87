"""``scylla-sim``: parses, calls, prints. Each verb is a module: ``EPILOG``, ``add_arguments``, ``execute``.

Only the module of the verb that was asked for is imported, so that ``predict`` never pays for scipy.
"""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim import console

VERBS = {
    "predict": "tokens/s and speed-up of one or many configurations",
    "turning-points": "arithmetic intensity, ridge point, and the k where verification turns compute-bound",
    "design": "the draft to train, and the tree to run, for a training budget and a serving load",
    "schedule": "best draft length per batch and context, crossover batch, ready-to-paste engine settings",
    "plan": "what-if capacity planning: which deployments fit, meet a latency limit, and cost least",
    "kernels": "seconds of given kernel shapes, CSV in and out",
    "steps": "seconds of given decode and verify steps, CSV in and out",
    "cycles": "whole draft-verify cycles of given configurations, CSV in and out",
    "blind": "predict the rows of a measurement before it is made, and hash the predictions",
    "tpot": "mean time per output token of serving runs, prefills of others included, CSV in and out",
    "calibrate": "fit a device's kernel parameters to measured rows",
    "laws": "fit and compare acceptance laws on a CSV",
    "decay": "tokens per cycle of longer drafts from shorter ones, each series by a law fitted on the others",
    "acceptance": "what acceptance rates yield as a chain, a tree or a dynamic tree, and over a whole generation",
    "ingest": "engine logs, metrics or counts of accepted tokens -> acceptance.json for predict",
    "catalog": "list or show hardware, models, drafts and engines with value, unit and source",
}


def _execute(verb: str, arguments: list[str]) -> int | None:
    return console.execute_module("scylla-sim", f"scylla_sim.cli.{verb.replace('-', '_')}", VERBS[verb], arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    purpose = "Predict the throughput of speculative decoding, and fit the laws it rests on."
    return console.dispatch("scylla-sim", purpose, VERBS, _execute, argv)
