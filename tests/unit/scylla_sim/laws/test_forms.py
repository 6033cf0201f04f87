"""A law is one entry: its fit, its domain and its derived lists."""

import numpy as np
import pytest

from scylla_sim.laws import fit, forms
from scylla_sim.laws.additive import TERMS
from scylla_sim.laws.grouped import OFFSET_FORMS


def test_a_new_law_is_one_entry(monkeypatch):
    root = forms.LawForm(
        "a sqrt(x) + c", ("a", "c"), lambda x: np.stack([np.sqrt(x), np.ones_like(x)], axis=-1), min_x=0.0
    )
    monkeypatch.setitem(forms.ALL_FORMS, "root", root)
    law = fit.fit([0, 1, 4, 9], [1.0, 3.0, 5.0, 7.0], "root")
    assert law.values == pytest.approx([2.0, 1.0])
    assert root.has_constant
    assert root.excludes([-1.0, 0.0]).tolist() == [True, False]


def test_derived_lists_follow_the_entries():
    assert OFFSET_FORMS == ("log-linear", "log1p", "linear", "saturating-exponential", "broken")
    assert TERMS == {"log-linear": "ln {}", "log1p": "ln({} + 1)", "linear": "{}"}
    assert set(forms.ALL_FORMS) == {*forms.FORMS, *forms.PERPLEXITY_FORMS}
