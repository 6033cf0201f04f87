"""Documents: their split, their alphabet, and what is left out."""

from __future__ import annotations

import pytest

from gpu_validate.training.documents import ascii_bytes, prose_documents, source_documents, split_of
from scylla_sim.checks import InputError


def test_tune_and_test_hold_a_tenth_of_the_documents_each() -> None:
    splits = [split_of(str(number).encode()) for number in range(4000)]
    assert splits.count("tune") / 4000 == pytest.approx(0.10, abs=0.02)
    assert splits.count("test") / 4000 == pytest.approx(0.10, abs=0.02)


def test_text_is_ascii_with_one_tab_per_indentation() -> None:
    assert ascii_bytes("        return 'ä\0'") == b"\t\treturn '??'"


def test_missing_package_is_named() -> None:
    with pytest.raises(InputError, match="package='no_such_package' is not installed"):
        next(source_documents(("no_such_package",)))


def test_docstrings_are_in_the_split_of_their_file() -> None:
    split = ""
    for number, document in enumerate(source_documents(())):
        if document.domain == "code":
            split = document.split
        assert document.split == split
        if number == 300:
            break


def test_prose_comes_in_pieces_of_about_two_thousand_characters() -> None:
    pieces = [document.text for document in prose_documents(bible=False)]
    assert len(pieces) > 50
    assert all(len(piece) < 4000 for piece in pieces)
