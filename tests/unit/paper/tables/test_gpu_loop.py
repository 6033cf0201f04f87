"""Speed-ups with and without the kernels that choose tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_results import CYCLES, cycle, rewrite
from paper_results import only

from paper.tables.gpu_loop import errors


def test_both_predictions_are_scored_on_the_same_cycles(finished_results: Path) -> None:
    shipped, own = only(finished_results, "gpu-loop").rows
    assert (shipped["calibration"], shipped["shapes"], shipped["n"]) == ("shipped", "chains", 6)
    assert own["calibration"] == "own kernels"
    assert shipped["kernels_median"] == pytest.approx(0.02) and shipped["loop_median"] == pytest.approx(0.005)
    assert shipped["kernels_coverage"] == pytest.approx(5 / 6) and shipped["loop_coverage"] == 1
    assert shipped["loop_width"] == pytest.approx(1.1 / 0.9)
    assert own["loop_bias"] == pytest.approx(0)


def test_trees_have_a_row_of_their_own_and_the_fit_is_stated(own_results: Path) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rewrite(own_results, "specdecode", [*CYCLES, CYCLES[0] | tree])
    value = "value = {}\nsource = 'fitted: 16 cycles of h100-sxm'\n"
    parts = [f"[x.{name}]\n{value.format(number)}" for name, number in LOOP.items()]
    (own_results / "gpu" / "loop.toml").write_text("".join(parts))
    table = only(own_results, "gpu-loop")
    assert [(row["shapes"], row["n"]) for row in table.rows] == [("chains", 6), ("trees", 1)] * 2
    assert "0.24 ms a cycle and 0.084 ms a draft pass" in " ".join(table.notes)


LOOP = {"draft_host_s": 0.24, "draft_pass_host_s": 0.084}
"""Fitted times in ms."""


@pytest.mark.parametrize(("measured", "inside"), [(0.8, 0.0), (1.0, 1.0), (1.3, 0.0)])
def test_a_speed_up_may_lie_outside_either_end(measured: float, inside: float) -> None:
    row = {"speedup": measured, "loop_speedup": 1.0, "loop_speedup_lower": 0.9, "loop_speedup_upper": 1.1}
    found = errors([row], "loop")
    assert found["coverage"] == inside
    assert found["bias"] == pytest.approx(1.0 / measured - 1.0)


def test_a_loop_without_a_fit_says_so(own_results: Path) -> None:
    (own_results / "gpu" / "loop.toml").write_text('[measured-loop]\ninherits = "ideal"\n')
    assert "too few cycles" in " ".join(only(own_results, "gpu-loop").notes)


def test_the_roofline_and_the_noise_floor_stand_beside_the_errors(own_results: Path) -> None:
    more = {"blind_naive_speedup": 1.5}
    rows = [cycle(1, 1, 1.2) | more | {"again_speedup": 1.2}, cycle(1, 3, 1.0) | more | {"again_speedup": 1.02}]
    rewrite(own_results, "specdecode", rows)
    shipped, _ = only(own_results, "gpu-loop").rows
    assert shipped["roofline"] == pytest.approx((0.25 + 0.5) / 2)
    assert shipped["floor"] == pytest.approx(0.01 / 1.01)
