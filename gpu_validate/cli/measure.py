"""The verb ``measure``: run suites on a device and write one record for each suite."""

from __future__ import annotations

import argparse
import functools
import importlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_validate.cli._suite_report import is_lossless, report
from gpu_validate.cli.progress import Progress
from gpu_validate.device.facts import (
    DTYPES,
    LOCAL,
    Device,
    add_device_arguments,
    catalog_device,
    detect_device,
    release_memory,
    warm_up,
)
from gpu_validate.device.hardware_toml import write_hardware
from gpu_validate.device.power import Monitor, NullMonitor, open_monitor
from gpu_validate.device.timer import CACHES, Plan
from gpu_validate.suites.case import Case, fits_memory, summary_lines
from gpu_validate.suites.runner import (
    BrokenDeviceError,
    Deadline,
    Job,
    SuiteRun,
    locked_folder,
    pass_name,
    run_jobs,
)
from gpu_validate.suites.sampling_plans import PASSES, SCALES, sampling_plan
from scylla_sim.checks import InputError, fail, positive, whole
from scylla_sim.console import FORMATS, emit, note
from scylla_sim.units import MINUTE

if TYPE_CHECKING:
    from gpu_validate.suites.trained_models import Trained

EPILOG = """examples:
  gpu-validate measure --suite all --device auto --scale ci --out results/measure
  gpu-validate measure --suite all --scale small --out h100 --dry-run --hardware h100-sxm
  gpu-validate measure --suite specdecode --target MODEL_DIR --draft DRAFT_DIR --out mine
"""

SUITES = {
    "kernels": "gpu_validate.suites.kernels",
    "step": "gpu_validate.suites.steps",
    "specdecode": "gpu_validate.suites.cycles",
    "decode": "gpu_validate.suites.decode",
}
"""Suite -> module with ``cases(device, scale)``."""
TRAINED = "trained"
"""Suite of the models that ``train`` wrote; it needs the option ``--weights``."""

_START_S = 10.0
"""Estimated seconds to start the processes of a group of GPUs. Two processes on a CPU start in 4 s, without the
time to load libraries."""

_BUILD_S = {"cpu": 0.02, "cuda": 0.05}
"""Estimated seconds to allocate and warm up a case."""


Cases = tuple[list[Case], list[Case]]
"""Cases that fit into the device's memory, and those that do not."""


@functools.cache
def _trained(weights: str, kind: str) -> Trained:
    """Read the trained models once, for their cases and their shapes."""
    from gpu_validate.suites import trained_models

    return trained_models.Trained.read(Path(weights), kind)


def _cases(suite: str, device: Device, args: argparse.Namespace) -> Iterable[Case]:
    """Return all cases of a suite: those of its grid, or those of the given models."""
    if args.target or args.draft or args.prompts:
        if suite != "specdecode":
            raise fail(
                "suite", args.suite, "cannot be combined with --target, --draft and --prompts", "use specdecode"
            )
        from gpu_validate.suites import model_pair

        return model_pair.cases(device, args.scale, target=args.target, draft=args.draft, prompts=args.prompts)
    if suite == TRAINED:
        from gpu_validate.suites import trained

        return trained.cases(device, args.scale, _trained(args.weights, device.kind))
    every: Iterable[Case] = importlib.import_module(SUITES[suite]).cases(device, args.scale)
    return every


def _split(device: Device, cases: Iterable[Case]) -> Cases:
    """Split cases by whether they fit into the device's memory."""
    every = list(cases)
    names = [case.id for case in every]
    if len(set(names)) != len(names):
        raise fail("case", max(names, key=names.count), "appears twice in its suite")
    return [case for case in every if fits_memory(device, case)], [
        case for case in every if not fits_memory(device, case)
    ]


def estimate_s(device: Device, cases: Sequence[Case], plan: Plan, passes: int) -> float:
    """Return an upper estimate of the seconds of a suite: every case up to its time limit, in every pass."""
    groups = {case.gpus for case in cases if case.gpus > 1}
    return passes * len(cases) * (plan.time_limit_s + _BUILD_S[device.kind]) + len(groups) * _START_S


def run_suite(
    suite: str,
    device: Device,
    every: Cases,
    folder: Path,
    *,
    scale: str,
    cache: str,
    models: Sequence[str] = (),
    specs: Sequence[Mapping[str, Any]] = (),
    monitor: Monitor | None = None,
    deadline: Deadline | None = None,
) -> dict[str, Any] | None:
    """Measure a suite, resuming an interrupted run.

    The second pass over the grid begins when the first has ended, and the names of its cases end with ``@2``. An
    interruption leaves a partial file, which the next run resumes.

    Parameters
    ----------
    suite
        Name of the suite.
    device
        Device under test.
    every
        Cases that fit into memory, and those that do not.
    folder
        Folder of the record.
    scale, cache, models, specs
        Facts for the provenance: scale, state of the cache, names and shapes of given models.
    monitor
        Reader of power and clocks.
    deadline
        Time after which no case may end.

    Returns
    -------
    dict or None
        The record; ``None`` without any result.

    Raises
    ------
    InputError
        When no case fits into the memory.
    """
    plan = sampling_plan(suite, device, scale)
    chosen, left_out = every
    if not chosen:
        raise InputError(
            f"suite={suite!r} has no case that fits into the {device.memory_bytes:.3g} bytes of {device.name}"
        )
    numbers = range(1, PASSES[suite] + 1)
    jobs = [Job(suite, case, number) for number in numbers for case in chosen]
    facts = {"scale": scale, "models": list(models), "passes": len(numbers), "specs": list(specs)}
    names = [job.name for job in jobs]
    measured = SuiteRun(suite, device, folder, plan, names, facts, cache, monitor or NullMonitor())
    try:
        _measure(measured, jobs, deadline or Deadline())
    except BrokenDeviceError as error:
        note(f"{suite}: ERROR: the device no longer answers: {error}")
    return measured.finish([case.id for case in left_out])


def _measure(measured: SuiteRun, jobs: Sequence[Job], deadline: Deadline) -> None:
    """Measure the remaining cases and report the progress. Cases of several GPUs come last in each pass."""
    suite, before = measured.suite, len(measured.done)
    said, begin = Progress(), time.monotonic()

    def tell(case: str) -> None:
        tried = len(measured.done) + len(measured.failed) + len(measured.out_of_memory)
        spent, ahead = time.monotonic() - begin, len(jobs) - tried
        left = f"about {spent / max(tried - before, 1) * max(ahead, 0):.0f} s left"
        said.say(f"{suite} {tried}/{len(jobs)}, {left}  {case}")

    for number in sorted({job.pass_number for job in jobs}):
        some = [job for job in jobs if job.pass_number == number]
        for job in run_jobs([job for job in some if job.case.gpus == 1], {suite: measured}, deadline):
            tell(job.case.id)
        together = [job.case for job in some if job.case.gpus > 1 and not measured.is_settled(job.name)]
        if together:
            from gpu_validate.suites.collectives import measure_group_cases

            for case, (row, summary) in measure_group_cases(measured.device, together, measured.plan):
                measured.add_result(pass_name(case, number), number, row, summary.row())
                tell(case.id)
    said.say("")


def _dry_run(args: argparse.Namespace, suites: Mapping[str, Cases], device: Device) -> None:
    """Print the cases and their estimated seconds."""
    rows, total_s = [], 0.0
    for suite, (chosen, left_out) in suites.items():
        plan, passes = sampling_plan(suite, device, args.scale), PASSES[suite]
        seconds = estimate_s(device, chosen, plan, passes)
        total_s += seconds
        note(f"{suite}: {len(chosen)} cases, {passes} pass{'es' if passes > 1 else ''}, at most {seconds:.0f} s")
        for line in (*summary_lines(device, chosen), *_unmeasured(suite, device, left_out)):
            note(f"  {line}")
        for case in chosen:
            row = {"suite": suite, "case": case.id, "gflop": case.flop / 1e9, "mbytes": case.bytes / 1e6}
            rows.append({**row, "flop_per_byte": case.flop / case.bytes, "limit_s": passes * plan.time_limit_s})
    footer = f"{len(rows)} cases on {device.name} ({device.kind}, {device.dtype}), at most about {total_s:.0f} s"
    emit(argparse.Namespace(format=args.format, out=None), "measure-plan", rows, footer=footer)


def _unmeasured(suite: str, device: Device, left_out: Sequence[Case]) -> list[str]:
    """Return a line for each kind of case that this device cannot measure."""
    lines = [f"{len(left_out)} cases left out: they need more memory than the device has"] if left_out else []
    if suite in ("kernels", "step") and not device.has_fp8:
        lines.append("no fp8: this device has no GEMMs in 8-bit floating point")
    if suite == "kernels" and device.gpus < 2:
        lines.append("no all-reduce: it needs at least two GPUs")
    return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--suite", choices=(*SUITES, TRAINED, "all"), default="all", help="default: all")
    add_device_arguments(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="", help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--cache", choices=CACHES, default="rotating", help="state of the cache; default: rotating")
    parser.add_argument("--scale", choices=SCALES, default="ci", help="ci: under two minutes; default")
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="records DIR/SUITE.json; an interrupted run resumes"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="skip cases that cannot end within M minutes")
    parser.add_argument("--dry-run", action="store_true", help="list the cases and their time limits")
    parser.add_argument(
        "--hardware", metavar="NAME", help="with --dry-run: a GPU of the catalog instead of this machine's"
    )
    parser.add_argument("--gpus", type=int, metavar="N", help="with --hardware: number of GPUs")
    parser.add_argument("--format", choices=FORMATS, default="table", help="format of the dry run; default: table")
    parser.add_argument("--weights", metavar="DIR", help="folder of weights from train, for the suite trained")
    pair = parser.add_argument_group("one pair of models instead of the grid (suite specdecode)")
    pair.add_argument("--target", metavar="DIR", help="checkpoint: config.json and *.safetensors, Llama layout")
    pair.add_argument("--draft", metavar="DIR", help="draft checkpoint with the same vocabulary")
    pair.add_argument(
        "--prompts", metavar="FILE", help="one JSON list of token ids per line; default: the target samples prompts"
    )


def _device(args: argparse.Namespace) -> Device:
    """Return the device of this machine, or the catalog device of a dry run."""
    if args.threads < 1:
        raise fail("threads", args.threads, "must be at least 1")
    if args.hardware is None:
        if args.gpus is not None:
            raise fail("gpus", args.gpus, "needs --hardware", "without it, all GPUs that torch finds are measured")
        return detect_device(args.device, threads=args.threads, dtype=args.dtype)
    if not args.dry_run:
        raise fail("hardware", args.hardware, "needs --dry-run", "only the GPU of this machine can be measured")
    gpus = 1 if args.gpus is None else int(whole("gpus", args.gpus, 1))
    return catalog_device(args.hardware, gpus=gpus, dtype=args.dtype)


def _facts(suite: str, device: Device, args: argparse.Namespace) -> dict[str, Any]:
    """Return the facts for the provenance. The catalog has the shapes of all models but the trained ones."""
    return {
        "scale": args.scale,
        "cache": args.cache,
        "models": [name for name in (args.target, args.draft, args.prompts) if name],
        "specs": _trained(args.weights, device.kind).specs() if suite == TRAINED else [],
    }


def _release_memory(device: Device) -> None:
    """Release the models of a suite and the memory of the device."""
    from gpu_validate.suites import random_models

    random_models.clear()
    release_memory(device)


def execute(args: argparse.Namespace) -> int:
    """Run the suites and return the exit code: 1 where a case failed or was not lossless."""
    device = _device(args)
    names = [*SUITES, *[TRAINED] * bool(args.weights)] if args.suite == "all" else [args.suite]
    if (TRAINED in names) != bool(args.weights):
        raise fail("weights", args.weights, f"is needed by --suite {TRAINED} and allowed only there")
    suites = {name: _split(device, _cases(name, device, args)) for name in names}
    if args.dry_run:
        _dry_run(args, suites, device)
        return 0
    folder = Path(args.out)
    note(f"{device.name}: {device.kind}, {device.dtype}, hardware {device.hardware}")
    deadline = Deadline.after(None if args.minutes is None else MINUTE * float(positive("minutes", args.minutes)))
    monitor, unread = open_monitor(device.kind, device.uuid)
    if unread:
        note(f"warning: {unread}")
    warm_up(device)
    code = 0
    for suite, every in suites.items():
        for line in (*summary_lines(device, every[0]), *_unmeasured(suite, device, every[1])):
            note(f"{suite}: {line}")
        begin = time.monotonic()
        facts = _facts(suite, device, args)
        with locked_folder(folder, f"measurement of {suite}"):
            record = run_suite(suite, device, every, folder, **facts, monitor=monitor, deadline=deadline)
        _release_memory(device)
        if record is None:
            note(f"{suite}: ERROR: nothing was measured")
            code = 1
            continue
        report(suite, record, time.monotonic() - begin)
        if suite == "kernels" and device.hardware == LOCAL:
            write_hardware(folder / "hardware.toml", record)
            note(f"wrote {folder / 'hardware.toml'}: hardware {LOCAL} with measured peaks")
        lossless = is_lossless(suite, record)
        if record["provenance"]["failed"] or not lossless:
            code = 1
    return code
