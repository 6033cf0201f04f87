"""Plant each wrong formula of `proof/mutations` in a copy of the checkout, and see whether its tests fail.

    python -m proof.prove                      # all; a second run continues where the first one stopped
    python -m proof.prove --only NAME,NAME     # some of them
    python -m proof.prove --fresh --record     # all anew, and write proof/mutations.json
    python -m proof.prove --check              # only whether every mutation still applies

An outcome is kept in results/prove/outcomes.jsonl. It is used again as long as the mutation, the changed file and
the named tests stay the same. The exit code is 1 if fewer than the required share are killed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from proof import forked_pytest
from proof.mutation import Mutation, load, problems

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "proof" / "mutations.json"
OUTCOMES = ROOT / "results" / "prove" / "outcomes.jsonl"
SCHEMA = "scylla-sim/mutations/1"
REQUIRED = 0.97
"""Share of the mutations that tests must kill."""
TIMEOUT_S = 300.0
"""Seconds after which the tests of one mutation are stopped; an endless loop counts as killed."""
BASELINE_TIMEOUT_S = 1800.0
BASELINE_TESTS = 12
"""Test files and tests of one run without a mutation."""

_copy = ROOT
"""Copy of the checkout that a worker changes."""


# -- Workers ---------------------------------------------------------------------------------------------------


def tracked_files(root: Path) -> list[str]:
    """Return the files of a checkout that git knows or does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


def _start_worker(folder: Path) -> None:
    """Make the copy of one worker."""
    global _copy
    _copy = folder / f"copy-{os.getpid()}"
    for name in tracked_files(ROOT):
        if (ROOT / name).is_file():
            (_copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, _copy / name)


def _baseline(tests: Sequence[str]) -> forked_pytest.Run:
    """Run tests without a mutation; they must pass. The bytecode that this writes makes later runs faster."""
    return forked_pytest.run_tests(
        _copy, tests, timeout_s=BASELINE_TIMEOUT_S, stop_at_first=False, write_bytecode=True
    )


def _try(mutation: Mutation) -> dict[str, Any]:
    """Plant one mutation, run its tests, restore the file, and return the outcome."""
    path = _copy / mutation.file
    text, stat = path.read_text(), path.stat()
    wrong = mutation.changed(text)
    try:
        path.write_text(wrong)
        os.utime(path, (stat.st_atime, stat.st_mtime + 10))  # Python must not take the bytecode of the original
        run = forked_pytest.run_tests(_copy, mutation.tests, timeout_s=TIMEOUT_S)
    finally:
        path.write_text(text)
        os.utime(path, (stat.st_atime, stat.st_mtime))
    if run.outcome == forked_pytest.BROKEN:
        raise RuntimeError(f"{mutation.name}: pytest broke: {' '.join(run.failed)}")
    killed = run.outcome in (forked_pytest.FAILED, forked_pytest.TIMED_OUT)
    return {
        "name": mutation.name,
        "file": mutation.file,
        "why": mutation.why,
        "outcome": "killed" if killed else "survived",
        "by": run.failed[0] if run.failed else ("time limit" if killed else ""),
        "seconds": round(run.seconds, 1),
    }


# -- Progress and results --------------------------------------------------------------------------------------


def known_outcomes(path: Path) -> dict[str, dict[str, Any]]:
    """Return the outcomes of earlier runs by their key; a line that was cut is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["key"]] = row
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _clock(done: int, total: int, begin: float) -> str:
    spent = time.monotonic() - begin
    return f"{done}/{total}  {_minutes(spent / max(done, 1) * (total - done))} left"


def _run(pending: dict[str, Mutation], jobs: int, *, baseline: bool) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each mutation as it comes; with ``baseline``, the tests must first pass without any."""
    forked_pytest.warm_up()
    context = multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory(prefix="prove-") as folder,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(Path(folder),)) as pool,
    ):
        tests = sorted({test for item in pending.values() for test in item.tests})
        print(f"{len(tests)} test files and tests without a mutation ...", file=sys.stderr, flush=True)
        parts = [tests[at : at + BASELINE_TESTS] for at in range(0, len(tests), BASELINE_TESTS) if baseline]
        for part, run in zip(parts, pool.map(_baseline, parts)):
            print(f"{run.outcome}  {run.seconds:5.1f} s  {part[0]} ...", file=sys.stderr, flush=True)
            if run.outcome != forked_pytest.PASSED:
                raise SystemExit(f"tests fail without a mutation:\n  {chr(10).join(run.failed)}")
        begin = time.monotonic()
        futures = {pool.submit(_try, item): key for key, item in pending.items()}
        for done, future in enumerate(as_completed(futures), start=1):
            row = {"key": futures[future], **future.result()}
            line = f"{row['outcome']:8}  {row['seconds']:5.1f} s  {row['name']}  {row['by']}"
            print(f"{_clock(done, len(futures), begin)}  {line}", file=sys.stderr, flush=True)
            yield row


def _commit() -> str:
    """Return the commit of the checkout, with ``-dirty`` if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def summary(rows: Sequence[dict[str, Any]], commit: str) -> dict[str, Any]:
    """Return the content of proof/mutations.json."""
    survived = [row for row in rows if row["outcome"] == "survived"]
    folders: dict[str, list[int]] = {}
    for row in rows:
        counts = folders.setdefault(str(Path(row["file"]).parent), [0, 0])
        counts[row["outcome"] == "survived"] += 1
    return {
        "schema": SCHEMA,
        "commit": commit,
        "killed": len(rows) - len(survived),
        "survived": len(survived),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "folders": {name: {"killed": kill, "survived": live} for name, (kill, live) in sorted(folders.items())},
        "survivors": [{name: row[name] for name in ("name", "file", "why")} for row in survived],
        "rows": [{name: row[name] for name in ("name", "file", "outcome", "by", "seconds")} for row in rows],
    }


# -- Command line ----------------------------------------------------------------------------------------------


def main() -> int:
    """Run the mutations and print the table of survivors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="names of mutations, with commas; a prefix may end in *")
    parser.add_argument("--jobs", type=int, default=2, help="mutations tried at the same time")
    parser.add_argument("--fresh", action="store_true", help="use no outcome of an earlier run")
    parser.add_argument("--check", action="store_true", help="only check that every mutation applies")
    parser.add_argument("--passed", action="store_true", help="the tests have just passed without one")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    args = parser.parse_args()

    mutations = load()
    wrong = problems(mutations, ROOT)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    wanted = [name.rstrip("*") if name.endswith("*") else f"{name}\n" for name in args.only.split(",") if name]
    chosen = [item for item in mutations if not wanted or f"{item.name}\n".startswith(tuple(wanted))]
    print(f"{len(mutations)} mutations apply; {len(chosen)} chosen", file=sys.stderr)
    if args.check:
        return 0
    keys = {item.key(ROOT): item for item in chosen}
    known = {} if args.fresh else known_outcomes(OUTCOMES)
    pending = {key: item for key, item in keys.items() if key not in known}
    if pending:
        OUTCOMES.parent.mkdir(parents=True, exist_ok=True)
        with OUTCOMES.open("a") as log:
            for row in _run(pending, args.jobs, baseline=not args.passed):
                log.write(json.dumps(row) + "\n")
                log.flush()
                known[row["key"]] = row
    rows = [known[key] for key in keys]
    found = summary(rows, _commit())
    for row in found["survivors"]:
        print(f"survived  {row['name']}  {row['file']}  {row['why']}")
    share = found["killed"] / max(len(rows), 1)
    print(f"{found['killed']} of {len(rows)} mutations killed ({share:.1%}), {found['seconds']:.0f} s of tests")
    if args.record:
        RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if share >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
