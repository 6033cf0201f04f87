"""Lines under a table: the deployment, the evidence behind its numbers, and what its intervals cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scylla_sim.prediction import between_sources
from scylla_sim.prediction.evidence import percentages
from scylla_sim.prediction.served_load import STATIC
from scylla_sim.specs.engine import Engine


def interval_coverage(
    engine: Engine, *, tp: int, acceptance: bool | None, load: bool = False, static: bool = False
) -> str:
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
    static
        Whether batches wait for their slowest sequence.

    Examples
    --------
    >>> interval_coverage(Engine("ideal"), tp=1, acceptance=True)
    '90 % intervals: kernels, acceptance; not the engine. Decoding only: no prefills.'
    """
    covered, missing = ["kernels"], []
    if between_sources.applies(engine):
        covered += ["engine versions", *(["TP"] if tp > 1 else []), "deployments"]
    elif engine.fitted_runs:
        covered.append(f"engine (fitted to {engine.fitted_runs} run{'s' * (engine.fitted_runs > 1)})")
    else:
        missing.append("the engine")
    if acceptance is not None:
        (covered if acceptance else missing).append("acceptance")
    covered += ["prefills"] if load else []
    covered += ["differences between prompts"] if static else []
    but = f"; not {', not '.join(missing)}" if missing else ""
    return f"90 % intervals: {', '.join(covered)}{but}.{'' if load else ' Decoding only: no prefills.'}"


LEVEL_WORDS = {
    "silicon": "kernels of this GPU",
    "transferred": "kernels of another GPU",
    "published": "engine overhead",
    "given": "engine overhead as given",
    "theory": "never measured on this GPU",
    "small-scale": "kernels at small scale",
    "recorded": "kernels measured before",
    "live": "kernels of this machine",
}
"""Level of evidence -> the parts of a cycle that have it."""


def evidence_line(shares: Sequence[Mapping[str, float]], *, acceptance: str = "") -> str:
    """Return the share of a cycle at each level of evidence, and its parts, in one line.

    Parameters
    ----------
    shares
        Shares of each cycle by level of evidence.
    acceptance
        Evidence of the tokens per cycle; ``published`` is stated.

    Examples
    --------
    >>> evidence_line([{"silicon": 0.94, "published": 0.06}, {"silicon": 0.82, "published": 0.18}])
    'Evidence: silicon 82-94 % of a cycle (kernels of this GPU), published 6-18 % (engine overhead).'
    """
    first, *others = [(level, percent) for level, percent in percentages(shares).items()]
    texts = [f"{first[0]} {first[1]} % of a cycle ({LEVEL_WORDS[first[0]]})"]
    texts += [f"{level} {percent} % ({LEVEL_WORDS[level]})" for level, percent in others]
    accepted = " Acceptance: published, typical of the method." if acceptance == "published" else ""
    return f"Evidence: {', '.join(texts)}.{accepted}"


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
    return "\n".join(
        (
            deployment_line(rows, draft_len=draft_len),
            evidence_line(shares, acceptance=row["acceptance_evidence"]),
            coverage,
            "",
        )
    )


def deployment_line(
    rows: Sequence[Mapping[str, Any]], *, draft_len: int | None = None, also: str = "", drafting: str = ""
) -> str:
    """Return the model, and what all rows of a table have in common: GPUs, precision, engine and draft.

    Parameters
    ----------
    rows
        Rows of the table.
    draft_len
        Draft length of all rows; ``None`` if it varies.
    also, drafting
        Further facts of the load, and of the draft, that all rows have in common.
    """

    def same(key: str) -> Any:
        values = {row.get(key) for row in rows}
        return values.pop() if len(values) == 1 else None

    hardware, tp, draft, attention = same("hardware"), same("tp"), same("draft"), same("verify_attention")
    gpus = f"{tp}x {hardware}" if hardware and tp else hardware or (f"{tp} GPU{'s' * (tp > 1)}" if tp else None)
    on = " on ".join(filter(None, (same("model"), gpus)))
    static = "static batches" if same("batch_mode") == STATIC else ""
    place = ", ".join(filter(None, (on, same("precision"), f"engine {same('engine')}", static, also)))
    length = "" if draft_len is None or draft == "none" else f"K = {draft_len}"
    apart = f"on {same('draft_tp')} GPU" if same("draft_tp") not in (None, tp) else ""
    drafted = ", ".join(filter(None, ("no draft" if draft == "none" else draft, apart, length, drafting)))
    verified = f"verified with {attention}" if attention else ""
    return f"{'; '.join(filter(None, (place, drafted, verified)))}."
