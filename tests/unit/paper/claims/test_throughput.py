"""Rules for the abstract and Table 5."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import edit, status


@pytest.mark.parametrize(
    ("gain", "expected"), [(2.0, "reproduced"), (3.0, "partly"), (1.5, "partly"), (1.1, "contradicted")]
)
def test_the_predicted_gain_decides_on_the_doubled_throughput(
    own_results: Path, gain: float, expected: str
) -> None:
    for name, rate in (("eagle2", 500.0), ("scylla", 500.0 * gain)):
        edit(own_results / f"steps/table5-{name}.json", lambda row, rate=rate: row.update(tokens_per_s=rate))
    assert status(own_results, "2x the throughput") == expected
