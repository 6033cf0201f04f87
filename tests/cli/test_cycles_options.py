"""``scylla-sim cycles --ranks`` and ``--fit-overheads``: tokens per cycle of any tree, and fitted overheads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from scylla_sim.cli import main

TREES = {"chain": ("0 0.0", 2, 1, 3), "wide": ("0 1 0.0", 2, 1, 4), "long": ("0 0.0 0.0.0", 3, 1, 4)}
OVERHEADS = {"host_s": 2e-3, "token_s": 1e-5, "draft_host_s": 1e-3, "draft_pass_host_s": 5e-4}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def shapes(**more: Any) -> list[dict[str, Any]]:
    """Return configurations of two batches and three trees on an H100."""
    return [
        {
            "device": "h100-sxm",
            "dtype": "bf16",
            "model": "llama-3.1-8b",
            "draft": "llama-3.2-1b",
            "draft_len": length,
        }
        | {"top_k": width, "verify_tokens": tokens, "tokens_per_cycle": 2.0, "batch_size": batch}
        | {"context_len": 512, "paths": paths, **more}
        for batch in (1, 16)
        for paths, length, width, tokens in TREES.values()
    ]


def ranks() -> list[dict[str, Any]]:
    """Return a profile of three depths and two ranks; rank 0 falls from 0.6 by 0.1 per depth."""
    return [
        {"depth": depth, "rank": rank, "probability": (0.6, 0.2)[rank] - 0.1 * (depth - 1) * (1 - rank)}
        for depth in (1, 2, 3)
        for rank in (0, 1)
    ]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["cycles", *arguments, "--format", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    return rows


def test_tokens_per_cycle_of_trees_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(
        capsys, "--shapes", write(tmp_path / "s.csv", shapes()), "--ranks", write(tmp_path / "r.csv", ranks())
    )
    wanted = {"0 0.0": 1 + 0.6 + 0.6 * 0.5, "0 1 0.0": 1 + 0.6 + 0.2 + 0.6 * 0.5}
    wanted["0 0.0 0.0.0"] = wanted["0 0.0"] + 0.6 * 0.5 * 0.4
    for row in rows:
        assert row["tokens_per_cycle"] == pytest.approx(wanted[row["paths"]])


def test_shared_columns_select_the_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = [{**row, "decoder_layers": 8, "probability": 0.5} for row in ranks()]
    both = write(tmp_path / "r.csv", [*({**row, "decoder_layers": 1} for row in ranks()), *deep])
    rows = run(capsys, "--shapes", write(tmp_path / "s.csv", shapes(decoder_layers=8)), "--ranks", both)
    assert rows[0]["tokens_per_cycle"] == pytest.approx(1.75)


def test_fit_recovers_the_overheads_and_predicts_the_held_out_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The measured times are those of the kernels plus known overheads."""
    bare = run(capsys, "--engine", "ideal", "--shapes", write(tmp_path / "s.csv", shapes()))
    measured = shapes()
    for index, (row, out) in enumerate(zip(measured, bare)):
        tokens = row["batch_size"] * row["verify_tokens"]
        added = OVERHEADS["host_s"] + OVERHEADS["token_s"] * tokens
        added += OVERHEADS["draft_host_s"] + OVERHEADS["draft_pass_host_s"] * row["draft_len"]
        row |= {"cycle_s": out["cycle_s"] + added, "half": "held out" if index == 4 else "fit"}
        row["plain_step_s"] = out["plain_step_s"] + OVERHEADS["host_s"]
    path = write(tmp_path / "m.csv", measured)
    fitted = run(capsys, "--shapes", path, "--fit-overheads")
    assert fitted[4]["half"] == "held out"
    for row, out in zip(measured, fitted):
        assert out["cycle_s"] == pytest.approx(row["cycle_s"], rel=1e-6)
        assert out["plain_step_s"] == pytest.approx(row["plain_step_s"], rel=1e-6)


def test_roofline_is_given_for_every_prediction_and_is_faster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain step reads 7.5 B weights in 16 bits and 128 KiB of cache per token at 3.35 TB/s."""
    for row in run(capsys, "--shapes", write(tmp_path / "s.csv", shapes())):
        moved = 2 * 7.5e9 + row["batch_size"] * 512 * 131072
        assert row["naive_plain_step_s"] == pytest.approx(moved / 3.35e12, rel=0.02)
        assert row["naive_cycle_s"] == pytest.approx(row["naive_draft_s"] + row["naive_verify_s"])
        assert all(row[f"naive_{name}"] < row[name] for name in ("plain_step_s", "draft_s", "verify_s", "cycle_s"))
        assert row["naive_speedup"] == pytest.approx(2.0 * row["naive_plain_step_s"] / row["naive_cycle_s"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["--fit-overheads"], "column='half' is needed with --fit-overheads"),
        (
            {"half": "fit", "cycle_s": "x", "plain_step_s": 1},
            ["--fit-overheads"],
            "cycle_s='x' must be a number above 0 on line 2",
        ),
        (
            {"half": "fit", "cycle_s": 0, "plain_step_s": 1},
            ["--fit-overheads"],
            "cycle_s='0' must be a number above 0 on line 2",
        ),
        ({"half": "held out", "cycle_s": 1, "plain_step_s": 1}, ["--fit-overheads"], "rows=0 must be at least 6"),
        ({"paths": "0 0.0.0"}, ["--ranks"], "needs its parent among the paths"),
        ({"paths": "0 a"}, ["--ranks"], "paths='0 a'"),
        ({"paths": "0 7", "draft_len": 1, "verify_tokens": 3}, ["--ranks"], "must cover the tree's"),
        ({"decoder_layers": 3}, ["--ranks", "decoder_layers"], "has no profile for {'decoder_layers': '3'}"),
    ],
)
def test_bad_input_is_one_line(
    change: dict[str, Any], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "s.csv", shapes(**change))
    if options[0] == "--ranks":
        more = {"decoder_layers": 1} if len(options) > 1 else {}
        options = ["--ranks", write(tmp_path / "r.csv", [{**row, **more} for row in ranks()])]
    assert main(["cycles", "--shapes", path, *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_profile_with_a_hole_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holed = write(tmp_path / "r.csv", ranks()[:-1])
    assert main(["cycles", "--shapes", write(tmp_path / "s.csv", shapes()), "--ranks", holed]) == 2
    assert "must hold each of 3 depths and 2 ranks once" in capsys.readouterr().err


RANKS = "depth,rank,probability\n1,0,0.7\n1,1,0.1\n2,0,0.6\n2,1,0.1\n3,0,0.5\n3,1,0.1\n"


@pytest.mark.parametrize(
    ("ranks", "change", "message"),
    [
        (RANKS + "1,0,0.2\n", {}, "holds depth 1, rank 0 twice, again on line 8"),
        (RANKS.replace("3,0", "0,0"), {}, "depth='0' must be a whole number in [1, 1000] on line 6"),
        (RANKS.replace("3,0", "3,-1"), {}, "rank='-1' must be a whole number in [0, 1e+06] on line 6"),
        (
            RANKS,
            {"draft_len": 9, "verify_tokens": 10},
            "draft_len='9' must be 2, the value of the tree in paths, on",
        ),
        (RANKS, {"verify_tokens": 7}, "verify_tokens='7' must be 3, the value of the tree in paths, on line 2"),
        (RANKS, {"draft_len": 2.5}, "draft_len='2.5' must be a whole number"),
        (RANKS, {"batch_size": 1.5}, "batch_size='1.5' must be a whole number"),
    ],
)
def test_profiles_and_trees_that_disagree_are_refused(
    ranks: str, change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "ranks.csv").write_text(ranks)
    given = write(tmp_path / "shapes.csv", [row | change for row in shapes()])
    assert main(["cycles", "--shapes", given, "--ranks", str(tmp_path / "ranks.csv")]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""
