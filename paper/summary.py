"""Ten lines on what a run found, for the end of ``make reproduce``."""

from __future__ import annotations

from paper.claims import index
from paper.claims.rules import STATUSES
from paper.render.table import mean, percent
from paper.sources.results import Results
from paper.tables import gpu_cycles, kernels, small_scale, steps
from paper.tables.laws import form, law_table
from scylla_sim.checks import InputError
from scylla_sim.records import Row


def _gemm(results: Results) -> str:
    """Median error of bf16 products of the drafting regime by device, the naive roofline's beside it."""
    rows = [
        row
        for row in kernels.silicon(results, "gemm").rows
        if row.get("dtype") == "bfloat16" and row.get("regime", "drafting") == "drafting"
    ]
    shown = ", ".join(f"{row['device']} {percent(row['median_ape'])}" for row in rows)
    naive = [row["naive_median_ape"] for row in rows if row.get("naive_median_ape") is not None]
    if not rows or not naive:
        raise InputError("compare/silicon-*-gemm.json hold no bf16 rows with a naive roofline; make them again")
    return f"{shown} (datasheet roofline {percent(min(naive), 0)} to {percent(max(naive), 0)})"


def _local(results: Results) -> str:
    errors = kernels.local(results).rows
    last: dict[str, Row] = {row["suite"]: row for row in errors}
    shown = ", ".join(f"{name} {percent(row['median_ape'])}" for name, row in last.items())
    return f"{shown} on {kernels.local_device(results)}"


def _law(results: Results, path: str) -> str:
    row = form(law_table(results, path), "log-linear")
    if row is None:
        return "no log-linear fit"
    return f"{row['a']:.4f} ln x + {row['c']:.3f}, R² {row['r2']:.3f}"


def _trained(results: Results) -> str:
    """The law of tokens on drafts that were really trained, by this run where it trained any."""
    run, table = small_scale.laws(results, "tokens")[-1]
    lines = [forms["log-linear"] for _, forms in small_scale.groups(table, ["decoder_layers"])]
    scores = [float(line["r2"]) for line in lines]
    return (
        f"{len(lines)} depths trained ({small_scale.RUNS[run]}): straight in ln(tokens) with R² "
        f"{min(scores):.3f} to {max(scores):.3f}"
    )


def _table5(results: Results) -> str:
    _, rows = steps.table5_rows(results)
    return ", ".join(
        f"{name} {percent(mean([abs(row[f'{method}_error']) for row in rows]))}"
        for method, name in steps.METHODS.items()
    )


def lines(results: Results) -> list[str]:
    """At most ten lines: a name and what was found."""
    statuses = [row["status"] for row in index.judged(results)]
    llama = [abs(row["error"]) for row in steps.llama_plain(results).rows]
    facts = {
        "GPU kernels": f"median error of held-out bf16 GEMMs: {_gemm(results)}",
        "this machine": f"median error on shapes not fitted: {_local(results)}",
        "measured GPUs": gpu_cycles.summary(results),
        "decode steps": f"Llama-3.1-8B on an H100: {percent(mean(llama))} mean error against a published fit",
        "Theorem 1.1": f"refit {_law(results, 'laws/theorem-1.1.json')} (x in billions of tokens)",
        "Theorem 1.2": f"refit {_law(results, 'laws/theorem-1.2.json')} (x in decoder layers)",
        "small scale": _trained(results),
        "Table 5": f"mean error {_table5(results)}",
        "claims": ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES),
        "read": f"{results.root / 'paper'}: claims.md, table-*.md, figure-*.svg, report.html",
    }
    width = max(map(len, facts))
    return [f"{name:{width}}  {text}" for name, text in facts.items()]
