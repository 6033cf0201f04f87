"""Odd inputs through every command: ``python -m proof.fuzz [--inputs 2000] [--seed 0] [--only WORD]``.

Each input runs in a fork of one process that has imported the packages. The command must end within a time and a
memory limit with exit code 0, or with exit code 2 and one line of error. A traceback, a warning of Python, NaN in
the output, a file left half-written or a file outside the output folder is a fault. Faults are printed, and
``--out`` writes the counts as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gpu_validate.cli
import paper.cli
import scylla_sim.cli
from proof import commands, inputs
from proof.odd import damaged
from scylla_sim.records import dump_json, format_csv, read_columns, write_text

MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "scylla-sim": scylla_sim.cli.main,
    "gpu-validate": gpu_validate.cli.main,
    "paper": paper.cli.main,
}
LIMIT_S = 60.0
"""Longest time of one input. Searches over a valid, large load take tens of seconds."""
MEMORY_BYTES = 3 << 30
"""Memory that one input may take beyond that of the process that forks."""
LONGEST_LINE = 600
"""Characters of an error line."""
_NUMBERS = re.compile(rb"(?<![\w\"'-])(nan|inf|-inf|NaN|Infinity)(?![\w\"'-])")


@dataclass(frozen=True)
class Case:
    """One input: its group in the table, its name, its command line, and the file that the command reads."""

    group: str
    name: str
    words: tuple[str, ...]
    file: str = ""
    content: bytes = b""


@dataclass(frozen=True)
class End:
    """The end of a command; ``code`` is ``None`` after the time limit."""

    code: int | None
    out: bytes
    err: str
    seconds: float
    memory_bytes: int


def file_cases(reader: inputs.Reader, chance: random.Random) -> list[Case]:
    """Return every odd version of a reader's file, and as many files with random damage."""
    found = list(reader.versions(reader.content))
    found += [(f"damage-{i}", damaged(reader.content, chance)) for i in range(len(found))]
    words = tuple(reader.command.replace("{f}", f"{{d}}/odd/{reader.file}").split())
    return [Case(f"file {reader.name}", name, words, reader.file, data) for name, data in found]


def option_cases(verb: str) -> list[Case]:
    """Return every odd option of a verb, or the other command lines for an empty name."""
    found = commands.options(verb) if verb else commands.others()
    return [Case(verb or "other command lines", name, tuple(words)) for name, words in found]


def chosen(count: int, seed: int, only: str) -> list[Case]:
    """Return a sample of the inputs: half of them files and half options, the same number of every group."""
    chance = random.Random(seed)
    files = [(f"file {reader.name}", partial(file_cases, reader, chance)) for reader in inputs.readers()]
    options = [(verb, partial(option_cases, verb)) for verb in (*commands.verbs(), "")]
    found: list[Case] = []
    for part in (files, options):
        share = -(-count // (2 * len(part)))
        for _, make in part:
            group = [case for case in make() if only in f"{case.group} {case.name}"]
            found += chance.sample(group, min(len(group), count if only else share))
    return found


def prepare(folder: Path) -> None:
    """Write the good inputs that commands read beside an odd one."""
    for reader in inputs.readers():
        for path in (folder / reader.file, folder / "odd" / reader.file):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(reader.content)
    (folder / "empty").mkdir()
    (folder / "shapes").mkdir()
    (folder / "shapes/kernels.csv").write_bytes(inputs.GEMM)
    served = read_columns(inputs.ROOT / "paper/published/served_runs.csv")
    rows = [{name: cells[index] for name, cells in served.items()} for index in range(3)]
    write_text(folder / "served.csv", format_csv(rows))


def _child(words: Sequence[str], folder: Path, memory_bytes: int) -> int:
    """Run a command in this process, which is a fork, and return its exit code."""
    os.chdir(folder)
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    sys.argv = list(words)
    try:
        return MAINS[words[0]](words[1:])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def run(words: Sequence[str], folder: Path, *, limit_s: float = LIMIT_S) -> End:
    """Run a command in a fork and return its end."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as nothing:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                for number, stream in enumerate((nothing, out, err)):
                    os.dup2(stream.fileno(), number)
                code = _child(words, folder, MEMORY_BYTES)
            finally:
                with suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code & 255)
        ended, status, usage = 0, 0, None
        while not ended and time.monotonic() - begun < limit_s:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            time.sleep(0.0 if ended else 0.004)
        if not ended:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status) if ended else None
        memory = usage.ru_maxrss * 1024 if usage else 0
        return End(code, out.read(), err.read().decode("utf-8", "replace"), time.monotonic() - begun, memory)


def fault(end: End) -> str:
    """Return what is wrong with the end of a command, empty if nothing."""
    lines = [line for line in end.err.splitlines() if line.strip()]
    if end.code is None:
        return f"still runs after {LIMIT_S:g} s"
    if "Traceback" in end.err:
        return f"traceback: {lines[-1][:160]}"
    if end.code not in (0, 2):
        return f"exit code {end.code}: {end.err.strip()[-160:]}"
    if "Warning: " in end.err:
        return f"warning: {next(line for line in lines if 'Warning: ' in line)[:160]}"
    if end.code == 2 and sum("error:" in line for line in lines) != 1:
        return f"not one line of error: {end.err[:160]!r}"
    if end.code == 2 and len(lines[-1]) > LONGEST_LINE:
        return f"error line of {len(lines[-1])} characters: {lines[-1][:160]}"
    found = _NUMBERS.search(end.out) if end.code == 0 else None
    return f"{found[0].decode()} in the output: {_line(end.out, found.start())}" if found else ""


def _line(data: bytes, at: int) -> str:
    """Return the line around a place in an output."""
    return data[data.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0][-160:].decode("utf-8", "replace")


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def tried(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Case, End, str]]:
    """Run cases one after another, and yield each with its end and its fault."""
    data, out = folder / "inputs", folder / "outputs"
    prepare(data)
    kept = _files(data)
    for case in cases:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if case.file:
            (data / "odd" / case.file).write_bytes(case.content)
        words = [word.replace("{d}", str(data)).replace("{o}", str(out)) for word in case.words]
        end = run(words, out)
        wrong = fault(end)
        hidden = [path.name for path in _files(out) if path.name.startswith(".")]
        outside = [path for path in _files(folder) - kept if out not in path.parents]
        if hidden or outside:
            wrong = wrong or f"left {[*hidden, *map(str, outside)][0]}"
            for path in outside:
                path.unlink()
        yield case, end, wrong


def imported() -> None:
    """Import what commands import, once for all forks."""
    packages = (("scylla_sim", scylla_sim.cli.VERBS), ("gpu_validate", gpu_validate.cli.VERBS))
    for package, names in packages:
        for name in names:
            importlib.import_module(f"{package}.cli.{name.replace('-', '_')}")
    for name in ("torch", "pandas", "scipy.optimize", "paper.tables.index", "paper.claims.index", "paper.summary"):
        importlib.import_module(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try inputs, print faults and a table, and return 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="try only inputs whose name contains this word")
    parser.add_argument("--out", help="write the counts as JSON")
    args = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    imported()
    cases = chosen(args.inputs, args.seed, args.only)
    groups, ends, faults, slowest = Counter[str](), Counter[str](), [], (0.0, "")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for case, end, wrong in tried(cases, Path(folder)):
            name = f"{case.group}: {case.name}"
            groups[case.group] += 1
            ends["value" if end.code == 0 else "one line of error" if end.code == 2 else "neither"] += 1
            slowest = max(slowest, (end.seconds, name))
            if wrong:
                faults.append({"input": name, "fault": wrong})
                print(f"FAULT {name.encode('unicode_escape').decode()} | {wrong}", flush=True)
    summary: dict[str, Any] = {"inputs": len(cases), "seed": args.seed, "faults": faults, "ends": dict(ends)}
    summary |= {"seconds": round(time.monotonic() - begun), "slowest": [round(slowest[0], 1), slowest[1]]}
    summary |= {"files": {}, "options": {}}
    for name, count in groups.items():
        summary["files" if name.startswith("file ") else "options"][name.removeprefix("file ")] = count
    print(f"{len(cases)} inputs, {len(faults)} faults, {dict(ends)}, {summary['seconds']} s; slowest {slowest}")
    if args.out:
        write_text(args.out, dump_json(summary))
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
