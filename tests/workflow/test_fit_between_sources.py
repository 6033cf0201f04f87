"""The script that estimates differences between published deployments from scored runs."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.prediction import between_sources
from scylla_sim.records import format_csv


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import fit_between_sources as module

    sys.path.pop(0)
    return module


def served(sd: float) -> str:
    """Rows of two sources whose errors have this spread; the intervals contain the shipped differences only."""
    rng = np.random.default_rng(1)
    rows = []
    for index in range(2000):
        preset = ("vllm", "vllm-2025")[index // 2 % 2]
        row = {"source": "ab"[index % 2], "preset": preset, "tau_from": "given"}
        for name, columns in SCRIPT_COLUMNS.items():
            old = name == "speedup" and preset == "vllm-2025"
            quantity = between_sources.SUPERSEDED if old else name
            reach = 1.0 + np.expm1(between_sources.Z_90 * between_sources.shipped_sd(quantity))
            for column, measured in columns.items():
                row |= {measured: float(np.exp(rng.normal(0.0, 2.0 * sd if old else sd)))}
                row |= {column: 1.0, f"{column}_lower": 1.0 / reach, f"{column}_upper": reach}
        rows.append(row)
    rows += [{**row, "preset": "ideal", "measured_speedup": 9.0} for row in rows[:500]]
    rows += [{**row, "tau_from": "fitted", "measured_speedup": 9.0} for row in rows[:500]]
    return format_csv(rows)


SCRIPT_COLUMNS = {
    "speedup": {"speedup": "measured_speedup"},
    "rate": {
        "tokens_per_s": "measured_tokens_per_s",
        "plain_tokens_per_s": "measured_plain_tokens_per_s",
        "cycle_s": "measured_cycle_s",
        "plain_step_s": "measured_plain_step_s",
    },
}


def test_spread_of_simulated_sources_is_found_and_written(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, data = tmp_path / "served.csv", tmp_path / "between.toml"
    runs.write_text(served(0.12))
    script.main(runs, data)
    found = tomllib.loads(data.read_text())
    for quantity, spread in (("speedup", 0.12), ("speedup_superseded", 0.24), ("rate", 0.12)):
        assert found[quantity]["sd"] == pytest.approx(spread, rel=0.06)
        assert found[quantity]["sources"] == 2
    for quantity in ("speedup", "speedup_superseded"):
        assert found[quantity]["runs"] == 1000, "runs of no preset and fitted tokens per cycle are left out"
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("speedup ")]
    assert [line[1] for line in lines] == ["a", "b", "all", "mean"]


def test_shipped_file_has_the_fields_that_the_script_writes(script: ModuleType) -> None:
    shipped = tomllib.loads((ROOT / "scylla_sim" / "data" / "between_sources.toml").read_text())
    assert set(shipped) == set(script.MEASURED)
    for quantity in shipped.values():
        assert set(quantity) == {"sd", "runs", "sources", "source"}
