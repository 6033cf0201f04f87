"""Rules for laws of training tokens and decoder layers together, on drafts that this project trained."""

from __future__ import annotations

from paper.claims.small_scale import NOTHING_TRAINED
from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, Verdict
from paper.render.values import percent, span
from paper.sources.results import Results
from paper.tables.design_by_law import BUDGETS
from paper.tables.design_by_law import path as design_path
from paper.tables.law_fits import RIVAL_MARGIN
from paper.tables.small_scale import law_path
from paper.tables.small_scale_profiles import PATH
from scylla_sim.records import Row

RUNS = ("long", "small")
"""Training runs that a rule uses, the one with the most tokens first."""
MAX_CORNER_RATIO = 2.0
"""Largest error in the corner, as a multiple of that at a left-out draft, of a law that holds jointly."""
MAX_TREE_ERROR = 0.04
"""Largest median error of a tree that a moved profile predicts."""

HOLD_RULE = (
    f"For the best law by AICc. Reproduced: its error at more tokens and layers is at most {MAX_CORNER_RATIO:g} "
    "times that at a left-out draft; partly: another law passes this test; contradicted: none does"
)
RATE_RULE = (
    f"Reproduced: a law of the rate is best by AICc, and all laws of τ are more than {RIVAL_MARGIN:g} behind; "
    "partly: one of them is closer; contradicted: a law of τ is best"
)
MOVE_RULE = (
    f"Reproduced: at both temperatures, the median error of trees is at most {percent(MAX_TREE_ERROR, 0)} for "
    "drafts whose tokens and layers no fit saw, and smaller than with the nearest profile; partly: at one "
    "temperature"
)

LOAD_RULE = (
    "From the smallest to the largest batch, for every law that Fig. 1 allows and every budget. Reproduced: "
    "the best draft is shorter, with no more layers; partly: it is shorter; contradicted: it is "
    "as long or longer somewhere"
)


def _laws(results: Results) -> tuple[str, list[Row]]:
    """Return the file of the joint laws, and its scored laws by AICc."""
    for run in RUNS:
        path = law_path("joint", run)
        if results.has(path):
            rows = [row for row in results.table(path).rows if row.get("delta_aicc") is not None]
            return path, sorted(rows, key=lambda row: float(row["delta_aicc"]))
    return "", []


def hold_jointly(results: Results) -> Verdict:
    """Judge whether the law that is best inside the data also predicts drafts with more tokens and layers."""
    path, found = _laws(results)
    scored = [row for row in found if row.get("corner_error") is not None and row.get("loo_rmse")]
    if not scored:
        return NOTHING_TRAINED if not found else Verdict(NOT_CHECKED, "no draft has more tokens and more layers")
    ratios = [row["corner_error"] / row["loo_rmse"] for row in scored]
    best = scored[0]
    passed = [row["form"] for row, ratio in zip(scored, ratios) if ratio <= MAX_CORNER_RATIO]
    nearest = min(scored, key=lambda row: float(row["corner_error"]))
    return Verdict(
        REPRODUCED if best["form"] in passed else PARTLY if passed else CONTRADICTED,
        f"{best['n']} drafts: {best['form']} is best by AICc (R² {best['r2']:.3f}); error at a left-out draft "
        f"{best['loo_rmse']:.2f}, in the corner {best['corner_error']:.2f} tokens; smallest error in the corner "
        f"{nearest['corner_error']:.2f} ({nearest['form']}, {nearest['delta_aicc']:.0f} AICc behind)",
        "small-scale",
        (path,),
        f"the best law errs by {best['loo_rmse']:.2f} tokens at left-out drafts, {best['corner_error']:.2f} beyond",
    )


def rate_or_tau(results: Results) -> Verdict:
    """Judge whether the law is one of the acceptance rate or of the tokens per cycle."""
    path, found = _laws(results)
    rates = [row for row in found if row["form"].startswith("rate-")]
    taus = [row for row in found if not row["form"].startswith("rate-")]
    if not (rates and taus):
        return NOTHING_TRAINED if not found else Verdict(NOT_CHECKED, "laws of one kind only")
    ahead = taus[0]["delta_aicc"] - rates[0]["delta_aicc"]
    lead = f"{abs(ahead):.0f} AICc {'less' if ahead > 0 else 'more'}"
    return Verdict(
        CONTRADICTED if ahead <= 0 else REPRODUCED if ahead > RIVAL_MARGIN else PARTLY,
        f"{found[0]['n']} drafts: {rates[0]['form']} (R² {rates[0]['r2']:.3f}) against {taus[0]['form']} "
        f"(R² {taus[0]['r2']:.3f}): {lead}",
        "small-scale",
        (path,),
        f"the best law of the rate has {lead} than that of τ",
    )


def profiles_move(results: Results) -> Verdict:
    """Judge whether a shift of the log-odds predicts trees at drafts that no fit saw."""
    if not results.has(PATH):
        return NOTHING_TRAINED
    rows = [
        row
        for row in results.table(PATH).rows
        if row["kind"] == "training" and row["held_out"] == "tokens and layers" and row["side_branches"]
    ]
    by = {(row["temperature"], row["prediction"]): row for row in rows}
    temperatures = sorted({temperature for temperature, _ in by})
    moved = {one: by[one, "power-interaction"]["median"] for one in temperatures}
    beside = {one: by[one, "nearest"]["median"] for one in temperatures}
    good = [one for one in temperatures if moved[one] <= MAX_TREE_ERROR and moved[one] < beside[one]]
    return Verdict(
        REPRODUCED if good == temperatures else PARTLY if good else CONTRADICTED,
        "; ".join(
            f"temperature {one}: median error {percent(moved[one])} of {by[one, 'nearest']['n']} trees, "
            f"{percent(beside[one])} with the nearest profile"
            for one in temperatures
        ),
        "small-scale",
        (PATH,),
        f"median error {span((100 * moved[one] for one in temperatures), 1)} %; nearest profile "
        f"{span((100 * beside[one] for one in temperatures), 1)} %",
    )


def shrinks_with_load(results: Results) -> Verdict:
    """Judge whether the best draft of a design shrinks as the batch grows, in length and in layers."""
    files = tuple(design_path(budget) for budget in BUDGETS)
    if not all(results.has(one) for one in files):
        return Verdict(NOT_CHECKED, "there is no design")
    ends: list[tuple[Row, Row]] = []
    for one in files:
        by_law: dict[str, list[Row]] = {}
        for row in results.table(one).rows:
            by_law.setdefault(row["law"], []).append(row)
        for rows in by_law.values():
            ordered = sorted(rows, key=lambda row: int(row["batch_size"]))
            ends.append((ordered[0], ordered[-1]))
    shorter = [small for small, large in ends if large["draft_len"] < small["draft_len"]]
    deeper = [(small, large) for small, large in ends if large["layers"] > small["layers"]]
    small, large = ends[0]
    grown = "; ".join(f"{one['law']} at {one['train_tokens'] / 1e9:g} B tokens" for one, _ in deeper)
    return Verdict(
        CONTRADICTED if len(shorter) < len(ends) else PARTLY if deeper else REPRODUCED,
        f"a 7B on an H100, batch {small['batch_size']} to {large['batch_size']}, {len(ends)} pairs of law and "
        f"budget: the best draft is shorter in {len(shorter)}, and has more layers in {len(deeper)}"
        + (f" ({grown})" if grown else ""),
        "published",
        files,
        f"shorter in {len(shorter)} of {len(ends)} cases, with more layers in {len(deeper)}",
    )
