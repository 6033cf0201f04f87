"""The first lines of a prediction say what does not fit in memory, and never recommend it."""

from __future__ import annotations

from scylla_sim.prediction.answer import answer
from scylla_sim.text.tables import Column

ROW = {"draft_len": 3, "top_k": 1, "verify_tokens": 4, "context_len": 1024, "verdict": ""}
FAST = ROW | {"speedup": 1.6, "speedup_lower": 1.4, "speedup_upper": 1.8}
PRECISION = Column("precision", "precision")


def rows(*fits: bool) -> list[dict[str, object]]:
    """Return rows of two precisions at batch 8; the second one is faster."""
    return [
        FAST | {"batch_size": 8, "precision": name, "tokens_per_s": rate, "fits_memory": fit}
        for name, rate, fit in zip(("bf16", "int4"), (100.0, 200.0), fits)
    ]


def test_the_fastest_row_that_fits_is_recommended() -> None:
    assert "precision int4" in answer(rows(True, True), [PRECISION])
    assert "precision bf16" in answer(rows(True, False), [PRECISION])
    assert answer(rows(False, False), [PRECISION]) == "Nothing is sure to fit in memory at batch 8."


def test_batches_that_do_not_fit_are_named() -> None:
    def said(*fits: bool) -> str:
        return answer([FAST | {"batch_size": b, "fits_memory": fit} for b, fit in zip((1, 8, 64), fits)], [])

    assert "memory" not in said(True, True, True)
    assert said(True, True, False).endswith("It may not fit in memory at batch 64.")
    assert said(True, False, False).endswith("It may not fit in memory at batch 8 and more.")
    assert said(False, False, False).endswith("It may not fit in memory at any of these batches.")
