"""Energy of measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_results import cycle, rewrite
from paper_results import only


def test_energy_is_per_kept_token(finished_results: Path) -> None:
    generation, first, *others = only(finished_results, "gpu-energy").rows
    assert first["token_j"] == pytest.approx(12 / 1.3 / 2) and first["plain_j"] == 6.0
    assert others[-1]["token_j"] == pytest.approx(12 / 0.9 / 2 / 64)
    assert first["cycle_w"] == pytest.approx(600)
    assert (generation["what"], first["what"]) == ("generation", "single cycle (indicative)")
    assert generation["token_j"] == pytest.approx(12 / 1.5 / 2.01) and generation["context"] == 512


def test_notes_state_noise_floor_and_counting_time(own_results: Path) -> None:
    noise = {0: 1.02, 1: 0.9, 2: 1.3}
    rows = [
        cycle(8, length, 1.5) | {"again_energy_j": noise[length] * 8.0, "again_plain_energy_j": 6.0}
        for length in noise
    ]
    rewrite(own_results, "specdecode", [*rows, cycle(64, 3, 1.1)])
    table = only(own_results, "gpu-energy")
    said = " ".join(table.notes)
    assert (
        "from 3 that a second pass repeated: energy median 10.0 %, 90th percentile 26.0 %; plain energy median 0.0 "
        "%" in said
    )
    assert "their ratio median 10.0 %, 90th percentile 26.0 %" in said
    assert "energy was counted: generations 0.2 to 0.2 s, cycles 0.2 to 0.2 s" in said
    assert [row.get("again") for row in table.rows[1:]] == [
        *(pytest.approx(share - 1) for share in noise.values()),
        None,
    ]


def test_the_ratio_of_energies_has_a_second_pass_of_its_own(finished_results: Path) -> None:
    rows = [row for row in only(finished_results, "gpu-energy").rows if row["batch"] == 1 and "again" in row]
    assert len(rows) == 3
    for row in rows:
        assert row["again"] == pytest.approx(0.1) and row["again_ratio"] == pytest.approx(0, abs=1e-9)


def test_power_of_a_cycle_is_compared_with_its_generation(finished_results: Path) -> None:
    said = " ".join(only(finished_results, "gpu-energy").notes)
    assert "power of a single cycle over that of the same generation: 1.00 at batch 1." in said
