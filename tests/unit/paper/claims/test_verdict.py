"""Verdicts need evidence."""

from __future__ import annotations

import pytest

from paper.claims.verdict import Verdict
from scylla_sim.checks import InputError


def test_a_verdict_without_evidence_cannot_be_made() -> None:
    with pytest.raises(InputError, match="needs evidence"):
        Verdict("reproduced", "because")
    with pytest.raises(InputError, match="known: reproduced"):
        Verdict("confirmed", "because", "theory", ("x.json",))
