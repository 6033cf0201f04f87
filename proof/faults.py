"""Faults of a run: ``python -m proof.faults [--kills 100]``.

A small part of the workflow runs undisturbed in a copy of the checkout, on recorded measurements. It then runs with
faults: killed at random moments, on a full disk, into a read-only folder, with an intermediate file cut off, with a
second run beside it, with files dated in the future, and with a killed measurement. Each must end with the files
of the undisturbed run, byte for byte. ``--out`` writes the table as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.slurm import ROOT
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
LEFT_OUT = (
    *(".git", ".venv", ".snakemake", "results", "build", "dist", "site"),
    *("*cache*", "__pycache__", "*.egg-info"),
)
LIMIT_S = 1800.0


@dataclass
class Run:
    """A copy of the checkout, with its runs.

    Attributes
    ----------
    folder
        The copy.
    said
        Output of the last run.
    """

    folder: Path
    said: str = ""
    jobs: set[str] = field(default_factory=set)

    def start(self, more: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own; ``more`` are further targets."""
        words = [sys.executable, "-m", "snakemake", "--configfile", "overlay.yaml", "--cores", "2"]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        log = (self.folder / "said.txt").open("w+")
        return subprocess.Popen(
            [*words, "--", *TARGETS, *more],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        """Wait for a run and return its exit code."""
        code = process.wait(timeout=LIMIT_S)
        self.said = (self.folder / "said.txt").read_text(errors="replace")
        self.jobs |= {
            line.split()[1].rstrip(":")
            for line in self.said.splitlines()
            if line.startswith(("rule ", "localrule "))
        }
        return code

    def run(self, more: Sequence[str] = ()) -> int:
        """Run to the end and return the exit code."""
        return self.end(self.start(more))

    def files(self) -> dict[str, bytes]:
        """Return the result files by path, without the logs, which hold times."""
        results = self.folder / "results"
        paths = (
            path for path in results.rglob("*") if path.is_file() and "logs" not in path.relative_to(results).parts
        )
        return {path.relative_to(results).as_posix(): path.read_bytes() for path in paths}


def copied(folder: Path) -> Run:
    """Return a copy of the checkout with few devices, without results."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.rmtree(folder / "gpu_validate/recorded/h100-sxm")
    scenarios = folder / "workflow/config/scenarios.yaml"
    scenarios.write_text(scenarios.read_text().replace("h200-sxm", "h100-sxm"))
    (folder / "overlay.yaml").write_text(OVERLAY)
    return Run(folder)


def different(run: Run, wanted: dict[str, bytes]) -> list[str]:
    """Return the paths in which a run differs from the undisturbed one, and temporary files that it left."""
    found = run.files()
    return sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))


def _descendants(process: subprocess.Popen[str]) -> None:
    """Wait until every process of a group has ended."""
    while True:
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.1)


def killed(run: Run, wanted: dict[str, bytes], *, kills: int, seed: int, longest_s: float) -> dict[str, Any]:
    """Kill runs at random moments, each restarted, and compare whenever one finishes; then begin anew."""
    chance = random.Random(seed)
    done, rounds, wrong, tracebacks = 0, 0, set[str](), 0
    while done < kills or not rounds:
        process = run.start()
        after = chance.uniform(0.0, longest_s)
        group = chance.random() < 0.5
        try:
            process.wait(timeout=after if done < kills else LIMIT_S)
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            print(f"kill {done} after {after:.1f} s, {len(run.files())} files", flush=True)
            continue
        code = run.end(process)
        tracebacks += "Traceback" in run.said
        if code:
            wrong.add(f"exit code {code}: {run.said[-300:]}")
            break
        _descendants(process)
        rounds += 1
        wrong |= set(different(run, wanted))
        if done < kills:
            shutil.rmtree(run.folder / "results")
    return {"kills": done, "finished": rounds, "different": sorted(wrong), "tracebacks": tracebacks}


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a memory disk on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def refused_disk(run: Run, wanted: dict[str, bytes], options: str, says: str) -> dict[str, Any]:
    """Run with one folder of results on a disk that is full or read-only, and again without it."""
    shutil.rmtree(run.folder / "results/steps", ignore_errors=True)
    with mounted(run.folder / "results/steps", options):
        code = run.run()
    logs = "".join(path.read_text(errors="replace") for path in (run.folder / "results/logs").rglob("*.log"))
    named = says in run.said + logs and "Traceback" not in run.said + logs
    shutil.rmtree(run.folder / "results/steps", ignore_errors=True)
    again = run.run()
    good = (code, again) == (1, 0) and named
    return {"first": code, "named": named, "then": again, "different": different(run, wanted), "passed": good}


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
    other = Run(run.folder)
    second = subprocess.run(
        [sys.executable, "-m", "snakemake", "--configfile", "overlay.yaml", "--cores", "1", "--", *TARGETS],
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
    for path in (run.folder / "results").rglob("*"):
        os.utime(path)
    codes.append(run.run())
    lost = [
        path
        for path in ("measure/step.json", "measure/kernels.json")
        if not (run.folder / "results" / path).exists()
    ]
    facts = {"codes": codes, "said": said[-200:] if codes[0] else "", "lost": lost}
    return {**facts, "different": different(run, wanted), "passed": codes[-1] == 0 and not lost}


def measured(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kill a measurement at random moments; no case that was measured may be lost or measured again."""
    chance, out = random.Random(seed), folder / "measured"
    partial, record = out / "kernels.partial.jsonl", out / "kernels.json"
    options = ["--suite", "kernels", "--device", "cpu", "--out", str(out)]
    words = [sys.executable, "-m", "gpu_validate", "measure", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kept: dict[str, Any] = {}
    lost, done = [], 0
    while not record.exists():
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not partial.exists() and not record.exists() and process.poll() is None:
                time.sleep(0.2)  # the interpreter starts
            code = process.wait(timeout=chance.uniform(0.0, 12.0) if done < kills else LIMIT_S)
            if code:
                return {"kills": done, "passed": False, "said": f"exit code {code}"}
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
        rows = json.loads(record.read_text())["values"] if record.exists() else []
        for line in partial.read_text().splitlines() if partial.exists() else ():
            try:
                rows.append(json.loads(line).get("row"))
            except ValueError:
                continue  # the line in which the process was killed
        found = {row["case"]: row for row in rows if row}
        lost += [case for case, row in kept.items() if found.get(case) != row]
        kept = found
        print(f"measurement: kill {done}, {len(kept)} cases kept", flush=True)
    return {"kills": done, "cases": len(kept), "lost": lost, "passed": not lost}


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
        run = copied(base / "checkout")
        begun = time.monotonic()
        if run.run():
            print(run.said[-3000:])
            return 1
        seconds = time.monotonic() - begun
        wanted = run.files()
        print(
            f"undisturbed: {len(wanted)} files, {seconds:.0f} s, rules: {', '.join(sorted(run.jobs))}", flush=True
        )
        other = Run(run.folder)
        faults: dict[str, Callable[[], dict[str, Any]]] = {
            "intermediate file cut off": lambda: cut_off(other, wanted),
            "two runs at once": lambda: two_at_once(other, wanted),
            "files of the future": lambda: from_the_future(other, wanted),
            "full disk": lambda: refused_disk(other, wanted, "size=16k", "No space left"),
            "read-only folder": lambda: refused_disk(other, wanted, "ro,size=1m", "Read-only file system"),
            "kill -9 of a measurement": lambda: measured(base, kills=max(args.kills // 10, 1), seed=args.seed),
            "kill -9 of a run": lambda: killed(
                other, wanted, kills=args.kills, seed=args.seed, longest_s=min(max(seconds / 6.0, 4.0), 25.0)
            ),
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
