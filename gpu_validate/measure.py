"""The verb ``measure``: run suites on a device, keep what was measured, write one record a suite."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_validate import records
from gpu_validate.cases import SCALES, Case, fits, plan_for, run
from gpu_validate.device import LOCAL, Device, add_device_arguments, look
from gpu_validate.hardware import write_hardware
from gpu_validate.timing import CACHES, Plan
from scylla_sim.checks import InputError, fail
from scylla_sim.console import FORMATS, emit, note

EPILOG = """examples:
  gpu-validate measure --suite all --device auto --scale ci --out results/measure
  gpu-validate measure --suite kernels --device cuda --scale small --out h100 --dry-run
"""

SUITES = {
    "kernels": "gpu_validate.kernels",
    "step": "gpu_validate.blocks",
    "specdecode": "gpu_validate.loops",
}
"""Suite -> module with ``cases(device, scale)``."""

_WHOLE_CORE = 0.95
"""A smaller share of a CPU core than this, and a latency is partly somebody else's."""

_BUILD_S = {"cpu": 0.02, "cuda": 0.05}
"""What allocating and warming up a case costs, for the estimate of a dry run."""


def suite_cases(suite: str, device: Device, scale: str) -> tuple[list[Case], list[Case]]:
    """Cases that fit into the device's memory, and those that do not."""
    every = list(importlib.import_module(SUITES[suite]).cases(device, scale))
    names = [case.id for case in every]
    if len(set(names)) != len(names):
        raise fail("case", max(names, key=names.count), "appears twice in its suite")
    return [case for case in every if fits(device, case)], [case for case in every if not fits(device, case)]


def estimate_s(device: Device, cases: Sequence[Case], plan: Plan) -> float:
    """Upper estimate of the seconds a suite takes: every case up to its time limit."""
    return len(cases) * (plan.time_limit_s + _BUILD_S[device.kind])


def _progress(text: str) -> None:
    """One line that replaces itself on a terminal; nothing in a log file."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()


def run_suite(suite: str, device: Device, scale: str, folder: Path, cache: str) -> dict[str, Any]:
    """Measure a suite, taking up results of an interrupted run, and return its record."""
    plan = plan_for(suite, device, scale)
    chosen, left_out = suite_cases(suite, device, scale)
    if not chosen:
        raise InputError(
            f"suite={suite!r} has no case that fits into {device.memory_bytes:.3g} bytes of {device.name}"
        )
    partial = records.Partial.of(folder, suite, device, {"scale": scale, "cache": cache, **asdict(plan)})
    done = partial.load()
    resumed = [case.id for case in chosen if case.id in done]
    if resumed:
        note(f"{suite}: {len(resumed)} of {len(chosen)} cases taken from {partial.path.name}")
    begin = time.monotonic()
    for index, case in enumerate(case for case in chosen if case.id not in done):
        spent = time.monotonic() - begin
        todo = len(chosen) - len(resumed) - index
        left = f", about {spent / index * todo:.0f} s left" if index else ""
        _progress(f"{suite} {index + 1 + len(resumed)}/{len(chosen)}{left}  {case.id}")
        try:
            row, summary = run(device, case, plan, cache=cache)
        except MemoryError:
            left_out.append(case)
            continue
        partial.append(row, summary.row())
        done[case.id] = (row, summary.row())
    _progress("")
    record = records.build(
        suite,
        [done[case.id] for case in chosen if case.id in done],
        device,
        scale=scale,
        plan=asdict(plan),
        cache=cache,
        resumed=len(resumed),
        left_out=[case.id for case in left_out],
    )
    records.write(folder / f"{suite}.json", record)
    partial.remove()
    return record


def _report(suite: str, record: dict[str, Any], seconds: float) -> None:
    """Say how it went: cases that did not converge, or drifted, are warnings, not failures."""
    samples = record["samples"]
    note(f"{suite}: {len(samples)} cases in {seconds:.1f} s")
    limited = sum(sample["stopping_reason"] != "converged" for sample in samples)
    if limited:
        worst = max(sample["relative_error"] for sample in samples)
        note(f"{suite}: warning: {limited} cases hit the time limit first, relative error up to {worst:.1%}")
    drifting = record["provenance"]["drifting"]
    if drifting:
        note(f"{suite}: warning: {len(drifting)} cases drifted (clock, power limit, or another process)")
    shared = [row["cpu_share"] for row in record["values"] if row["cpu_share"] < _WHOLE_CORE]
    if shared and record["provenance"]["device"]["kind"] == "cpu":
        note(f"{suite}: warning: {len(shared)} cases shared their cores with others, down to {min(shared):.0%}")
    if record["provenance"]["left_out"]:
        note(f"{suite}: {len(record['provenance']['left_out'])} cases need more memory than the device has")


def _dry_run(args: argparse.Namespace, suites: Sequence[str], device: Device) -> None:
    rows, total_s = [], 0.0
    for suite in suites:
        plan = plan_for(suite, device, args.scale)
        chosen, _ = suite_cases(suite, device, args.scale)
        total_s += estimate_s(device, chosen, plan)
        for case in chosen:
            row = {"suite": suite, "case": case.id, "gflop": case.flop / 1e9, "mbytes": case.bytes / 1e6}
            rows.append({**row, "flop_per_byte": case.flop / case.bytes, "limit_s": plan.time_limit_s})
    footer = f"{len(rows)} cases on {device.name} ({device.kind}, {device.dtype}), at most about {total_s:.0f} s"
    emit(argparse.Namespace(format=args.format, out=None), "measure-plan", rows, footer=footer)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", choices=(*SUITES, "all"), default="all", help="default: all")
    add_device_arguments(parser)
    parser.add_argument("--cache", choices=CACHES, default="rotating", help="state of the cache; default: rotating")
    parser.add_argument("--scale", choices=SCALES, default="ci", help="ci: under two minutes; default")
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="records DIR/SUITE.json; an interrupted run resumes"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the cases and how long they may take")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the dry run; default: table")


def execute(args: argparse.Namespace) -> None:
    if args.threads < 1:
        raise fail("threads", args.threads, "must be at least 1")
    device = look(args.device, threads=args.threads)
    suites = list(SUITES) if args.suite == "all" else [args.suite]
    if args.dry_run:
        _dry_run(args, suites, device)
        return
    folder = Path(args.out)
    note(f"{device.name}: {device.kind}, {device.dtype}, hardware {device.hardware}")
    for suite in suites:
        begin = time.monotonic()
        record = run_suite(suite, device, args.scale, folder, args.cache)
        _report(suite, record, time.monotonic() - begin)
        if suite == "kernels" and device.hardware == LOCAL:
            write_hardware(folder / "hardware.toml", record)
            note(f"wrote {folder / 'hardware.toml'}: {LOCAL} with measured peaks")
