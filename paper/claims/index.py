"""Claims of the paper with their status, and the page ``claims.md`` that lists them.

To add a claim, write a function ``Results -> Verdict`` and the text of its rule in a module of this folder, and add
one entry to `CLAIMS`. The status follows from the rule alone. A claim whose result files are missing is
``not checked``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paper.claims import gpu, joint_laws, laws, small_scale, theorem_1_3, throughput
from paper.claims.verdict import NOT_CHECKED, STATUSES, Verdict
from paper.render.formats import markdown
from paper.render.table import Column, Table
from paper.sources.results import Results, commits
from scylla_sim.checks import InputError
from scylla_sim.records import Row, format_csv, write_text


@dataclass(frozen=True)
class Claim:
    """Claim of the paper, or a premise of it.

    Attributes
    ----------
    where : str
        Place of the claim in the paper.
    text : str
        The claim.
    short : str
        The claim in at most eight words, for the overview.
    rule : str
        Rule that gives the status, in words.
    needs : tuple of str
        Result files without which the claim is not checked.
    judge : callable
        Function that applies the rule.
    """

    where: str
    text: str
    short: str
    rule: str
    needs: tuple[str, ...]
    judge: Callable[[Results], Verdict]

    def verdict(self, results: Results) -> Verdict:
        """Apply the rule, or return which file is missing."""
        missing = [path for path in self.needs if not results.has(path)]
        if missing:
            return Verdict(NOT_CHECKED, f"no {missing[0]}")
        return self.judge(results)


_TOKENS, _TOKENS_ZERO, _LAYERS = "laws/theorem-1.1.json", "laws/theorem-1.1-zero.json", "laws/theorem-1.2.json"
_LAYERS_ELSEWHERE = "laws/layers-elsewhere.json"

CLAIMS = (
    Claim(
        "abstract",
        "1.5 to 2.2 more tokens per cycle than EAGLE-2 at temperature 0",
        "+1.5 to 2.2 tokens per cycle over EAGLE-2",
        throughput.EAGLE2_RULE,
        (),
        throughput.gain_over_eagle2,
    ),
    Claim(
        "abstract",
        "0.3 more tokens per cycle than EAGLE-3 at temperature 0",
        "+0.3 tokens per cycle over EAGLE-3",
        throughput.EAGLE3_RULE,
        (),
        throughput.gain_over_eagle3,
    ),
    Claim(
        "abstract",
        "2x the throughput of EAGLE-2 at large batch",
        "2x EAGLE-2's throughput at large batch",
        throughput.DOUBLED_RULE,
        throughput.TABLE5_FILES,
        throughput.doubled_throughput,
    ),
    Claim(
        "Theorem 1.1",
        "the tokens per cycle of Fig. 1 are linear in ln(pretraining tokens)",
        "τ is linear in ln(pretraining tokens)",
        laws.FORM_RULE,
        (_TOKENS,),
        laws.log_linear(_TOKENS, "published (labels of one target)"),
    ),
    Claim(
        "Theorem 1.1",
        "slope 0.08, intercept 5.05, R² 0.89",
        "its slope is 0.08",
        laws.COEFFICIENT_RULE,
        (_TOKENS, _TOKENS_ZERO),
        laws.coefficients("1.1", (_TOKENS, "log-linear"), (_TOKENS_ZERO, "log1p")),
    ),
    Claim(
        "Theorem 1.1",
        "the law holds for drafts trained here, at small scale",
        "the law holds for drafts trained here",
        small_scale.TOKENS_RULE,
        (),
        small_scale.tokens,
    ),
    Claim(
        "Theorem 1.2",
        "the tokens per cycle of Fig. 1 are linear in ln(decoder layers)",
        "τ is linear in ln(decoder layers)",
        laws.FORM_RULE,
        (_LAYERS,),
        laws.log_linear(_LAYERS, "published (labels of one target)"),
    ),
    Claim(
        "Theorem 1.2",
        "slope 0.74, intercept 4.61, R² 0.99",
        "its slope is 0.74",
        laws.COEFFICIENT_RULE,
        (_LAYERS,),
        laws.coefficients("1.2", (_LAYERS, "log-linear")),
    ),
    Claim(
        "Theorem 1.2",
        "the law holds for drafts of other papers (DSpark, DFlash; one slope, one offset per task)",
        "the law holds for other papers' drafts",
        laws.FORM_RULE,
        (_LAYERS_ELSEWHERE,),
        laws.log_linear(_LAYERS_ELSEWHERE),
    ),
    Claim(
        "Theorem 1.2",
        "the law holds for drafts trained here, at small scale",
        "the law holds for drafts trained here",
        small_scale.LAYERS_RULE,
        (),
        small_scale.layers,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of paths is where verification becomes compute-bound, 27904 sqrt(1 + 0.034/b) - 27897",
        "best paths: where verification becomes compute-bound",
        theorem_1_3.CROSSOVER_RULE,
        tuple(theorem_1_3.CROSSOVER_FILES.values()),
        theorem_1_3.crossover,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of paths is linear in ln(batch)",
        "best paths are linear in ln(batch)",
        theorem_1_3.OPTIMUM_RULE,
        theorem_1_3.OPTIMUM_FILES,
        theorem_1_3.optimum_is_logarithmic,
    ),
    Claim(
        "Theorem 1.3",
        "the best number of verified tokens is linear in ln(batch) for drafts trained here, at small scale",
        "the same, measured here on a CPU",
        theorem_1_3.OPTIMUM_RULE,
        (),
        small_scale.optimum,
    ),
    Claim(
        "Theorem 1.3",
        "the highest throughput is 286.79 ln b + 7.54",
        "highest throughput is 286.8 ln b + 7.5",
        theorem_1_3.THROUGHPUT_RULE,
        (),
        theorem_1_3.throughput_law,
    ),
    Claim(
        "Theorem 1.3",
        "the best draft length decreases with the batch on a measured GPU",
        "the best draft length falls with the batch",
        gpu.BEST_RULE,
        (),
        gpu.best_falls,
    ),
    Claim(
        "premise",
        "the effects of training tokens and decoder layers on τ add, for drafts trained here",
        "the effects of tokens and layers add",
        small_scale.SUM_RULE,
        (),
        small_scale.add_up,
    ),
    Claim(
        "premise",
        "a law of tokens and layers, fitted to drafts trained here, holds at more of both",
        "a joint law holds beyond its data",
        joint_laws.HOLD_RULE,
        (),
        joint_laws.hold_jointly,
    ),
    Claim(
        "premise",
        "for drafts trained here, the acceptance rate follows the joint law, and τ only through it",
        "the rate follows the law, not τ",
        joint_laws.RATE_RULE,
        (),
        joint_laws.rate_or_tau,
    ),
    Claim(
        "premise",
        "rank profiles of drafts trained here, moved in tokens and layers, predict trees of other drafts",
        "moved profiles predict trees of new drafts",
        joint_laws.MOVE_RULE,
        (),
        joint_laws.profiles_move,
    ),
    Claim(
        "premise",
        "the best draft for a 7B shrinks with the load, in length and in layers",
        "the best draft shrinks with the load",
        joint_laws.LOAD_RULE,
        (),
        joint_laws.shrinks_with_load,
    ),
    Claim(
        "premise",
        "at small batch, verifying a few tokens takes about as long as a plain step on a measured GPU",
        "verifying a few tokens is nearly free",
        gpu.FLAT_RULE,
        (),
        gpu.verify_is_flat,
    ),
    Claim(
        "simulator",
        "the speed-up on a GPU that was measured after the prediction is in the predicted interval",
        "blind predictions hold the measured speed-up",
        gpu.SPEEDUP_RULE,
        (),
        gpu.speedup,
    ),
    Claim(
        "Table 5",
        "throughput of Qwen2.5-72B on 4x H800, plain, EAGLE-2 and Scylla",
        "Table 5: Qwen2.5-72B on 4x H800",
        throughput.TABLE5_RULE,
        throughput.TABLE5_FILES,
        throughput.table5,
    ),
)


def judged(results: Results, claims: Sequence[Claim] = CLAIMS) -> list[Row]:
    """Return every claim with its status, evidence and finding.

    Raises
    ------
    InputError
        If a result file cannot be read. The message names the claim.
    """
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
                "short": claim.short,
                "status": verdict.status,
                "evidence": verdict.evidence or None,
                "finding": verdict.finding,
                "brief": verdict.brief or verdict.finding,
                "file": ", ".join(verdict.files) or None,
                "rule": claim.rule,
            }
        )
    return rows


def page(results: Results, rows: Sequence[Row]) -> str:
    """Return ``claims.md``: the table of claims, then each rule with the claims it judges."""
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
        "as in each row",
        commits(results.used.values()),
        notes=["Files are relative to the results folder, those in paper/published to the checkout."],
    )
    lines = "".join(f"* Claim {', '.join(numbers)}. {rule}.\n" for rule, numbers in rules.items())
    return (
        f"# Claims of arXiv 2505.07858 and their status\n\n{markdown(table)}\n"
        f"## Rules\n\nThe status of a claim follows from the result files by its rule:\n\n{lines}"
    )


def write(results: Results, folder: Path) -> list[Path]:
    """Write ``claims.md`` and ``claims.csv`` and return their paths."""
    rows = judged(results)
    paths = [folder / "claims.md", folder / "claims.csv"]
    for path, text in zip(paths, (page(results, rows), format_csv(rows))):
        write_text(path, text)
    return paths
