"""The rules that turn result files into a status: one function a claim, each with the numbers it found.

A refit of printed labels can reproduce the fit, not the law: that takes drafts of one's own. Numbers that only the
authors reported support a claim partly at best, for agreement with oneself is no reproduction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paper.render.table import mean, percent
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results
from paper.sources.results import Table as ResultTable
from paper.tables.laws import RIVAL_MARGIN, form, holds, law_table, log_law
from paper.tables.steps import METHODS, scylla_errors, table5_rows
from paper.tables.turning_points import by_batch, quoted_optimum
from scylla_sim.checks import fail, one_of
from scylla_sim.records import Row

STATUSES = ("reproduced", "partly", "contradicted", "not checked")
REPRODUCED, PARTLY, CONTRADICTED, NOT_CHECKED = STATUSES

R2_LEAST = 0.8
"""A law that explains less of the variance is not called reproduced."""
R2_MATCH = 0.01
"""R2 is printed with two digits."""
RIVAL_RATIO = 2.0
"""A rival is clearly better with half the leave-one-out error; used where points are too few for AICc."""
CURVE_ERROR = 0.10
"""Mean error that still counts as agreement with a digitised curve, whose reading alone is 1 to 5 % off."""
LARGE_BATCH = 16
"""The abstract says `large batch`; from here Table 5 reports about twice EAGLE-2's throughput."""
GAIN_REPRODUCED, GAIN_PARTLY = 0.15, 0.35
"""Distance of a predicted gain from the claimed one; a gain above it is partly reproduced too."""
PLAIN_ERROR, TABLE_ERROR = 0.12, 0.15
"""Mean absolute errors asked of the plain column and of the whole of Table 5."""


@dataclass(frozen=True)
class Verdict:
    """What the files say about one claim; ``files`` are relative to the results folder or to the checkout."""

    status: str
    finding: str
    evidence: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("status", self.status, STATUSES)
        if self.status != NOT_CHECKED and not (self.files and self.evidence):
            raise fail("status", self.status, "needs evidence and the file that shows it")


def _steps(results: Results, name: str) -> ResultTable:
    return results.table(f"steps/{name}.json", how_to_make(f"steps/{name}.json"))


def gain_over_eagle2(results: Results) -> Verdict:
    """Published gains in tokens per cycle against the abstract's range."""
    del results  # published numbers only
    low, high = (published.claim(f"acceptance_gain_over_eagle2_{end}") for end in ("low", "high"))
    base = _taus("scylla", "EAGLE-2")
    gains = {target: tau - base[target] for target, tau in _taus("scylla", "Scylla").items()}
    inside = sum(low <= round(gain, 2) <= high for gain in gains.values())
    text = ", ".join(f"{gain:+.2f} ({target})" for target, gain in gains.items())
    return Verdict(
        PARTLY if inside else CONTRADICTED,
        f"the paper's own means give {text}: {inside} of {len(gains)} in the range; nobody else measured it",
        "published (secondary)",
        ("paper/published/mean_acceptance.csv",),
    )


def _taus(paper: str, method: str) -> dict[str, float]:
    """Mean tokens per cycle of a method at temperature 0: target -> value."""
    found = published.rows("mean_acceptance", paper=paper, method=method, temperature=0.0)
    return {row["target_model"]: row["tokens_per_cycle"] for row in found}


def gain_over_eagle3(results: Results) -> Verdict:
    """Only indirect: the gains of two papers over a method and target that both report."""
    del results  # published numbers only
    ours, base = _taus("scylla", "Scylla"), _taus("scylla", "EAGLE-2")
    theirs, their_base = _taus("eagle3", "EAGLE-3"), _taus("eagle3", "EAGLE-2")
    shared = [target for target in ours if target in theirs]
    if not shared:
        return Verdict(NOT_CHECKED, "no target is reported for both")
    text = ", ".join(
        f"{target}: Scylla {ours[target] - base[target]:+.2f}, EAGLE-3 {theirs[target] - their_base[target]:+.2f}"
        for target in shared
    )
    return Verdict(
        NOT_CHECKED,
        "the paper's comparison was not found; indirectly, gains over EAGLE-2 in the two papers (other tasks) are "
        f"{text}",
        "published",
        ("paper/published/mean_acceptance.csv",),
    )


def doubled_throughput(results: Results) -> Verdict:
    """Scylla over EAGLE-2 at large batch, predicted and as Table 5 reports it."""
    claimed = published.claim("throughput_gain_over_eagle2_at_large_batch")
    tables, rows = table5_rows(results)
    large = [row for row in rows if row["batch_size"] >= LARGE_BATCH]
    ours = mean([row["scylla_predicted"] / row["eagle2_predicted"] for row in large])
    theirs = mean([row["scylla_reported"] / row["eagle2_reported"] for row in large])
    reproduced = abs(ours / claimed - 1) <= GAIN_REPRODUCED
    status = REPRODUCED if reproduced else PARTLY if ours >= (1 - GAIN_PARTLY) * claimed else CONTRADICTED
    nodes = {method: [row["verify_tokens"] for row in table.rows] for method, table in tables.items()}
    trees = ", ".join(
        f"{METHODS[name]} verifies {max(nodes[name])}"
        + (f" to {min(nodes[name])}" if min(nodes[name]) < max(nodes[name]) else "")
        for name in ("eagle2", "scylla")
    )
    return Verdict(
        status,
        f"{ours:.2f}x predicted, {theirs:.2f}x in Table 5 (batch {LARGE_BATCH} and above; {trees} tokens a "
        "sequence)",
        ", ".join(tables["scylla"].levels()),
        tuple(table.path for table in tables.values()),
    )


def _rival(laws: ResultTable, row: Row) -> str | None:
    """A form that clearly beats the logarithm: by AICc where there is one, else by leave-one-out error."""
    for other in laws.rows:
        if not other.get("converged") or other["form"] == row["form"]:
            continue
        if row.get("aicc") is not None and other.get("aicc") is not None:
            better = row["aicc"] - other["aicc"] > RIVAL_MARGIN
        else:
            loo = (row.get("loo_rmse"), other.get("loo_rmse"))
            better = loo[0] is not None and loo[1] is not None and loo[0] > RIVAL_RATIO * loo[1]
        if better:
            return str(other["form"])
    return None


def log_linear(path: str, evidence: str = "") -> Callable[[Results], Verdict]:
    """Judge the form of a law: tau rises with the logarithm, and no rival is clearly better."""

    def judge(results: Results) -> Verdict:
        laws = law_table(results, path)
        row = form(laws, "log-linear")
        if row is None:
            return Verdict(NOT_CHECKED, f"no log-linear fit in {path}")
        rising = row["a_lower"] > 0
        rival = _rival(laws, row)
        r2 = float(row.get("r2_within") or row["r2"])
        best = REPRODUCED if r2 >= R2_LEAST and not rival else PARTLY
        status = best if rising else CONTRADICTED
        scatter = "" if rival is None else f"; {rival} fits clearly better"
        interval = f"[{row['a_lower']:.3g}, {row['a_upper']:.3g}]"
        return Verdict(
            status,
            f"slope {row['a']:.3g} per ln, {percent(row['level'], 0)} interval {interval}, R² {r2:.3f}, "
            f"{row['n']} points{scatter}",
            evidence or ", ".join(laws.levels()),
            (path,),
        )

    return judge


def coefficients(theorem: str, *tries: tuple[str, str]) -> Callable[[Results], Verdict]:
    """Judge quoted coefficients: does a refit of the printed labels contain them? ``tries`` are (path, form)."""

    def judge(results: Results) -> Verdict:
        quoted = published.quoted(theorem)
        best, findings = CONTRADICTED, []
        for path, name in tries:
            row = form(law_table(results, path), name)
            if row is None:
                continue
            slope, intercept = holds(row, "a", quoted["slope"]), holds(row, "c", quoted["intercept"])
            same = abs(row["r2"] - quoted["r2"]) <= R2_MATCH
            if slope and intercept and same:
                best = REPRODUCED
            elif slope and best != REPRODUCED:
                best = PARTLY
            findings.append(
                f"{row['formula']} gives {row['a']:.4f} and {row['c']:.3f}, R² {row['r2']:.3f}: slope "
                f"{'inside' if slope else 'outside'}, intercept {'inside' if intercept else 'outside'} the interval"
            )
        if not findings:
            return Verdict(NOT_CHECKED, "no fit")
        return Verdict(best, "; ".join(findings), "published", tuple(path for path, _ in tries))

    return judge


def turning_points(results: Results) -> Verdict:
    """Where verification turns compute-bound: with the paper's constants, and with the GPU's dense peak."""
    known = published.series("fig5_turning_points", "batch_size", "k_opt", inside="yes")
    files = {name: _steps(results, f"fig5-{name}") for name in ("paper", "dense")}
    quoted = mean([abs(quoted_optimum(b) / k - 1) for b, k in known.items()])
    errors = {}
    for name, table in files.items():
        ours = by_batch(table, "k_opt")
        if not set(known) <= set(ours):
            raise fail("batch_size", sorted(set(known) - set(ours))[0], f"has no row in {table.path}")
        errors[name] = mean([abs(ours[b] / k - 1) for b, k in known.items()])
    fine = [errors["paper"] <= CURVE_ERROR and quoted <= CURVE_ERROR, errors["dense"] <= CURVE_ERROR]
    return Verdict(
        REPRODUCED if all(fine) else PARTLY if any(fine) else CONTRADICTED,
        f"against the digitised turning points: quoted formula {percent(quoted, 0)}, our roofline with constants "
        f"chosen to fit the figure {percent(errors['paper'], 0)}, "
        f"with the dense peak {percent(errors['dense'], 0)} off",
        ", ".join(files["paper"].levels()),
        tuple(table.path for table in files.values()),
    )


def optimum_is_logarithmic(results: Results) -> Verdict:
    """The name of Theorem 1.3 against the rule a/b + c, on the same points."""
    paths = ("laws/theorem-1.3.json", "laws/theorem-1.3-inverse.json")
    log, inverse = form(law_table(results, paths[0]), "log-linear"), form(law_table(results, paths[1]), "linear")
    if log is None or inverse is None or log.get("loo_rmse") is None or inverse.get("loo_rmse") is None:
        return Verdict(NOT_CHECKED, "one of the two forms has no leave-one-out error")
    ratio = log["loo_rmse"] / inverse["loo_rmse"]
    status = CONTRADICTED if ratio > RIVAL_RATIO else PARTLY if ratio > 1 else REPRODUCED
    return Verdict(
        status,
        f"leave-one-out error {log['loo_rmse']:.1f} paths for a ln b + c, {inverse['loo_rmse']:.1f} for a/b + c "
        f"(R² {log['r2']:.3f} and {inverse['r2']:.4f}, {log['n']} points)",
        "published (digitised)",
        paths,
    )


def throughput_law(results: Results) -> Verdict:
    """The quoted throughput law against the maxima of Fig. 5; at the figure's edge they are lower bounds."""
    del results  # published numbers only
    quoted = published.quoted("1.3-throughput")
    off = []
    peaks = published.rows("fig5_max_throughput")
    for point in peaks:
        ratio = log_law(quoted, point["batch_size"]) / point["tokens_per_s"]
        bounded = point["inside"] != "yes" and ratio > 1
        if not bounded and abs(ratio - 1) > CURVE_ERROR:
            off.append(
                f"batch {point['batch_size']:g}: {log_law(quoted, point['batch_size']):.0f} against "
                f"{point['tokens_per_s']:.0f}"
            )
    return Verdict(
        PARTLY if len(off) < len(peaks) / 2 else CONTRADICTED,
        f"{len(peaks) - len(off)} of {len(peaks)} maxima of Fig. 5 within {percent(CURVE_ERROR, 0)}"
        + (f"; off at {', '.join(off)} tokens/s" if off else ""),
        "published (digitised)",
        ("paper/published/fig5_max_throughput.csv",),
    )


def table5(results: Results) -> Verdict:
    """The 27 cells of Table 5 against predictions that were not fitted to them."""
    tables, rows = table5_rows(results)
    errors = {method: mean([abs(row[f"{method}_error"]) for row in rows]) for method in METHODS}
    whole = mean(list(errors.values()))
    deepest = max(scylla_errors(results, rows).values())
    worst = whole + (deepest - errors["scylla"]) / len(errors)
    status = REPRODUCED if worst <= TABLE_ERROR else PARTLY if errors["plain"] <= PLAIN_ERROR else CONTRADICTED
    text = ", ".join(f"{METHODS[method]} {percent(error, 0)}" for method, error in errors.items())
    return Verdict(
        status,
        f"mean absolute error {percent(whole, 0)}: {text}; {percent(worst, 0)} with the deepest draft",
        ", ".join(tables["plain"].levels()),
        tuple(table.path for table in tables.values()),
    )
