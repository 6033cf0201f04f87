"""Rank profiles of ``scylla-sim cycles --ranks``: tokens per cycle of the tree in each row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scylla_sim.acceptance import trees
from scylla_sim.checks import FloatArray, fail
from scylla_sim.number_columns import NumberRule, line_of, parse_numbers
from scylla_sim.records import read_columns

RANKS = ("depth", "rank", "probability")
"""Columns of a file of rank profiles."""
DEPTH = NumberRule(1.0, 1000.0, whole=True)
RANK = NumberRule(0.0, 1e6, whole=True)
PROBABILITY = NumberRule(0.0, 1.0)

Key = tuple[str, ...]


def _profile(path: str, key: Key, cells: Mapping[tuple[int, int], float]) -> FloatArray:
    """Return a profile, shape (depths, ranks), from its cells by depth and rank."""
    size = (max(depth for depth, _ in cells), max(rank for _, rank in cells) + 1)
    if len(cells) != size[0] * size[1]:
        raise fail("ranks", path, f"must hold each of {size[0]} depths and {size[1]} ranks once", f"for {key}")
    return np.array([[cells[depth + 1, rank] for rank in range(size[1])] for depth in range(size[0])])


def read_profiles(path: str, shapes: Mapping[str, list[str]]) -> tuple[list[str], dict[Key, FloatArray]]:
    """Read rank profiles.

    Parameters
    ----------
    path
        CSV file with the columns `RANKS`.
    shapes
        Columns of the configurations. A column that both files have selects the profile of a row.

    Returns
    -------
    shared
        Names of the columns that select a profile.
    profiles
        Values of these columns -> acceptance probabilities, shape (depths, ranks).

    Raises
    ------
    InputError
        If a cell is not a valid number, or a profile lacks a cell or repeats one.
    """
    columns = read_columns(path, needed=RANKS)
    place = line_of(path)
    shared = [name for name in columns if name in shapes and name not in (*RANKS, "evidence")]
    depths, ranks, probabilities = (
        parse_numbers(name, columns[name], place, rule=rule)
        for name, rule in zip(RANKS, (DEPTH, RANK, PROBABILITY))
    )
    cells: dict[Key, dict[tuple[int, int], float]] = {}
    for index, (depth, rank) in enumerate(zip(depths.astype(int).tolist(), ranks.astype(int).tolist())):
        of_key = cells.setdefault(tuple(columns[name][index].strip() for name in shared), {})
        if (depth, rank) in of_key:
            raise fail("ranks", path, f"holds depth {depth}, rank {rank} twice, again {place(index)}")
        of_key[depth, rank] = float(probabilities[index])
    return shared, {key: _profile(path, key, of_key) for key, of_key in cells.items()}


def tokens_per_cycle(path: str, shapes_path: str, shapes: Mapping[str, list[str]]) -> FloatArray:
    """Return the tokens per cycle of the tree in the column ``paths`` of each row.

    Parameters
    ----------
    path, shapes_path
        Files of the rank profiles and of the configurations.
    shapes
        Columns of the configurations.

    Raises
    ------
    InputError
        If a row has no profile, or its tree does not agree with its draft_len and verify_tokens.
    """
    if "paths" not in shapes:
        raise fail("column", "paths", "is needed with --ranks", "rank paths of a tree, such as 0 1 0.0")
    shared, profiles = read_profiles(path, shapes)
    place = line_of(shapes_path)
    values = []
    for index, text in enumerate(shapes["paths"]):
        key = tuple(shapes[name][index].strip() for name in shared)
        if key not in profiles:
            raise fail("ranks", path, f"has no profile for {dict(zip(shared, key))}")
        try:
            paths = [tuple(map(int, part.split("."))) for part in text.split()]
        except ValueError:
            raise fail("paths", text, f"must be rank paths such as 0 1 0.0 {place(index)}") from None
        tree = trees.from_paths(paths)
        for name, size in (("draft_len", tree.draft_len), ("verify_tokens", tree.verify_tokens)):
            if float(shapes[name][index]) != size:
                rule = f"must be {size}, the value of the tree in paths, {place(index)}"
                raise fail(name, shapes[name][index], rule)
        values.append(float(trees.tokens_per_cycle(tree, profiles[key])))
    return np.array(values)
