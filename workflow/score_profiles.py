"""Errors of trees that are predicted from moved rank profiles of trained drafts, as a result file.

Usage: ``python workflow/score_profiles.py PROFILES.csv TREES.csv OUT.json``. The files are those of ``gpu-validate
curves --table profiles`` and ``--table trees``. Each row is a temperature, a test and a prediction; see
`scylla_sim.acceptance.profile_scores`. Rows of kind ``domain`` and ``temperature`` move the profile of all domains
at temperature 0 to another domain or temperature by one number per depth. It is fitted where tokens are few, and
scored where they are many.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scylla_sim.acceptance.profile_scores import tree_scores
from scylla_sim.acceptance.side_branches import branch_tokens_of_trees, from_log_odds, to_log_odds
from scylla_sim.acceptance.trained_profiles import SHIFTS, TrainedProfiles, fit_branch_shift, fit_shift
from scylla_sim.acceptance.trees import DraftTree, from_paths
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row, dump_json, read_columns, table, write_text

MIN_NODES = 16
"""Fewest nodes of the scored trees."""
FORMS = tuple(SHIFTS)
ALL = ("0", "all")
"""Temperature and domain of the profile that is moved to other domains and temperatures."""


@dataclass(frozen=True)
class Measured:
    """Profiles of one temperature and domain, and the tokens per cycle of the same drafts with some trees."""

    drafts: TrainedProfiles
    trees: list[DraftTree]
    tau: FloatArray


def _rows(path: str) -> list[dict[str, str]]:
    columns = read_columns(path)
    return [dict(zip(columns, cells)) for cells in zip(*columns.values())]


def read(profiles_path: str, trees_path: str) -> dict[tuple[str, str], Measured]:
    """Return the measured drafts by temperature and domain, in the same order of drafts."""
    profiles: dict[tuple[str, str], dict[tuple[float, float, int], list[dict[str, str]]]] = {}
    for row in _rows(profiles_path):
        profiles.setdefault((row["temperature"], row["domain"]), {}).setdefault(_draft(row), []).append(row)
    tau: dict[tuple[str, str], dict[tuple[float, float, int], dict[str, float]]] = {}
    for row in _rows(trees_path):
        if int(row["nodes"]) >= MIN_NODES:
            of = tau.setdefault((row["temperature"], row["domain"]), {}).setdefault(_draft(row), {})
            of[row["paths"]] = float(row["tokens_per_cycle"])
    return {key: _measured(found, tau[key]) for key, found in profiles.items()}


def _draft(row: dict[str, str]) -> tuple[float, float, int]:
    return float(row["train_tokens"]), float(row["decoder_layers"]), int(row["seed"])


def _measured(
    profiles: dict[tuple[float, float, int], list[dict[str, str]]],
    tau: dict[tuple[float, float, int], dict[str, float]],
) -> Measured:
    order = sorted(profiles)
    depths = [sorted(profiles[draft], key=lambda row: int(row["depth"])) for draft in order]
    ranks = [name for name in depths[0][0] if name.startswith("rank_")]
    drafts = TrainedProfiles(
        tokens=np.array([draft[0] for draft in order]),
        layers=np.array([draft[1] for draft in order]),
        profile=np.array([[[float(row[name]) for name in ranks] for row in rows] for rows in depths]),
        cycles=np.array([[float(row["reached"]) for row in rows] for rows in depths]),
    )
    paths = list(tau[order[0]])
    trees = [from_paths([tuple(map(int, path.split("."))) for path in text.split()]) for text in paths]
    return Measured(drafts, trees, np.array([[tau[draft][text] for text in paths] for draft in order]))


def corner_of(drafts: TrainedProfiles) -> tuple[float, float]:
    """Return the tokens below the last three numbers of tokens, and the middle number of layers."""
    tokens, layers = np.unique(drafts.tokens), np.unique(drafts.layers)
    return float(tokens[-min(4, tokens.size)]), float(layers[(layers.size - 1) // 2])


def score_rows(of: Measured, labels: Row) -> list[Row]:
    """Return the errors of all tests, and the fits to all drafts."""
    corner = corner_of(of.drafts)
    rows = [
        {**labels, **asdict(score), "drafts": of.drafts.tokens.size}
        for score in tree_scores(of.drafts, of.trees, of.tau, corner=corner, forms=FORMS)
    ]
    shift = fit_branch_shift(of.trees, of.tau, of.drafts.profile)
    law = fit_shift(of.drafts, FORMS[-1])
    facts = {"branch_shift": shift, "exponent": law.exponent, "unit": law.unit}
    facts |= {f"base_{depth + 1}": float(base[0]) for depth, base in enumerate(law.base)}
    facts |= {f"slopes_{depth + 1}": slopes[0].tolist() for depth, slopes in enumerate(law.slopes)}
    return [{**row, "fitted_tokens": corner[0], "fitted_layers": corner[1], **facts} for row in rows]


def moved_rows(base: Measured, other: Measured, labels: Row) -> list[Row]:
    """Return the errors of one number per depth between two domains or temperatures, at many tokens."""
    few = base.drafts.tokens <= corner_of(base.drafts)[0]
    from_odds, to_odds = (to_log_odds(one.drafts.profile, one.drafts.cycles) for one in (base, other))
    offset = (to_odds - from_odds)[few].mean(axis=(0, 2))
    shift = fit_branch_shift(other.trees, other.tau[few], other.drafts.profile[few])
    every = {
        "moved": from_log_odds(from_odds[~few] + offset[:, None]),
        "not moved": base.drafts.profile[~few],
        "own": other.drafts.profile[~few],
    }
    rows = []
    for name, profile in every.items():
        found = branch_tokens_of_trees(other.trees, profile, shift)
        error = (found / other.tau[~few] - 1.0).ravel()
        size = np.abs(error)
        rows.append(
            {**labels, "held_out": "more tokens", "prediction": name, "side_branches": True, "n": error.size}
            | {"median": float(np.median(size)), "p90": float(np.quantile(size, 0.9)), "bias": float(error.mean())}
            | {"offset": offset.tolist(), "branch_shift": shift, "drafts": int((~few).sum())}
        )
    return rows


def rows(profiles_path: str, trees_path: str) -> list[Row]:
    """Return all rows of the result file."""
    found = read(profiles_path, trees_path)
    result: list[Row] = []
    for (temperature, domain), of in found.items():
        labels: Row = {"temperature": int(temperature), "domain": domain, "evidence": "small-scale"}
        if domain == "all":
            result += score_rows(of, labels | {"kind": "training"})
        if (temperature, domain) != ALL:
            result += moved_rows(found[ALL], of, labels | {"kind": "domain" if domain != "all" else "temperature"})
    return result


if __name__ == "__main__":
    written = table("scylla-sim/profile-scores/1", rows(sys.argv[1], sys.argv[2]), inputs=sys.argv[1:3])
    write_text(Path(sys.argv[3]), dump_json(written))
