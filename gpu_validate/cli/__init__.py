"""``gpu-validate``: parses, calls, prints. Each verb is a module: ``EPILOG``, ``add_arguments``, ``execute``.

Only the module of the verb that was asked for is imported: ``compare`` needs no torch, ``measure`` no pandas.
"""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim import console

VERBS = {
    "device": "facts about the device that measure would use, as JSON",
    "measure": "time kernels, decoder steps and speculative decoding on this machine",
    "campaign": "time all of it in some minutes on a GPU, the most valuable first",
    "train": "train drafts of many sizes at small scale and measure what a target accepts of them",
    "curves": "what training and trained loops gave, as CSV for laws and cycles",
    "optimum": "the best number of verified tokens at each batch, from measured acceptance and passes",
    "rows": "a measured record as rows of CSV, split into train and test by shape",
    "compare": "errors of predicted against measured rows, beside the noise floor",
    "merge": "measured rows with the predictions of the same shapes beside them",
    "breakdown": "steps beside the kernels measured alone: products, attention and the rest",
    "silicon": "rows that others measured on real GPUs, from aiconfigurator-core",
}


def _execute(verb: str, arguments: list[str]) -> int | None:
    return console.execute_module("gpu-validate", f"gpu_validate.cli.{verb}", VERBS[verb], arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    purpose = "Measure what the simulator predicts, and say how far the two are apart."
    return console.dispatch("gpu-validate", purpose, VERBS, _execute, argv)
