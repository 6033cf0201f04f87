"""The command ``gpu-validate``. Each verb is a module with ``EPILOG``, ``add_arguments`` and ``execute``.

Only the module of the given verb is imported, so ``compare`` needs no torch and ``measure`` no pandas.
"""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim import console

VERBS = {
    "device": "print facts about the device that measure would use, as JSON",
    "measure": "time kernels, decoder steps and speculative decoding on this machine",
    "campaign": "run all suites on a GPU within some minutes, most valuable cases first",
    "train": "train drafts of many sizes at small scale and measure their acceptance",
    "curves": "export results of training and of trained loops as CSV",
    "optimum": "find the best number of verified tokens at each batch size from measurements",
    "rows": "export a measured record as CSV, split into train and test by shape",
    "compare": "compare predicted with measured rows and report errors and noise floor",
    "merge": "join measured rows with the predictions of the same shapes",
    "breakdown": "compare steps with the kernels measured alone: GEMMs, attention and the rest",
    "silicon": "export GPU kernel timings published in aiconfigurator-core",
}
"""Verbs and their help texts."""


def _execute(verb: str, arguments: list[str]) -> int | None:
    return console.execute_module("gpu-validate", f"gpu_validate.cli.{verb}", VERBS[verb], arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    purpose = "Measure kernels, steps and decoding, and compare predictions with the measurements."
    return console.dispatch("gpu-validate", purpose, VERBS, _execute, argv)
