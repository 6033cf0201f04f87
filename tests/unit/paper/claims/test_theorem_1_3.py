"""Rules for Theorem 1.3."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import edit, status

from paper.claims import theorem_1_3
from paper.claims.verdict import CONTRADICTED, PARTLY
from paper.sources import published
from paper.sources.results import Results
from paper.tables.law_fits import log_law


def test_the_crossover_holds_only_with_the_constants_of_the_figure(own_results: Path) -> None:
    words = "becomes compute-bound"
    assert status(own_results, words) == "partly"
    dense = own_results / "steps/fig5-dense.json"
    dense.write_bytes((own_results / "steps/fig5-paper.json").read_bytes())
    assert status(own_results, words) == "reproduced"
    for name in ("paper", "dense"):
        edit(own_results / f"steps/fig5-{name}.json", lambda row: row.update(k_opt=200.0))
    assert status(own_results, words) == "contradicted"


def test_the_logarithm_is_compared_with_the_inverse_batch(own_results: Path) -> None:
    words = "best number of paths is linear in ln(batch)"
    assert status(own_results, words) == "contradicted"
    edit(own_results / "laws/theorem-1.3.json", lambda row: row.update(loo_rmse=2.0))
    assert status(own_results, words) == "partly"
    edit(own_results / "laws/theorem-1.3.json", lambda row: row.update(loo_rmse=1.0))
    assert status(own_results, words) == "reproduced"


def test_a_maximum_at_the_edge_of_the_figure_is_a_lower_bound(
    own_results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law is above the only maximum, which is a contradiction inside the figure and none at its edge."""
    low, whole = 0.5 * log_law(published.quoted("1.3-throughput"), 8.0), published.rows
    for inside, expected in (("yes", CONTRADICTED), ("no", PARTLY)):
        point = {"batch_size": 8.0, "tokens_per_s": low, "inside": inside}
        monkeypatch.setattr(
            published,
            "rows",
            lambda name, point=point, **where: [point] if name == "fig5_max_throughput" else whole(name, **where),
        )
        assert theorem_1_3.throughput_law(Results(own_results)).status == expected
