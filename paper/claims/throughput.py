"""Rules for the abstract and for Table 5: tokens per cycle and throughput compared with EAGLE-2 and EAGLE-3."""

from __future__ import annotations

from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, Verdict
from paper.render.values import mean, percent
from paper.sources import published
from paper.sources.results import Results
from paper.tables.table5 import METHODS, scylla_errors, table5_rows
from paper.tables.table5_sensitivity import COLUMN_ERROR, LARGE_BATCH, SPECULATIVE, VERDICTS, a_column_holds

GAIN_REPRODUCED, GAIN_PARTLY = 0.15, 0.35
"""Accepted relative differences of a predicted gain from the claimed one. A higher gain is partly reproduced."""
TABLE5_FILES = tuple(f"steps/table5-{method}.json" for method in METHODS)
_TAU_FILE = "paper/published/mean_acceptance.csv"

EAGLE2_RULE = (
    "Partly: a gain of the paper's own means is in the range; otherwise contradicted. No other means exist"
)
EAGLE3_RULE = "Not checked: the rule needs a comparison on the same tasks, and none was found"
DOUBLED_RULE = (
    f"Reproduced: the mean predicted ratio at batch {LARGE_BATCH} and above is within "
    f"{percent(GAIN_REPRODUCED, 0)} of 2; partly: it is at most {percent(GAIN_PARTLY, 0)} below 2; otherwise "
    "contradicted"
)
TABLE5_RULE = (
    f"Partly: the mean error of a speculative column is at most {percent(COLUMN_ERROR, 0)}; otherwise "
    "contradicted. The plain column does not count, because the context is inferred from it. Never reproduced, "
    "because tau comes from other targets"
)


def _taus(paper: str, method: str) -> dict[str, float]:
    """Return the mean tokens per cycle of a method at temperature 0 by target."""
    found = published.rows("mean_acceptance", paper=paper, method=method, temperature=0.0)
    return {row["target_model"]: row["tokens_per_cycle"] for row in found}


def gain_over_eagle2(results: Results) -> Verdict:
    """Compare published gains in tokens per cycle with the range of the abstract."""
    del results  # the rule uses published numbers only
    low, high = (published.claim(f"acceptance_gain_over_eagle2_{end}") for end in ("low", "high"))
    base = _taus("scylla", "EAGLE-2")
    gains = {target: tau - base[target] for target, tau in _taus("scylla", "Scylla").items()}
    inside = sum(low <= round(gain, 2) <= high for gain in gains.values())
    text = ", ".join(f"{gain:+.2f} ({target})" for target, gain in gains.items())
    within = f"{inside} of {len(gains)} are in the range"
    return Verdict(
        PARTLY if inside else CONTRADICTED,
        f"the paper's own means give {text}: {within}; there is no other measurement",
        "published (secondary)",
        (_TAU_FILE,),
        f"its own means give +{min(gains.values()):.2f} to +{max(gains.values()):.2f}; {within}",
    )


def gain_over_eagle3(results: Results) -> Verdict:
    """Return the gains of two papers over a method that both report, which is no direct comparison."""
    del results  # the rule uses published numbers only
    scylla, base = _taus("scylla", "Scylla"), _taus("scylla", "EAGLE-2")
    eagle3, eagle3_base = _taus("eagle3", "EAGLE-3"), _taus("eagle3", "EAGLE-2")
    shared = [target for target in scylla if target in eagle3]
    if not shared:
        return Verdict(NOT_CHECKED, "no target is reported for both")
    gains = [
        f"{target}: Scylla {scylla[target] - base[target]:+.2f}, "
        f"EAGLE-3 {eagle3[target] - eagle3_base[target]:+.2f}"
        for target in shared
    ]
    return Verdict(
        NOT_CHECKED,
        "the paper's comparison was not found; gains over EAGLE-2 in the two papers, on different tasks: "
        + ", ".join(gains),
        "published",
        (_TAU_FILE,),
        f"only on different tasks; over EAGLE-2, {gains[0]}",
    )


def doubled_throughput(results: Results) -> Verdict:
    """Compare Scylla with EAGLE-2 at large batch, as predicted and as Table 5 reports."""
    claimed = published.claim("throughput_gain_over_eagle2_at_large_batch")
    tables, rows = table5_rows(results)
    large = [row for row in rows if row["batch_size"] >= LARGE_BATCH]
    predicted = mean([row["scylla_predicted"] / row["eagle2_predicted"] for row in large])
    reported = mean([row["scylla_reported"] / row["eagle2_reported"] for row in large])
    reproduced = abs(predicted / claimed - 1) <= GAIN_REPRODUCED
    status = REPRODUCED if reproduced else PARTLY if predicted >= (1 - GAIN_PARTLY) * claimed else CONTRADICTED
    nodes = {method: [row["verify_tokens"] for row in table.rows] for method, table in tables.items()}
    trees = ", ".join(
        f"{METHODS[name]} verifies {max(nodes[name])}"
        + (f" to {min(nodes[name])}" if min(nodes[name]) < max(nodes[name]) else "")
        for name in ("eagle2", "scylla")
    )
    return Verdict(
        status,
        f"{predicted:.2f}x predicted, {reported:.2f}x in Table 5 (batch {LARGE_BATCH} and above; {trees} tokens "
        "per sequence)",
        ", ".join(tables["scylla"].levels()),
        tuple(table.path for table in tables.values()),
        f"{predicted:.2f}x predicted, {reported:.2f}x reported, batch {LARGE_BATCH} and above",
    )


def table5(results: Results) -> Verdict:
    """Compare the 27 cells of Table 5 with predictions that were not fitted to them."""
    tables, rows = table5_rows(results)
    errors = {method: mean([abs(row[f"{method}_error"]) for row in rows]) for method in METHODS}
    deepest = max(scylla_errors(results, rows).values())
    cells = [(row, method) for row in rows for method in SPECULATIVE]
    inside = sum(
        row[f"{method}_lower"] <= row[f"{method}_reported"] <= row[f"{method}_upper"] for row, method in cells
    )
    text = ", ".join(f"{METHODS[method]} {percent(errors[method], 0)}" for method in SPECULATIVE)
    return Verdict(
        VERDICTS[a_column_holds(errors)],
        f"mean error {text}, {percent(deepest, 0)} with the deepest draft; {inside} of {len(cells)} cells are in "
        "the range of published tau",
        ", ".join(tables["plain"].levels()),
        tuple(table.path for table in tables.values()),
        f"mean error {text}; {inside} of {len(cells)} cells in range",
    )
