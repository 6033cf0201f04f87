"""What ``predict`` prints: lists, the grouped breakdown and the chart."""

from __future__ import annotations

import re

import pytest
from command_line import EAGLE3, PREDICT, refused, rows, run

WIDTH = 100


def lines_of(text):
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    return lines


def test_the_first_line_answers_and_names_the_last_batch_that_pays(capsys):
    _, out, _ = run(
        capsys, *PREDICT, "--draft", "eagle3", "--draft-len", "5", "--acceptance", "0.62", "--batch", "1,64,256"
    )
    answer = " ".join(lines_of(out)[:2])
    pays = int(re.search(r"pays up to batch (\d+), and is 0\.\d\d \[", answer)[1])
    found = rows(
        capsys,
        *PREDICT,
        "--draft",
        "eagle3",
        "--draft-len",
        "5",
        "--acceptance",
        "0.62",
        "--batch",
        f"{pays},{pays + 1}",
    )
    assert [row["speedup"] > 1.0 for row in found] == [True, False]


def test_lists_give_one_table_with_the_columns_that_vary(capsys):
    lists = ["--hardware", "h100-sxm,a100-sxm", "--tp", "1,2", "--draft", "none,eagle3", "--precision", "bf16"]
    arguments = ["predict", "--model", "llama-3.1-8b", *lists, "--acceptance", "0.7", "--batch", "8"]
    found = rows(capsys, *arguments)
    assert len({(row["hardware"], row["tp"], row["draft"]) for row in found}) == len(found) == 8
    code, out, err = run(capsys, *arguments)
    lines = lines_of(out)
    assert code == 0 and "is not used without a draft" not in err
    assert any(line.split()[:4] == ["GPU", "TP", "draft", "K"] for line in lines)
    assert lines[0].startswith("Most tokens/s at batch 8: GPU h100-sxm, TP 2, draft ")
    one = rows(
        capsys,
        *PREDICT,
        "--tp",
        "2",
        "--draft",
        "eagle3",
        "--acceptance",
        "0.7",
        "--batch",
        "8",
        "--precision",
        "bf16",
    )
    assert one[0] == next(
        row for row in found if (row["hardware"], row["tp"], row["draft"]) == ("h100-sxm", 2, "eagle3")
    )


def test_what_cannot_run_is_skipped_and_counted_by_its_reason(capsys):
    code, out, err = run(capsys, *PREDICT, "--tp", "1,16,3")
    assert code == 0
    assert "1 of 3 combinations skipped: tp=16 must be at most 8" in err
    assert "1 of 3 combinations skipped: " in err.replace("skipped: tp=16", "") and "3" in err
    assert "on 1x h100-sxm" in out
    assert "tp=16 must be at most 8" in refused(capsys, *PREDICT, "--tp", "16,32")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--hardware", "h100-sxm,nope", "hardware='nope' is not known"),
        ("--draft", "eagle3,nope", "nope"),
        ("--precision", "bf16,half", "precision='half' is not known"),
        ("--hardware", ",", "hardware=',' must name at least one"),
    ],
)
def test_an_unknown_name_in_a_list_is_refused(option, value, text, capsys):
    assert text in refused(capsys, *PREDICT, option, value)


def test_the_breakdown_is_grouped_beside_the_plain_step(capsys):
    _, out, _ = run(capsys, *EAGLE3, "--batch", "256", "--breakdown")
    lines = lines_of(out)
    assert len(lines) <= 15
    assert lines[0].startswith("A cycle takes ")
    parts = [line.split("  ")[0] for line in lines]
    assert {"draft, K = 3", "verify: GEMM", "verify: attention", "engine: step", "total", "per token"} <= set(parts)
    total = next(line for line in lines if line.startswith("total"))
    assert total.count("100 %") == 2
    row = rows(capsys, *EAGLE3, "--batch", "256")[0]
    assert f"Speed-up: {row['speedup']:.2f} [" in " ".join(out.split())
    cycle, plain = (float(text) for text in (total.split()[1], total.split()[4]))
    assert cycle == pytest.approx(1e3 * row["cycle_s"], rel=0.01)
    assert plain == pytest.approx(1e3 * row["plain_tpot_s"], rel=0.01)


def test_the_breakdown_of_several_points_has_a_column_each(capsys):
    _, out, _ = run(capsys, *EAGLE3, "--batch", "1,64", "--context", "1024,4096", "--breakdown")
    assert len(lines_of(out)) <= 16
    gains = [f"{row['speedup']:.2f}" for row in rows(capsys, *EAGLE3, "--batch", "1,64", "--context", "1024,4096")]
    assert next(line for line in out.splitlines() if line.startswith("speed-up")).split()[1:] == gains
    assert "llama-3.1-8b on 1x h100-sxm, bf16, engine vllm-2026; eagle3" in out
    assert "\nms of a cycle " in out
    assert out.count("batch 1,") == out.count("batch 64,") == out.count("4096") == 2


def test_the_whole_breakdown_has_every_operation(capsys):
    _, out, _ = run(capsys, *EAGLE3, "--batch", "64", "--breakdown", "--all")
    listed = [line.split()[1] for line in lines_of(out)[1:-1]]
    assert listed == [row["op"] for row in rows(capsys, *EAGLE3, "--batch", "64", "--breakdown")]


def test_the_chart_follows_the_table(capsys):
    _, out, _ = run(capsys, *EAGLE3, "--batch", "64", "--draw")
    lines = lines_of(out)
    assert "speed-up over plain decoding" in lines and lines[-2] == "█ K = 3, ░ its interval"
    assert out.startswith(run(capsys, *EAGLE3, "--batch", "64")[1])
    _, out, _ = run(capsys, *EAGLE3, "--draft-len", "1,3", "--batch", "64", "--draw")
    assert "A K 1   B K 3" in lines_of(out)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--draw", "--format", "json"], "draw=True must be given without --breakdown and with --format table"),
        (["--draw", "--breakdown"], "draw=True must be given without --breakdown"),
        (["--draw", "--draft", "none"], "draw=True needs a draft"),
        (["--draw", "--context", "1024,2048,4096", "--draft-len", "1,2,3"], "must have at most 8 curves"),
        (["--all"], "all=True must be given with --breakdown"),
    ],
)
def test_options_of_the_output_that_contradict_are_refused(extra, text, capsys):
    assert text in refused(capsys, *EAGLE3, *extra)


@pytest.mark.parametrize("rates", ["eagle3=1.5,ngram=0.5", "eagle3=rates.json,ngram=0.5"])
def test_bad_rates_of_one_draft_are_not_skipped(rates, capsys):
    assert "acceptance=" in refused(capsys, *PREDICT, "--draft", "eagle3,ngram", "--acceptance", rates)


def test_rates_of_a_draft_that_is_not_asked_for_name_the_option(capsys):
    assert "acceptance='eagle3=0.7' needs a draft; give --draft eagle3" in refused(
        capsys, *PREDICT, "--acceptance", "eagle3=0.7"
    )
