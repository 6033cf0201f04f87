"""EAGLE-3 cycles compared with published runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import put

from paper.sources import published
from paper.sources.results import Results
from paper.tables import llama_8b, published_cycles, serving_runs
from scylla_sim.checks import InputError


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    return Results(tmp_path)


def test_cycles_are_sums_of_operations_scored_on_other_tasks(results: Results) -> None:
    rows = published_cycles.specbundle(results).rows
    chain = next(row for row in rows if (row["draft_len"], row["top_k"]) == (5, 1))
    assert chain["predicted_s"] == pytest.approx(9e-3)
    cells = published.rows("specbundle_cycles", draft_len=5, top_k=1)
    scored = sorted(9e-3 / row["cycle_s"] - 1 for row in cells if row["task"] != "mtbench")
    assert chain["n"] == len(scored) == 12
    assert chain["mape"] == pytest.approx(sum(map(abs, scored)) / 12)
    assert chain["bias"] == pytest.approx((scored[5] + scored[6]) / 2)
    naive = sorted(abs(4e-3 / row["cycle_s"] - 1) for row in cells if row["task"] != "mtbench")
    assert chain["naive_median_ape"] == pytest.approx((naive[5] + naive[6]) / 2)
    assert 0 < chain["floor_median"] < 0.02


def test_the_ladder_fits_one_tau_and_states_the_reported_one(results: Results) -> None:
    table = published_cycles.sglang_ladder(results)
    # predicted shape is flat (6 ms over 9 ms), so the best one level is a speed-up that was reported
    levels = {round(row["sglang"], 9) for row in table.rows}
    assert len(levels) == 1
    assert levels <= {row["reported"] for row in table.rows}
    assert any("2.91 tokens per cycle" in note for note in table.notes)


@pytest.mark.parametrize(
    ("make", "missing", "said"),
    [
        (serving_runs.serving_runs, "serving/runs.json", r"make it with: snakemake"),
        (
            published_cycles.specbundle,
            "endtoend/specbundle-3-1.json",
            "snakemake results/endtoend/specbundle-3-1.json",
        ),
        (
            published_cycles.sglang_ladder,
            "endtoend/ladder-plain-vllm.json",
            "snakemake results/endtoend/ladder-plain-vllm.json",
        ),
        (llama_8b.verify_gap, "steps/llama-8b-verify.json", "snakemake results/steps/llama-8b-verify.json"),
    ],
)
def test_a_missing_file_says_how_to_make_it(results: Results, make, missing: str, said: str) -> None:  # type: ignore[no-untyped-def]
    put(results.root, "steps/llama-8b-verify.json", [{"batch_size": 1}])
    (results.root / missing).unlink()
    with pytest.raises(InputError, match=said):
        make(Results(results.root))


def test_the_difference_of_two_heads_leaves_out_their_median_ratio() -> None:
    """Ratios 1.1, 1.2 and 1.3: the median is 1.2, and the others differ from it by 8.3 %."""
    cells = [
        {"task": task, "cycle_s": seconds}
        for task, ratio in (("a", 1.1), ("b", 1.2), ("c", 1.3))
        for seconds in (1.0, ratio)
    ]
    assert published_cycles._difference_of_heads(cells) == pytest.approx(0.1 / 1.2)


def test_the_work_per_verified_token_counts_for_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 ms and 6 tokens of 0.5 ms against 10 ms: 20 % too fast; without the tokens 50 %."""
    cells = [{"task": "a", "cycle_s": 0.010}, {"task": "b", "cycle_s": 0.010}]
    monkeypatch.setattr(published, "rows", lambda name, **where: cells)
    row = published_cycles._shape_row((5, 1, 6), (0.005, 0.004), 0.0005)
    assert row["token_median_ape"] == pytest.approx(0.2)
    assert row["median_ape"] == pytest.approx(0.5)
