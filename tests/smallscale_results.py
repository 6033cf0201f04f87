"""Result files of trained drafts with exact numbers, for tests of `paper`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper.tables.design_by_law import path as design_path
from paper.tables.small_scale import law_path
from scylla_sim.records import format_csv, write_text

Put = Callable[..., None]
DEPTHS, TOKENS, SEEDS = (1, 2, 4), (1024, 2048, 4096, 8192), (0, 1, 2)


GROUPS: dict[str, list[dict[str, Any]]] = {
    "tokens": [{"decoder_layers": str(depth)} for depth in DEPTHS],
    "tokens-sampled": [{"decoder_layers": str(depth)} for depth in DEPTHS],
    "tokens-domains": [{"domain": name, "decoder_layers": "1"} for name in ("code", "prose")],
    "arms": [{"arm": name, "decoder_layers": "1"} for name in ("main", "slow", "wide")],
    "layers": [{"train_tokens": str(tokens)} for tokens in TOKENS],
    "optimum": [{}],
    "optimum-inverse": [{}],
}
"""Law of trained drafts -> its groups."""


def tau(depth: int, tokens: int, seed: int = 1) -> float:
    """Return tokens per cycle of a made-up draft: rising with depth and tokens, with seeds 0.01 apart."""
    return 2.0 + 0.5 * math.log(tokens / 1024) * (1 + 0.1 * math.log(depth)) + 0.01 * seed


def fits(by: dict[str, Any], slope: float, n: int, *, replicates: int = 3) -> list[dict[str, Any]]:
    """Return rows of a fit in which log-linear is better than two rivals, with the spread over seeds."""
    rows = []
    for form, delta in (("log-linear", 0.0), ("power", 4.0), ("linear", 9.0)):
        row = {**by, "form": form, "formula": form, "n": n, "level": 0.9, "converged": True, "r2": 0.98}
        row |= {"delta_aicc": delta, "loo_rmse": 0.05, "evidence": "small-scale", "replicates": replicates}
        row |= {"a": slope, "a_stderr": 0.01, "a_lower": slope - 0.02, "a_upper": slope + 0.02, "c": 1.0}
        if replicates > 1:
            row |= {"a_replicates_mean": slope, "a_replicates_lower": slope - 0.1, "r2_replicates_least": 0.97}
            row |= {"a_replicates_upper": slope + 0.1}
        rows.append(row)
    return rows


def joint(replicates: int) -> list[dict[str, Any]]:
    """Return rows of joint laws in which a law of the rate is best, and the sum worst."""
    rows = []
    for form, delta in (("rate-powers", 0.0), ("interaction", 19.0), ("sum", 64.0)):
        row = {
            "form": form,
            "formula": form,
            "n": 12,
            "r2": 0.99 - delta / 1000,
            "delta_aicc": delta,
            "unit": 1024.0,
        }
        row |= {
            "loo_rmse": 0.05 + delta / 1000,
            "converged": True,
            "evidence": "small-scale",
            "replicates": replicates,
        }
        row |= {
            "fitted_tokens": 2048.0,
            "fitted_layers": 2.0,
            "corner_n": 2,
            "corner_error": 0.1,
            "corner_bias": -0.1,
        }
        row |= {"more_tokens_error": 0.1}
        if replicates > 1:
            row |= {"corner_error_replicates_lower": -0.05, "corner_error_replicates_upper": 0.2}
        rows.append(row)
    return rows


def write_run(folder: Path, put: Put, run: str, replicates: int) -> None:
    """Write laws, points, optimum and loops of one training run."""
    for what, each in GROUPS.items():
        rows = [row for by in each for row in fits(by, 0.5, 4, replicates=replicates)]
        if what == "optimum":
            rows = [{**row, "loo_rmse": 5.0} for row in rows]
        put(folder, law_path(what, run), rows)
    put(folder, law_path("joint", run), joint(replicates))
    points = [
        {"arm": "main", "domain": "all", "temperature": 0, "drafting": "chain", "decoder_layers": depth}
        | {"train_tokens": tokens, "seed": seed, "tokens_per_cycle": tau(depth, tokens, seed)}
        for depth in DEPTHS
        for tokens in TOKENS
        for seed in SEEDS[:replicates]
    ]
    write_text(folder / f"smallscale/{run}/acceptance.csv", format_csv(points))
    best = [
        {"batch_size": b, "k_opt": 1 + 16 / b, "inside": "yes", "tokens_per_cycle": 3.0, "gain": 1.5}
        for b in (1, 4, 16)
    ]
    write_text(folder / f"smallscale/{run}/optimum.csv", format_csv(best))
    loops = [
        {
            "group": half,
            "half": half,
            "quantity": quantity,
            "n": 12,
            "median_ape": 0.1,
            "mape": 0.12,
            "p90_ape": 0.2,
        }
        | {"bias": -0.05, "naive_median_ape": 0.9, "naive_bias": -0.9, "floor_median": 0.02, "evidence": "live"}
        for half in ("fit", "held out", "all")
        for quantity in ("tokens_per_cycle", "cycle_s", "speedup")
    ]
    loops[-1] |= {"same_choice": 0.5, "within_floor": 1.0, "median_regret": 0.01}
    put(folder, f"compare/trained-{run}.json", loops)


def profile_scores() -> list[dict[str, Any]]:
    """Return scores of moved profiles: 2 % against 9 % of the nearest at both temperatures."""
    rows = []
    for temperature in (0, 1):
        for held_out in ("draft", "tokens and layers", "corner", "more tokens"):
            for name, side, error in (
                ("own", True, 0.005),
                ("own", False, 0.025),
                ("power-interaction", True, 0.02),
                ("by-rank", True, 0.015),
                ("nearest", True, 0.09),
                ("iid", False, 0.06),
            ):
                rows.append(
                    {"temperature": temperature, "domain": "all", "kind": "training", "held_out": held_out}
                    | {"prediction": name, "side_branches": side, "n": 60, "median": error, "p90": 2 * error}
                    | {"bias": -error, "branch_shift": 0.45, "exponent": 0.4, "unit": 1024.0, "drafts": 12}
                    | {"base_1": 1.0, "slopes_1": [1.5, 0.1, 0.2]}
                    | {"fitted_tokens": 2048.0, "fitted_layers": 2.0, "evidence": "small-scale"}
                )
    return rows


def designs(tokens: float) -> list[dict[str, Any]]:
    """Return designs whose drafts are shorter at batch 64, with one layer."""
    return [
        {"law": law, "batch_size": batch, "layers": 1, "train_tokens": tokens, "draft_len": length}
        | {"tokens_per_cycle": 4.0, "speedup": 2.5, "speedup_lower": 2.0, "speedup_upper": 3.0}
        | {"layers_range": [1, 2], "draft_len_range": [length, length], "evidence": "published"}
        for law in ("theorems", "product")
        for batch, length in ((1, 6), (64, 4))
    ]


def write_small_scale(folder: Path, put: Put) -> None:
    """Write a recorded run with three seeds, and this run with one."""
    write_run(folder, put, "small", 3)
    write_run(folder, put, "here", 1)
    put(folder, law_path("joint", "long"), joint(1))
    put(folder, law_path("profiles", "long"), profile_scores())
    first = [
        {"temperature": 0, "domain": "all", "depth": 1, "decoder_layers": depth, "train_tokens": tokens, "seed": 0}
        | {"rank_0": 0.3 + 0.05 * math.log2(tokens / 1024)}
        for depth in DEPTHS
        for tokens in TOKENS
    ]
    write_text(folder / "smallscale/long/profiles.csv", format_csv(first))
    for budget, tokens in (("1B", 1e9), ("10B", 1e10), ("100B", 1e11)):
        put(folder, design_path(budget), designs(tokens))
    sweep = [
        {"decoder_layers": depth, "learning_rate": rate, "tokens_per_cycle": 2.0 + rate, "stderr": 0.05}
        | {"drafting": "chain", "domain": "all", "train_tokens": 4096}
        for depth in (1, 8)
        for rate in (0.01, 0.02)
    ]
    write_text(folder / "smallscale/small/rates.csv", format_csv(sweep))
