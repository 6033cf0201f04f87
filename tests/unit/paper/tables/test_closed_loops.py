"""Published closed loops with and without a draft."""

from __future__ import annotations

from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import put

from paper.sources.results import Results
from paper.tables import closed_loops


def test_a_gain_has_an_interval_and_the_measured_one_beside_it(tmp_path: Path) -> None:
    write_endtoend(tmp_path, put)
    plain, drafted = closed_loops.serving_speculation(Results(tmp_path)).rows
    assert (plain["draft"], drafted["draft"], plain.get("gain")) == ("none", "eagle3, 5", None)
    assert plain["e2e_error"] == pytest.approx(-0.2)
    assert plain["tpot_error"] is None
    # equal rates with 10 % on each side: 14 % together; 10 s over 12.5 s
    assert (drafted["gain"], drafted["measured_gain"]) == (1.0, pytest.approx(0.8))
    assert drafted["gain_lower"] == pytest.approx(0.8586, abs=1e-4)
    assert drafted["gain_upper"] == pytest.approx(1.1414, abs=1e-4)
