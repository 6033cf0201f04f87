"""Lines under a table: the deployment, the evidence behind its numbers, and what its intervals cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scylla_sim.prediction import between_sources
from scylla_sim.prediction.evidence import EVIDENCE_MEANING, WEAKEST_FIRST, shares_in_words
from scylla_sim.specs.engine import Engine


def interval_coverage(engine: Engine, *, tp: int, acceptance: bool | None, load: bool = False) -> str:
    """Return which uncertainties the 90 % intervals contain, and which they do not.

    Parameters
    ----------
    engine
        Engine of the deployment.
    tp
        TP ranks.
    acceptance
        Whether the tokens per cycle have an interval; ``None`` without a draft.
    load
        Whether the lengths of the requests are known, so that prefills are included.

    Examples
    --------
    >>> interval_coverage(Engine("ideal"), tp=1, acceptance=True)
    '90 % intervals cover kernels and acceptance, but not the engine or the load (decoding only)'
    """
    covered, missing = ["kernels"], []
    if between_sources.applies(engine):
        covered += ["engine versions", *(["TP"] if tp > 1 else []), "differences between deployments"]
    else:
        missing.append("the engine")
    if acceptance is not None:
        (covered if acceptance else missing).append("acceptance")
    (covered if load else missing).append("prefills" if load else "the load (decoding only)")
    but = f", but not {_listed(missing, 'or')}" if missing else ""
    return f"90 % intervals cover {_listed(covered, 'and')}{but}"


def _listed(items: Sequence[str], word: str) -> str:
    """Return items as words of one sentence.

    Examples
    --------
    >>> _listed(["a", "b", "c"], "or"), _listed(["a"], "or")
    ('a, b or c', 'a')
    """
    return f" {word} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def footer(
    rows: Sequence[Mapping[str, Any]],
    shares: Sequence[Mapping[str, float]],
    coverage: str,
    *,
    draft_len: int | None = None,
) -> str:
    """Return the lines under a table.

    Parameters
    ----------
    rows
        Rows of the table; the first one names the deployment, and the weakest evidence of all is stated.
    shares
        Shares of each cycle by level of evidence.
    coverage
        Result of `interval_coverage`.
    draft_len
        Draft length of all rows; ``None`` if it varies.
    """
    row = rows[0]
    draft = "no draft" if row["draft"] == "none" else f"draft {row['draft']}"
    if draft_len is not None and row["draft"] != "none":
        draft += f" with draft_len {draft_len}"
    if row["draft"] != "none" and row.get("draft_tp", row["tp"]) != row["tp"]:
        draft += f" on {row['draft_tp']} GPU"
    head = f"{row['model']} on {row['tp']}x {row['hardware']}, {row['precision']}, {draft}, engine {row['engine']}"
    published = (
        "; acceptance: published (typical of the method)" if row["acceptance_evidence"] == "published" else ""
    )
    evidence = min((one["evidence"] for one in rows), key=WEAKEST_FIRST.index)
    meaning = EVIDENCE_MEANING.get(evidence, evidence)
    verified = f"; verification with {row['verify_attention']}" if row.get("verify_attention") else ""
    return (
        f"{head}{verified}\n"
        f"evidence: {evidence} ({meaning}){published}; shares of a cycle: {shares_in_words(shares)}\n"
        f"{coverage}\n"
    )
