"""Tables of kernels: predicted against measured, on GPUs that others measured and on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from paper.render.table import Column, Table, joined, percent
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from scylla_sim.checks import InputError, fail
from scylla_sim.records import Row

OPS = {
    "gemm": "GEMM",
    "decode_attention": "decode attention",
    "latent_attention": "latent attention",
    "experts": "mixture-of-experts",
    "all_reduce": "all-reduce",
    "elementwise": "elementwise",
}
WORDS = {
    "regime": {
        **{"drafting": "small batch", "large": "large batch", "": "other shapes"},
        **{"beyond_l2": "beyond L2", "in_l2": "in L2", "message": "8 KB to 16 MB", "bulk": "larger"},
    },
    "graph": {"0": "eager", "1": "CUDA graph"},
    "dtype": {"bfloat16": "bf16", "float32": "fp32"},
    "kv_dtype": {"bfloat16": "KV bf16", "fp8": "KV fp8", "float32": "KV fp32"},
    "framework": {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"},
    "distribution": {
        "balanced": "even loads",
        "power_law_1.01": "power law 1.01",
        "power_law_1.2": "power law 1.2",
    },
    "op": OPS,
}
"""Column that rows are grouped by -> its values in words; what the regimes mean stands in the notes."""

ERRORS = (
    Column("n", "shapes", digits=0),
    Column("median_ape", "median error", "%", digits=1, scale=100),
    Column("mape", "mean", "%", digits=1, scale=100),
    Column("p90_ape", "p90", "%", digits=1, scale=100),
    Column("bias", "bias", "%", digits=1, scale=100, signed=True),
    Column("naive_median_ape", "naive roofline: median", "%", digits=1, scale=100),
    Column("naive_bias", "its bias", "%", digits=1, scale=100, signed=True),
    Column("coverage", "in 90 % interval", "%", digits=0, scale=100),
    Column("floor_median", "noise floor", "%", digits=1, scale=100),
)

_ERROR_NOTE = (
    "Error: |predicted / measured - 1| on shapes the fit never saw; bias: median of the signed one. Naive "
    "roofline: the larger of FLOPs / peak and bytes / bandwidth."
)
_FLOORS = {
    "repeat": "Noise floor: median difference from the same shapes measured by another framework, its median ratio "
    "taken out.",
    "intervals": "Noise floor: median half width of the measurements' own intervals.",
}
_AGAIN = "median difference of a second pass over the whole grid, its median ratio taken out"
_OWN_FLOORS = {
    "intervals": "Noise floor of kernels: median half width of the measurements' own intervals.",
    "repeat": f"Noise floor of steps: {_AGAIN}.",
}


def _word(name: str, part: str) -> str:
    """A value of a grouping column in words."""
    if name == "head_dim" and part.isdigit():
        return f"head size {part}"
    return WORDS.get(name, {}).get(part, part)


def _groups(table: ResultTable) -> list[Row]:
    """Rows of a comparison with their group in words; a single group is not repeated as `all`."""
    by = [str(name) for name in table.provenance.get("by", [])]
    rows = table.rows if len(table.rows) != 2 else table.rows[:1]
    shown = []
    for row in rows:
        parts = [str(row.get(name, "")) for name in by] or [str(value(row, "group", table.path))]
        words = [_word(name, part) for name, part in zip(by or ["group"], parts)]
        for column in ERRORS[:5]:
            value(row, column.key, table.path)
        group = "all" if set(words) == {"all"} else ", ".join(words)
        shown.append({**row, "group": group})
    return shown


def _error_notes(rows: list[Row], floors: Mapping[str, str] = _FLOORS) -> list[str]:
    """What the columns mean; the noise floor as it was found."""
    kinds = dict.fromkeys(str(row.get("floor_kind")) for row in rows)
    return [_ERROR_NOTE, *(floors[kind] for kind in kinds if kind in floors)]


def _error_columns(rows: list[Row]) -> list[Column]:
    return [column for column in ERRORS if any(row.get(column.key) is not None for row in rows)]


def _by_device(results: Results, op: str) -> list[tuple[str, ResultTable]]:
    """Comparisons of one table of operations with their device; empty where no device has it."""
    paths = results.matching(f"compare/silicon-*-{op}.json")
    devices = [PurePosixPath(path).stem.removeprefix("silicon-").removesuffix(f"-{op}") for path in paths]
    return [(device, results.table(path, "snakemake")) for device, path in zip(devices, paths)]


STAND_IN = Column("stand_in_median_ape", "dense kernel in its place: median", "%", digits=1, scale=100)


def _stand_in(results: Results, device: str, op: str) -> dict[str, Row]:
    """Median errors of what stands in for an operation where it was not fitted, by group; only latent attention."""
    if op != "latent_attention":
        return {}
    table = results.table(f"compare/stand-in-{device}-{op}.json", "snakemake")
    return {str(row["group"]): {STAND_IN.key: row["median_ape"]} for row in _groups(table)}


def silicon(results: Results, op: str, *, others: Sequence[str] = ()) -> Table:
    """Predicted against measured kernels of every device with silicon data, one operation.

    ``others`` are tables of the same operation as other frameworks run it, shown after each device's own.
    """
    found = _by_device(results, op)
    if not found:
        pattern = f"compare/silicon-*-{op}.json"
        raise InputError(f"file={str(results.root / pattern)!r} is missing; make it with: snakemake")
    found += [pair for table in others for pair in _by_device(results, table)]
    found.sort(key=lambda pair: pair[0])
    tables = [table for _, table in found]
    rows = []
    for device, table in found:
        other = _stand_in(results, device, op)
        rows += [{"device": device, **row, **other.get(str(row["group"]), {})} for row in _groups(table)]
    notes = _error_notes(rows)
    if any("small batch" in row["group"] for row in rows) and op == "gemm":
        notes.append(
            "Small batch: m ≤ 512 rows, n ≥ 1024, 1024 ≤ k ≤ 16384, n k ≥ 4e6 (decoding and verification); large "
            "batch: the same with m up to 8192."
        )
    if op == "experts":
        notes.append(
            "A layer of gated experts as the framework runs it: sorting, both products, activation, weighted sum; "
            "one rank's slice of every expert, models held out whole. Fitted to even loads alone (A100, where only "
            "uneven ones were measured: to those); a power law draws the loads of experts from a density of that "
            "exponent, and its rows are predicted from the experts and tiles that the draws fill. Small batch: up "
            "to 512 tokens; large batch: up to 8192."
        )
    if op == "latent_attention":
        notes.append(
            "Latent attention of DeepSeek-V3, one query token: 2, 8, 32 and 128 heads a GPU are fitted, 1, 4, 16 "
            "and 64 scored. TensorRT-LLM's kernels, on L40S SGLang's. Dense kernel in its place: the fit of head "
            "size 128, as on GPUs whose latent attention was not measured. Without a noise floor: nobody else "
            "measured a kernel of the same kind."
        )
    if op == "elementwise":
        notes.append(
            "Scaling bf16 activations to 8 bits, a CTA a row, the one kernel of its kind in the tables. It stands "
            "for norms, which give a row to a CTA too, and for rotary embedding, activation and sampling, which "
            "can be cut anywhere and wait for no row. Beyond L2: more than 1.5 times the L2 moved; in L2: less."
        )
    elif any("beyond L2" in row["group"] for row in rows):
        notes.append("Beyond L2: the KV cache is at least 1.5 times the L2, as in service; in L2: smaller.")
    return Table(
        f"silicon-{op.replace('_', '-')}",
        f"Predicted against measured {OPS[op]} kernels, by device",
        (
            Column("device", "device"),
            Column("group", "kernels"),
            *_error_columns(rows),
            *([STAND_IN] if op == "latent_attention" else []),
            Column("evidence", "evidence"),
        ),
        rows,
        joined(
            {
                "measured": ", ".join(dict.fromkeys(str(row["evidence"]) for row in rows)),
                "predicted": "calibrated on other shapes",
            }
        ),
        commits(tables),
        sources=["measurements of the Python package aiconfigurator-core (Apache-2.0)"],
        notes=notes,
    )


def silicon_gemm(results: Results) -> Table:
    """Matrix products on silicon, of the usual framework and of SGLang."""
    return silicon(results, "gemm", others=["gemm-sglang"])


def silicon_gemm_pooled(results: Results) -> Table:
    """Matrix products of all devices together, by dtype: up to 512 rows, beyond, and all."""
    found = [
        results.table(f"compare/silicon-all-gemm-by-{by}.json", "snakemake") for by in ("dtype-regime", "dtype")
    ]
    rows = [
        {**row, "dtype": _word("dtype", row["dtype"]), "regime": _word("regime", row.get("regime", "any batch"))}
        for table in found
        for row in _groups(table)
        if row["group"] != "all"
    ]
    rows.sort(key=lambda row: str(row["dtype"]))
    return Table(
        "silicon-gemm-pooled",
        "Predicted against measured GEMM kernels, all devices together",
        (
            Column("dtype", "weights"),
            Column("regime", "shapes"),
            *_error_columns(rows),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": ", ".join(found[0].levels()), "predicted": "each device calibrated on other shapes"}),
        commits(found),
        sources=["measurements of the Python package aiconfigurator-core (Apache-2.0)"],
        notes=[
            *_error_notes(rows),
            "Kernels of vLLM (A100: of SGLang; fp8_block: of TensorRT-LLM, since vLLM's were timed from the host, "
            "launch by launch), every device's test shapes with the same weight. Small and large batch as in the "
            "table by device.",
        ],
    )


def silicon_attention(results: Results) -> Table:
    """Decode attention on silicon, of vLLM and of SGLang."""
    return silicon(results, "decode_attention", others=["decode_attention-sglang"])


def silicon_latent(results: Results) -> Table:
    """Latent attention on silicon."""
    return silicon(results, "latent_attention")


def silicon_experts(results: Results) -> Table:
    """Layers of experts on silicon."""
    return silicon(results, "experts")


def silicon_all_reduce(results: Results) -> Table:
    """All-reduce on silicon, of vLLM and of SGLang."""
    return silicon(results, "all_reduce", others=["all_reduce-sglang"])


def silicon_elementwise(results: Results) -> Table:
    """Kernels that only move data, on silicon."""
    return silicon(results, "elementwise")


def local_device(results: Results) -> str:
    """Name and kind of the device that this run measured."""
    record = results.record("measure/kernels.json", "gpu-validate measure --suite all --out results/measure")
    device = record.get("provenance", {}).get("device")
    if not isinstance(device, dict) or "name" not in device:
        raise fail("provenance.device.name", None, "is missing in measure/kernels.json")
    kind = f", {device['kind']}" if "kind" in device else ""
    count = device.get("threads") if device.get("kind") == "cpu" else None
    threads = f", {count} thread{'s' if count > 1 else ''}" if count else ""
    return f"{device['name']}{kind}{threads}"


def local(results: Results) -> Table:
    """This machine's own measurements: calibrated on one part of the shapes, predicted and scored on the other."""
    suites = {"kernels": "kernels", "step": "block step"}
    tables = {suite: results.table(f"compare/local-{suite}.json", "snakemake") for suite in suites}
    rows = [{"suite": suites[suite], **row} for suite, table in tables.items() for row in _groups(table)]
    return Table(
        "local",
        f"Predicted against measured on this machine ({local_device(results)})",
        (Column("suite", "suite"), Column("group", "what"), *_error_columns(rows), Column("evidence", "evidence")),
        rows,
        joined(
            {
                "measured": ", ".join(dict.fromkeys(str(row["evidence"]) for row in rows)),
                "predicted": "calibrated on other shapes",
            }
        ),
        commits(tables.values()),
        notes=[
            *_error_notes(rows, _OWN_FLOORS),
            "Calibrated on other shapes of the same run; nothing is fitted to a step. The naive roofline has this "
            "machine's own best rates as its peaks.",
        ],
    )


CYCLE_PARTS = {
    "plain_step_s": "plain step",
    "draft_s": "drafting",
    "verify_s": "verification",
    "cycle_s": "whole cycle",
    "tokens_per_s": "throughput",
    "speedup": "speed-up",
}

ASKED = {"plain_step_s": 0.15, "verify_s": 0.15, "speedup": 0.10}
"""Median errors that the loop is held to at scale small on an idle machine: of step times and of the speed-up."""
WHOLE_CORE = 0.95
"""A case that had less of its core than this was measured beside something else."""


def _judgement(results: Results, errors: Mapping[str, float]) -> str:
    """Whether the asked errors are met, and whether this run can be judged at all."""
    record = results.record("measure/specdecode.json", "gpu-validate measure --suite all --out results/measure")
    provenance = record.get("provenance", {})
    scale, cpu = str(provenance.get("scale", "unknown")), provenance.get("device", {}).get("kind") == "cpu"
    met = {True: "", False: ": missed"}
    asked = ", ".join(
        f"{CYCLE_PARTS[name]} {percent(errors[name])} ({percent(limit, 0)} asked{met[errors[name] <= limit]})"
        for name, limit in ASKED.items()
    )
    if scale == "ci":
        return f"Shown, not judged, at scale ci, where a time limit ends each measurement: {asked}."
    shares = [float(row["cpu_share"]) for row in record.get("values", []) if "cpu_share" in row]
    shared = sum(share < WHOLE_CORE for share in shares)
    busy = (
        f" The machine was not idle: {shared} of {len(shares)} cases shared their core." if cpu and shared else ""
    )
    return f"At scale {scale}: {asked}.{busy}"


def local_cycles(results: Results) -> Table:
    """The loop closed over drafting: this machine's draft-verify cycles against what was predicted for them."""
    table = results.table("compare/local-specdecode.json", "snakemake")
    # where cycles ran in CUDA graphs too, those are the ones that are predicted; eager ones hold Python's time
    groups = {str(row["group"]) for row in table.rows}
    group = "1" if "1" in groups else "all"
    by_quantity = {row["quantity"]: row for row in table.rows if str(row["group"]) == group}
    rows = []
    for quantity, name in CYCLE_PARTS.items():
        if quantity not in by_quantity:
            raise fail("quantity", quantity, f"has no row in {table.path}")
        rows.append({**by_quantity[quantity], "part": name})
    choice = by_quantity["speedup"]
    return Table(
        "local-cycles",
        f"Draft-verify cycles on this machine ({local_device(results)}): predicted against measured",
        (
            Column("part", "part"),
            Column("n", "configurations", digits=0),
            *ERRORS[1:7],
            Column("floor_median", "repeat to repeat", "%", digits=1, scale=100),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": str(choice["evidence"]), "predicted": "kernels calibrated on this machine"}),
        commits([table]),
        notes=[
            "Real loops with KV caches and rollback, random weights, given acceptance; no cycle is fitted.",
            f"The predicted best drafting is the measured best in {percent(choice['same_choice'], 0)} of "
            f"{choice['situations']} situations, and as good within the floor of it in "
            f"{percent(value(choice, 'within_floor', table.path), 0)}; following it loses "
            f"{percent(choice['median_regret'])} (median).",
            f"Repeat to repeat: {_AGAIN}.",
            _judgement(results, {name: by_quantity[name]["median_ape"] for name in ASKED}),
        ],
    )
