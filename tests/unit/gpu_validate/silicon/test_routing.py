"""Loads of experts as the benchmark of layers of experts draws them."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_validate.silicon import routing
from scylla_sim.checks import InputError


def draw(tokens: int, experts: int, chosen: int, alpha: float = 1.2, draws: int = 200) -> np.ndarray:
    return routing.power_law_counts(tokens, experts, chosen, alpha, np.random.default_rng(0), draws)


@pytest.mark.parametrize(
    ("tokens", "experts", "chosen"), [(1, 8, 2), (3, 8, 2), (512, 8, 2), (16, 128, 8), (48, 16, 1)]
)
def test_every_row_has_an_expert_and_no_expert_takes_a_token_twice(tokens: int, experts: int, chosen: int) -> None:
    counts = draw(tokens, experts, chosen)
    assert (counts.sum(axis=1) == tokens * chosen).all()
    assert counts.min() >= 0 and counts.max() <= tokens


def test_rows_go_to_the_least_loaded_and_come_from_the_most_loaded() -> None:
    loads = np.array([5, 0, 3, 0])
    assert routing._raise_least(loads, 5).tolist() == [5, 3, 3, 2]
    assert routing._raise_least(loads, 0).tolist() == loads.tolist()
    assert (-routing._raise_least(-loads, 3)).tolist() == [2, 0, 3, 0]


def test_few_rows_meet_an_expert_each() -> None:
    # with two tokens no scaled load reaches one half, so all rows go to experts that have none
    assert (draw(2, 128, 8, 1.01) > 0).sum(axis=1).tolist() == [16] * 200


def test_loads_are_reproducible_and_uneven_ones_fill_more_tiles() -> None:
    rows = [(1024, 128, 8, name) for name in ("balanced", "power_law_1.01", "power_law_1.01")]
    loads = routing.expected_loads(rows)
    assert loads["tiles_64"][1] == loads["tiles_64"][2] > loads["tiles_64"][0] == 128
    assert loads["groups"][0] == 128 and loads["ragged"][0] == 128


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(InputError, match="distribution='zipf' must be balanced or power_law_ALPHA"):
        routing.expected_loads([(8, 8, 2, "zipf")])
