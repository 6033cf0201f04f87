"""Rules for the abstract and Table 5."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import edit, status

from paper.claims import throughput
from paper.sources.results import Results


@pytest.mark.parametrize(
    ("gain", "expected"), [(2.0, "reproduced"), (3.0, "partly"), (1.5, "partly"), (1.1, "contradicted")]
)
def test_the_predicted_gain_decides_on_the_doubled_throughput(
    own_results: Path, gain: float, expected: str
) -> None:
    for name, rate in (("eagle2", 500.0), ("scylla", 500.0 * gain)):
        edit(own_results / f"steps/table5-{name}.json", lambda row, rate=rate: row.update(tokens_per_s=rate))
    assert status(own_results, "2x the throughput") == expected


def test_the_deepest_draft_counts_in_the_rule_of_table_5(
    own_results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All errors are 14 %, and the deepest draft has 20 %: the mean of three methods is 16 %."""
    rows = [{f"{method}_error": 0.14 for method in throughput.METHODS}]
    tables, _ = throughput.table5_rows(Results(own_results))
    monkeypatch.setattr(throughput, "table5_rows", lambda results: (tables, rows))
    for deepest, expected in ((0.14, "partly"), (0.20, "contradicted")):
        errors = {"1": 0.14, "5": deepest}
        monkeypatch.setattr(throughput, "scylla_errors", lambda results, rows, errors=errors: errors)
        assert throughput.table5(Results(own_results)).status == expected
