"""Kernels of measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_verify_attention_is_relative_to_one_token_of_the_same_kernel(finished_results: Path) -> None:
    (row,) = only(finished_results, "gpu-verify-attention").rows
    assert row["one_ms"] == 0.01 and row["heads"] == "32/8"
    assert (row["measured_4"], row["measured_64"]) == (pytest.approx(1.1), pytest.approx(3.0))
    assert row["blind_4"] == pytest.approx(1.1) and "measured_8" not in row


def test_notes_state_the_errors_of_attention_by_width(finished_results: Path) -> None:
    said = " ".join(only(finished_results, "gpu-kernels").notes)
    assert (
        "blind: median error of triton_split_kv by number of query tokens (all batches and contexts): 1: 5.0 %, 64"
        in said
    )
    assert (
        "calibrated: median error of triton_split_kv by number of query tokens (held-out batches and contexts): 1: "
        "5.0 %" in said
    )
