"""Rules for laws of tokens and layers together."""

from __future__ import annotations

from pathlib import Path

from paper_results import edit

from paper.claims import joint_laws as claims
from paper.sources.results import Results
from paper.tables.design_by_law import design_by_law, path
from paper.tables.small_scale import law_path
from paper.tables.small_scale_profiles import PATH, profiles

JOINT = law_path("joint", "long")


def test_the_error_in_the_corner_decides_whether_a_law_holds_jointly(own_results: Path) -> None:
    found = claims.hold_jointly(Results(own_results))
    assert found.status == "reproduced" and found.files == (JOINT,)
    edit(own_results / JOINT, lambda row: row.update(corner_error=0.1 if row["form"] == "sum" else 0.3))
    assert claims.hold_jointly(Results(own_results)).status == "partly"
    edit(own_results / JOINT, lambda row: row.update(corner_error=0.9))
    assert claims.hold_jointly(Results(own_results)).status == "contradicted"


def test_aicc_decides_between_laws_of_the_rate_and_of_tau(own_results: Path) -> None:
    found = claims.rate_or_tau(Results(own_results))
    assert found.status == "reproduced" and "19 AICc less" in found.finding
    edit(own_results / JOINT, lambda row: row.update(delta_aicc=1.0 if row["form"] == "sum" else row["delta_aicc"]))
    assert claims.rate_or_tau(Results(own_results)).status == "partly"
    edit(own_results / JOINT, lambda row: row.update(delta_aicc=0.0 if row["form"] == "sum" else 5.0))
    assert claims.rate_or_tau(Results(own_results)).status == "contradicted"


def test_moved_profiles_must_beat_the_limit_and_the_nearest_profile(own_results: Path) -> None:
    assert claims.profiles_move(Results(own_results)).status == "reproduced"
    edit(own_results / PATH, lambda row: row.update(median=0.05 if row["temperature"] else row["median"]))
    assert claims.profiles_move(Results(own_results)).status == "partly"
    edit(own_results / PATH, lambda row: row.update(median=0.01))
    assert claims.profiles_move(Results(own_results)).status == "contradicted"


def test_the_table_shows_every_test_with_iid_and_the_nearest_profile(own_results: Path) -> None:
    table = profiles(Results(own_results))
    shown = [(row["held_out"], row["prediction"]) for row in table.rows if row["temperature"] == 0]
    assert len(shown) == 4 * 6
    assert ("corner", "profile of the nearest draft") in shown
    assert ("corner", "its own measured profile, side branches as the main chain") in shown


def test_the_load_shortens_a_draft_and_may_add_layers(own_results: Path) -> None:
    assert claims.shrinks_with_load(Results(own_results)).status == "reproduced"
    large = own_results / path("100B")
    edit(large, lambda row: row.update(layers=3 if row["batch_size"] == 64 else 1))
    found = claims.shrinks_with_load(Results(own_results))
    assert found.status == "partly" and "product at 100 B tokens" in found.finding
    edit(large, lambda row: row.update(draft_len=6))
    assert claims.shrinks_with_load(Results(own_results)).status == "contradicted"
    assert len(design_by_law(Results(own_results)).rows) == 12
