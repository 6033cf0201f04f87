"""Hash splits: the same on every machine, and independent of the order of rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from scylla_sim.stats.split import FIT, HELD_OUT, column_hash, half_of, hashed_share, lowest_hashed

KEYS = [f"gemm,{n},{k}" for n in (1024, 2048, 4096) for k in (512, 1024, 2048, 4096)]


def test_lowest_hashed_keys_are_those_of_sha256() -> None:
    by_hash = sorted(KEYS, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    for count in (0, 1, 4, len(KEYS)):
        assert lowest_hashed(KEYS, count) == set(by_hash[:count])


def test_lowest_hashed_keys_do_not_depend_on_order_or_duplicates() -> None:
    assert lowest_hashed([*KEYS[::-1], *KEYS], 4) == lowest_hashed(KEYS, 4)


def test_halves_follow_the_first_byte_of_sha256() -> None:
    halves = [half_of(key) for key in KEYS]
    assert set(halves) == {FIT, HELD_OUT}
    assert halves == [(FIT, HELD_OUT)[hashlib.sha256(key.encode()).digest()[0] % 2] for key in KEYS]


def by_hand(values: list[int]) -> int:
    """The hash of one row in Python integers."""
    code = 0
    for value in values:
        code = (code * 31 + value) * 2654435761 % 2**64
        code ^= code >> 29
    return code


def test_column_hash_is_the_hash_of_each_row() -> None:
    n, k = np.array([4096, 6144, 128256]), np.array([4096, 4096, 2**40])
    expected = [by_hand([int(row_n), int(row_k)]) for row_n, row_k in zip(n, k)]
    assert column_hash([n, k]).tolist() == expected
    assert column_hash([n.astype(float), k]).tolist() == expected
    assert column_hash([k, n]).tolist() != expected
    assert int(column_hash([4096, 4096])) == expected[0]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_hashed_share_holds_about_its_share_of_keys(share: float) -> None:
    n, k = np.meshgrid(np.arange(1, 101), np.arange(1, 101))
    chosen = hashed_share([n.ravel(), k.ravel()], share)
    assert chosen.mean() == pytest.approx(share, abs=0.02)
