"""Rules for Theorem 1.3: compute-bound crossover, logarithmic optimum and highest throughput."""

from __future__ import annotations

from paper.claims.verdict import (
    CONTRADICTED,
    CURVE_ERROR,
    NOT_CHECKED,
    PARTLY,
    REPRODUCED,
    RIVAL_RATIO,
    Verdict,
)
from paper.render.values import mean, percent
from paper.sources import published
from paper.sources.results import Results
from paper.tables.law_fits import form, log_law
from paper.tables.theorem_1_3 import by_batch, quoted_optimum
from scylla_sim.checks import fail

CROSSOVER_FILES = {"paper": "steps/fig5-paper.json", "dense": "steps/fig5-dense.json"}
OPTIMUM_FILES = ("laws/theorem-1.3.json", "laws/theorem-1.3-inverse.json")

CROSSOVER_RULE = (
    f"Reproduced: the mean error for Fig. 5 is at most {percent(CURVE_ERROR, 0)} with the paper's constants and "
    "with the GPU's dense peak; partly: with one of the two; otherwise contradicted"
)
OPTIMUM_RULE = (
    "Reproduced: the leave-one-out error of a ln b + c is at most that of a/b + c; partly: it is at most "
    f"{RIVAL_RATIO:g} times as large; otherwise contradicted"
)
THROUGHPUT_RULE = (
    f"Partly: most maxima of Fig. 5, which are computed, agree within {percent(CURVE_ERROR, 0)}; otherwise "
    "contradicted"
)


def crossover(results: Results) -> Verdict:
    """Judge the compute-bound crossover, with the paper's constants and with the GPU's dense peak.

    Raises
    ------
    InputError
        If a result file lacks a digitised batch.
    """
    known = published.series("fig5_turning_points", "batch_size", "k_opt", inside="yes")
    files = {name: results.table(path) for name, path in CROSSOVER_FILES.items()}
    quoted = mean([abs(quoted_optimum(b) / k - 1) for b, k in known.items()])
    errors = {}
    for name, table in files.items():
        predicted = by_batch(table, "k_opt")
        if not set(known) <= set(predicted):
            raise fail("batch_size", sorted(set(known) - set(predicted))[0], f"has no row in {table.path}")
        errors[name] = mean([abs(predicted[b] / k - 1) for b, k in known.items()])
    fine = [errors["paper"] <= CURVE_ERROR and quoted <= CURVE_ERROR, errors["dense"] <= CURVE_ERROR]
    return Verdict(
        REPRODUCED if all(fine) else PARTLY if any(fine) else CONTRADICTED,
        f"mean error for the digitised crossovers: quoted formula {percent(quoted, 0)}, roofline with constants "
        f"fitted to the figure {percent(errors['paper'], 0)}, roofline with the dense peak "
        f"{percent(errors['dense'], 0)}",
        ", ".join(files["paper"].levels()),
        tuple(table.path for table in files.values()),
        f"error {percent(quoted, 0)} as quoted, {percent(errors['paper'], 0)} for a roofline fitted to it, "
        f"{percent(errors['dense'], 0)} with the GPU's peak",
    )


def optimum_is_logarithmic(results: Results) -> Verdict:
    """Compare a ln b + c with a/b + c on the digitised optima."""
    log = form(results.table(OPTIMUM_FILES[0]), "log-linear")
    inverse = form(results.table(OPTIMUM_FILES[1]), "linear")
    if log is None or inverse is None or log.get("loo_rmse") is None or inverse.get("loo_rmse") is None:
        return Verdict(NOT_CHECKED, "one of the two forms has no leave-one-out error")
    ratio = log["loo_rmse"] / inverse["loo_rmse"]
    return Verdict(
        CONTRADICTED if ratio > RIVAL_RATIO else PARTLY if ratio > 1 else REPRODUCED,
        f"leave-one-out error {log['loo_rmse']:.1f} paths for a ln b + c, {inverse['loo_rmse']:.1f} for a/b + c "
        f"(R² {log['r2']:.3f} and {inverse['r2']:.4f}, {log['n']} points)",
        "published (digitised)",
        OPTIMUM_FILES,
        f"left-out error {log['loo_rmse']:.1f} paths with ln b, {inverse['loo_rmse']:.1f} with 1/b",
    )


def throughput_law(results: Results) -> Verdict:
    """Compare the quoted throughput law with the maxima of Fig. 5; at the figure's edge these are lower bounds."""
    del results  # the rule uses published numbers only
    quoted = published.quoted("1.3-throughput")
    off = []
    peaks = published.rows("fig5_max_throughput")
    for point in peaks:
        ratio = log_law(quoted, point["batch_size"]) / point["tokens_per_s"]
        bounded = point["inside"] != "yes" and ratio > 1
        if not bounded and abs(ratio - 1) > CURVE_ERROR:
            off.append(
                f"batch {point['batch_size']:g}: {log_law(quoted, point['batch_size']):.0f} instead of "
                f"{point['tokens_per_s']:.0f}"
            )
    agree = f"{len(peaks) - len(off)} of {len(peaks)} maxima of Fig. 5 agree within {percent(CURVE_ERROR, 0)}"
    return Verdict(
        PARTLY if len(off) < len(peaks) / 2 else CONTRADICTED,
        agree + (f"; differences at {', '.join(off)} tokens/s" if off else ""),
        "published (digitised)",
        ("paper/published/fig5_max_throughput.csv",),
        agree,
    )
