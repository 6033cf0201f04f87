"""Printed and tabular forms of a result."""

import copy
import pickle
import re
import sys

import pytest

from scylla_sim.checks import InputError
from scylla_sim.prediction.breakdown import groups
from scylla_sim.prediction.evidence import WEAKEST_FIRST
from scylla_sim.prediction.footer import LEVEL_WORDS
from scylla_sim.prediction.predict import predict


def result(**options):
    chain = {"draft": "eagle3", "acceptance": 0.62, "position_exponent": 0.0, "engine": "vllm"}
    return predict("llama-3.1-8b", hardware="h100-sxm", **(chain | options))


def test_the_printed_table_is_short():
    large = result(draft_len=[1, 2, 3, 4, 5], batch=list(range(1, 65)), context=[1024, 4096])
    text = repr(large)
    assert str(large) == text
    assert len(text.splitlines()) <= 34
    assert f"... {len(large.rows()) - 20} more rows" in text
    assert text.startswith("Most tokens/s at batch 1, context 1024: K ") and "all rows" not in text
    assert len(large.to_text().splitlines()) <= len(large.rows()) + 10


def test_the_answer_names_the_first_and_the_last_batch():
    first = result(draft_len=5, batch=[1, 256]).to_text().replace("\n", " ")
    assert re.match(r"Drafting 5 tokens is 1\.\d\d \[.*\] times faster at batch 1, and is 0\.\d\d \[", first)
    assert "times as fast as plain decoding at batch 256. batch " in first
    assert result(draft_len=1).to_text().startswith("Drafting 1 token is ")
    assert result(draft_len=0).to_text().startswith("A draft that drafts nothing is 0.9")
    assert result(draft="eagle2", position_exponent=None).to_text().startswith("A tree of 61 tokens is ")
    plain = predict("llama-3.1-8b", hardware="h100-sxm", batch=[1, 64]).to_text()
    assert re.match(
        r"Plain decoding takes 6\.\d+ ms a token at batch 1 and [\d.]+ ms a token at batch 64\.\n", plain
    )
    assert "speed-up" not in plain


def test_the_footer_states_what_the_cycle_rests_on_and_what_the_interval_covers():
    vllm, ideal = (result(batch=[1, 64], engine=name).to_text() for name in ("vllm", "ideal"))
    evidence = (
        r"Evidence: silicon [\d-]+ % of a cycle \(kernels of this GPU\), published [\d-]+ % \(engine overhead\)\.\n"
    )
    assert re.search(evidence, vllm)
    assert "90 % intervals: kernels, engine versions, deployments; not acceptance. Decoding only" in vllm
    assert "silicon 100 % of a cycle (kernels of this GPU).\n90 % intervals: kernels; not the engine, not" in ideal
    assert "TP" in result(tp=2).to_text() and "TP" not in vllm
    assert set(LEVEL_WORDS) == set(WEAKEST_FIRST)


def test_the_printed_table_ends_with_the_notes():
    assert (
        repr(result(acceptance=[0.8, 0.7], draft_len=3))
        .splitlines()[-1]
        .startswith("note: acceptance is given for 2 positions")
    )


@pytest.mark.parametrize("columns", [60, 80, 100, 1000])
def test_the_printed_table_fits_the_terminal(columns, monkeypatch):
    some = result(batch=[1, 64])
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = repr(some).partition("note: ")[0].splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    assert sum("[" in line for line in lines) >= 2, "the speed-up has its interval in every row"


def test_the_footer_shows_what_all_rows_share():
    shared = " ".join(result(batch=[1, 64]).to_text().split())
    assert "llama-3.1-8b on 1x h100-sxm, bf16, engine vllm-2026, context 1024, limited by memory;" in shared
    assert "; eagle3, K = 3, 2.24 tokens a cycle; verified with FlashAttention-3." in shared
    assert "eagle3, K = 2, " in " ".join(result(acceptance=[0.8, 0.7]).to_text().split())
    varied = result(draft_len=[1, 3], context=[1024, 2048]).to_text()
    assert "K = 3" not in varied and "context 1024;" not in varied


def test_result_survives_pickle_and_copy():
    some = result(batch=[1, 64])
    assert pickle.loads(pickle.dumps(some)) == some
    assert copy.deepcopy(some) == some
    assert some != result(batch=[1, 32])
    with pytest.raises(TypeError, match="does not support item assignment"):
        pickle.loads(pickle.dumps(some)).deployment.calibration.kernels["gemm"] = {}


def test_to_pandas_has_the_columns_and_values_of_the_rows():
    pytest.importorskip("pandas")
    some = result(batch=[1, 8])
    frame = some.to_pandas()
    assert list(frame.columns) == list(some.rows()[0])
    assert frame["speedup"].tolist() == [row["speedup"] for row in some.rows()]


def test_to_pandas_without_pandas_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="needs pandas, which is not installed; pip install pandas"):
        result().to_pandas()


def test_the_breakdown_adds_up_to_each_cycle():
    some = result(batch=[1, 64])
    for row in some.rows():
        parts = [part for part in some.breakdown() if part["batch_size"] == row["batch_size"]]
        assert sum(part["seconds"] for part in parts) == pytest.approx(row["cycle_s"])
        assert sum(part["share"] for part in parts) == pytest.approx(1)


@pytest.mark.parametrize(
    "options", [{}, {"input_len": 500, "output_len": 200}, {"draft_len": 0}, {"draft": "none"}]
)
def test_the_groups_of_a_breakdown_add_up_to_the_cycle_and_to_the_plain_step(options):
    some = (
        result(batch=[1, 64], context=[1024, 2048], **options)
        if "draft" not in options
        else predict("llama-3.1-8b", hardware="h100-sxm", batch=[1, 64], context=[1024, 2048])
    )
    (prediction,) = some.predictions
    found = groups(prediction)
    cycle, plain = (sum(both[side] for both in found.values()) for side in (0, 1))
    assert cycle == pytest.approx(prediction.cycle.seconds.reshape(-1))
    assert plain == pytest.approx(prediction.plain_cycle.seconds.reshape(-1))


def test_verification_that_no_published_row_describes_is_never_called_faster():
    """fp8 KV on Ada under vLLM: the lower end falls to about half of the speed-up, and a note says why."""
    options = {"draft": "eagle3", "tokens_per_cycle": 2.87, "draft_len": 5, "batch": [1, 64], "engine": "vllm"}
    fp8 = predict("llama-3.1-8b", hardware="l40s", kv_precision="fp8", **options)
    assert [row["verdict"] for row in fp8.rows()] == ["undecided", "undecided"]
    assert all(row["speedup_lower"] < 0.6 * row["speedup"] for row in fp8.rows())
    assert any("no published row" in note for note in fp8.notes)
    plain = predict("llama-3.1-8b", hardware="a100-sxm", **options)
    assert [row["verify_attention"] for row in plain.rows()] == ["FlashAttention-2"] * 2
    assert plain.rows()[0]["verdict"] == "faster"
    kernels = {row["kernels"] for row in plain.breakdown() if row["op"] == "attention" and row["phase"] == "verify"}
    assert kernels == {"FlashAttention-2"}


def test_an_fp8_cache_on_a100_lowers_the_speedup_by_a_third():
    """Source: a100-factorial, humaneval, EAGLE-3: 3.16 and 2.05 with fp8; 1.36 and 1.17 at batch 64."""
    options = {"draft": "eagle3", "tokens_per_cycle": 4.06, "draft_len": 5, "batch": [1, 64], "context": 378}
    for kv, measured in (("bf16", [3.16, 1.36]), ("fp8", [2.05, 1.17])):
        found = predict("llama-3.1-8b", hardware="a100-sxm", kv_precision=kv, engine="vllm-2026", **options)
        assert [row["speedup"] for row in found.rows()] == pytest.approx(measured, rel=0.06)
