"""Faults of a run: ``python -m proof.faults [--kills 100]``.

A small part of the workflow runs undisturbed in a copy of the checkout, on recorded measurements. It then runs with
faults: on a disk that is full, read-only or fills, with an intermediate file cut off, with a second run beside it,
and with files dated in the future. Each must end with the files of the undisturbed run, byte for byte. Another
part measures and trains, and is killed at random moments; see `proof.kills`. ``--out`` writes the table as JSON.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from proof import kills
from proof.run_copy import Run, copied, different, wait_for_group
from scylla_sim.records import dump_json, write_text

TARGETS = (
    "results/laws/theorem-1.1.json",
    "results/steps/readme.json",
    "results/compare/silicon-h100-sxm-gemm.json",
    "results/compare/verify-attention.json",
    "results/compare/local-specdecode.json",
    "results/compare/trained-small.json",
    "results/laws/small-scale-tokens-small.json",
)
"""Ends of every stage: laws, silicon, calibration, prediction, comparison, this machine and trained drafts."""
OVERLAY = """\
measurements: recorded
recorded_device: cpu
smallscale: [small]
silicon_devices: [h100-sxm]
silicon_ops: [gemm, context_attention]
train_rows: 48
gemm_train_rows: 48
simulated_requests: 200
"""
SOME_FILES = 5
"""Finished files after which a disk is filled."""
LONGEST_S = 14.0
"""Longest time after which a run of the chain is killed; Snakemake needs some of it to start."""


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a memory disk on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def refused_disk(run: Run, wanted: dict[str, bytes], options: str) -> dict[str, Any]:
    """Run with one folder of results on a disk that is full or read-only, and again without it."""
    shutil.rmtree(run.folder / "results/steps", ignore_errors=True)
    with mounted(run.folder / "results/steps", options):
        code = run.run()
    named = "disk: results/steps " in run.said and "run again" in run.said and "Traceback" not in run.said
    shutil.rmtree(run.folder / "results/steps", ignore_errors=True)
    again = run.run()
    good = (code, again) == (2, 0) and named
    return {"first": code, "named": named, "then": again, "different": different(run, wanted), "passed": good}


def finished(run: Run) -> list[str]:
    """Return the result files whose jobs have ended."""
    marks = (run.folder / ".snakemake/incomplete").glob("*")
    unfinished = {urlsafe_b64decode(mark.name).decode() for mark in marks}
    return [path for path in run.files() if f"results/{path}" not in unfinished and "/." not in f"/{path}"]


def filled_disk(run: Run, wanted: dict[str, bytes]) -> dict[str, Any]:
    """Fill the disk of the results in the middle of a run; then free it and run again."""
    results = run.folder / "results"
    aside = results.with_name("aside")
    results.rename(aside)
    with mounted(results, "size=600m"):
        process = run.start()
        while len(before := finished(run)) < SOME_FILES and process.poll() is None:
            time.sleep(0.2)
        with (results / "junk").open("wb", buffering=0) as junk, suppress(OSError):
            while junk.write(bytes(1 << 20)):
                pass
        code = run.end(process)
        wait_for_group(process)
        named = "disk: results" in run.said and "run again; finished results are kept" in run.said
        lost = [path for path in before if not (results / path).exists()]
        (results / "junk").unlink()
        again = run.run()
        changed = different(run, wanted)
    results.rmdir()
    aside.rename(results)
    return {
        "first": code,
        "named": named,
        "then": again,
        "kept": len(before),
        "lost": lost,
        "different": changed,
        "passed": bool(code) and again == 0 and named and not lost,
    }


def cut_off(run: Run, wanted: dict[str, bytes]) -> dict[str, Any]:
    """Cut intermediate files in half; each run must name the file and say what to do, and then do it."""
    named, wrong = {}, set[str]()
    for path in ("calibration/h100-sxm.json", "silicon/h100-sxm/gemm-test.csv", "measure/step.json"):
        file = run.folder / "results" / path
        file.write_bytes(wanted[path][: len(wanted[path]) // 2])
        code = run.run()
        logs = "".join(log.read_text(errors="replace") for log in (run.folder / "results/logs").rglob("*.log"))
        said = run.said + logs
        named[path] = bool(code) and Path(path).name in said and "delete it and run again" in said
        file.unlink()
        # Snakemake makes an intermediate file again only if something needs it, so the missing ones are asked for
        codes = [run.run(), run.run(more=[f"results/{item}" for item in different(run, wanted)])]
        wrong |= set(different(run, wanted)) | (set() if codes == [0, 0] else {f"{path}: {run.said[-300:]}"})
    return {"named": named, "different": sorted(wrong), "passed": all(named.values())}


def two_at_once(run: Run, wanted: dict[str, bytes]) -> dict[str, Any]:
    """Start a second run beside the first; one of them must be refused and the other unharmed."""
    shutil.rmtree(run.folder / "results/steps")
    shutil.rmtree(run.folder / "results/compare")
    first = run.start()
    time.sleep(8.0)
    other = Run(run.folder, run.targets)
    second = subprocess.run(
        [sys.executable, "-m", "snakemake", "--configfile", "overlay.yaml", "--cores", "1", "--", *run.targets],
        cwd=run.folder,
        env={**os.environ, "PYTHONPATH": str(run.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [run.end(first), second.returncode]
    refused = "LockException" in second.stdout + second.stderr or "lock" in (second.stdout + second.stderr).lower()
    wrong = different(other, wanted)
    return {
        "codes": codes,
        "refused": refused,
        "different": wrong,
        "passed": codes[0] == 0 and codes[1] == 1 and refused,
    }


def from_the_future(run: Run, wanted: dict[str, bytes]) -> dict[str, Any]:
    """Date intermediate files two days ahead, as after a wrong clock; runs must end, and nothing may be lost."""
    ahead = time.time() + 2 * 86400
    for path in ("calibration/h100-sxm.json", "measure/step.json"):
        os.utime(run.folder / "results" / path, (ahead, ahead))
    codes = [run.run()]
    said = run.said
    for file in (run.folder / "results").rglob("*"):
        os.utime(file)
    codes.append(run.run())
    lost = [
        path
        for path in ("measure/step.json", "measure/kernels.json")
        if not (run.folder / "results" / path).exists()
    ]
    facts = {"codes": codes, "said": said[-200:] if codes[0] else "", "lost": lost}
    return {**facts, "different": different(run, wanted), "passed": codes[-1] == 0 and not lost}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every fault, print a table, and return 1 if one was not survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="run only faults whose name contains this word")
    parser.add_argument("--out", help="write the table as JSON")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        base = Path(name)
        run = copied(base / "checkout", TARGETS, OVERLAY)
        begun = time.monotonic()
        if run.run():
            print(run.said[-3000:])
            return 1
        seconds = time.monotonic() - begun
        wanted = run.files()
        print(
            f"undisturbed: {len(wanted)} files, {seconds:.0f} s, rules: {', '.join(sorted(run.jobs))}", flush=True
        )
        other = Run(run.folder, run.targets)
        faults: dict[str, Callable[[], dict[str, Any]]] = {
            "kill -9 of a run that measures and trains": lambda: kills.chain(
                base / "live", kills=args.kills, seed=args.seed, longest_s=LONGEST_S
            ),
            "intermediate file cut off": lambda: cut_off(other, wanted),
            "two runs at once": lambda: two_at_once(other, wanted),
            "files of the future": lambda: from_the_future(other, wanted),
            "full disk": lambda: refused_disk(other, wanted, "size=16k"),
            "read-only folder": lambda: refused_disk(other, wanted, "ro,size=1m"),
            "disk that fills during a run": lambda: filled_disk(other, wanted),
        }
        table: dict[str, Any] = {}
        for label, make in faults.items():
            if args.only not in label:
                continue
            try:
                found = make()
            except subprocess.CalledProcessError as error:
                found = {"skipped": f"not permitted here: {' '.join(error.cmd)}"}
            found["passed"] = (
                found.get("passed", True) and not found.get("different") and not found.get("tracebacks")
            )
            table[label] = found
            print(
                f"{'skipped' if 'skipped' in found else 'ok' if found['passed'] else 'FAULT'}: {label} {found}",
                flush=True,
            )
            facts = {"files": len(wanted), "rules": sorted(run.jobs), "seconds": round(seconds), "faults": table}
            if args.out:
                write_text(args.out, dump_json(facts))
    return int(not all(found["passed"] for found in table.values()))


if __name__ == "__main__":
    raise SystemExit(main())
