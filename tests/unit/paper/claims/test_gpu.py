"""Rules for measured GPUs."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpu_results import cycle, rewrite, step, without_gpu

from paper import summary
from paper.claims import gpu, index
from paper.claims.verdict import CONTRADICTED, NOT_CHECKED, PARTLY, REPRODUCED
from paper.sources.results import Results
from paper.tables.gpu_table import NOT_MEASURED


def test_verdicts_follow_their_rules(own_results: Path) -> None:
    results = Results(own_results)
    assert gpu.speedup(results).status == PARTLY  # 5 of 6 inside
    assert gpu.best_falls(results).status == REPRODUCED
    assert gpu.verify_is_flat(results).status == REPRODUCED
    wrong = rewrite(own_results, "specdecode", [cycle(1, 1, 1.3, blind=2.0), cycle(64, 5, 1.4, blind=2.0)])
    assert gpu.speedup(wrong).status == CONTRADICTED
    assert gpu.best_falls(wrong).status == CONTRADICTED
    steep = rewrite(own_results, "step", [step("plain", 1, 1, 6.0), step("verify", 1, 4, 9.0)])
    assert gpu.verify_is_flat(steep).status == CONTRADICTED


def test_every_measured_gpu_must_support_the_speedup(own_results: Path) -> None:
    shutil.copytree(own_results / "gpu/h100-sxm", own_results / "gpu/h200-sxm")
    rewrite(own_results, "specdecode", [cycle(1, 1, 1.3), cycle(8, 1, 1.2)])
    verdict = gpu.speedup(Results(own_results))
    assert verdict.status == PARTLY  # all inside on one GPU, 5 of 6 on the other
    assert verdict.brief == "h100-sxm 100 % inside, median error 2.0 %; h200-sxm 83 % inside, median error 2.0 %"
    rewrite(own_results, "specdecode", [cycle(1, 1, 1.3, blind=2.0)])
    assert gpu.speedup(Results(own_results)).status == CONTRADICTED


def test_claims_without_a_record_are_not_checked(own_results: Path) -> None:
    results = Results(without_gpu(own_results))
    rows = [row for row in index.judged(results) if "measured GPU" in row["claim"] or row["where"] == "simulator"]
    assert len(rows) == 3
    for row in rows:
        assert (row["status"], row["finding"]) == (NOT_CHECKED, "not measured: no GPU record")
    assert any(NOT_MEASURED in line for line in summary.lines(results))


def test_a_best_length_that_rises_in_between_is_partly_reproduced(own_results: Path) -> None:
    def best(batch: int, length: int) -> list[dict[str, object]]:
        return [cycle(batch, n, 1.5 if n == length else 1.1) for n in (1, 3, 5)]

    for middle, expected in ((3, REPRODUCED), (5, PARTLY)):
        rows = [*best(1, 3), *best(8, middle), *best(64, 1)]
        assert gpu.best_falls(rewrite(own_results, "specdecode", rows)).status == expected
