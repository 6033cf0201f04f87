"""The page of reliability: it is what its script makes of the committed results."""

from __future__ import annotations

from proof import reliability


def test_the_page_is_made_from_the_results() -> None:
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page()


def test_the_page_counts_the_wrong_formulas_of_the_last_run() -> None:
    mutations = reliability._read("mutations")
    assert mutations is not None
    assert f"| all | {mutations['killed']} | {mutations['survived']} |" in reliability.page()
    assert mutations["killed"] + mutations["survived"] == len(mutations["rows"])
