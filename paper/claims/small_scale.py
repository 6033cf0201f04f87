"""Rules for Theorems 1.1 to 1.3 on drafts that this project trained."""

from __future__ import annotations

from collections.abc import Sequence

from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, RIVAL_RATIO, Verdict
from paper.render.values import percent, span
from paper.sources.results import Results
from paper.tables.law_fits import RIVAL_MARGIN
from paper.tables.small_scale import groups, law_path, laws, runs_with, slope, verdict
from scylla_sim.records import Row

MIN_TOKENS_R2, MIN_LAYERS_R2 = 0.97, 0.95
"""Smallest R² of the mean curve by training tokens, and by decoder layers at the largest number of tokens."""
MIN_DEPTHS, MIN_SEEDS = 3, 3

TOKENS_RULE = (
    f"Reproduced: at {MIN_DEPTHS} or more depths, R² is at least {MIN_TOKENS_R2:g} and the slope interval over "
    f"{MIN_SEEDS} or more seeds is above 0; partly: at fewer depths or with fewer seeds; contradicted: at no depth"
)
LAYERS_RULE = (
    f"Reproduced: at the largest number of tokens, R² is at least {MIN_LAYERS_R2:g} and the slope interval over "
    f"{MIN_SEEDS} or more seeds is above 0; partly: with fewer seeds or a lower R²; otherwise contradicted"
)
SUM_RULE = (
    f"Reproduced: the sum of both theorems is best by AICc, or within {RIVAL_MARGIN:g} of the best joint law; "
    "contradicted: a rival is better; the corner is no part of the rule"
)
NOTHING_TRAINED = Verdict(NOT_CHECKED, "there are no trained drafts, neither of this run nor recorded")


def _compared(found: Sequence[dict[str, Row]]) -> str:
    """Return at how many depths the log-linear form is best by AICc, ties, or neither."""
    words = [verdict(forms) for forms in found]
    count = {"best": words.count("best"), "tied": words.count("ties")}
    count["neither"] = len(words) - sum(count.values())
    return ", ".join(f"{name} at {number}" for name, number in count.items() if number)


def tokens(results: Results) -> Verdict:
    """Judge Theorem 1.1 at every depth."""
    if not runs_with(results, "tokens"):
        return NOTHING_TRAINED
    run, table = laws(results, "tokens")[0]
    found = [forms for _, forms in groups(table, ["decoder_layers"]) if "log-linear" in forms]
    if not found:
        return Verdict(NOT_CHECKED, "no fit")
    lines = [forms["log-linear"] for forms in found]
    slopes = [slope(line) for line in lines]
    rising = [line for line, (_, low, _, _) in zip(lines, slopes) if low > 0]
    good = [line for line in rising if line["r2"] >= MIN_TOKENS_R2]
    seeds = slopes[0][3]
    full = len(good) >= MIN_DEPTHS and seeds >= MIN_SEEDS
    return Verdict(
        REPRODUCED if full else PARTLY if rising else CONTRADICTED,
        f"{len(lines)} depths, {seeds} seeds, {lines[0]['n']} points: slope {span(s[0] for s in slopes)} per ln, "
        f"R² {span((line['r2'] for line in lines), 3)}; interval above 0 at {len(rising)} depths; by AICc, "
        f"log-linear is {_compared(found)} depths",
        "small-scale",
        (law_path("tokens", run),),
        f"slope {span(s[0] for s in slopes)} per ln, above 0 at {len(rising)} of {len(lines)} depths",
    )


def layers(results: Results) -> Verdict:
    """Judge Theorem 1.2 at the largest number of training tokens."""
    if not runs_with(results, "layers"):
        return NOTHING_TRAINED
    run, table = laws(results, "layers")[0]
    every = [(group, forms) for group, forms in groups(table, ["train_tokens"]) if "log-linear" in forms]
    if not every:
        return Verdict(NOT_CHECKED, "no fit")
    group, forms = every[-1]
    line = forms["log-linear"]
    middle, low, high, seeds = slope(line)
    full = line["r2"] >= MIN_LAYERS_R2 and seeds >= MIN_SEEDS
    first = slope(every[0][1]["log-linear"])[0]
    return Verdict(
        CONTRADICTED if low <= 0 else REPRODUCED if full else PARTLY,
        f"after {int(group['train_tokens']):,} tokens, slope {middle:.2f} per ln, {percent(line['level'], 0)} "
        f"interval [{low:.2f}, {high:.2f}] over {seeds} seeds, R² {line['r2']:.3f}, {line['n']} depths; by AICc, "
        f"log-linear: {verdict(forms)}; after {int(every[0][0]['train_tokens']):,} tokens, slope {first:.2f}",
        "small-scale",
        (law_path("layers", run),),
        f"slope {middle:.2f} [{low:.2f}-{high:.2f}] after {int(group['train_tokens']):,} tokens, {first:.2f} after "
        f"{int(every[0][0]['train_tokens']):,}",
    )


def add_up(results: Results) -> Verdict:
    """Judge whether the effects of tokens and layers on tau add, as a design from both theorems assumes."""
    if not runs_with(results, "joint"):
        return NOTHING_TRAINED
    run, table = laws(results, "joint")[0]
    found = {row["form"]: row for row in table.rows if row.get("converged") and row.get("delta_aicc") is not None}
    if "sum" not in found:
        return Verdict(NOT_CHECKED, "the sum has no AICc")
    total, best = found["sum"], min(found.values(), key=lambda row: row["delta_aicc"])
    behind = total["delta_aicc"] - best["delta_aicc"]
    return Verdict(
        CONTRADICTED if behind > RIVAL_MARGIN else REPRODUCED,
        f"{total['n']} drafts: the sum has R² {total['r2']:.3f}, {best['form']} ({best['formula']}) has "
        f"{best['r2']:.3f} and {behind:.0f} AICc less; "
        + "; ".join(
            f"error in the corner of more tokens and layers {row['corner_error']:.2f} ({row['form']})"
            for row in (total, best)
            if "corner_error" in row
        ),
        "small-scale",
        (law_path("joint", run),),
        f"R² {total['r2']:.3f} for the sum, {best['r2']:.3f} for the best law ({behind:.0f} AICc less)",
    )


def optimum(results: Results) -> Verdict:
    """Compare a ln b + c with a/b + c on the measured optimum of trees."""
    if not runs_with(results, "optimum"):
        return NOTHING_TRAINED
    run, table = laws(results, "optimum")[0]
    _, inverse_table = laws(results, "optimum-inverse")[0]
    log = next((row for row in table.rows if row["form"] == "log-linear" and row.get("converged")), None)
    inverse = next((row for row in inverse_table.rows if row.get("converged")), None)
    if log is None or inverse is None or not (log.get("loo_rmse") and inverse.get("loo_rmse")):
        return Verdict(NOT_CHECKED, "one of the two forms has no leave-one-out error")
    ratio = log["loo_rmse"] / inverse["loo_rmse"]
    return Verdict(
        CONTRADICTED if ratio > RIVAL_RATIO else PARTLY if ratio > 1 else REPRODUCED,
        f"on a CPU: leave-one-out error {log['loo_rmse']:.1f} tokens for a ln b + c, "
        f"{inverse['loo_rmse']:.1f} for a/b + c (R² {log['r2']:.3f} and {inverse['r2']:.3f}, {log['n']} batches)",
        "small-scale",
        (law_path("optimum", run), law_path("optimum-inverse", run)),
        f"left-out error {log['loo_rmse']:.1f} tokens with ln b, {inverse['loo_rmse']:.1f} with 1/b",
    )
