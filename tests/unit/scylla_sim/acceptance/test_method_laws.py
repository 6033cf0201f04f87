"""Position laws of draft methods: the shipped numbers, and their errors on sources left out."""

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.acceptance import method_laws, positions, profiles
from scylla_sim.acceptance.method_laws import TauSeries
from scylla_sim.checks import InputError
from scylla_sim.records import read_columns

FILES = ("tau_vs_draft_len", "tau_vs_draft_len_specbundle", "tau_vs_draft_len_traces", "tau_vs_draft_len_more")


@pytest.fixture(scope="module")
def series():
    found = {}
    for name in FILES:
        columns = read_columns(ROOT / "paper" / "published" / f"{name}.csv")
        keys = zip(*(columns[column] for column in ("series", "method", "origin")))
        for key, k, tau in zip(keys, columns["draft_len"], columns["tokens_per_cycle"]):
            found.setdefault(key, []).append((int(k), float(tau)))
    return [TauSeries(*key, *zip(*sorted(points))) for key, points in found.items()]


def test_the_shipped_laws_are_those_of_the_published_series(series):
    fitted = method_laws.fit_laws(series)
    assert set(fitted) == set(positions.laws())
    for name, law in positions.laws().items():
        assert law.exponent == pytest.approx(fitted[name].exponent, abs=0.006)
        assert law.spread == pytest.approx(fitted[name].spread, abs=0.006)
        assert (law.later_rate or 0.0) == pytest.approx(fitted[name].later_rate or 0.0, abs=0.006)


def test_a_source_counts_once(series):
    """EAGLE-3: 60 of 90 series are one source, whose median is 0.30; the median over 8 sources is 0.34."""
    rows = {row["method"]: row for row in method_laws.law_rows(series, method_laws.fit_laws(series))}
    assert (rows["eagle3"]["series"], rows["eagle3"]["origins"]) == (90, 8)
    repeated = [*series, *(item for item in series if item.origin == "specbundle")]
    again = method_laws.fit_laws(repeated)["eagle3"]
    assert again.exponent == pytest.approx(rows["eagle3"]["exponent"], abs=1e-9)


def test_laws_of_other_sources_halve_the_error_of_one_rate(series):
    """Tau at 5 tokens or more from tau at 3, EAGLE-3, each source predicted by the others."""
    rows = [row for row in method_laws.left_out(series) if row["method"] == "eagle3"]
    law, one_rate, pooled = (
        np.mean([abs(row[key]) for row in rows]) for key in ("error", "iid_error", "pooled_error")
    )
    assert (len(rows), law, one_rate, pooled) == (170, *(pytest.approx(x, abs=1e-3) for x in (0.020, 0.044, 0.034)))
    inside = np.mean([row["lower"] <= row["measured"] <= row["upper"] for row in rows])
    assert 0.85 < inside < 0.97


def test_the_source_of_a_series_does_not_enter_its_law():
    rates = {c: positions.position_profile(0.8, 5, exponent=c) for c in (0.2, 1.0)}

    def one(label, c):
        taus = tuple(float(profiles.tokens_per_cycle(rates[c][:k])) for k in (1, 3, 5))
        return TauSeries(label, "mtp", label, (1, 3, 5), taus)

    first, second = method_laws.left_out([one("a", 0.2), one("b", 1.0)])
    assert (first["exponent"], second["exponent"]) == (pytest.approx(1.0, abs=1e-3), pytest.approx(0.2, abs=1e-3))
    assert first["predicted"] < first["measured"] and second["predicted"] > second["measured"]


def test_two_states_are_recovered():
    taus = tuple(1 + 0.2 * sum(0.6**i for i in range(k)) for k in (1, 2, 3, 5, 8))
    law = method_laws.fit_laws(
        [TauSeries("a", "ngram", "a", (1, 2, 3, 5, 8), taus), TauSeries("b", "mtp", "b", (1, 3), (1.8, 2.7))]
    )["ngram"]
    assert law.later_rate == pytest.approx(0.6, abs=1e-3)
    assert law.tokens_per_cycle(taus[2], 3, 8) == pytest.approx(taus[4], abs=2e-3)


def test_series_of_one_length_are_refused():
    with pytest.raises(InputError, match="series=1 must hold a method with two draft lengths"):
        method_laws.fit_laws([TauSeries("a", "mtp", "a", (3,), (2.5,))])
