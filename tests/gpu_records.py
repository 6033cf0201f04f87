"""Records of a GPU that does not exist, for tests: predictions of the simulator, slower by a known share."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from gpu_validate.device.facts import Device
from gpu_validate.records import record_file, rows
from scylla_sim import cli
from scylla_sim.records import format_csv, read_columns, write_text

GPU = "h100-pcie"
SLOWER = 1.1
"""Every fake time is this many times the blind prediction, give or take `NOISE`."""
NOISE = 0.02
PAIRS = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096))
BATCHES, CONTEXTS, LENGTHS = (1, 32, 128), (512, 2048), (1, 3, 5)
ATTENTION_BATCHES, ATTENTION_CONTEXTS, QUERIES = (1, 8, 64), (512, 1024, 2048, 8192), (1, 4, 16)
TARGET, DRAFT = "llama-3.1-8b", "llama-3.2-1b"
EAGER_HOST_S = 8e-3
"""What launching from Python adds to an eager cycle, and half of it to an eager step."""
JOULES_PER_S = 600.0

Values = dict[str, Any]


def device() -> Device:
    """Facts of the GPU, none of them true."""
    return Device(
        kind="cuda",
        name="Fake H100",
        hardware=GPU,
        memory_bytes=80e9,
        cache_bytes=50e6,
        threads=1,
        versions={"python": "3.12", "torch": "0.fake"},
        details={"smi_id": "GPU-0fake000-0000", "sm_count": 132, "nvidia_smi": {"driver_version": "0.1"}},
    )


def _row(op: str, dtype: str = "bfloat16", **columns: Any) -> Values:
    return {
        "op": op,
        "device": GPU,
        "dtype": dtype,
        "graph": 1,
        "framework": "torch",
        "version": "0.fake",
        **columns,
    }


def _kernels() -> Iterator[Values]:
    for graph in (0, 1):
        yield _row("launch", kernel_source="torch_add", bytes=4.0) | {"graph": graph}
    for op, size in product(("copy", "read"), (2.0**28, 2.0**30)):
        yield _row(op, kernel_source=f"torch_{op}", bytes=size)
    for (n, k), m in product(PAIRS, (1, 2, 4, 8, 16, 64, 256, 512)):
        yield _row("gemm", m=m, n=n, k=k, kernel_source="torch_linear")
    for (n, k), m, source in product(PAIRS[:2], (1, 16, 256), ("torch_scaled_mm", "torch_scaled_mm_padded")):
        yield _row("gemm", "fp8", m=m, n=n, k=k, kernel_source=source)
    for m in (1, 64):
        yield _row("quantise", m=m, k=4096, kernel_source="torch_dynamic_scale", bytes=3.0 * m * 4096)
    for batch, kv_len, q_len in product(ATTENTION_BATCHES, ATTENTION_CONTEXTS, QUERIES):
        for source in ("triton_split_kv", "torch_flash_causal"):
            heads = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "window": 0, "kv_dtype": "bfloat16"}
            shape = {"batch": batch, "kv_len": kv_len, "q_len": q_len, **heads}
            yield _row("decode_attention", **shape, kernel_source=source)


def _steps() -> Iterator[Values]:
    for batch, context, tokens in product(BATCHES, CONTEXTS, (1, 4, 8)):
        shape = {"batch": batch, "context": context, "tokens": tokens, "kernel_source": "triton_split_kv"}
        yield _row("step", role="plain" if tokens == 1 else "verify", model=TARGET, **shape)
        if tokens == 1:
            yield _row("step", role="draft", model=DRAFT, **shape)
        if batch == 1:
            yield _row("step", role="plain" if tokens == 1 else "verify", model=TARGET, **shape) | {"graph": 0}


def _cycle(op: str, batch: int, context: int, length: int) -> Values:
    tau = sum(0.7**i for i in range(length + 1))
    shape = {"draft_len": length, "top_k": 1, "verify_tokens": length + 1, "tokens_per_cycle": tau}
    return _row(op, model=TARGET, draft=DRAFT, batch=batch, context=context, **shape)


def _cycles() -> Iterator[Values]:
    for batch, context in product(BATCHES, CONTEXTS):
        yield _row("plain", model=TARGET, draft=DRAFT, batch=batch, context=context)
        for length in LENGTHS:
            yield _cycle("cycle", batch, context, length)
            if context == CONTEXTS[0]:
                yield _cycle("draft", batch, context, length)
                yield _cycle("verify", batch, context, length)
    yield _row("plain", model=TARGET, draft=DRAFT, batch=1, context=CONTEXTS[0]) | {"graph": 0}
    yield _cycle("cycle", 1, CONTEXTS[0], 3) | {"graph": 0}


def _generations() -> Iterator[Values]:
    for batch in BATCHES[:2]:
        plain = {"draft_len": 0, "top_k": 0, "verify_tokens": 1, "tokens_per_cycle": 1.0, "draft": ""}
        for shape in (plain, _cycle("decode", batch, 512, 3)):
            yield _row("decode", model=TARGET, batch=batch, context=512, new_tokens=256) | shape | {"op": "decode"}


CASES = {"kernels": _kernels, "step": _steps, "specdecode": _cycles, "decode": _generations}


def shape_rows(suite: str) -> list[Values]:
    """Rows to predict, as a dry run writes them."""
    return rows.shapes(suite, list(CASES[suite]()))


def predict_blind(folder: Path) -> None:
    """Write the blind predictions of the fake campaign under ``folder/blind``."""
    for suite in CASES:
        write_text(folder / "shapes" / f"{suite}.csv", format_csv(shape_rows(suite)))
    options = ["--shapes", str(folder / "shapes"), "--hardware", GPU, "--out", str(folder / "blind")]
    assert cli.main(["blind", *options]) == 0


def _wobble(*facts: Any) -> float:
    """A factor around `SLOWER`, the same on every machine."""
    share = zlib.crc32(repr(facts).encode()) % 1001 / 500 - 1
    return SLOWER * (1 + NOISE * share)


def _kernel_like(suite: str, folder: Path) -> Iterator[tuple[Values, float]]:
    """Cases of kernels and steps with their blind seconds."""
    columns = read_columns(folder / "blind" / GPU / f"{suite}.csv")
    names = [name for name in shape_rows(suite)[0] if name in columns]
    names += [name for name in ("m", "k", "batch", "kv_len", "q_len", "bytes") if name in columns]
    seconds = {}
    for index, text in enumerate(columns["predicted_s"]):
        seconds[tuple(columns[name][index] for name in dict.fromkeys(names))] = float(text)
    for case in CASES[suite]():
        if suite == "kernels" and case["op"] == "launch" and not case["graph"]:
            yield case, 6e-6
            continue
        (row,) = rows.shapes(suite, [case])
        yield case, seconds[tuple(str(row.get(name, "")) for name in dict.fromkeys(names))]


def _cycle_like(suite: str, folder: Path) -> Iterator[tuple[Values, float]]:
    """Cases of cycles and generations with their blind seconds."""
    columns = read_columns(folder / "blind" / GPU / f"{suite}.csv")
    found: dict[tuple[str, ...], dict[str, float]] = {}
    plain: dict[tuple[str, ...], float] = {}
    for index in range(len(columns["model"])):
        place = tuple(columns[name][index] for name in ("batch_size", "context_len", "graph"))
        found[(*place, columns["draft_len"][index])] = {
            part: float(columns[f"{part}_s"][index]) for part in ("draft", "verify", "cycle")
        }
        plain[place] = float(columns["plain_step_s"][index])
    for case in CASES[suite]():
        middle = case["context"] + case.get("new_tokens", 0) // 2
        place = (str(case["batch"]), str(middle), str(case["graph"]))
        if case["op"] == "plain" or not case["draft_len"]:
            yield case, plain[place]
        else:
            part = "cycle" if case["op"] == "decode" else str(case["op"])
            yield case, found[(*place, str(case["draft_len"]))][part]


def _measured(suite: str, folder: Path, number: int) -> Iterator[tuple[Values, Values]]:
    like = _kernel_like if suite in ("kernels", "step") else _cycle_like
    for index, (case, blind_s) in enumerate(like(suite, folder)):
        name = f"{suite}-{index}" + ("@2" if number == 2 else "")
        host_s = EAGER_HOST_S if case["op"] == "cycle" else EAGER_HOST_S / 2
        eager = suite != "kernels" and not case["graph"]
        seconds = blind_s * _wobble(suite, index, number) + (host_s if eager else 0.0)
        row = {"case": name, **case, "latency_ms": 1e3 * seconds, "pass": number}
        row |= {"interval_low_ms": 0.99e3 * seconds, "interval_high_ms": 1.01e3 * seconds}
        row |= {"flop": 1.0, "bytes": case.get("bytes", 1.0), "energy_j": JOULES_PER_S * seconds}
        if suite == "decode":
            row |= {"tokens_per_s": case["batch"] * case["tokens_per_cycle"] / seconds}
            row |= {"tokens_per_cycle_seen": case["tokens_per_cycle"]}
        sample = {"median_s": seconds, "interval_low_s": 0.99 * seconds, "interval_high_s": 1.01 * seconds}
        yield row, sample | {"count": 20, "stopping_reason": "converged", "floor_s": 1e-9}


def write_records(folder: Path, suites: tuple[str, ...] = tuple(CASES)) -> Path:
    """Blind predictions and records of the fake GPU, as they are committed; return the GPU's folder."""
    predict_blind(folder)
    for suite in suites:
        passes = (1, 2) if suite != "decode" else (1,)
        results = [result for number in passes for result in _measured(suite, folder, number)]
        facts = {"failed": [], "missing": [], "complete": True, "scale": "campaign"}
        record = record_file.build(suite, results, device(), **facts)
        record_file.write(folder / GPU / f"{suite}.json", record)
    return folder / GPU
