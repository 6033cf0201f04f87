"""Table ``joint-fig1``: laws of tokens and layers together on the two panels of Fig. 1."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.law_fits import RIVAL_MARGIN
from scylla_sim.records import Row

_FREE = "not determined"


def _parameters(law: Row) -> str:
    """Return the parameters of a law; one that the points leave free is named."""
    names = [key.removesuffix("_stderr") for key in law if key.endswith("_stderr")]
    shown = {name: law.get(name) for name in names}
    return ", ".join(f"{name} {_FREE if value is None else f'{value:.3g}'}" for name, value in shown.items())


def joint_fig1(results: Results) -> Table:
    """Return the joint laws fitted to both panels of Fig. 1, and which of them the points cannot tell apart."""
    laws = results.table("laws/joint-both.json")
    points = published.rows("fig1_both")
    near = [law["form"] for law in laws.rows if law["delta_aicc"] is not None and law["delta_aicc"] <= RIVAL_MARGIN]
    both = sum(row["decoder_layers"] > 1 and row["pretrain_tokens_b"] > 0 for row in points)
    return Table(
        "joint-fig1",
        "Theorems 1.1 and 1.2 together on the two panels of Fig. 1 (Vicuna-7B)",
        (
            Column("form", "law"),
            Column("formula", "formula"),
            Column("parameters", "parameters"),
            Column("n", "points", digits=0),
            Column("r2", "R²", digits=3),
            Column("delta_aicc", "ΔAICc", digits=1),
            Column("loo_rmse", "error at a left-out point", digits=3),
            EVIDENCE,
        ),
        [{**law, "parameters": _parameters(law)} for law in laws.rows if law["converged"]],
        joined({"points": "published", "fits": "of published points"}),
        commits([laws]),
        sources=[row["source"] for row in points],
        notes=[
            f"{both} of {len(points)} drafts have several layers and pretraining: the panels vary one of the two "
            "each, so they cannot show how the effects combine. T counts 1 B tokens of tuning and the pretraining.",
            f"The points cannot separate {', '.join(near)} (within {RIVAL_MARGIN:g} AICc).",
            "t = ln(T / T0) with the smallest T as T0, d = ln D. All deep drafts have T0 tokens. A law whose "
            "layers only act through a product with t gives them no effect there. Its poor fit comes from this "
            "choice of T0, and says nothing against an interaction.",
            "Series of other papers (tables layers-elsewhere, data-elsewhere) vary one of the two as well.",
        ],
    )
