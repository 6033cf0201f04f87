"""``claims.md``: every claim of the abstract and the three theorems, with a status computed from files.

A status follows from the rule that stands in the file, never from an opinion; a claim whose evidence file is
missing is `not checked`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paper.claims import gpu, small_scale
from paper.claims import rules as claims_rules
from paper.claims.rules import (
    CURVE_ERROR,
    GAIN_PARTLY,
    GAIN_REPRODUCED,
    LARGE_BATCH,
    NOT_CHECKED,
    PLAIN_ERROR,
    R2_LEAST,
    R2_MATCH,
    RIVAL_RATIO,
    STATUSES,
    TABLE_ERROR,
    Verdict,
)
from paper.render.table import Column, Table, markdown, percent
from paper.sources.results import Results, commits
from paper.tables.laws import RIVAL_MARGIN
from paper.tables.steps import METHODS
from scylla_sim.checks import InputError
from scylla_sim.records import Row, format_csv, write_text


@dataclass(frozen=True)
class Claim:
    """A claim, the rule that gives its status, and the files that the rule reads."""

    where: str
    text: str
    rule: str
    needs: tuple[str, ...]
    judge: Callable[[Results], Verdict]

    def verdict(self, results: Results) -> Verdict:
        """Judge, or say which file is missing."""
        missing = [path for path in self.needs if not results.has(path)]
        if missing:
            return Verdict(NOT_CHECKED, f"no {missing[0]}")
        return self.judge(results)


_FORM_RULE = (
    f"reproduced: the slope's interval is above 0, R² at least {R2_LEAST:g}, and no rival beats ln x by more than "
    f"{RIVAL_MARGIN:g} AICc (or, where points are too few for AICc, by a factor {RIVAL_RATIO:g} in leave-one-out "
    "error); partly: the slope alone; else contradicted"
)
_COEFFICIENT_RULE = (
    "reproduced: the 90 % intervals of one refit hold slope and intercept, and R² agrees within "
    f"{R2_MATCH:g}; partly: the slope alone; else contradicted"
)
_TABLE5 = tuple(f"steps/table5-{method}.json" for method in METHODS)

CLAIMS = (
    Claim(
        "abstract",
        "1.5 to 2.2 more tokens per cycle than EAGLE-2 at temperature 0",
        "only the paper's own means exist, so partly if any gain lies in the range, contradicted if none",
        (),
        claims_rules.gain_over_eagle2,
    ),
    Claim(
        "abstract",
        "0.3 more tokens per cycle than EAGLE-3 at temperature 0",
        "needs a comparison on the same tasks, and none was found: not checked",
        (),
        claims_rules.gain_over_eagle3,
    ),
    Claim(
        "abstract",
        "2x the throughput of EAGLE-2 at large batch",
        f"mean predicted ratio at batch {LARGE_BATCH} and above: reproduced within {percent(GAIN_REPRODUCED, 0)}, "
        f"partly if no more than {percent(GAIN_PARTLY, 0)} below 2, else contradicted",
        _TABLE5,
        claims_rules.doubled_throughput,
    ),
    Claim(
        "Theorem 1.1",
        "the tokens per cycle of Fig. 1 are linear in ln(pretraining tokens)",
        _FORM_RULE,
        ("laws/theorem-1.1.json",),
        claims_rules.log_linear("laws/theorem-1.1.json", "published (labels of one target)"),
    ),
    Claim(
        "Theorem 1.1",
        "slope 0.08, intercept 5.05, R² 0.89",
        _COEFFICIENT_RULE,
        ("laws/theorem-1.1.json", "laws/theorem-1.1-zero.json"),
        claims_rules.coefficients(
            "1.1", ("laws/theorem-1.1.json", "log-linear"), ("laws/theorem-1.1-zero.json", "log1p")
        ),
    ),
    Claim(
        "Theorem 1.1",
        "the law holds for drafts trained here, at small scale",
        small_scale.TOKENS_RULE,
        (),
        small_scale.tokens,
    ),
    Claim(
        "Theorem 1.2",
        "the tokens per cycle of Fig. 1 are linear in ln(decoder layers)",
        _FORM_RULE,
        ("laws/theorem-1.2.json",),
        claims_rules.log_linear("laws/theorem-1.2.json", "published (labels of one target)"),
    ),
    Claim(
        "Theorem 1.2",
        "slope 0.74, intercept 4.61, R² 0.99",
        _COEFFICIENT_RULE,
        ("laws/theorem-1.2.json",),
        claims_rules.coefficients("1.2", ("laws/theorem-1.2.json", "log-linear")),
    ),
    Claim(
        "Theorem 1.2",
        "the law holds for the drafts of other papers (DSpark, DFlash; one slope, an offset per task)",
        _FORM_RULE,
        ("laws/layers-elsewhere.json",),
        claims_rules.log_linear("laws/layers-elsewhere.json"),
    ),
    Claim(
        "Theorem 1.2",
        "the law holds for drafts trained here, at small scale",
        small_scale.LAYERS_RULE,
        (),
        small_scale.layers,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of paths is where verification turns compute-bound, 27904 sqrt(1 + 0.034/b) - 27897",
        f"mean error against Fig. 5 at most {percent(CURVE_ERROR, 0)}: reproduced if so with the paper's constants "
        "and with the GPU's dense peak, partly if with one, else contradicted",
        ("steps/fig5-paper.json", "steps/fig5-dense.json"),
        claims_rules.turning_points,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of paths is log-linear in the batch",
        f"contradicted if a/b + c has less than 1/{RIVAL_RATIO:g} of the leave-one-out error of a ln b + c, partly "
        "if less, reproduced if not less",
        ("laws/theorem-1.3.json", "laws/theorem-1.3-inverse.json"),
        claims_rules.optimum_is_logarithmic,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of verified tokens is log-linear in the batch for drafts trained here, at small scale",
        small_scale.OPTIMUM_RULE,
        (),
        small_scale.optimum,
    ),
    Claim(
        "Theorem 1.3",
        "the highest throughput is 286.79 ln b + 7.54",
        f"partly if most maxima of Fig. 5 (computed, not measured) agree within {percent(CURVE_ERROR, 0)}, else "
        "contradicted",
        (),
        claims_rules.throughput_law,
    ),
    Claim(
        "Theorem 1.3",
        "the best draft length falls with the batch on a measured GPU",
        gpu.BEST_RULE,
        (),
        gpu.best_falls,
    ),
    Claim(
        "premise",
        "at small batch, verifying a few tokens takes about as long as a plain step on a measured GPU",
        gpu.FLAT_RULE,
        (),
        gpu.verify_is_flat,
    ),
    Claim(
        "simulator",
        "the speed-up of a GPU that was measured after the prediction lies in the predicted interval",
        gpu.SPEEDUP_RULE,
        (),
        gpu.speedup,
    ),
    Claim(
        "Table 5",
        "throughput of Qwen2.5-72B on 4x H800, plain, EAGLE-2 and Scylla",
        f"mean error of all 27 cells at most {percent(TABLE_ERROR, 0)} for every published depth of the draft: "
        f"reproduced; of the plain column at most {percent(PLAIN_ERROR, 0)}: partly; else contradicted",
        _TABLE5,
        claims_rules.table5,
    ),
)


def judged(results: Results, claims: Sequence[Claim] = CLAIMS) -> list[Row]:
    """Every claim with its verdict, as rows."""
    rows = []
    for claim in claims:
        try:
            verdict = claim.verdict(results)
        except InputError as error:
            raise InputError(f"claim {claim.text!r}: {error}") from None
        rows.append(
            {
                "where": claim.where,
                "claim": claim.text,
                "status": verdict.status,
                "evidence": verdict.evidence or None,
                "finding": verdict.finding,
                "file": ", ".join(verdict.files) or None,
                "rule": claim.rule,
            }
        )
    return rows


def page(results: Results, rows: Sequence[Row]) -> str:
    """``claims.md``: the table, then each rule with the claims that it judges."""
    columns = [Column(key, key) for key in ("where", "claim", "status", "evidence", "finding", "file")]
    counted = ", ".join(f"{sum(row['status'] == status for row in rows)} {status}" for status in STATUSES)
    rules: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        rules.setdefault(row["rule"], []).append(str(number))
    table = Table(
        "claims",
        f"{len(rows)} claims: {counted}",
        [Column("number", "no.", digits=0), *columns],
        [{"number": number, **row} for number, row in enumerate(rows, 1)],
        "stands in each row",
        commits(results.used.values()),
        notes=["Files are relative to the results folder, those under paper/published to the checkout."],
    )
    lines = "".join(f"* {', '.join(numbers)}: {rule}.\n" for rule, numbers in rules.items())
    return (
        f"# Claims of arXiv 2505.07858 and what was found\n\n{markdown(table)}\n"
        f"## Rules\n\nEach status is computed from the files by the rule of its claim:\n\n{lines}"
    )


def write(results: Results, folder: Path) -> list[Path]:
    """Write ``claims.md`` and ``claims.csv``; return their paths."""
    rows = judged(results)
    paths = [folder / "claims.md", folder / "claims.csv"]
    for path, text in zip(paths, (page(results, rows), format_csv(rows))):
        write_text(path, text)
    return paths
