"""Tables and verdicts of the laws by training: what they print is in the files, and the rules can fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from smallscale_results import DEPTHS, TOKENS

from paper.claims import small_scale as claims
from paper.claims.index import judged
from paper.sources.results import Results
from paper.tables import small_scale, small_scale_measured
from paper.tables.small_scale import law_path, verdict


def edit(folder: Path, what: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / law_path(what, "small")
    content = json.loads(path.read_text())
    for row in content["rows"]:
        change(row)
    path.write_text(json.dumps(content))


def test_a_recorded_run_and_this_one_stand_in_one_table_with_their_seeds(finished_results: Path) -> None:
    rows = small_scale.tokens(Results(finished_results)).rows
    assert [(row["run"], row["decoder_layers"], row["seeds"]) for row in rows] == [
        *(("recorded, scale small", depth, 3) for depth in DEPTHS),
        *(("this run", depth, 1) for depth in DEPTHS),
    ]
    assert rows[0]["slope_upper"] - rows[0]["slope_lower"] == pytest.approx(0.2), "over seeds"
    assert rows[-1]["slope_upper"] - rows[-1]["slope_lower"] == pytest.approx(0.04), "of the fit"
    assert {row["verdict"] for row in rows} == {"best"}
    assert rows[0]["aicc_power"] == 4.0


def test_layers_are_in_the_order_of_numbers_not_of_letters(finished_results: Path) -> None:
    rows = small_scale.layers(Results(finished_results)).rows
    assert [row["train_tokens"] for row in rows[: len(TOKENS)]] == list(TOKENS)


@pytest.mark.parametrize(
    ("deltas", "low", "said"),
    [
        ({"log-linear": 0.0, "power": 4.0}, 0.1, "best"),
        ({"log-linear": 0.0, "power": 1.0}, 0.1, "ties"),
        ({"log-linear": 1.5, "power": 0.0}, 0.1, "ties"),
        ({"log-linear": 5.0, "power": 0.0}, 0.1, "power is better"),
        ({"log-linear": 0.0, "power": 4.0}, -0.1, "no trend"),
        ({"log-linear": None, "power": 0.0}, 0.1, "not told"),
    ],
)
def test_the_word_about_rivals_follows_the_criterion(
    deltas: dict[str, float | None], low: float, said: str
) -> None:
    forms = {
        name: {"delta_aicc": delta, "a": 0.5, "a_lower": low, "a_upper": 0.9} for name, delta in deltas.items()
    }
    assert verdict(forms) == said


def test_the_laws_are_reproduced_only_with_seeds_slope_and_fit(own_results: Path) -> None:
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


def test_the_logarithm_of_the_batch_is_contradicted_by_twice_the_error_of_its_inverse(own_results: Path) -> None:
    assert claims.optimum(Results(own_results)).status == "contradicted"
    edit(own_results, "optimum", lambda row: row.update(loo_rmse=0.07))
    assert claims.optimum(Results(own_results)).status == "partly"
    edit(own_results, "optimum", lambda row: row.update(loo_rmse=0.04))
    assert claims.optimum(Results(own_results)).status == "reproduced"


def test_nothing_trained_is_nothing_claimed(tmp_path: Path) -> None:
    found = [row for row in judged(Results(tmp_path)) if "trained here" in row["claim"]]
    assert len(found) == 3 and {row["status"] for row in found} == {"not checked"}


def test_one_learning_rate_is_named_with_the_highest_mean(finished_results: Path) -> None:
    table = small_scale_measured.rates(Results(finished_results))
    assert table.rows[-1]["rate 0.02"] == pytest.approx(2.02)
    assert "highest mean (rate 0.02)" in table.notes[0]
