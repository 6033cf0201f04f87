"""Rules for the form and the coefficients of Theorems 1.1 and 1.2, from refits of published points."""

from __future__ import annotations

from collections.abc import Callable

from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REFIT_AGREES, RIVAL_RATIO, Verdict
from paper.render.values import percent
from paper.sources import published
from paper.sources.results import Results, ResultTable
from paper.tables.law_fits import RIVAL_MARGIN, form, holds
from scylla_sim.records import Row

MIN_R2 = 0.8
"""Smallest R² at which the form of a law agrees."""
R2_MATCH = 0.01
"""Largest difference from a quoted R², which is printed with two digits."""

FORM_RULE = (
    f"Refit agrees: the slope interval is above 0, R² is at least {MIN_R2:g}, and no rival form is better than "
    f"ln x by more than {RIVAL_MARGIN:g} AICc (with too few points for AICc, by a factor of {RIVAL_RATIO:g} in "
    "leave-one-out error); partly: only the slope interval is above 0; otherwise contradicted"
)
COEFFICIENT_RULE = (
    "Refit agrees: the 90 % intervals of one refit contain slope and intercept, and R² agrees within "
    f"{R2_MATCH:g}; partly: the interval contains the slope only; otherwise contradicted"
)


def _better_form(laws: ResultTable, row: Row) -> str | None:
    """Return a form that is clearly better by AICc, or by leave-one-out error where there is no AICc."""
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
    """Return a function that judges a law's form: linear in ln x, and no other form is clearly better.

    Parameters
    ----------
    path : str
        Result file with the fits.
    evidence : str, optional
        Evidence level, by default that of the file.
    """

    def judge(results: Results) -> Verdict:
        laws = results.table(path)
        row = form(laws, "log-linear")
        if row is None:
            return Verdict(NOT_CHECKED, f"no log-linear fit in {path}")
        better = _better_form(laws, row)
        r2 = float(row.get("r2_within") or row["r2"])
        best = REFIT_AGREES if r2 >= MIN_R2 and not better else PARTLY
        other = "" if better is None else f"; {better} fits clearly better"
        low, high = f"{row['a_lower']:.3g}", f"{row['a_upper']:.3g}"
        return Verdict(
            best if row["a_lower"] > 0 else CONTRADICTED,
            f"slope {row['a']:.3g} per ln, {percent(row['level'], 0)} interval [{low}, {high}], R² {r2:.3f}, "
            f"{row['n']} points{other}",
            evidence or ", ".join(laws.levels()),
            (path,),
            f"slope {row['a']:.3g} [{low}-{high}], R² {r2:.2f}" + (other or f", {row['n']} points"),
        )

    return judge


def coefficients(theorem: str, *refits: tuple[str, str]) -> Callable[[Results], Verdict]:
    """Return a function that judges quoted coefficients: the intervals of a refit contain them.

    Parameters
    ----------
    theorem : str
        Theorem in ``theorems.csv``.
    *refits : tuple of str
        Result file and form of each refit; the best status counts.
    """

    def judge(results: Results) -> Verdict:
        quoted = published.quoted(theorem)
        best, findings, slopes = CONTRADICTED, [], []
        for path, name in refits:
            row = form(results.table(path), name)
            if row is None:
                continue
            slope, intercept = holds(row, "a", quoted["slope"]), holds(row, "c", quoted["intercept"])
            same = abs(row["r2"] - quoted["r2"]) <= R2_MATCH
            if slope and intercept and same:
                best = REFIT_AGREES
            elif slope and best != REFIT_AGREES:
                best = PARTLY
            slopes.append(f"{row['a']:.3g} with {row['formula']}")
            findings.append(
                f"{row['formula']} gives {row['a']:.4f} and {row['c']:.3f}, R² {row['r2']:.3f}; the quoted slope "
                f"is {'inside' if slope else 'outside'} its interval, the intercept "
                f"{'inside' if intercept else 'outside'}"
            )
        if not findings:
            return Verdict(NOT_CHECKED, "no fit")
        brief = f"refitted slope {' and '.join(slopes)}"
        return Verdict(best, "; ".join(findings), "published", tuple(path for path, _ in refits), brief)

    return judge
