"""Rules for the claims that a measured GPU bears on: speed-up, best draft length, flat verification."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise
from statistics import median

from paper.claims.rules import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, Verdict
from paper.render.table import percent
from paper.sources.gpu_records import Campaign, campaigns
from paper.sources.results import Results
from paper.tables.gpu_cycles import best_lengths

INSIDE, SPEEDUP_ERROR = 0.9, 0.10
"""Share of measured speed-ups asked to lie in the 90 % interval; median error that still supports the claim."""
FEW_TOKENS, FEW_SEQUENCES = 8, 8
"""Widths and batches at which verification is said to be as cheap as a plain step."""
FLAT, NEARLY_FLAT = 1.10, 1.25
"""Median time of such a verify step over that of a plain step."""

SPEEDUP_RULE = (
    f"reproduced: {percent(INSIDE, 0)} of the measured speed-ups lie in the blind 90 % interval; partly: the "
    f"median error is at most {percent(SPEEDUP_ERROR, 0)}; else contradicted"
)
BEST_RULE = (
    "reproduced: at every context the best measured chain length (0: plain decoding), of those measured at all "
    "batches, never rises with the batch and is smaller at the largest than at the smallest; partly: smaller on "
    "average; else contradicted"
)
FLAT_RULE = (
    f"reproduced: up to batch {FEW_SEQUENCES} a step of 2 to {FEW_TOKENS} tokens takes at most {FLAT:g} times as "
    f"long as one of 1 token (median); partly: at most {NEARLY_FLAT:g} times; else contradicted"
)
_NO_RECORD = Verdict(NOT_CHECKED, "not measured: no GPU record")


def _file(campaign: Campaign, suite: str) -> str:
    return f"gpu/{campaign.gpu}/{suite}-rows.csv"


def speedup(results: Results) -> Verdict:
    """Blind predictions of the speed-up against what was measured."""
    inside, errors, files = [], [], []
    for campaign in campaigns(results):
        rows = [row for row in campaign.graphed_cycles() if row.get("blind_speedup") is not None]
        for row in rows:
            inside.append(row["blind_speedup_lower"] <= row["speedup"] <= row["blind_speedup_upper"])
            errors.append(abs(row["blind_speedup"] / row["speedup"] - 1))
        files += [_file(campaign, "specdecode")] if rows else []
    if not errors:
        return _NO_RECORD
    share, error = sum(inside) / len(inside), median(errors)
    return Verdict(
        REPRODUCED if share >= INSIDE else PARTLY if error <= SPEEDUP_ERROR else CONTRADICTED,
        f"{percent(share, 0)} of {len(inside)} speed-ups in their 90 % interval, median error {percent(error)}, "
        f"largest {percent(max(errors))}",
        "recorded",
        tuple(files),
    )


def _stretches(lengths: Iterable[tuple[float, float]]) -> str:
    """Best lengths by batch in words, neighbours of one length together.

    Examples
    --------
    >>> _stretches([(1, 3), (8, 2), (64, 2), (256, 0)])
    '3 at batch 1, 2 at batch 8 to 64, 0 (plain decoding) at batch 256'
    """
    said = []
    for length, some in groupby(lengths, key=lambda pair: pair[1]):
        batches = [f"{batch:g}" for batch, _ in some]
        where = " to ".join(dict.fromkeys((batches[0], batches[-1])))
        said.append(f"{length:g}{'' if length else ' (plain decoding)'} at batch {where}")
    return ", ".join(said)


def best_falls(results: Results) -> Verdict:
    """The direction of Theorem 1.3 on a GPU: the larger the batch, the fewer tokens are worth verifying."""
    falls, steady, found, files = [], [], [], []
    for campaign in campaigns(results):
        curves = {context: some for context, some in best_lengths(campaign).items() if len(some) > 1}
        for context, lengths in curves.items():
            values = [length for _, length in lengths]
            falls.append(values[0] - values[-1])
            steady.append(all(later <= earlier for earlier, later in pairwise(values)))
            found.append(f"{campaign.gpu}, context {context:g}: {_stretches(lengths)}")
        files += [_file(campaign, "specdecode")] if curves else []
    if not falls:
        return _NO_RECORD
    whole = all(fall > 0 for fall in falls) and all(steady)
    return Verdict(
        REPRODUCED if whole else PARTLY if sum(falls) > 0 else CONTRADICTED,
        "best chain length: " + "; ".join(found),
        "recorded",
        tuple(files),
    )


def verify_is_flat(results: Results) -> Verdict:
    """Steps of a few tokens over steps of one, at small batches."""
    ratios, files = [], []
    for campaign in campaigns(results):
        rows = [row for row in campaign.rows("step") if row["graph"] == 1 and row["batch"] <= FEW_SEQUENCES]
        names = ("model", "dtype", "batch", "context")
        plain = {tuple(row[name] for name in names): row["latency_ms"] for row in rows if row["role"] == "plain"}
        some = [
            row["latency_ms"] / plain[key]
            for row in rows
            if row["role"] == "verify"
            and row["tokens"] <= FEW_TOKENS
            and (key := tuple(row[name] for name in names)) in plain
        ]
        ratios += some
        files += [_file(campaign, "step")] if some else []
    if not ratios:
        return _NO_RECORD
    middle = median(ratios)
    return Verdict(
        REPRODUCED if middle <= FLAT else PARTLY if middle <= NEARLY_FLAT else CONTRADICTED,
        f"median ratio {middle:.3f} of {len(ratios)} verify steps ({min(ratios):.2f} to {max(ratios):.2f})",
        "recorded",
        tuple(files),
    )
