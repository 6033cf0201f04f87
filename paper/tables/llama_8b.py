"""Tables ``llama-8b-plain``, ``llama-8b-verify`` and ``verify-gap``: steps compared with a published fit.

The published fit is linear in the new and the cached tokens of the batch, for Llama-3.1-8B on one H100 under vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import joined, mean, percent
from paper.sources import published
from paper.sources.published import step_seconds
from paper.sources.results import Results, commits, value
from paper.tables.published_cycles import token_seconds
from scylla_sim.checks import fail
from scylla_sim.records import Row
from scylla_sim.units import MICRO

GAP_TOKENS = 128
"""Smallest number of verified tokens in the table of the gap."""

_BATCH = Column("batch_size", "batch", digits=0)
_CONTEXT = Column("context_len", "context", digits=0)
_ERROR = percent_column("error", "error", signed=True)


def _measured_batches() -> set[float]:
    """Return the batches that were measured for the published fit; other batches only lie on its line."""
    return {float(batch) for batch in str(published.rows("step_times", component="forward")[0]["batches"]).split()}


def _summary(what: str, errors: Sequence[float]) -> str:
    """Return mean, median and largest absolute error in a sentence."""
    size = [abs(error) for error in sorted(errors, key=abs)]
    return f"{what}: mean error {percent(mean(size))}, median {percent(median(size))}, largest {percent(size[-1])}."


def _plain_notes(rows: Sequence[Row]) -> list[str]:
    """Return the errors at measured batches, at other batches and over all cells."""
    known = ", ".join(f"{batch:.0f}" for batch in sorted(_measured_batches()))
    parts = {
        f"At the batches that were measured for the fit ({known})": "yes",
        "At the other batches, which lie on its line only": "no",
    }
    errors = {
        what: [row["error"] for row in rows if row["batch_measured"] == measured]
        for what, measured in parts.items()
    }
    errors["Over all cells"] = [row["error"] for row in rows]
    return [_summary(what, some) for what, some in errors.items() if some]


def llama_plain(results: Results) -> Table:
    """Return plain decode steps of Llama-3.1-8B on an H100 next to the published fit."""
    table = results.table("steps/llama-8b-plain.json")
    rows: list[Row] = []
    measured = _measured_batches()
    for row in table.rows:
        batch, context = value(row, "batch_size", table.path), value(row, "context_len", table.path)
        reported = step_seconds("forward", batch, batch * context)
        predicted = value(row, "plain_step_s", table.path)
        rows.append(
            {
                "batch_size": batch,
                "context_len": context,
                "batch_measured": "yes" if batch in measured else "no",
                "reported_s": reported,
                "predicted_s": predicted,
                "lower_s": row.get("plain_step_lower_s"),
                "upper_s": row.get("plain_step_upper_s"),
                "error": predicted / reported - 1,
                "evidence": f"published, {value(row, 'evidence', table.path)}",
            }
        )
    notes = _plain_notes(rows)
    bounds = [(row["lower_s"], row["reported_s"], row["upper_s"]) for row in rows if row["lower_s"] is not None]
    columns = [ms_column("reported_s", "published fit"), ms_column("predicted_s", "predicted")]
    if bounds:
        inside = sum(low <= middle <= high for low, middle, high in bounds)
        notes.append(f"The 90 % interval contains {inside} of {len(bounds)} published values.")
        columns += [ms_column("lower_s", "lower"), ms_column("upper_s", "upper")]
    fit = published.rows("step_times", component="forward")[0]
    notes.append(
        f"Published fit: {1e3 * fit['intercept_s']:.3f} ms + {1e6 * fit['per_token_s']:.1f} us per token + "
        f"{1e9 * fit['per_kv_token_s']:.1f} ns per cached token, for one forward pass on an H100 under vLLM."
    )
    notes.append(
        "The fit holds steps that read prompts too, so its slope per token is mainly that of prompts. At many "
        "sequences the line lies above plain decoding."
    )
    return Table(
        "llama-8b-plain",
        "Plain decode steps of Llama-3.1-8B on one H100, kernels only",
        (_BATCH, _CONTEXT, Column("batch_measured", "batch measured for the fit"), *columns, _ERROR, EVIDENCE),
        rows,
        joined({"fit": "published", "predicted": ", ".join(table.levels())}),
        commits([table]),
        sources=[fit["source"]],
        notes=notes,
    )


def llama_verify(results: Results) -> Table:
    """Return drafting, verification and overhead of an EAGLE-3 cycle next to the published fit."""
    table = results.table("steps/llama-8b-verify.json")
    rows: list[Row] = []
    for row in table.rows:
        batch, context, tokens = (
            value(row, name, table.path) for name in ("batch_size", "context_len", "verify_tokens")
        )
        parts = {
            "draft": step_seconds("draft", batch, batch * context),
            "verify": step_seconds("forward", batch * tokens, batch * context),
            "overhead": step_seconds("overhead", batch, 0),
        }
        cycle = value(row, "cycle_s", table.path)
        line: Row = {"batch_size": batch, "context_len": context, "verify_tokens": batch * tokens}
        for name, seconds in parts.items():
            line |= {f"{name}_reported_s": seconds, f"{name}_s": value(row, f"{name}_s", table.path)}
        reported = sum(parts.values())
        line |= {"cycle_reported_s": reported, "cycle_s": cycle, "error": cycle / reported - 1}
        rows.append({**line, "evidence": f"published, {value(row, 'evidence', table.path)}"})
    columns = [_BATCH, _CONTEXT, Column("verify_tokens", "tokens verified", digits=0)]
    for name in ("draft", "verify", "overhead", "cycle"):
        columns += [ms_column(f"{name}_reported_s", f"{name}: published"), ms_column(f"{name}_s", "predicted")]
    return Table(
        "llama-8b-verify",
        "Draft-verify cycles of Llama-3.1-8B with EAGLE-3 on one H100 under vLLM",
        (*columns, _ERROR, EVIDENCE),
        rows,
        joined({"fit": "published", "predicted": f"{', '.join(table.levels())}; overheads from the published fit"}),
        commits([table]),
        sources=[row["source"] for row in published.rows("step_times")],
        notes=[
            _summary("Whole cycles", [row["error"] for row in rows]),
            "The predicted draft and verify columns are device time. The overhead column contains the host time "
            "and the time per token of both.",
            "The host time of a step comes from this same fit, the other overheads of the preset from other runs "
            "of vLLM up to 0.10. The version behind the fit is not stated.",
            "The published draft time does not state the number of draft tokens; the prediction drafts three.",
        ],
    )


def verify_gap(results: Results) -> Table:
    """Return the gap between published verification times and kernel times, and what the token term explains."""
    path = "steps/llama-8b-verify.json"
    table = results.table(path)
    engine, token_s, interval = token_seconds(results)
    rows: list[Row] = []
    for row in table.rows:
        batch, context, width = (
            value(row, name, table.path) for name in ("batch_size", "context_len", "verify_tokens")
        )
        tokens = batch * width
        if tokens < GAP_TOKENS:
            continue
        reported = step_seconds("forward", tokens, batch * context)
        kernels = value(row, "verify_s", table.path)
        rows.append(
            {"tokens": tokens, "context_len": context, "reported_s": reported, "kernels_s": kernels}
            | {"gap_s": reported - kernels, "per_token_s": (reported - kernels) / tokens}
            | {"error": kernels / reported - 1, "with_term_error": (kernels + tokens * token_s) / reported - 1}
            | {"evidence": f"published, {value(row, 'evidence', table.path)}"}
        )
    if not rows:
        raise fail("verify_tokens", "[]", f"has no batch with {GAP_TOKENS} or more tokens in {path}")
    each = [row["per_token_s"] for row in rows]
    return Table(
        "verify-gap",
        f"Published verification time minus kernel time, {GAP_TOKENS} and more tokens, Llama-3.1-8B on one H100",
        (
            Column("tokens", "tokens verified", digits=0),
            _CONTEXT,
            ms_column("reported_s", "published fit"),
            ms_column("kernels_s", "predicted kernels"),
            ms_column("gap_s", "gap"),
            Column("per_token_s", "gap per token", "us", digits=1, scale=1e6),
            percent_column("error", "error of the kernels", signed=True),
            percent_column("with_term_error", "error with the token term", signed=True),
            EVIDENCE,
        ),
        rows,
        joined({"fit": "published", "kernels": ", ".join(table.levels())}),
        commits([table, engine]),
        sources=[published.rows("step_times", component="forward")[0]["source"]],
        notes=[
            f"Gap per token: median {median(each) / MICRO:.1f} us, from {min(each) / MICRO:.1f} to "
            f"{max(each) / MICRO:.1f}. The token term of the vLLM preset is {token_s / MICRO:.1f} us ({interval}).",
            "The token term comes from serving runs with a draft, not from these rows.",
            "The source fitted a straight line to batches of 1 to 64. The data do not show whether the gap is host "
            "work or an error of extending that line.",
        ],
    )
