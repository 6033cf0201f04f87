"""Best draft shape on measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_results import attention, cycle, rewrite
from paper_results import only

from paper.claims import gpu
from paper.claims.verdict import CONTRADICTED
from paper.sources.gpu_records import campaigns
from paper.tables.gpu_best_k import best_lengths


def test_regret_is_relative_to_the_measured_best_which_may_be_plain(own_results: Path) -> None:
    one, many = only(own_results, "gpu-best-k").rows
    assert (one["best"], one["blind_best"], one["blind_regret"]) == ("3", "3", 0.0)
    assert (many["best"], many["blind_best"], many["calibrated_best"]) == ("1", "3", "1")
    assert many["blind_regret"] == pytest.approx(1 - 1.1 / 1.2)
    assert many["always_5_regret"] == pytest.approx(1 - 0.9 / 1.2)
    notes = " ".join(only(own_results, "gpu-best-k").notes)
    assert "blind: the predicted best is the measured best in 1 of 2 situations" in notes
    rewrite(own_results, "specdecode", [cycle(64, 3, 0.8), cycle(64, 5, 0.7)])
    (slow,) = only(own_results, "gpu-best-k").rows
    assert (slow["best"], slow["speedup"], slow["always_3_regret"]) == ("0", 1.0, pytest.approx(0.2))


def test_two_drafts_are_told_apart(own_results: Path) -> None:
    rewrite(own_results, "specdecode", [cycle(1, 3, 1.4), cycle(1, 3, 1.2) | {"draft": "eagle3"}])
    (row,) = only(own_results, "gpu-best-k").rows
    assert row["best"] == "3, llama-3.2-1b"


def test_rows_are_sorted_by_context_first(own_results: Path) -> None:
    rows = [cycle(batch, 3, 1.2) | {"context_len": size} for batch, size in ((64, 512), (1, 2048), (1, 512))]
    rewrite(own_results, "specdecode", rows)
    places = [(row["context"], row["batch"]) for row in only(own_results, "gpu-best-k").rows]
    assert places == [(512, 1), (512, 64), (2048, 1)]
    shapes = [(batch, size, width) for batch in (64, 1) for size in (2048, 512) for width in (1, 4)]
    rewrite(own_results, "kernels", [attention(*shape, 0.01) for shape in shapes])
    places = [(row["context"], row["batch"]) for row in only(own_results, "gpu-verify-attention").rows]
    assert places == [(512, 1), (512, 64), (2048, 1), (2048, 64)]


def test_lengths_measured_at_some_batches_only_are_no_choices(own_results: Path) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rows = [cycle(1, 1, 1.3), cycle(1, 2, 1.5) | tree, cycle(1, 8, 1.4), cycle(64, 1, 1.2), cycle(64, 2, 1.1)]
    results = rewrite(own_results, "specdecode", rows)
    assert best_lengths(campaigns(results)[0]) == {512: [(1, 1), (64, 1)]}
    assert gpu.best_falls(results).status == CONTRADICTED
