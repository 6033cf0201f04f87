"""Results folder with round numbers, in the schema of the workflow, for tests of `paper`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from endtoend_results import write_endtoend
from gpu_results import write_gpu
from served_results import write_served
from smallscale_results import write_small_scale

from paper.claims.index import judged
from paper.render.table import Column, Table
from paper.sources.results import Results
from paper.tables.index import build
from scylla_sim.records import format_csv

SHA = "0123456789abcdef0123456789abcdef01234567"
BATCHES = (1, 2, 4, 8, 16, 32, 40, 48, 64)
DEVICES = ("h100-sxm", "l40s")


def only(folder: Path, name: str) -> Table:
    """Build one table from a results folder."""
    return build(Results(folder), [name])[0]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every row of a JSON table in place."""
    content = json.loads(path.read_text())
    for row in content["rows"]:
        change(row)
    path.write_text(json.dumps(content))


def put(folder: Path, path: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Write rows as a JSON table."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    provenance = {"version": "0", "git_sha": SHA, "git_dirty": False, "argv": ["scylla-sim", "verb"], **facts}
    target.write_text(json.dumps({"schema": "test/1", "rows": rows, "provenance": provenance}))


def law(form: str, formula: str, n: int, **numbers: float) -> dict[str, Any]:
    """Return a converged row of ``scylla-sim laws`` whose parameters have a standard error of a tenth."""
    row: dict[str, Any] = {"form": form, "formula": formula, "n": n, "level": 0.9, "converged": True}
    row |= {"r2": 0.9, "aicc": -30.0, "delta_aicc": 0.0, "loo_rmse": 0.05, "evidence": "published"}
    for name in ("a", "b", "c"):
        if name in numbers:
            value, half = numbers[name], 0.2 * abs(numbers[name])
            row |= {name: value, f"{name}_stderr": half / 2}
            row |= {f"{name}_lower": value - half, f"{name}_upper": value + half}
    return row | numbers


def log_law(n: int, a: float, c: float, xs: tuple[float, ...], **numbers: float) -> dict[str, Any]:
    """Return a log-linear row with predictions at ``xs``."""
    row = law("log-linear", "a ln x + c", n, a=a, c=c, **numbers)
    for x in xs:
        y = a * math.log(x) + c
        row |= {f"y({x:g})": y, f"y({x:g})_lower": y - 0.1, f"y({x:g})_upper": y + 0.1}
    return row


def write_laws(folder: Path) -> None:
    """Write refits of Theorems 1.1 to 1.3, close to those of the printed points."""
    linear = law("linear", "a x + c", 7, a=0.002, c=5.2, aicc=-20.0, delta_aicc=10.0)
    unfitted = {"form": "logistic", "formula": "-", "n": 7, "converged": False, "evidence": "published"}
    put(folder, "laws/theorem-1.1.json", [log_law(7, 0.0645, 5.142, (1, 10, 100), r2=0.885), linear, unfitted])
    zero = law("log1p", "a ln(x + 1) + c", 8, a=0.0825, c=5.076, r2=0.893)
    put(folder, "laws/theorem-1.1-zero.json", [zero])
    layers = log_law(4, 0.361, 5.022, (1, 2, 5, 10), r2=0.99) | {"aicc": None, "delta_aicc": None}
    layers |= {"a_lower": 0.288, "a_upper": 0.434, "c_lower": 4.916, "c_upper": 5.128}
    put(folder, "laws/theorem-1.2.json", [layers])
    elsewhere = log_law(30, 0.9, 4.9, (), r2=0.98) | {"r2_within": 0.9, "series=x": 0.1, "series=x_stderr": 0.01}
    for series in ("dspark", "magicdec"):
        put(folder, f"laws/optimum-{series}.json", [log_law(6, -0.5, 6.0, ())])
        put(folder, f"laws/optimum-{series}-inverse.json", [law("linear", "a x + c", 6, a=2.0, c=3.0)])
    elsewhere |= {"aicc": -20.0, "separate_slopes_aicc": -30.0}
    for level, slope in (("a", -0.1), ("b", 0.1), ("c", 0.01)):
        name = f"a[series={level}]"
        elsewhere |= {name: slope, f"{name}_stderr": 0.03, f"{name}_lower": slope - 0.05}
        elsewhere |= {f"{name}_upper": slope + 0.05}
    for name in ("layers-elsewhere", "data-elsewhere", "epochs-elsewhere", "positions", "ranks"):
        put(folder, f"laws/{name}.json", [elsewhere])
    rivals = [law("sdsl", "a P + c", 8, a=-0.03, c=5.6, aicc=-33.0), log_law(8, 0.08, 5.07, (), aicc=-28.0)]
    for name in (*("tokens", "tokens-zero", "layers", "both", "both-10b", "layers-elsewhere", "data-elsewhere"),):
        put(folder, f"laws/rival-{name}.json", rivals)
    joint = [
        law("sum", "c + a t + b d", 11, a=0.09, b=0.34, c=5.07),
        law("interaction", "c + (a + b d) t", 11, c=5.3),
    ]
    joint += [law("rate-sum", "logit rate = c + a t + b d", 11, a=0.07, b=0.28, c=2.08, delta_aicc=0.07)]
    joint[1] |= {"a": 0.0, "a_stderr": 0.05, "b": None, "b_stderr": None, "delta_aicc": 36.0}
    put(folder, "laws/joint-both.json", joint)
    beyond = {"y(84)": 5.4, "y(462)": 5.43}
    saturated = law("saturating-exponential", "c - a exp(-x / s)", 8, a=0.3, c=5.4) | {"y(84)": 5.4, "y(462)": 5.4}
    logarithm = law("log1p", "a ln(x + 1) + c", 8, a=0.08, c=5.08) | {"y(84)": 5.4, "y(462)": 5.54}
    put(folder, "laws/rival-pretraining.json", [rivals[0] | beyond, logarithm, saturated])
    for tokens, tau in (("84", 4.75), ("462", 4.78)):
        put(folder, f"laws/osprey-{tokens}.json", [{"tokens_per_cycle": tau, "evidence": "published"}])
    decay = [
        {"series": name, "known": known, "draft_len": k, "iid_error": 0.1 * k, "error": -0.01 * k}
        | {"measured": 3.0, "iid": 3.3, "predicted": 2.9, "lower": 2.5, "upper": 3.3, "evidence": "published"}
        for name in ("a", "b")
        for known in ("3", "1+3")
        for k in (5, 7)
    ]
    for name in ("decay", "decay-specbundle", "decay-traces"):
        put(folder, f"laws/{name}.json", decay)
    by_source = {"method": "eagle3", "fitted_on": 1, "pooled_error": 0.2}
    known = [row for row in decay if row["known"] == "3"]
    put(folder, "laws/decay-laws.json", [row | by_source | {"origin": f"source-{row['series']}"} for row in known])
    for name in ("eagle", "eagle-3"):
        for tree, tau in (("beam", 4.0), ("dynamic", 4.2)):
            row = {"tree": tree, "draft_len": 6, "top_k": 10, "verify_tokens": 61, "tokens_per_cycle": tau}
            put(folder, f"laws/tree-{name}-{tree}.json", [row | {"evidence": "published"}])
    few = {"aicc": None, "delta_aicc": None}
    put(folder, "laws/theorem-1.3.json", [log_law(4, -23.7, 108.8, (), r2=0.90, loo_rmse=15.5) | few])
    put(folder, "laws/theorem-1.3-inverse.json", [law("linear", "a x + c", 4, a=460.8, c=8.0, loo_rmse=1.9) | few])
    put(folder, "laws/theorem-1.3-throughput.json", [log_law(4, 295.6, 15.3, (), loo_rmse=133.8) | few])


def cycle(batch: int, context: int, **facts: Any) -> dict[str, Any]:
    """Return a row of ``scylla-sim predict``."""
    row: dict[str, Any] = {"hardware": "h100-sxm", "model": "m", "tp": 1, "precision": "bf16", "engine": "ideal"}
    row |= {"batch_size": batch, "context_len": context, "draft": "none", "draft_len": 0, "top_k": 1}
    row |= {"verify_tokens": 1, "tokens_per_cycle": 1.0, "draft_s": 0.0, "verify_s": 6e-3, "overhead_s": 1e-3}
    row |= {"cycle_s": 7e-3, "plain_step_s": 6e-3, "plain_step_lower_s": 5.5e-3, "plain_step_upper_s": 6.5e-3}
    row |= {"tokens_per_s": 100.0 * batch, "speedup": 1.0, "speedup_lower": 0.9, "speedup_upper": 1.1}
    return row | {"fits_memory": batch < 64, "evidence": "transferred"} | facts


def write_steps(folder: Path) -> None:
    """Write predicted steps, for Table 5 with throughput linear in the batch."""
    tau = {"draft_len": 6, "top_k": 10, "tokens_per_cycle_lower": 4.0, "tokens_per_cycle_upper": 5.0}
    for name, slope, more in (
        ("plain", 40.0, {}),
        ("eagle2", 20.0, {**tau, "tokens_per_cycle": 4.5, "verify_tokens": 61}),
        ("eagle2-small-tree", 30.0, {**tau, "tokens_per_cycle": 4.0, "verify_tokens": 20}),
        ("scylla-large-tree", 25.0, {**tau, "tokens_per_cycle": 4.5, "verify_tokens": 61}),
        ("scylla", 40.0, {**tau, "tokens_per_cycle": 4.5, "verify_tokens": 20}),
        ("scylla-2-layers", 38.0, {**tau, "tokens_per_cycle": 4.5, "verify_tokens": 20}),
        ("scylla-5-layers", 30.0, {**tau, "tokens_per_cycle": 4.5, "verify_tokens": 20}),
    ):
        rows = [cycle(b, 10240, tokens_per_s=50 + slope * b, **more) for b in BATCHES]
        put(folder, f"steps/table5-{name}.json", rows)
        if name in ("plain", "eagle2", "scylla"):
            write_table5_assumptions(folder, name, slope, more)
    grid = [(b, s) for b in (1, 8) for s in (512, 1024)]
    put(folder, "steps/llama-8b-plain.json", [cycle(b, s, evidence="silicon") for b, s in grid])
    drafted = {"draft": "eagle3", "draft_len": 3, "verify_tokens": 4, "draft_s": 1e-3, "cycle_s": 9e-3}
    put(folder, "steps/llama-8b-verify.json", [cycle(b, s, **drafted) for b, s in (*grid, (32, 512))])
    slope = {1: 1.5, 8: 1.2, 32: 0.8, 64: 0.6}
    readme = [
        cycle(b, s, speedup=g, speedup_lower=g - 0.1, speedup_upper=g + 0.1, tokens_per_cycle=2.5)
        for s in (256, 1024)
        for b, g in slope.items()
    ]
    put(folder, "steps/readme.json", readme)


def write_table5_assumptions(folder: Path, method: str, slope: float, more: dict[str, Any]) -> None:
    """Write Table 5 with throughput halved at twice the context, and half of a cycle as communication."""
    contexts = [
        cycle(b, s, tokens_per_s=(50 + slope * b) * 10240 / s, **more) for s in (5120, 20480) for b in BATCHES
    ]
    put(folder, f"steps/table5-{method}-contexts.json", contexts)
    for name in ("engine", "h100"):
        rows = [cycle(b, 10240, tokens_per_s=50 + slope * b, **more) for b in BATCHES]
        put(folder, f"steps/table5-{method}-{name}.json", rows)
    whole = more.get("cycle_s", cycle(1, 10240)["cycle_s"])
    parts = [
        {"batch_size": b, "kind": kind, "seconds": whole / 2, "evidence": "transferred"}
        for b in BATCHES
        for kind in ("gemm", "all_reduce")
    ]
    put(folder, f"steps/table5-{method}-parts.json", parts)


def write_turning_points(folder: Path) -> None:
    """Write crossovers of 470/b + 7 with the paper's constants and 260/b + 7 with the dense peak, and curves."""
    for name, scale in (("paper", 470.0), ("dense", 260.0)):
        rows = [
            {"batch_size": b, "k_opt": scale / b + 7, "ridge_point": 300.0, "evidence": "theory"}
            for b in (1, 4, 8, 16, 32, 64)
        ]
        put(folder, f"steps/fig5-{name}.json", rows)
        curves = [
            {"batch_size": b, "k": k, "tokens_per_s": min(20.0 * b, scale / 4) * k / (k + 10), "evidence": "theory"}
            for b in (1, 8, 64)
            for k in (6, 8, 40, 80)
        ]
        put(folder, f"steps/fig5-curves-{name}.json", curves)


PRODUCTS = ["framework", "dtype", "regime"]
LAYERS = [("bfloat16", "drafting"), ("fp8", "drafting")]


ERRORS = {
    "median_ape": 0.05,
    "mape": 0.06,
    "p90_ape": 0.12,
    "bias": 0.05,
    "coverage": 0.9,
    "width": 1.3,
    "floor_median": 0.02,
    "naive_median_ape": 0.4,
    "naive_bias": -0.4,
    "unmatched": 0,
    "evidence": "silicon",
    "floor_kind": "repeat",
}
"""Errors of a prediction that is 5 % too slow everywhere; the datasheet roofline is 40 % too fast."""


def write_comparisons(folder: Path) -> None:
    """Write the errors of the kernels of every device, and of the GEMMs of all devices together."""
    for device in DEVICES:
        for op, by, keys in (
            ("gemm", PRODUCTS, [("vllm", *key) for key in LAYERS] + [("all",) * 3]),
            ("gemm-sglang", PRODUCTS, [("sglang", *key) for key in LAYERS] + [("all",) * 3]),
            ("decode_attention", ["framework", "kv_dtype"], [("vllm", "fp8"), ("all",) * 2]),
            ("decode_attention-sglang", ["framework", "kv_dtype"], [("sglang", "fp8"), ("all",) * 2]),
            ("context_attention", ["framework", "regime"], [("vllm", "prompts"), ("all",) * 2]),
            ("context_attention-sglang", ["framework", "regime"], [("sglang", "short"), ("all",) * 2]),
            ("latent_attention", ["kv_dtype", "regime"], [("fp8", "beyond_l2"), ("fp8", "in_l2"), ("all", "all")]),
            (
                "experts",
                ["dtype", "distribution", "regime"],
                [("bfloat16", "balanced", "drafting"), ("bfloat16", "power_law_1.2", "large"), ("all",) * 3],
            ),
            ("gemm-low-bits", ["dtype", "regime"], [("int4_wo", "drafting"), ("all",) * 2]),
            (
                "experts-low-bits",
                ["dtype", "distribution", "regime"],
                [("mxfp4", "balanced", "drafting"), ("mxfp4", "power_law_1.2", "large"), ("all",) * 3],
            ),
            ("all_reduce", ["framework", "graph"], [("vllm", "0"), ("vllm", "1"), ("all",) * 2]),
            ("all_reduce-sglang", ["framework", "graph"], [("sglang", "0"), ("sglang", "1"), ("all",) * 2]),
            ("elementwise", ["regime"], [("beyond_l2",), ("in_l2",), ("all",)]),
        ):
            rows = [{"group": ",".join(key), **dict(zip(by, key)), "n": 10, **ERRORS} for key in keys]
            put(folder, f"compare/silicon-{device}-{op}.json", rows, by=by)
            if op == "latent_attention":
                other = [row | {"median_ape": 0.25} for row in rows]
                put(folder, f"compare/stand-in-{device}-{op}.json", other, by=by)
    by, keys = ["device", "kernel_source", "q_len", "role"], [("rtx-3090", "fa2", "8", "scored"), ("all",) * 4]
    rows = [{"group": ",".join(key), **dict(zip(by, key)), "n": 2, **ERRORS} for key in keys]
    put(folder, "compare/verify-attention.json", rows, by=by)
    for by, keys in ((["dtype", "regime"], LAYERS), (["dtype"], [("bfloat16",), ("fp8",)])):
        rows = [
            {"group": ",".join(key), **dict(zip(by, key)), "n": 20, **ERRORS} for key in (*keys, ("all",) * len(by))
        ]
        put(folder, f"compare/silicon-all-gemm-by-{'-'.join(by)}.json", rows, by=by)


def write_predicted_kernels(folder: Path) -> None:
    """Write predicted and measured times of GEMMs and of attention."""
    for device in DEVICES:
        for op, names in (("gemm", ("m", "n", "k")), ("decode_attention", ("batch", "kv_len"))):
            cells = [
                {"dtype": "bfloat16", "regime": "drafting", **dict.fromkeys(names, 2**i), "latency_ms": 1.0}
                | {"predicted_s": 1.05e-3, "naive_s": 0.6e-3}
                for i in range(6)
                for _ in range(6)
            ]
            path = folder / "predicted" / device / f"{op}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(format_csv(cells))


def write_this_machine(folder: Path) -> None:
    """Write the errors on the machine of the run, and its records."""
    live = {**ERRORS, "evidence": "live", "n": 8, "floor_kind": "intervals"}
    for suite, by in (("kernels", "op"), ("step", "model")):
        put(folder, f"compare/local-{suite}.json", [{"group": "gemm", by: "gemm", **live}], by=[by])
    parts = ("plain_step_s", "draft_s", "verify_s", "cycle_s", "tokens_per_s", "speedup")
    choice = {"situations": 2, "same_choice": 0.5, "within_floor": 1.0, "median_regret": 0.07}
    cycles = [{"group": "all", "quantity": part, **live, **(choice if part == "speedup" else {})} for part in parts]
    put(folder, "compare/local-specdecode.json", cycles)
    device = {"name": "Test CPU", "kind": "cpu", "threads": 1}
    (folder / "measure").mkdir()
    said = {"schema": "r/1", "values": [{"cpu_share": 0.9}, {"cpu_share": 1.0}]}
    for suite in ("kernels", "specdecode"):
        record = {**said, "provenance": {"device": device, "scale": "ci"}}
        (folder / f"measure/{suite}.json").write_text(json.dumps(record))


def write_results(folder: Path) -> Path:
    """Write all files that tables, figures, claims and summary read."""
    folder.mkdir(parents=True, exist_ok=True)
    write_laws(folder)
    write_steps(folder)
    write_turning_points(folder)
    write_comparisons(folder)
    write_predicted_kernels(folder)
    write_this_machine(folder)
    write_gpu(folder, put)
    write_endtoend(folder, put)
    write_served(folder, put)
    write_small_scale(folder, put)
    return folder


def status(folder: Path, words: str) -> str:
    """Return the status of the one claim whose place and text contain some words."""
    rows = [row for row in judged(Results(folder)) if words in f"{row['where']} {row['claim']}"]
    assert len(rows) == 1, words
    return str(rows[0]["status"])


def demo_table(**changes: object) -> Table:
    """Return a table with characters that formats must escape."""
    facts: dict[str, object] = {
        "name": "demo",
        "caption": "Steps & errors of k_opt",
        "columns": (
            Column("name", "name"),
            Column("step_s", "step", "ms", digits=2, scale=1e3),
            Column("error", "error", "%", digits=1, scale=100, signed=True),
        ),
        "rows": [
            {"name": "a|b_c", "step_s": 0.0058859, "error": -0.123},
            {"name": "<x> 50%", "step_s": None, "error": 0.0},
        ],
        "evidence": "published",
        "commits": "0123456",
        "sources": ("somewhere", "somewhere"),
        "notes": ("Assumed: 5 $ and #1.",),
    }
    return Table(**{**facts, **changes})  # type: ignore[arg-type]
