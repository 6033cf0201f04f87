"""Verdicts on outputs of speculative and of plain decoding."""

from __future__ import annotations

import pytest
import torch

from gpu_validate.decoding import lossless
from gpu_validate.decoding.decode import decode_plain
from gpu_validate.models.decoder import Decoder
from scylla_sim.specs.model import Model

TARGET = Decoder(Model("t", 1, 16, 24, 4, 2, 4, 9), dtype=torch.float64)
PROMPTS = torch.tensor([[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("at", "verdict", "differing"), [(None, "exact", 0), (0, "different", 1), (3, "different", 1)]
)
def test_any_other_token_makes_an_output_different(at: int | None, verdict: str, differing: int) -> None:
    plain = decode_plain(TARGET, PROMPTS, 4)
    fast = plain.clone()
    if at is not None:
        fast[1, at] = (fast[1, at] + 4) % 9
    found = lossless.compare_outputs(TARGET, PROMPTS, fast, plain)
    assert (found.verdict, found.differing) == (verdict, differing)


def test_tokens_whose_logits_are_equal_up_to_rounding_are_near_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = decode_plain(TARGET, PROMPTS, 4)
    fast = (plain + 1) % 9
    for behind, verdict in ((lossless.NEAR_TIE, "near ties"), (1.01 * lossless.NEAR_TIE, "different")):
        monkeypatch.setattr(
            lossless, "logit_shortfall", lambda *given, behind=behind: torch.tensor([[0.0, behind]])
        )
        found = lossless.compare_outputs(TARGET, PROMPTS, fast, plain)
        assert (found.verdict, found.differing) == (verdict, 2)
