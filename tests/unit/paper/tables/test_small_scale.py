"""Laws of trained drafts."""

from __future__ import annotations

from pathlib import Path

import pytest
from smallscale_results import DEPTHS, TOKENS

from paper.sources.results import Results
from paper.tables import small_scale
from paper.tables.small_scale import verdict


def test_recorded_and_live_training_are_in_one_table(finished_results: Path) -> None:
    rows = small_scale.tokens(Results(finished_results)).rows
    assert [(row["run"], row["decoder_layers"], row["seeds"]) for row in rows] == [
        *(("recorded, scale small", depth, 3) for depth in DEPTHS),
        *(("this run", depth, 1) for depth in DEPTHS),
    ]
    assert rows[0]["slope_upper"] - rows[0]["slope_lower"] == pytest.approx(0.2), "over seeds"
    assert rows[-1]["slope_upper"] - rows[-1]["slope_lower"] == pytest.approx(0.04), "of the fit"
    assert {row["verdict"] for row in rows} == {"best"}
    assert rows[0]["aicc_power"] == 4.0


def test_groups_are_in_numeric_order(finished_results: Path) -> None:
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
        ({"log-linear": None, "power": 0.0}, 0.1, "undecided"),
    ],
)
def test_the_verdict_follows_aicc_and_slope(deltas: dict[str, float | None], low: float, said: str) -> None:
    forms = {
        name: {"delta_aicc": delta, "a": 0.5, "a_lower": low, "a_upper": 0.9} for name, delta in deltas.items()
    }
    assert verdict(forms) == said
