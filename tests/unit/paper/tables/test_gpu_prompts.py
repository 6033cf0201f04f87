"""Prefill steps of measured GPUs and their attention."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_results import rewrite, step
from paper_results import only


def test_prefill_steps_are_listed_by_their_new_tokens(finished_results: Path) -> None:
    rows = only(finished_results, "gpu-prompts").rows
    assert [(row["tokens"], row["measured_s"]) for row in rows] == [(512, 0.010), (2048, 0.040)]
    assert rows[0]["blind_error"] == pytest.approx(-0.05)


def test_a_cached_prefix_is_compared_with_the_prompt_without_one(finished_results: Path) -> None:
    table = only(finished_results, "gpu-prompt-attention")
    fresh, cached, wide = table.rows
    assert (cached["cached"], cached["tokens"], fresh["cached"], wide["tokens"]) == (2048, 512, 0, 2048)
    assert cached["ratio"] == pytest.approx(4.0) and cached["blind_ratio"] == pytest.approx(4.4)
    assert "ratio" not in fresh and "ratio" not in wide
    assert "median error of the ratio 10.0 % over 1 prompts" in " ".join(table.notes)


def test_the_roofline_and_the_second_pass_stand_beside_a_step(own_results: Path) -> None:
    row = step("prefill", 1, 512, 10.0) | {"blind_naive_s": 0.006, "again_latency_ms": 10.1}
    rewrite(own_results, "step", [row])
    (shown,) = only(own_results, "gpu-prompts").rows
    assert shown["roofline_error"] == pytest.approx(-0.4) and shown["again"] == pytest.approx(0.01)
