"""``scylla-sim served``: published runs in, predictions and baselines out, and one line for every mistake."""

import csv
from pathlib import Path

import pytest

from scylla_sim.acceptance import positions
from tests.command_line import refused, rows

HEADER = (
    "id,source,series,engine,hardware,tp,model,precision,kv_precision,draft,draft_len,top_k,verify_tokens,"
    "batch,context,tokens_per_cycle,speedup,tokens_per_s"
)
GIVEN = "a-1,a,one,vllm-2025,h100-sxm,1,llama-3.1-8b,bf16,bf16,eagle3,3,1,4,8,512,2.5,1.5,2000"
FITTED = "b-{},b,two,sglang,h100-sxm,1,llama-3.1-8b,bf16,bf16,eagle3,3,1,4,{},512,,{},"
PLAIN = "c-1,c,three,ideal,h100-sxm,1,llama-3.1-8b,bf16,bf16,none,,,,1,512,,,130"
PUBLISHED = Path("paper/published/served_runs.csv")


def write(path, *lines, header=HEADER):
    file = path / "runs.csv"
    file.write_text("\n".join((header, *lines)) + "\n")
    return file


@pytest.fixture
def found(capsys, tmp_path):
    """Rows of a file with a stated and a fitted series and a plain step."""
    file = write(tmp_path, GIVEN, FITTED.format(1, 2, 1.8), FITTED.format(2, 32, 1.3), PLAIN)
    return rows(capsys, "served", "--runs", file)


def test_a_row_holds_measurement_prediction_interval_and_baselines(found):
    row = found[0]
    assert (row["measured_speedup"], row["measured_tokens_per_s"], row["tokens_per_cycle"]) == (1.5, 2000, 2.5)
    for name in ("speedup", "cycle_s", "plain_step_s", "tokens_per_s", "plain_tokens_per_s"):
        assert row[f"{name}_lower"] < row[name] < row[f"{name}_upper"]
    assert row["speedup"] == pytest.approx(2.5 * row["plain_step_s"] / row["cycle_s"])
    assert row["tokens_per_s"] == pytest.approx(8 * 2.5 / row["cycle_s"])
    assert row["naive_speedup"] == pytest.approx(2.5 * row["naive_plain_step_s"] / row["naive_cycle_s"])
    assert row["measured_cycle_s"] is None


def test_the_preset_of_an_engine_is_named(found):
    assert [row["preset"] for row in found] == ["vllm-2025", "sglang-2026", "sglang-2026", "ideal"]


def test_a_blank_value_is_one_fitted_value_of_the_series(found):
    fitted = found[1:3]
    assert [row["tau_from"] for row in found] == ["given", "fitted", "fitted", "none"]
    assert len({row["tokens_per_cycle"] for row in fitted}) == 1
    errors = [row["speedup"] / row["measured_speedup"] for row in fitted]
    assert errors[0] * errors[1] == pytest.approx(1.0)
    naive = [row["naive_speedup"] / row["measured_speedup"] for row in fitted]
    assert naive[0] * naive[1] == pytest.approx(1.0)  # the baseline has its own fit


def test_constants_come_from_other_sources(found):
    assert found[0]["constant_speedup"] == pytest.approx((1.8 + 1.3) / 2)
    assert found[0]["tau_constant_speedup"] is None  # no other source states its tokens per cycle
    assert found[1]["constant_speedup"] == 1.5
    assert found[1]["tau_constant_speedup"] == pytest.approx((1.8 * 1.3) ** 0.5)


def test_a_run_without_a_draft_has_a_plain_step_alone(found):
    assert (found[3]["speedup"], found[3]["measured_speedup"]) == (1.0, None)


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ((GIVEN + ",1",), HEADER + ",typo", "column='typo' in"),
        ((GIVEN.replace("2.5,1.5", ",") + "",), HEADER, "speedup='' must be given on line 2 of runs.csv"),
        ((GIVEN.replace("eagle3,3,1,4", "eagle3,,1,4"),), HEADER, "draft_len='' must be given on line 2"),
        ((GIVEN.replace("2.5,1.5", "0.5,1.5"),), HEADER, "tokens_per_cycle='0.5' must be a number of at least 1"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, lines, header, message):
    assert message in refused(capsys, "served", "--runs", write(tmp_path, *lines, header=header))


def test_an_unknown_source_is_refused(capsys, tmp_path):
    assert "source='z' must be a source of" in refused(
        capsys, "served", "--runs", write(tmp_path, GIVEN), "--source", "z"
    )


def test_every_published_source_can_be_predicted(capsys):
    for source in ("depthchart", "sglang-4716", "nim", "vllm-16035"):
        assert all(row["speedup"] > 0 for row in rows(capsys, "served", "--runs", PUBLISHED, "--source", source))


def test_one_length_gives_the_others_by_the_law(capsys, tmp_path):
    lines = [
        GIVEN.replace("eagle3,3,1,4", f"eagle3,{n},1,{n + 1}").replace("2.5,1.5", f"{tau},1.5")
        for n, tau in ((1, 1.9), (3, 2.5), (5, 2.6))
    ]
    taus = [
        row["tokens_per_cycle"]
        for row in rows(capsys, "served", "--runs", write(tmp_path, *lines), "--one-length", 3)
    ]
    law = positions.law_of("eagle3")
    assert taus == [pytest.approx(float(law.tokens_per_cycle(2.5, 3, n))) for n in (1, 3, 5)]
    assert taus[1] == 2.5


def test_every_source_has_an_address():
    with PUBLISHED.open() as file:
        named = {run["source"] for run in csv.DictReader(file)}
    with PUBLISHED.with_name("served_sources.csv").open() as file:
        addresses = {row["source"]: row["source_url"] for row in csv.DictReader(file)}
    assert named == set(addresses)
    assert all(addresses.values())


def test_published_runs_are_consistent():
    with PUBLISHED.open() as file:
        runs = list(csv.DictReader(file))
    assert len({run["id"] for run in runs}) == len(runs)
    for run in runs:
        assert run["table_figure"] and run["note"]
        tau, length = run["tokens_per_cycle"], run["draft_len"]
        assert not tau or 1 <= float(tau) <= int(length) + 1, run["id"]
        if run["speedup"] and tau and int(length):
            assert float(run["speedup"]) <= float(tau), run["id"]
        if run["tokens_per_s"] and run["plain_tokens_per_s"]:
            ratio = float(run["tokens_per_s"]) / float(run["plain_tokens_per_s"])
            assert ratio == pytest.approx(float(run["speedup"]), rel=0.01), run["id"]
