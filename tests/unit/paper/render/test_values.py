"""Numbers as text."""

from __future__ import annotations

import pytest

from paper.render.values import significant


@pytest.mark.parametrize(("number", "digits", "text"), [(0.0, 2, "0"), (-23.66, 4, "-23.66"), (154.4, 2, "154")])
def test_significant_digits_without_exponent(number: float, digits: int, text: str) -> None:
    assert significant(number, digits) == text
