"""Steps of Llama-3.1-8B compared with a published fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import cycle, only, put

from paper.sources import published
from paper.sources.results import Results
from paper.tables.llama_8b import verify_gap


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    rows = [cycle(b, 512, verify_tokens=4, verify_s=7e-3 + 1e-5 * b * 4, evidence="silicon") for b in (8, 32, 64)]
    put(tmp_path, "steps/llama-8b-verify.json", rows)
    return Results(tmp_path)


def test_batches_that_were_not_measured_have_an_error_of_their_own(own_results: Path) -> None:
    path = own_results / "steps/llama-8b-plain.json"
    content = json.loads(path.read_text())
    plain = content["rows"][0]
    content["rows"] = [
        plain
        | {
            "batch_size": b,
            "context_len": 512,
            "plain_step_s": (1 + error) * published.step_seconds("forward", b, 512 * b),
        }
        for b, error in ((1, 0.01), (2, 0.3), (4, -0.2), (8, -0.03), (64, 0.05))
    ]
    path.write_text(json.dumps(content))
    table = only(own_results, "llama-8b-plain")
    assert [row["batch_measured"] for row in table.rows] == ["yes", "no", "no", "yes", "yes"]
    fitted, other, everything = table.notes[:3]
    assert fitted.endswith("(1, 8, 16, 32, 64): mean error 3.0 %, median 3.0 %, largest 5.0 %.")
    assert other.endswith("mean error 25.0 %, median 25.0 %, largest 30.0 %.")
    assert everything == "Over all cells: mean error 11.8 %, median 5.0 %, largest 30.0 %."


def test_the_gap_of_verification_is_per_token_and_only_from_128_tokens(results: Results) -> None:
    rows = verify_gap(results).rows
    assert [row["tokens"] for row in rows] == [128, 256]
    for row in rows:
        reported = published.step_seconds("forward", row["tokens"], row["tokens"] / 4 * 512)
        assert row["gap_s"] == pytest.approx(reported - 7e-3 - 1e-5 * row["tokens"])
        assert row["per_token_s"] == pytest.approx(row["gap_s"] / row["tokens"])
        assert row["with_term_error"] == pytest.approx(row["error"] + 1e-5 * row["tokens"] / reported)
