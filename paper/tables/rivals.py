"""Theorems 1.1 and 1.2 against their classical rival, SDSL: acceptance affine in the draft's perplexity."""

from __future__ import annotations

from paper.render.table import Column, Table, joined
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from paper.tables.laws import RIVAL_MARGIN, coefficients, law_table
from scylla_sim.records import Row

DATA = {
    "rival-tokens": "Fig. 1, pretraining tokens",
    "rival-tokens-zero": "Fig. 1, tokens with the point without pretraining",
    "rival-layers": "Fig. 1, decoder layers",
    "rival-both": "Fig. 1, both panels at once",
    "rival-both-10b": "Fig. 1, both, with 10 B tokens of tuning",
    "rival-layers-elsewhere": "layers of DSpark and DFlash drafts",
    "rival-data-elsewhere": "training data of EAGLE and EAGLE-3",
}
"""Result file -> the points in it."""


def _verdict(name: str, laws: ResultTable) -> str:
    """Which of the two views the points prefer, if either, and whether a third form beats both."""
    scores: dict[str, float] = {}
    for row in laws.rows:
        if row.get("converged") and row.get("aicc") is not None:
            kind = (
                "rival" if row["form"].startswith("sdsl") else "log" if row["form"].startswith("log") else "other"
            )
            scores[kind] = min(scores.get(kind, float("inf")), row["aicc"])
    if "rival" not in scores or "log" not in scores:
        return f"{DATA[name]}: too few points to tell."
    ahead = scores["log"] - scores["rival"]
    if abs(ahead) <= RIVAL_MARGIN:
        return f"{DATA[name]}: the points cannot tell logarithm from rival (within {abs(ahead):.1f} AICc)."
    better, behind = ("rival", "logarithm") if ahead > 0 else ("logarithm", "rival")
    return f"{DATA[name]}: the {better} is better than the {behind} by {abs(ahead):.0f} AICc."


def _rows(name: str, laws: ResultTable) -> list[Row]:
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
    """Logarithms of tokens and layers, or one perplexity? Both fitted to every published series that allows it."""
    files = {name: law_table(results, f"laws/{name}.json") for name in DATA}
    rows = [row for name, laws in files.items() for row in _rows(name, laws)]
    inputs = ("fig1_tokens", "fig1_layers", "capacity_layers", "capacity_data")
    return Table(
        "rival-law",
        "Theorems 1.1 and 1.2 against SDSL: logarithms, or one law of the draft's perplexity",
        (
            Column("data", "points of"),
            Column("law", "law"),
            Column("points", "points", digits=0),
            Column("coefficients", "coefficients ± standard error"),
            Column("r2", "R²", digits=3),
            Column("delta_aicc", "ΔAICc", digits=1),
            Column("loo_rmse", "leave-one-out RMSE", digits=3),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"points": "published", "fits": "of published points"}),
        commits(files.values()),
        sources=[
            *(row["source"] for name in inputs for row in published.rows(name)),
            "SDSL, arXiv 2603.11053 (the form)",
            "Hoffmann et al., arXiv 2203.15556 (the law of the loss)",
        ],
        notes=[
            *(_verdict(name, laws) for name, laws in files.items()),
            "P is the perplexity of a model of the draft's weights and training tokens by Hoffmann's law; of the "
            "two, what does not vary is left out, which changes the slope alone.",
            "Assumed: 1 B tokens of tuning where some draft had no pretraining (ln(T + 1) assumes the same); 0.1 B "
            "tokens in EAGLE's ShareGPT (0.02 to 1 B change no verdict); layers of the target's width.",
            "With several series, R² is within a series, and each has an offset. SDSL states its law of a rate; "
            "tokens per cycle take the same form, for over the range of Fig. 1 they are a straight line in it "
            "within 0.01 tokens. DSpark's points, which range wider, give the same order in rates as in tokens.",
        ],
    )


def pretraining_elsewhere(results: Results) -> Table:
    """What more pretraining is worth beyond Fig. 1's points: predicted by each law, and measured by others."""
    laws = law_table(results, "laws/rival-pretraining.json")
    less, more = published.rows("pretraining_elsewhere")
    carried = {
        tokens: results.table(f"laws/osprey-{tokens}.json", how_to_make(f"laws/osprey-{tokens}.json"))
        for tokens in (f"{less['pretrain_tokens_b']:g}", f"{more['pretrain_tokens_b']:g}")
    }
    at = [float(value(table.rows[0], "tokens_per_cycle", table.path)) for table in carried.values()]
    measured = at[1] - at[0]
    rows: list[Row] = []
    for law in laws.rows:
        if not law.get("converged"):
            continue
        ends = [float(value(law, f"y({tokens})", laws.path)) for tokens in carried]
        gain = ends[1] - ends[0]
        low, high = sorted(gain * law[f"a_{end}"] / law["a"] for end in ("lower", "upper"))
        rows.append(
            {
                "law": f"{law['form']}: {law['formula']}",
                "gain": gain,
                "interval": f"{low:.3f} to {high:.3f}",
                "measured": measured,
                "verdict": "holds it"
                if low <= measured <= high
                else "too much"
                if low > measured
                else "too little",
                "evidence": law.get("evidence"),
            }
        )
    first, last = (f"{row['pretrain_tokens_b']:g} B" for row in (less, more))
    gained = more["tokens_per_cycle"] - less["tokens_per_cycle"]
    return Table(
        "pretraining-elsewhere",
        f"What pretraining from {first} to {last} tokens is worth: laws of Fig. 1 against {less['series']}",
        (
            Column("law", "law, fitted to Fig. 1 (0 to 100 B)"),
            Column("gain", "predicted gain", "tokens/cycle", digits=3),
            Column("interval", "90 % interval of the slope"),
            Column("measured", "measured gain", "tokens/cycle", digits=3),
            Column("verdict", "the interval"),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"laws": "of published points", "measured": "published (secondary), carried"}),
        commits([laws, *carried.values()]),
        sources=[row["source"] for row in (less, more, *published.rows("fig1_tokens"))],
        notes=[
            f"Measured: {less['tokens_per_cycle']:g} to {more['tokens_per_cycle']:g} ({gained:+.3f}) on "
            f"{less['target_model']} with chains of {less['draft_len']:g}, carried to Fig. 1's tree by the law of "
            "decay and the rank law. No law was fitted to these two points.",
            "Another target, a draft of two layers, and a difference that is small beside the scatter of such "
            "measurements: evidence against a logarithm without end, not for one rival.",
        ],
    )
