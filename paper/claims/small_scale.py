"""Rules for the claims that drafts trained here bear on: the laws of tokens and of layers, and the optimum."""

from __future__ import annotations

from paper.claims.rules import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, RIVAL_RATIO, Verdict
from paper.render.table import percent
from paper.sources.results import Results
from paper.tables.small_scale import groups, law_path, laws, slope, there, verdict
from scylla_sim.records import Row

TOKENS_R2, LAYERS_R2 = 0.97, 0.95
"""Least R² of the mean curve over training tokens, and over decoder layers at the last point."""
ENOUGH_DEPTHS, ENOUGH_SEEDS = 3, 3

TOKENS_RULE = (
    f"reproduced: at {ENOUGH_DEPTHS} or more depths R² is at least {TOKENS_R2:g} and the slope's interval over "
    f"{ENOUGH_SEEDS} or more seeds is above 0; partly: at fewer, or with fewer seeds; contradicted: at none"
)
LAYERS_RULE = (
    f"reproduced: at the largest number of tokens R² is at least {LAYERS_R2:g} and the slope's interval over "
    f"{ENOUGH_SEEDS} or more seeds is above 0; partly: with fewer seeds or a lower R²; else contradicted"
)
OPTIMUM_RULE = (
    f"contradicted if a/b + c has less than 1/{RIVAL_RATIO:g} of the leave-one-out error of a ln b + c, partly if "
    "less, else reproduced"
)
NOTHING_TRAINED = Verdict(NOT_CHECKED, "nothing was trained, nor taken from a record")


def _span(values: list[float], digits: int = 2) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _rivals(found: list[dict[str, Row]]) -> str:
    said = [verdict(forms) for forms in found]
    parts = [f"{said.count(word)} {text}" for word, text in (("best", "best"), ("ties", "tied")) if word in said]
    parts += [f"{len(said) - said.count('best') - said.count('ties')} neither"]
    return ", ".join(part for part in parts if not part.startswith("0"))


def tokens(results: Results) -> Verdict:
    """Theorem 1.1 at every depth."""
    if not there(results, "tokens"):
        return NOTHING_TRAINED
    run, table = laws(results, "tokens")[0]
    found = [forms for _, forms in groups(table, ["decoder_layers"]) if "log-linear" in forms]
    if not found:
        return Verdict(NOT_CHECKED, "no fit")
    lines = [forms["log-linear"] for forms in found]
    slopes = [slope(line) for line in lines]
    rising = [line for line, (_, low, _, _) in zip(lines, slopes) if low > 0]
    good = [line for line in rising if line["r2"] >= TOKENS_R2]
    seeds = slopes[0][3]
    full = len(good) >= ENOUGH_DEPTHS and seeds >= ENOUGH_SEEDS
    return Verdict(
        REPRODUCED if full else PARTLY if rising else CONTRADICTED,
        f"{len(lines)} depths, {seeds} seeds, {lines[0]['n']} points: slope "
        f"{_span([s[0] for s in slopes])} per ln, R² {_span([line['r2'] for line in lines], 3)}; above 0 at "
        f"{len(rising)} depths; by AICc log-linear is {_rivals(found)}",
        "small-scale",
        (law_path("tokens", run),),
    )


def layers(results: Results) -> Verdict:
    """Theorem 1.2 at the largest number of training tokens."""
    if not there(results, "layers"):
        return NOTHING_TRAINED
    run, table = laws(results, "layers")[0]
    every = [(group, forms) for group, forms in groups(table, ["train_tokens"]) if "log-linear" in forms]
    if not every:
        return Verdict(NOT_CHECKED, "no fit")
    group, forms = every[-1]
    line = forms["log-linear"]
    middle, low, high, seeds = slope(line)
    full = line["r2"] >= LAYERS_R2 and seeds >= ENOUGH_SEEDS
    first = slope(every[0][1]["log-linear"])[0]
    return Verdict(
        CONTRADICTED if low <= 0 else REPRODUCED if full else PARTLY,
        f"after {int(group['train_tokens']):,} tokens {middle:.2f} per ln, {percent(line['level'], 0)} "
        f"interval [{low:.2f}, {high:.2f}] over {seeds} seeds, R² {line['r2']:.3f}, {line['n']} depths; ln x: "
        f"{verdict(forms)}; after {int(every[0][0]['train_tokens']):,} tokens the slope is {first:.2f}",
        "small-scale",
        (law_path("layers", run),),
    )


def optimum(results: Results) -> Verdict:
    """Theorem 1.3 from measured trees and passes: the logarithm against 1/b."""
    if not there(results, "optimum"):
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
        f"measured on a CPU: leave-one-out error {log['loo_rmse']:.1f} tokens for a ln b + c, "
        f"{inverse['loo_rmse']:.1f} for a/b + c (R² {log['r2']:.3f} and {inverse['r2']:.3f}, {log['n']} batches)",
        "small-scale",
        (law_path("optimum", run), law_path("optimum-inverse", run)),
    )
