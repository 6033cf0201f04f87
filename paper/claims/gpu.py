"""Rules for claims that need a measured GPU: speed-up, best draft length, cost of verification."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise
from statistics import median

from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED, Verdict
from paper.render.values import percent, span
from paper.sources.gpu_records import Campaign, campaigns
from paper.sources.results import Results
from paper.tables.gpu_best_k import best_lengths

MIN_INSIDE, MAX_SPEEDUP_ERROR = 0.9, 0.10
"""Required share of measured speed-ups in the 90 % interval, and median error that still supports the claim."""
MAX_TOKENS, MAX_BATCH = 8, 8
"""Largest number of tokens and batch for which verification is claimed to take as long as a plain step."""
FLAT, NEARLY_FLAT = 1.10, 1.25
"""Accepted median times of such a verify step, relative to a plain step."""

SPEEDUP_RULE = (
    f"Reproduced: on every GPU, {percent(MIN_INSIDE, 0)} of the measured speed-ups are in the blind 90 % interval; "
    f"partly: the median error is at most {percent(MAX_SPEEDUP_ERROR, 0)} on every GPU; otherwise contradicted. "
    "The predictions are those of --engine ideal, without the time of choosing tokens"
)
BEST_RULE = (
    "Reproduced: at every context, the best measured chain length (0 is autoregressive decoding) never rises "
    "with the batch and is smaller at the largest batch than at the smallest; partly: it is smaller on average; "
    "otherwise contradicted. The choices are the lengths that were measured at every batch"
)
FLAT_RULE = (
    f"Reproduced: up to batch {MAX_BATCH}, a step of 2 to {MAX_TOKENS} tokens takes at most {FLAT:g} times as long "
    f"as one of 1 token (median); partly: at most {NEARLY_FLAT:g} times; otherwise contradicted"
)
_NO_RECORD = Verdict(NOT_CHECKED, "not measured: no GPU record")


def _file(campaign: Campaign, suite: str) -> str:
    """Return the result file with the rows of a suite."""
    return f"gpu/{campaign.gpu}/{suite}-rows.csv"


def speedup(results: Results) -> Verdict:
    """Compare blind predictions of the speed-up with the measurement."""
    shares, medians, found, brief, files = [], [], [], [], []
    for campaign in campaigns(results):
        rows = [row for row in campaign.graphed_cycles() if row.get("blind_speedup") is not None]
        if not rows:
            continue
        errors = [abs(row["blind_speedup"] / row["speedup"] - 1) for row in rows]
        inside = [row["blind_speedup_lower"] <= row["speedup"] <= row["blind_speedup_upper"] for row in rows]
        shares.append(sum(inside) / len(inside))
        medians.append(median(errors))
        found.append(
            f"{campaign.gpu}: {percent(shares[-1], 0)} of {len(rows)} speed-ups in their 90 % interval, median "
            f"error {percent(medians[-1])}, largest {percent(max(errors))}"
        )
        brief.append(f"{campaign.gpu} {percent(shares[-1], 0)} inside, median error {percent(medians[-1])}")
        files.append(_file(campaign, "specdecode"))
    if not found:
        return _NO_RECORD
    inside_all, near_all = min(shares) >= MIN_INSIDE, max(medians) <= MAX_SPEEDUP_ERROR
    return Verdict(
        REPRODUCED if inside_all else PARTLY if near_all else CONTRADICTED,
        "; ".join(found),
        "recorded",
        tuple(files),
        "; ".join(brief),
    )


def _by_batch(lengths: Iterable[tuple[float, float]]) -> str:
    """Return best lengths by batch in words, with neighbouring batches of one length together.

    Examples
    --------
    >>> _by_batch([(1, 3), (8, 2), (64, 2), (256, 0)])
    '3 at batch 1, 2 at batch 8 to 64, 0 (autoregressive decoding) at batch 256'
    """
    parts = []
    for length, some in groupby(lengths, key=lambda pair: pair[1]):
        batches = [f"{batch:g}" for batch, _ in some]
        where = " to ".join(dict.fromkeys((batches[0], batches[-1])))
        parts.append(f"{length:g}{'' if length else ' (autoregressive decoding)'} at batch {where}")
    return ", ".join(parts)


def best_falls(results: Results) -> Verdict:
    """Judge the direction of Theorem 1.3 on a GPU: the best draft length decreases with the batch."""
    ends, steady, found, files = [], [], [], []
    for campaign in campaigns(results):
        curves = {context: some for context, some in best_lengths(campaign).items() if len(some) > 1}
        for context, lengths in curves.items():
            values = [length for _, length in lengths]
            ends.append((values[0], values[-1]))
            steady.append(all(later <= earlier for earlier, later in pairwise(values)))
            found.append(f"{campaign.gpu}, context {context:g}: {_by_batch(lengths)}")
        files += [_file(campaign, "specdecode")] if curves else []
    if not ends:
        return _NO_RECORD
    falls = [first - last for first, last in ends]
    whole = all(fall > 0 for fall in falls) and all(steady)
    return Verdict(
        REPRODUCED if whole else PARTLY if sum(falls) > 0 else CONTRADICTED,
        "best chain length: " + "; ".join(found),
        "recorded",
        tuple(files),
        f"best length {span((first for first, _ in ends), 0)} at the smallest batch, "
        f"{span((last for _, last in ends), 0)} at the largest",
    )


def verify_is_flat(results: Results) -> Verdict:
    """Compare steps of a few tokens with steps of one token at small batches."""
    ratios, files = [], []
    for campaign in campaigns(results):
        rows = [row for row in campaign.rows("step") if row["graph"] == 1 and row["batch"] <= MAX_BATCH]
        names = ("model", "dtype", "batch", "context")
        plain = {tuple(row[name] for name in names): row["latency_ms"] for row in rows if row["role"] == "plain"}
        some = [
            row["latency_ms"] / plain[key]
            for row in rows
            if row["role"] == "verify"
            and row["tokens"] <= MAX_TOKENS
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
