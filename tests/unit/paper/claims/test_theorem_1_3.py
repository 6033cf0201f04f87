"""Rules for Theorem 1.3."""

from __future__ import annotations

from pathlib import Path

from paper_results import edit, status


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
