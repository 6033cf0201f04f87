"""Rules for trained drafts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper_results import edit as edit_file

from paper.claims import small_scale as claims
from paper.claims.index import judged
from paper.sources.results import Results
from paper.tables.small_scale import law_path


def edit(folder: Path, what: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the recorded fit of a law."""
    edit_file(folder / law_path(what, "small"), change)


def test_seeds_slope_and_fit_decide_on_the_laws(own_results: Path) -> None:
    def status(judge: Callable[[Results], Any]) -> str:
        return str(judge(Results(own_results)).status)

    assert status(claims.tokens) == status(claims.layers) == "reproduced"
    edit(own_results, "tokens", lambda row: row.update(r2=0.96))
    edit(own_results, "layers", lambda row: row.update(r2=0.94))
    assert status(claims.tokens) == status(claims.layers) == "partly"
    for what in ("tokens", "layers"):
        edit(own_results, what, lambda row: row.update(r2=0.99, replicates=2))
    assert status(claims.tokens) == status(claims.layers) == "partly"
    for what in ("tokens", "layers"):
        edit(own_results, what, lambda row: row.update(a_replicates_lower=-0.1, replicates=3))
    assert status(claims.tokens) == status(claims.layers) == "contradicted"


def test_a_rival_contradicts_that_tokens_and_layers_add(own_results: Path) -> None:
    found = claims.add_up(Results(own_results))
    assert found.status == "contradicted" and "64 AICc less" in found.finding
    edit(own_results, "joint", lambda row: row.update(delta_aicc=0.0 if row["form"] == "sum" else 1.0))
    assert claims.add_up(Results(own_results)).status == "reproduced"


def test_twice_the_error_of_the_inverse_contradicts_the_logarithm(own_results: Path) -> None:
    assert claims.optimum(Results(own_results)).status == "contradicted"
    edit(own_results, "optimum", lambda row: row.update(loo_rmse=0.07))
    assert claims.optimum(Results(own_results)).status == "partly"
    edit(own_results, "optimum", lambda row: row.update(loo_rmse=0.04))
    assert claims.optimum(Results(own_results)).status == "reproduced"


def test_claims_without_trained_drafts_are_not_checked(tmp_path: Path) -> None:
    found = [row for row in judged(Results(tmp_path)) if "trained here" in row["claim"]]
    assert len(found) == 7 and {row["status"] for row in found} == {"not checked"}
