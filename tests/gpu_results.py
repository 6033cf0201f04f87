"""What a run leaves of one measured GPU, in round numbers, for tests of `paper`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper.sources.results import Results
from scylla_sim.records import format_csv

GPU = "h100-sxm"
Put = Callable[..., None]
Row = dict[str, Any]

ERRORS: Row = {
    **{"n": 6, "median_ape": 0.05, "mape": 0.06, "p90_ape": 0.1, "bias": -0.05, "coverage": 0.9, "width": 1.3},
    **{
        "naive_median_ape": 0.3,
        "floor_kind": "repeat",
        "floor_median": 0.01,
        "unmatched": 0,
        "evidence": "recorded",
    },
}


def _predicted(seconds: float) -> Row:
    """A blind prediction 5 % too fast, and a calibrated one 1 % too fast."""
    return {
        "blind_predicted_s": 0.95 * seconds,
        "blind_naive_s": 0.7 * seconds,
        "calibrated_predicted_s": 0.99 * seconds,
    }


def attention(batch: int, kv_len: int, q_len: int, ms: float, source: str = "triton_split_kv") -> Row:
    """One row of attention with its predictions."""
    shape = {"op": "decode_attention", "kernel_source": source, "batch": batch, "kv_len": kv_len, "q_len": q_len}
    return shape | {"num_heads": 32, "num_kv_heads": 8, "latency_ms": ms, **_predicted(1e-3 * ms)}


def step(role: str, batch: int, tokens: int, ms: float, *, graph: int = 1) -> Row:
    """One whole step with its predictions."""
    model = "llama-3.2-1b" if role == "draft" else "llama-3.1-8b"
    shape = {"op": "step", "role": role, "model": model, "dtype": "bfloat16", "batch": batch, "context": 512}
    return shape | {"tokens": tokens, "graph": graph, "latency_ms": ms, **_predicted(1e-3 * ms)}


def cycle(batch: int, length: int, speedup: float, *, graph: int = 1, blind: float | None = None) -> Row:
    """One drafting configuration; the blind interval is a tenth to each side of the prediction."""
    predicted = speedup * 1.02 if blind is None else blind
    shape = {"op": "specdecode", "model": "llama-3.1-8b", "draft": "llama-3.2-1b", "dtype": "bfloat16"}
    shape |= {"batch_size": batch, "context_len": 512, "draft_len": length, "top_k": 1, "verify_tokens": length + 1}
    out = shape | {"tokens_per_cycle": 2.0, "graph": graph, "cycle_s": 0.02 / speedup, "plain_step_s": 0.01}
    out |= {"tokens_per_s": batch * 100.0 * speedup, "speedup": speedup, "evidence": "recorded"}
    out |= {"energy_j": 12.0 / speedup, "plain_energy_j": 6.0, "draft_s": "", "verify_s": ""}
    out |= {"again_energy_j": 1.1 * 12.0 / speedup, "again_plain_energy_j": 6.6} if batch == 1 else {}
    loops = (("loop", 1.005 * speedup), ("own_loop", speedup))
    for name, value in (("blind", predicted), ("calibrated", 1.01 * speedup), *loops):
        out |= {f"{name}_speedup": value, f"{name}_tokens_per_s": batch * 100.0 * value}
        out |= {f"{name}_speedup_lower": 0.9 * value, f"{name}_speedup_upper": 1.1 * value}
    return out


def parts(batch: int, tokens: int, sm_mhz: float, *, context: int = 512) -> Row:
    """One step of 10 ms, 7 of them GEMMs, 2 attention; blind attention is 1 ms too slow, the rest 0.5 too fast."""
    shape = {"device": GPU, "dtype": "bfloat16", "role": "verify", "model": "llama-3.1-8b", "context": context}
    out = shape | {"batch": batch, "tokens": tokens, "rows": batch * tokens, "sm_mhz": sm_mhz, "gemm_sm_mhz": 1980}
    out |= {"step_s": 0.010, "gemm_s": 0.007, "attention_s": 0.002, "rest_s": 0.001}
    return out | {
        **{"blind_step_s": 0.0105, "blind_gemm_s": 0.007, "blind_attention_s": 0.003, "blind_rest_s": 0.0005},
        **{"calibrated_step_s": 0.010, "calibrated_gemm_s": 0.007},
        **{"calibrated_attention_s": 0.002, "calibrated_rest_s": 0.001},
    }


CYCLES = [
    *(cycle(1, 5, 1.5), cycle(1, 1, 1.3), cycle(1, 3, 1.6)),
    *(cycle(64, 1, 1.2), cycle(64, 3, 1.1, blind=1.5), cycle(64, 5, 0.9)),
    cycle(1, 3, 1.25, graph=0),
]
STEPS = [
    *(step("plain", 1, 1, 6.0), step("verify", 1, 4, 6.3), step("draft", 1, 1, 1.5)),
    *(step("plain", 64, 1, 9.0), step("verify", 64, 4, 15.0), step("plain", 1, 1, 10.0, graph=0)),
    *(step("prefill", 1, 2048, 40.0), step("prefill", 1, 512, 10.0)),
]


def prompt(cached: int, q_len: int, ms: float, blind: float) -> Row:
    """Attention of one prompt, in ms, with its blind prediction in ms."""
    shape = {"op": "context_attention", "kernel_source": "torch_flash_prompt", "batch": 1, "q_len": q_len}
    shape |= {"kv_len": cached + q_len, "num_heads": 32, "num_kv_heads": 8, "latency_ms": ms}
    return shape | {"blind_predicted_s": 1e-3 * blind}


KERNELS = [
    *(prompt(0, 512, 0.1, 0.05), prompt(2048, 512, 0.4, 0.22), prompt(0, 2048, 0.5, 0.25)),
    *(attention(1, 512, 1, 0.01), attention(1, 512, 4, 0.011), attention(1, 512, 64, 0.03)),
    {"op": "gemm", "kernel_source": "torch_linear", "m": 1, "latency_ms": 0.02, **_predicted(2e-5)},
]


PARTS = [parts(64, 8, 1500.0), parts(1, 4, 1980.0), parts(1, 1, 1980.0), parts(1, 4, 1965.0, context=2048)]


def generation(batch: int, speedup: float) -> Row:
    """One free-running generation."""
    more = {"op": "decode", "new_tokens": 256, "prompt_len": 512, "tokens_per_cycle_seen": 2.01}
    return cycle(batch, 3, speedup) | more | {"context_len": 640, "plain_tokens_per_s": 100.0 * batch}


def write_gpu(folder: Path, put: Put) -> None:
    """Rows, errors and facts of one GPU."""
    suites = {"kernels": KERNELS, "step": STEPS, "specdecode": CYCLES, "decode": [generation(1, 1.5)]}
    details = {"smi_id": "GPU-0fake000-1111", "nvidia_smi": {"driver_version": "580.1"}}
    device = {"name": "Fake H100", "kind": "cuda", "details": details}
    record = {"device": device, "versions": {"torch": "2.11.0"}, "git_sha": "abcdef0123", "failed": [{"case": "a"}]}
    facts = folder / "gpu" / GPU
    facts.mkdir(parents=True)
    for suite, rows in suites.items():
        (facts / f"{suite}-rows.csv").write_text(format_csv(rows))
        said = {"schema": "r/1", "provenance": record | {"utc": "2026-02-01T12:00:00+00:00"}}
        said |= {
            "values": [{"energy_j": 1.0}, {}, {"energy_j": 1.0}],
            "samples": [{"total_s": 0.25}, {"total_s": 9.0}, {}],
        }
        (facts / f"{suite}.json").write_text(json.dumps(said))
    (facts / "step-parts.csv").write_text(format_csv(PARTS))
    blind = {"git_sha": "fedcba9876", "utc": "2026-02-01T10:00:00+00:00", "calibration": {"sha256": "5" * 64}}
    (facts / "blind.json").write_text(json.dumps({"provenance": blind}))
    kernels = [("gemm", "bfloat16", "torch_linear"), ("decode_attention", "bfloat16", "triton_split_kv")]
    groups: dict[str, tuple[list[str], list[tuple[str, ...]]]] = {
        "kernels": (["op", "dtype", "kernel_source"], [*kernels, ("all",) * 3]),
        "step": (
            ["role", "model", "dtype", "batch"],
            [
                *((str(row["role"]), str(row["model"]), "bfloat16", str(row["batch"])) for row in STEPS[:5]),
                ("all",) * 4,
            ],
        ),
    }
    for name in ("blind", "calibrated"):
        for suite, (by, keys) in groups.items():
            rows = [{"group": ",".join(key), **dict(zip(by, key)), "quantity": "latency", **ERRORS} for key in keys]
            rows[-1]["group"] = "all"
            put(folder, f"compare/gpu-{GPU}-{suite}-{name}.json", rows, by=by)
        widths = [
            {"group": f"triton_split_kv,{q}", "kernel_source": "triton_split_kv", "q_len": q}
            for q in "1-64".split("-")
        ]
        put(
            folder,
            f"compare/gpu-{GPU}-widths-{name}.json",
            [row | {"quantity": "latency", **ERRORS} for row in widths],
        )
        for suite in ("specdecode", "decode"):
            parts = ("plain_step_s", "cycle_s", "tokens_per_s", "speedup")
            rows = [{"group": "all", "quantity": part, **ERRORS} for part in parts]
            put(folder, f"compare/gpu-{GPU}-{suite}-{name}.json", rows)


def rewrite(folder: Path, suite: str, rows: list[Row]) -> Results:
    """Replace the rows of a suite and return the results folder."""
    (folder / "gpu" / GPU / f"{suite}-rows.csv").write_text(format_csv(rows) if rows else "op\n")
    return Results(folder)


def without_gpu(folder: Path) -> Path:
    """Remove everything about measured GPUs from a results folder and return the folder."""
    shutil.rmtree(folder / "gpu")
    for path in (folder / "compare").glob("gpu-*"):
        path.unlink()
    return folder
