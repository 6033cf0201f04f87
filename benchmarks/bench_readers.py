"""Benchmark of the readers of logs: seconds and memory of large logs with one record in twenty lines.

Run ``python benchmarks/bench_readers.py [MEGABYTES]``. It prints a table and, as its last line, JSON. It asserts
nothing. The logs are written to a temporary folder.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

EVERY = 20
"""Lines for each record; the others are requests, a tenth of them with the word ``accepted``."""

Line = Callable[[int], str]


def noise(i: int) -> str:
    """Return a line about a request."""
    verb = "accepted" if random.random() < 0.1 else "received"
    return (
        f"(APIServer pid=1) INFO 09-08 14:09:24 [loggers.py:123] 10.0.0.{random.randrange(255)}:5{i % 1000:03} - "
        f'"POST /v1/chat/completions HTTP/1.1" 200 OK request {verb} in queue position {i} with trace id '
        f"{random.getrandbits(128):032x} and a prompt of {i} tokens\n"
    )


def vllm(i: int) -> str:
    """Return a record of vLLM."""
    return (
        f"(APIServer pid=1) INFO 09-08 14:{i // 60 % 60:02}:{i % 60:02} [metrics.py:120] SpecDecoding metrics: "
        "Mean acceptance length: 2.52, Accepted throughput: 39.90 tokens/s, Drafted throughput: 78.60 tokens/s, "
        "Accepted: 399 tokens, Drafted: 786 tokens, Per-position acceptance rate: 0.740, 0.473, 0.309, Avg Draft "
        "acceptance rate: 50.8%\n"
    )


def sglang(i: int) -> str:
    """Return a record of SGLang."""
    return (
        f"[2026-08-22 10:{i // 60 % 60:02}:{i % 60:02} TP0] Decode batch, #running-req: 4, #token: 900, "
        f"token usage: 0.01, accept len: {2 + i % 90 / 100:.2f}, accept rate: 0.39, cuda graph: True, "
        "gen throughput (token/s): 178.86, #queue-req: 0\n"
    )


def llama(i: int) -> str:
    """Return a record of llama.cpp."""
    return (
        f"slot print_timing: id  0 | task {i} |        eval time =  1000.50 ms /   101 tokens\n"
        f"slot print_timing: id  0 | task {i} | draft acceptance = 0.66667 (   60 accepted /    90 generated)\n"
    )


LOGS: dict[str, tuple[Line, tuple[str, ...]]] = {
    "vLLM": (vllm, ()),
    "SGLang": (sglang, ("--draft-len", "3")),
    "llama.cpp": (llama, ()),
}


def write_log(path: Path, record: Line, size: int) -> int:
    """Write a log of about ``size`` bytes, and return its records."""
    written = i = 0
    with path.open("w") as file:
        while written < size:
            written += file.write(record(i) if i % EVERY == 0 else noise(i))
            i += 1
    return -(-i // EVERY)


def main() -> None:
    """Time ``ingest`` on every log."""
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 100_000_000
    random.seed(1)
    results = {}
    for name, (record, options) in LOGS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "engine.log"
            records = write_log(path, record, size)
            ingest = [sys.executable, "-m", "scylla_sim", "ingest"]
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*ingest, str(path), *options, "--out", f"{folder}/out.json"], check=True, stderr=subprocess.DEVNULL
            )
            seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            read = json.loads(Path(folder, "out.json").read_text())["windows"]
        results[name] = {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": after.ru_maxrss / 1024}
        print(f"{name:10} {seconds:6.2f} s elapsed {cpu:6.2f} s CPU {after.ru_maxrss / 1024:6.0f} MiB", end="  ")
        print(f"{read} of {records} records")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
