"""``scylla-sim decay`` as a user types it."""

import json

import pytest
from checkout import ROOT

from scylla_sim.cli import main

PUBLISHED = ROOT / "paper" / "published" / "tau_vs_draft_len.csv"
GOOD = "series,draft_len,tokens_per_cycle\n" + "".join(
    f"{name},{k},{tau}\n"
    for name, taus in {"a": (1.86, 3.08, 3.73), "b": (1.69, 2.37, 2.6), "c": (1.83, 2.94, 3.47)}.items()
    for k, tau in zip((1, 3, 5), taus)
)


def test_every_pair_is_listed_with_both_errors(capsys):
    assert main(["decay", str(PUBLISHED), "--by", "series", "--evidence", "published", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "scylla-sim/decay/1"
    rows = result["rows"]
    assert {row["evidence"] for row in rows} == {"published"}
    assert len([row for row in rows if row["known"] == "3"]) == 53
    row = rows[0]
    assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
    assert row["iid_error"] == pytest.approx(row["iid"] / row["measured"] - 1)


def test_table_ends_with_the_mean_errors(tmp_path, capsys):
    path = tmp_path / "tau.csv"
    path.write_text(GOOD)
    assert main(["decay", str(path), "--by", "series"]) == 0
    assert "known 1+3: mean error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "extra", "message"),
    [
        (None, [], "cannot be read"),
        (GOOD, ["--by", "model"], "column='model' is not known"),
        (GOOD, ["--predict-from", "3"], "predict_from=3 must be above known_to=3"),
        (GOOD, ["--known-to", "0"], "known_to=0 must be at least 1"),
        (GOOD, ["--predict-from", "9"], "must hold a series with a draft length up to 3 and one from 9 on"),
        (GOOD.replace("a,3,3.08", "a,3,4.08"), [], "tokens_per_cycle=4.08 must lie between 1 and draft_len + 1"),
        (GOOD.replace("a,3,", "a,5,"), [], "appears twice for one series on line 4"),
        (GOOD.replace("a,3,", "a,2.5,"), [], "must be a whole number of at least 1 on line 3"),
        (GOOD.replace("3.08", "nan"), [], "must be a finite number on line 3"),
        ("series,draft_len,tokens_per_cycle\na,1,1.5\na,5,2.5\n", [], "series=1 must be at least 3"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(text, extra, message, tmp_path, capsys):
    path = tmp_path / "tau.csv"
    if text is not None:
        path.write_text(text)
    assert main(["decay", str(path), "--by", "series", *extra]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
