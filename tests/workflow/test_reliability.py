"""The page of reliability: it is what its script makes of the committed results."""

from __future__ import annotations

from proof import reliability


def test_the_page_is_made_from_the_results() -> None:
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page()


def test_every_number_of_a_proof_is_in_the_page() -> None:
    page = reliability.page()
    for name in ("fuzz", "faults", "mutations", "sweep", "slurm"):
        found = reliability._read(name)
        assert found is not None, f"proof/{name}.json is missing"
    mutations = reliability._read("mutations")
    assert mutations is not None
    assert f"| all | {mutations['killed']} | {mutations['survived']} |" in page
