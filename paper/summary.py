"""Main results of a run in ten lines, printed at the end of ``make reproduce``."""

from __future__ import annotations

from paper.claims import index
from paper.claims.verdict import STATUSES
from paper.render.values import mean, percent, span
from paper.sources.gpu_records import campaigns, decoding_error, gemm_error, speedup_error
from paper.sources.results import Results
from paper.tables import llama_8b, local, silicon, small_scale, table5
from paper.tables.gpu_table import NOT_MEASURED
from paper.tables.law_fits import form
from scylla_sim.checks import InputError
from scylla_sim.records import Row


def _gemm(results: Results) -> str:
    """Return the median error of bf16 GEMMs at small batch by device, and that of the roofline baseline."""
    rows = [
        row
        for row in silicon.silicon(results, "gemm").rows
        if row.get("dtype") == "bfloat16" and row.get("regime", "drafting") == "drafting"
    ]
    errors = ", ".join(f"{row['device']} {percent(row['median_ape'])}" for row in rows)
    roofline = [row["naive_median_ape"] for row in rows if row.get("naive_median_ape") is not None]
    if not rows or not roofline:
        raise InputError("compare/silicon-*-gemm.json have no bf16 rows with a roofline baseline; make them again")
    return f"{errors} (roofline baseline {percent(min(roofline), 0)} to {percent(max(roofline), 0)})"


def _local(results: Results) -> str:
    """Return the median errors of this machine's kernels, steps and cycles, good or bad."""
    last: dict[str, Row] = {row["suite"]: row for row in local.local(results).rows}
    cycles = {row["part"]: row["median_ape"] for row in local.local_cycles(results).rows}
    found = {name: row["median_ape"] for name, row in last.items()}
    found |= {name: cycles[name] for name in ("whole cycle", "speed-up")}
    errors = ", ".join(f"{name} {percent(error)}" for name, error in found.items())
    return f"{errors} on {local.local_device(results)}"


def _gpus(results: Results) -> str:
    """Return the median errors of each measured GPU by suite and prediction."""
    lines = []
    for campaign in campaigns(results):
        parts = []
        steps = campaign.rows("step")
        gemms = {name: gemm_error(table) for name, table in campaign.compared("kernels").items()}
        whole = {name: decoding_error(steps, f"{name}_predicted_s") for name in campaign.compared("step")}
        speedups = {name: speedup_error(table) for name, table in campaign.compared("specdecode").items()}
        for words, found in (("bf16 GEMMs", gemms), ("steps", whole), ("speed-up", speedups)):
            errors = ", ".join(f"{percent(value)} {name}" for name, value in found.items() if value is not None)
            parts += [f"{words} {errors}"] if errors else []
        lines.append(f"{campaign.gpu}, median error: {'; '.join(parts) or 'no prediction'}")
    return "; ".join(lines) or NOT_MEASURED


def _law(results: Results, path: str) -> str:
    """Return the log-linear refit of a file."""
    row = form(results.table(path), "log-linear")
    if row is None:
        return "no log-linear fit"
    return f"{row['a']:.4f} ln x + {row['c']:.3f}, R² {row['r2']:.3f}"


def _trained(results: Results) -> str:
    """Return how well Theorem 1.1 describes trained drafts, those of this run if it trained any."""
    run, table = small_scale.laws(results, "tokens")[-1]
    lines = [forms["log-linear"] for _, forms in small_scale.groups(table, ["decoder_layers"])]
    scores = span((float(line["r2"]) for line in lines), 3)
    return f"{len(lines)} depths trained ({small_scale.RUNS[run]}): linear in ln(tokens) with R² {scores}"


def _table5(results: Results) -> str:
    """Return the mean error of each method in Table 5."""
    _, rows = table5.table5_rows(results)
    return ", ".join(
        f"{name} {percent(mean([abs(row[f'{method}_error']) for row in rows]))}"
        for method, name in table5.METHODS.items()
    )


def lines(results: Results) -> list[str]:
    """Return at most ten lines, each with a topic and its result.

    Raises
    ------
    InputError
        If a result file is missing.
    """
    statuses = [row["status"] for row in index.judged(results)]
    llama = [abs(row["error"]) for row in llama_8b.llama_plain(results).rows]
    facts = {
        "GPU kernels": f"median error of held-out bf16 GEMMs: {_gemm(results)}",
        "this machine": f"median error on held-out shapes: {_local(results)}",
        "measured GPUs": _gpus(results),
        "decode steps": f"Llama-3.1-8B on an H100: {percent(mean(llama))} mean error for a published fit",
        "Theorem 1.1": f"refit {_law(results, 'laws/theorem-1.1.json')} (x in billions of tokens)",
        "Theorem 1.2": f"refit {_law(results, 'laws/theorem-1.2.json')} (x in decoder layers)",
        "small scale": _trained(results),
        "Table 5": f"mean error {_table5(results)}",
        "claims": ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES),
        "output": f"{results.root / 'paper'}: index.html first; claims.md, table-*.md, figure-*.svg, report.html",
    }
    width = max(map(len, facts))
    return [f"{name:{width}}  {text}" for name, text in facts.items()]
