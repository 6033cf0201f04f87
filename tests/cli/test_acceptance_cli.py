"""``scylla-sim acceptance`` as a user types it."""

import json

import pytest

from scylla_sim.acceptance import position_fit, profiles, tree_search, trees
from scylla_sim.cli import main


def rows_of(capsys, *args):
    assert main(["acceptance", *map(str, args), "--format", "json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["schema"] == "scylla-sim/acceptance-of/1"
    return result["rows"], captured.err


def test_chains_of_several_lengths(capsys):
    rows, words = rows_of(capsys, "--acceptance", "0.8,0.5", "--draft-len", "1,2,3", "--generation", 100)
    third = 1.5**-0.34 / (1 + 1.5**-0.34)  # odds 1 at position 2, exponent 0.34 of EAGLE-3
    assert [row["tokens_per_cycle"] for row in rows] == [pytest.approx(x) for x in (1.8, 2.2, 2.2 + 0.4 * third)]
    assert "follow the position law of eagle3" in words
    assert [row["p99"] for row in rows] == [2, 3, 4]
    assert rows[2]["generation_cycles_p50"] <= rows[2]["generation_cycles_p99"] <= 100


def test_acceptance_kind_cumulative(capsys):
    (row,), _ = rows_of(capsys, "--acceptance", "0.8,0.4", "--acceptance-kind", "cumulative")
    assert row["tokens_per_cycle"] == pytest.approx(2.2)


def test_trees_are_ordered_and_repeat(capsys):
    args = ["--acceptance", "0.7", "--position-exponent", 0, "--draft-len", 4]
    (chain,), _ = rows_of(capsys, *args)
    args += ["--top-k", 4, "--verify-tokens", 16]
    (beam,), words = rows_of(capsys, *args)
    (best,), _ = rows_of(capsys, *args, "--tree", "best")
    (dynamic,), _ = rows_of(capsys, *args, "--tree", "dynamic", "--samples", 2000)
    again, _ = rows_of(capsys, *args, "--tree", "dynamic", "--samples", 2000)
    assert "default rank law" in words
    assert chain["tokens_per_cycle"] < beam["tokens_per_cycle"] <= best["tokens_per_cycle"] + 1e-9
    assert dynamic["tokens_per_cycle"] > best["tokens_per_cycle"] + 3 * dynamic["stderr"]
    assert again == [dynamic]
    p = profiles.rank_profile([0.7] * 4, 4)
    assert best["tokens_per_cycle"] == pytest.approx(float(trees.tokens_per_cycle(tree_search.best_tree(p, 15), p)))
    assert sum(int(n) for n in best["widths"].split("+")) == 15


def test_tau_of_a_longer_chain_has_the_interval_of_the_position_law(capsys):
    args = ["--tokens-per-cycle", 2.4, "--known-draft-len", 3, "--draft-len", "3,7"]
    (known, longer), words = rows_of(capsys, *args, "--draft", "mtp")
    assert "position law of mtp" in words
    assert [known[f"tokens_per_cycle{end}"] for end in ("", "_lower", "_upper")] == [pytest.approx(2.4)] * 3
    # MTP: exponent 0.83 +- 0.60. The least-squares fit has the same value; its interval is linear in the exponent.
    fitted = position_fit.fit_decay(3, 2.4, exponent=0.83, spread=0.60, noise=1e-3).predict(7)
    assert longer["tokens_per_cycle"] == pytest.approx(float(fitted.value), rel=1e-4)
    for end in ("lower", "upper"):
        assert longer[f"tokens_per_cycle_{end}"] == pytest.approx(float(getattr(fitted, end)), rel=0.1)


def test_verbs_agree_on_tau_at_another_length(capsys):
    """Measured with 3 tokens; predict, schedule, plan and acceptance give the same tau and interval at 5."""
    (row,), _ = rows_of(capsys, "--tokens-per-cycle", 2.8, "--known-draft-len", 3, "--draft-len", 5)
    where = ["--model", "llama-3.1-8b", "--draft", "eagle3", "--draft-len", "5", "--hardware", "h100-sxm"]
    measured = ["--tokens-per-cycle", "2.8", "--measured-draft-len", "3", "--batch", "1", "--format", "json"]
    for verb in (["predict"], ["schedule", "--max-batch", "1"], ["plan", "--tp", "1"]):
        assert main([*verb, *where, *measured]) == 0
        captured = capsys.readouterr()
        (other,) = json.loads(captured.out)["rows"]
        assert other["draft_len"] == 5
        assert other["tokens_per_cycle"] == pytest.approx(row["tokens_per_cycle"], abs=1e-9)
        assert "2.8 was measured with draft_len 3" in captured.err
        if verb == ["predict"]:
            for end in ("lower", "upper"):
                assert other[f"tokens_per_cycle_{end}"] == row[f"tokens_per_cycle_{end}"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give --acceptance, or --tokens-per-cycle"),
        (["--acceptance", "0.7", "--tokens-per-cycle", "2"], "give --acceptance, or --tokens-per-cycle"),
        (["--tokens-per-cycle", "2"], "known_draft_len=None is needed"),
        (["--tokens-per-cycle", "5", "--known-draft-len", "3"], "tokens_per_cycle=5 must lie in [1, 4]"),
        (["--acceptance", "1.2"], "acceptance=1.2 must lie in [0, 1]"),
        (["--acceptance", "0.7", "--tree", "bush"], "tree='bush' is not known"),
        (["--acceptance", "0.7", "--verify-tokens", "9"], "must be draft_len + 1 = 2 for a chain"),
        (["--acceptance", "0.7", "--top-k", "2", "--verify-tokens", "9"], "exceeds the 3 tokens"),
        (["--acceptance", "0.7", "--generation", "0"], "generation=0 must lie in"),
        (["--acceptance", "0.7", "--draft-len", "0"], "draft_len=0 must lie in"),
        (
            ["--acceptance", "0.7", "--top-k", "2", "--tree", "dynamic", "--confidence", "2"],
            "confidence=2 must lie",
        ),
        (
            ["--acceptance", "0.7", "--top-k", "2", "--tree", "dynamic", "--samples", "1000000000000"],
            "samples=1000000000000 must lie in [2, 100000]",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args, message, capsys):
    assert main(["acceptance", *args]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
