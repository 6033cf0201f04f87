"""Sweeps over hardware, models and scenarios."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT

import scylla_sim
from scylla_sim.checks import InputError

sys.path.append(str(ROOT / "workflow"))
import sweeps

SMALL: dict[str, Any] = {
    "hardware": ["l40s"],
    "model": ["llama-3.1-8b"],
    "scenario": {"draft": ["eagle3"], "acceptance": [0.6, 0.8]},
    "batch": [1, 8],
    "context": [1024],
}


def test_the_committed_sweeps_are_read() -> None:
    found = sweeps.load()
    assert {name: sweeps.size(sweep) for name, sweep in found.items()} == {"drafts": 6000}


def test_a_sweep_has_the_rows_of_predict() -> None:
    rows = sweeps.rows_of(SMALL, "l40s")
    assert len(rows) == sweeps.size(SMALL) == 4
    alone = scylla_sim.predict(
        "llama-3.1-8b", hardware="l40s", draft="eagle3", acceptance=0.8, batch=8, context=1024
    )
    assert rows[3] == {**alone.rows()[0], "acceptance": 0.8}


def test_a_scenario_that_cannot_be_predicted_is_named() -> None:
    with pytest.raises(InputError, match="scenario=.*'hardware': 'l40s'.* acceptance=1.5 must lie in"):
        sweeps.rows_of(SMALL | {"scenario": {"draft": ["eagle3"], "acceptance": [1.5]}}, "l40s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenario": {"speed": [1]}}, "mine.scenario.speed is not an option of predict"),
        ({"batch": []}, "mine.batch"),
        ({"hardware": ["../x y"]}, "mine.hardware.0"),
        ({"baches": [1]}, "baches is not a setting"),
    ],
)
def test_a_bad_sweep_is_one_line(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweeps.yaml"
    path.write_text(yaml.safe_dump({"mine": SMALL | change}))
    with pytest.raises(SystemExit) as end:
        sweeps.load(path)
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.count("\n") == 1
