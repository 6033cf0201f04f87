"""The decay over positions: published series predicted by a law fitted on the others."""

from pathlib import Path

import numpy as np
import pytest

from scylla_sim import acceptance, decay
from scylla_sim.checks import InputError
from scylla_sim.records import read_columns

PUBLISHED = Path(__file__).parents[2] / "paper" / "published" / "tau_vs_draft_len.csv"


@pytest.fixture(scope="module")
def series():
    columns = read_columns(PUBLISHED)
    found: dict[str, tuple[list[int], list[float]]] = {}
    for label, k, tau in zip(columns["series"], columns["draft_len"], columns["tokens_per_cycle"]):
        lengths, taus = found.setdefault(label, ([], []))
        lengths.append(int(k))
        taus.append(float(tau))
    return found


def test_the_exponent_is_the_published_series_median(series):
    exponents = [decay.own_exponent(*points) for points in series.values()]
    assert len(exponents) == 19
    assert np.median(exponents) == pytest.approx(decay.POSITION_EXPONENT, abs=5e-3)
    assert np.std(exponents, ddof=1) == pytest.approx(decay.POSITION_SPREAD, abs=5e-3)


def test_long_drafts_are_predicted_with_less_than_half_the_error_of_one_rate(series):
    """From tau at K = 3 alone (every series has it) and from all of K <= 3; K = 5..8 measured."""
    pairs = decay.held_out(series)
    only_three = [row for row in pairs if row["known"] == "3"]
    assert len(only_three) == 53
    law, one_rate = (np.mean([abs(row[key]) for row in only_three]) for key in ("error", "iid_error"))
    assert one_rate == pytest.approx(0.109, abs=1e-3)
    assert law < one_rate / 2
    most_known = {row["series"]: row["known"] for row in pairs}
    best = [abs(row["error"]) for row in pairs if row["known"] == most_known[row["series"]]]
    assert len(best) == 53
    assert np.mean(best) < one_rate / 3


def test_intervals_from_one_tau_cover(series):
    pairs = [row for row in decay.held_out(series) if "+" not in row["known"]]
    covered = np.mean([row["lower"] <= row["measured"] <= row["upper"] for row in pairs])
    assert 0.85 < covered <= 1.0, "nominal 0.9; 141 pairs of 19 series are far from independent"


def test_one_tau_keeps_the_exponent_and_meets_the_tau():
    found = decay.fit_decay(3, 2.9, exponent=0.5)
    assert found.exponent == pytest.approx(0.5, abs=1e-6)
    assert acceptance.tokens_per_cycle(found.profile(3)) == pytest.approx(2.9, abs=1e-6)


def test_many_taus_move_the_exponent():
    rates = decay.position_profile(0.9, 8, exponent=1.5)
    lengths = [1, 2, 3, 4, 6, 8]
    taus = [float(acceptance.tokens_per_cycle(rates[:k])) for k in lengths]
    found = decay.fit_decay(lengths, taus, noise=0.001)
    assert (found.first_rate, found.exponent) == (pytest.approx(0.9, abs=1e-3), pytest.approx(1.5, abs=1e-2))


def test_exponent_zero_is_one_rate():
    assert decay.position_profile(0.7, 5, exponent=0.0) == pytest.approx(np.full(5, 0.7))
    assert decay.position_profile([0.0, 1.0], 2).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decay.fit_decay(3, 4.0), r"tokens_per_cycle=4.0 must be below draft_len \+ 1 = 4"),
        (lambda: decay.fit_decay(3, 1.0), "tokens_per_cycle=1.0 must be above 1"),
        (lambda: decay.fit_decay([1, 2], [1.5]), "must have one value per draft length"),
        (lambda: decay.held_out({"a": ([1, 5], [1.5, 2.0])}), "series=1 must be at least 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
