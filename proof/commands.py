"""Odd options of every verb: each option of each parser with each odd value, beside good values of the others."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Iterator

import gpu_validate.cli
import scylla_sim.cli
from proof import odd
from scylla_sim.console import Parser

_GPU = "--hardware h100-sxm --model llama-3.1-8b"
_DRAFT = "--draft eagle3 --acceptance 0.76,0.74,0.77"
_LOAD = "--rate 5/s --input-len 1000 --output-len 100"
GOOD = {
    "scylla-sim predict": f"{_GPU} {_DRAFT} --batch 1,8",
    "scylla-sim turning-points": f"{_GPU} --batch 1,8",
    "scylla-sim design": f"{_GPU} --batch 1 --train-tokens 1B",
    "scylla-sim schedule": f"{_GPU} {_DRAFT} --batch 1,8",
    "scylla-sim plan": f"{_GPU} {_DRAFT} {_LOAD} --draft-len 2",
    "scylla-sim serve-sim": f"{_GPU} {_DRAFT} {_LOAD} --requests 50",
    "scylla-sim explore": f"{_GPU} --export {{o}}/page.html --no-browser",
    "scylla-sim kernels": "--shapes {d}/kernels.csv",
    "scylla-sim steps": "--shapes {d}/steps.csv",
    "scylla-sim cycles": "--shapes {d}/cycles.csv",
    "scylla-sim blind": "--shapes {d}/shapes --hardware h100-sxm --out {o}/blind",
    "scylla-sim served": "--runs {d}/served.csv",
    "scylla-sim tpot": "--runs {d}/tpot.csv",
    "scylla-sim calibrate": "--measurements {d}/calibrate.csv --device h100-sxm --out {o}/c.json",
    "scylla-sim laws": "{d}/laws.csv --x tokens --y tau --forms log-linear",
    "scylla-sim decay": "{d}/decay.csv --by series",
    "scylla-sim acceptance": "--acceptance 0.7,0.6 --draft-len 3",
    "scylla-sim ingest": "{d}/vllm-log.txt",
    "scylla-sim catalog": "hardware",
    "gpu-validate device": "--device cpu",
    "gpu-validate measure": "--suite kernels --dry-run --device cuda --hardware h100-sxm --out {o}/measured",
    "gpu-validate campaign": "--dry-run --hardware h100-sxm --out {o}/campaign",
    "gpu-validate train": "--dry-run --scale ci --device cpu --out {o}/trained",
    "gpu-validate curves": "--record {d}/record-loops.json --table loops --out {o}/curves.csv",
    "gpu-validate optimum": "--acceptance {d}/optimum.csv --verify {d}/verify.csv --out {o}/o.csv",
    "gpu-validate rows": "--record {d}/record-kernels.json",
    "gpu-validate compare": "--predicted {d}/compare.csv --measured {d}/compare.csv",
    "gpu-validate merge": "--measured {d}/compare.csv --out {o}/merged.csv",
    "gpu-validate breakdown": "--kernels {d}/compare.csv --steps {d}/compare.csv --out {o}/parts.csv",
    "gpu-validate silicon": "--device h100-sxm --op gemm --rows 64",
}
"""Verb -> good options; ``{d}`` is the folder of inputs and ``{o}`` that of outputs."""

NOT_TRIED = {"--help", "--prepare-text", "--dry-run"}
"""Options that print a page, or that start minutes of real work if they are set or missing."""

PAPER = ("tables", "figures", "claims", "overview", "summary", "scores")
PATHS = ("", "/nope", "/dev/null", "{d}/empty", "{d}/kernels.csv", "\udcff", "a" * 3000, "a\nb")


def _parser(program: str, verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb."""
    package = {"scylla-sim": "scylla_sim", "gpu-validate": "gpu_validate"}[program]
    parser = Parser(prog=verb)
    importlib.import_module(f"{package}.cli.{verb.replace('-', '_')}").add_arguments(parser)
    return parser


def verbs() -> list[str]:
    """Return every verb with its program; each must have good options in `GOOD`."""
    found = [f"scylla-sim {verb}" for verb in scylla_sim.cli.VERBS]
    found += [f"gpu-validate {verb}" for verb in gpu_validate.cli.VERBS]
    missing = sorted(set(found) - set(GOOD))
    if missing:
        raise LookupError(f"proof/commands.py has no good options for {missing[0]}")
    return found


def _with(good: list[str], action: argparse.Action, value: str) -> list[str]:
    """Return good options with one of them replaced or added."""
    if not action.option_strings:
        return [value, *good[1:]]
    name = action.option_strings[-1]
    if name in good:
        at = good.index(name)
        return [*good[: at + 1], value, *good[at + 2 :]]
    return [*good, name, value]


def options(verb: str) -> Iterator[tuple[str, list[str]]]:
    """Yield a name and the words of a command line in which one option of a verb is odd."""
    good = shlex.split(GOOD[verb])
    for action in _parser(*verb.split())._actions:
        name = (action.option_strings or [action.dest])[-1]
        if name in NOT_TRIED:
            continue
        if action.nargs == 0:
            yield f"{verb} {name}", [*verb.split(), *good, name]
            continue
        for value in odd.OPTIONS:
            yield f"{verb} {name} {value[:20]!r}", [*verb.split(), *_with(good, action, value)]


def others() -> Iterator[tuple[str, list[str]]]:
    """Yield command lines without a verb, with an unknown one, and of ``paper`` with odd folders."""
    for program in ("scylla-sim", "gpu-validate", "paper"):
        for verb in ("zz", "prédict", "\udcff", "a" * 3000, "a\nb", "--zz", "PREDICT"):
            yield f"{program} {verb[:12]!r}", [program, verb]
        yield f"{program} without verb", [program]
    for verb in PAPER:
        out = ["--out", "{o}/paper"] if verb not in ("summary", "scores") else []
        for path in PATHS:
            yield f"paper {verb} --results {path[:12]!r}", ["paper", verb, "--results", path, *out]
        yield f"paper {verb} --only zz", ["paper", verb, "--results", "{d}/empty", *out, "--only", "zz"]
