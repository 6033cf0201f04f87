"""Tables ``rival-law`` and ``pretraining-elsewhere``: Theorems 1.1 and 1.2 compared with SDSL.

SDSL states that acceptance is an affine function of the draft's perplexity.
"""

from __future__ import annotations

from collections.abc import Sequence

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.law_fits import RIVAL_MARGIN, coefficients
from scylla_sim.records import Row

DATA = {
    "rival-tokens": "Fig. 1, pretraining tokens",
    "rival-tokens-zero": "Fig. 1, tokens with the point without pretraining",
    "rival-layers": "Fig. 1, decoder layers",
    "rival-both": "Fig. 1, both panels together",
    "rival-both-10b": "Fig. 1, both panels with 10 B tokens of tuning",
    "rival-layers-elsewhere": "layers of DSpark and DFlash drafts",
    "rival-data-elsewhere": "training data of EAGLE and EAGLE-3",
}
"""Result file -> its points in words."""


def _verdict(name: str, laws: ResultTable) -> str:
    """Return which of the two laws fits the points better by AICc, in a sentence."""
    scores: dict[str, float] = {}
    for row in laws.rows:
        if row.get("converged") and row.get("aicc") is not None:
            kind = (
                "rival" if row["form"].startswith("sdsl") else "log" if row["form"].startswith("log") else "other"
            )
            scores[kind] = min(scores.get(kind, float("inf")), row["aicc"])
    if "rival" not in scores or "log" not in scores:
        return f"{DATA[name]}: there are too few points to decide."
    ahead = scores["log"] - scores["rival"]
    if abs(ahead) <= RIVAL_MARGIN:
        return f"{DATA[name]}: the points cannot separate the logarithm from SDSL (within {abs(ahead):.1f} AICc)."
    better, behind = ("SDSL", "the logarithm") if ahead > 0 else ("the logarithm", "SDSL")
    return f"{DATA[name]}: {better} is better than {behind} by {abs(ahead):.0f} AICc."


def _rows(name: str, laws: ResultTable) -> list[Row]:
    """Return one row for each converged form of a file."""
    return [
        {
            "data": DATA[name],
            "law": f"{row['form']}: {row['formula']}",
            "points": value(row, "n", laws.path),
            "coefficients": coefficients(row),
            "r2": row.get("r2_within", row.get("r2")),
            "delta_aicc": row.get("delta_aicc"),
            "loo_rmse": row.get("loo_rmse"),
            "evidence": row.get("evidence"),
        }
        for row in laws.rows
        if row.get("converged")
    ]


def rival_law(results: Results) -> Table:
    """Return both laws fitted to every published series with enough points."""
    files = {name: results.table(f"laws/{name}.json") for name in DATA}
    rows = [row for name, laws in files.items() for row in _rows(name, laws)]
    inputs = ("fig1_tokens", "fig1_layers", "capacity_layers", "capacity_data")
    return Table(
        "rival-law",
        "Theorems 1.1 and 1.2 compared with SDSL: logarithms, or one law of the draft's perplexity",
        (
            Column("data", "points"),
            Column("law", "law"),
            Column("points", "number of points", digits=0),
            Column("coefficients", "coefficients ± standard error"),
            Column("r2", "R²", digits=3),
            Column("delta_aicc", "ΔAICc", digits=1),
            Column("loo_rmse", "leave-one-out RMSE", digits=3),
            EVIDENCE,
        ),
        rows,
        joined({"points": "published", "fits": "of published points"}),
        commits(files.values()),
        sources=[
            *(row["source"] for name in inputs for row in published.rows(name)),
            "SDSL, arXiv 2603.11053 (the law)",
            "Hoffmann et al., arXiv 2203.15556 (the loss)",
        ],
        notes=[
            *(_verdict(name, laws) for name, laws in files.items()),
            "P is the perplexity that the law of Hoffmann et al. gives for the draft's number of weights and "
            "training tokens. If one of the two does not vary, its term is left out, which changes the slope only.",
            "Assumed: 1 B tokens of tuning in series with a draft without pretraining, as in ln(T + 1). EAGLE's "
            "ShareGPT has 0.1 B tokens; values from 0.02 to 1 B change no verdict. Layers have the target's width.",
            "With several series, each has an offset, and R² is within a series.",
            "SDSL is a law of an acceptance rate. It is applied to tokens per cycle, which are linear in that rate "
            "within 0.01 tokens over the range of Fig. 1. The points of DSpark have a wider range, and rates and "
            "tokens rank the laws alike.",
        ],
    )


def _gain_row(law: Row, ends: Sequence[float], measured: float) -> Row:
    """Return the gain between two predicted values of a law, compared with the measured gain."""
    gain = ends[1] - ends[0]
    low, high = sorted(gain * law[f"a_{end}"] / law["a"] for end in ("lower", "upper"))
    place = "is above it" if low > measured else "is below it" if high < measured else "contains it"
    return {
        "law": f"{law['form']}: {law['formula']}",
        "gain": gain,
        "interval": f"{low:.3f} to {high:.3f}",
        "measured": measured,
        "verdict": place,
        "evidence": law.get("evidence"),
    }


def pretraining_elsewhere(results: Results) -> Table:
    """Return the gain of pretraining beyond the range of Fig. 1, predicted by each law and measured by others."""
    laws = results.table("laws/rival-pretraining.json")
    less, more = published.rows("pretraining_elsewhere")
    converted = {
        tokens: results.table(f"laws/osprey-{tokens}.json")
        for tokens in (f"{less['pretrain_tokens_b']:g}", f"{more['pretrain_tokens_b']:g}")
    }
    at = [float(value(table.rows[0], "tokens_per_cycle", table.path)) for table in converted.values()]
    measured = at[1] - at[0]
    rows = [
        _gain_row(law, [float(value(law, f"y({tokens})", laws.path)) for tokens in converted], measured)
        for law in laws.rows
        if law.get("converged")
    ]
    first, last = (f"{row['pretrain_tokens_b']:g} B" for row in (less, more))
    gained = more["tokens_per_cycle"] - less["tokens_per_cycle"]
    return Table(
        "pretraining-elsewhere",
        f"Gain of pretraining on {last} instead of {first} tokens: laws of Fig. 1 compared with {less['series']}",
        (
            Column("law", "law, fitted to Fig. 1 (0 to 100 B)"),
            Column("gain", "predicted gain", "tokens/cycle", digits=3),
            Column("interval", "90 % interval"),
            Column("measured", "measured gain", "tokens/cycle", digits=3),
            Column("verdict", "interval and measured gain"),
            EVIDENCE,
        ),
        rows,
        joined({"laws": "of published points", "measured": "published (secondary), converted"}),
        commits([laws, *converted.values()]),
        sources=[row["source"] for row in (less, more, *published.rows("fig1_tokens"))],
        notes=[
            f"Measured: {less['tokens_per_cycle']:g} to {more['tokens_per_cycle']:g} ({gained:+.3f}) on "
            f"{less['target_model']} with chains of {less['draft_len']:g}. The position decay and the rank law "
            "convert these values to the tree of Fig. 1. No law was fitted to these two points.",
            "The interval is that of the slope.",
            "The target differs from that of Fig. 1, the draft has two layers, and the difference is small "
            "compared with the scatter of such measurements. It is evidence against an unbounded logarithm, not "
            "for one rival.",
        ],
    )
