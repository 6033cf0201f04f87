"""Coverage-guided inputs of atheris through the readers: ``python -m proof.guided [--inputs 5000] [--out FILE]``.

Atheris starts from the good file of each reader and keeps the changes that reach new lines. Every input must end as
in `proof.fuzz`. Without atheris the script says so and ends with exit code 0 (``pip install atheris``, Linux).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from proof import inputs

SLOW = ("calibrate", "laws", "trace", "mooncake", "azure", "classes", "prices")
"""Readers whose good file takes seconds; `proof.fuzz` tries them too."""
PACKAGES = ["scylla_sim", "gpu_validate.records"]
"""Packages whose lines atheris counts."""
LONGEST_BYTES = 4096


def readers() -> list[inputs.Reader]:
    """Return the readers that are tried, in the order of the first byte of an input."""
    return [reader for reader in inputs.readers() if reader.name not in SLOW]


def seeds(folder: Path) -> None:
    """Write one input for each reader: its number, and its good file."""
    for number, reader in enumerate(readers()):
        (folder / reader.name).write_bytes(bytes([number]) + reader.content[: LONGEST_BYTES - 1])


def worker(corpus: Path, count: int) -> None:
    """Try inputs in this process until there is a fault; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from proof import fuzz

        fuzz.imported()
    data, tried = corpus.parent / "inputs", readers()
    fuzz.prepare(data)
    os.chdir(corpus.parent)

    def one(given: bytes) -> None:
        if not given:
            return
        reader = tried[given[0] % len(tried)]
        (data / "odd" / reader.file).write_bytes(given[1:])
        words = reader.command.replace("{f}", f"{data}/odd/{reader.file}").replace("{d}", str(data))
        words = words.replace("{o}", str(corpus.parent / "outputs"))
        out, err, begun = io.StringIO(), io.StringIO(), time.monotonic()
        package, *rest = words.split()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = fuzz.MAINS[package](rest)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
        end_of = fuzz.End(code, out.getvalue().encode(), err.getvalue(), time.monotonic() - begun, 0)
        wrong = fuzz.fault(end_of)
        if wrong:
            raise AssertionError(f"{reader.name}: {wrong}: {given[1:200]!r}")

    options = [f"-atheris_runs={count}", f"-max_len={LONGEST_BYTES}", f"-timeout={fuzz.LIMIT_S:.0f}", "-seed=1"]
    options.append(f"-rss_limit_mb={fuzz.MEMORY_BYTES >> 20}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the inputs in a process of their own, and return 1 if one of them was a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--out", help="write the counts as JSON")
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.corpus:
        worker(Path(args.corpus), args.inputs)
        return 0
    try:
        import atheris
    except ImportError:
        print("SKIPPED: atheris is not installed, so no guided input was tried", file=sys.stderr)
        return 0
    from importlib.metadata import version

    from scylla_sim.records import dump_json, write_text

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="guided-") as name:
        corpus = Path(name) / "corpus"
        corpus.mkdir()
        seeds(corpus)
        started = len(list(corpus.iterdir()))
        words = [sys.executable, "-m", "proof.guided", "--inputs", str(args.inputs), "--corpus", str(corpus)]
        path = os.pathsep.join(filter(None, (str(inputs.ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=inputs.ROOT, env=environment, capture_output=True, text=True, check=False)
        found = len(list(corpus.iterdir())) - started
    fault = "" if done.returncode == 0 else done.stderr[-2000:]
    facts = {
        "atheris": version(atheris.__name__),
        "inputs": args.inputs,
        "readers": len(readers()),
        "inputs_with_new_lines": found,
        "seconds": round(time.monotonic() - begun),
        "fault": fault,
    }
    print(json.dumps(facts, indent=1))
    if args.out:
        write_text(args.out, dump_json(facts))
    return int(bool(fault))


if __name__ == "__main__":
    raise SystemExit(main())
