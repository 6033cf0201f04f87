"""Printed and tabular forms of a result."""

import copy
import pickle
import re
import sys

import pytest

from scylla_sim.checks import InputError
from scylla_sim.prediction.predict import predict


def result(**options):
    chain = {"draft": "eagle3", "acceptance": 0.62, "position_exponent": 0.0, "engine": "vllm"}
    return predict("llama-3.1-8b", hardware="h100-sxm", **(chain | options))


def test_the_printed_table_is_short():
    large = result(draft_len=[1, 2, 3, 4, 5], batch=list(range(1, 65)), context=[1024, 4096])
    text = repr(large)
    assert str(large) == text
    assert len(text.splitlines()) <= 30
    assert f"... {len(large.rows()) - 20} more rows" in text
    assert text.startswith("K ") and "all rows" not in text
    assert "draft eagle3, engine vllm-2026; verification with\nFlashAttention-3\nevidence: published" in text
    assert len(large.to_text().splitlines()) <= len(large.rows()) + 8


def test_the_footer_states_what_the_cycle_rests_on_and_what_the_interval_covers():
    vllm, ideal = (result(batch=[1, 64], engine=name).to_text(max_width=200) for name in ("vllm", "ideal"))
    assert re.search(r"shares of a cycle: silicon [\d-]+ %, published [\d-]+ %\n", vllm)
    assert "cover kernels, engine versions and differences between deployments, but not acceptance" in vllm
    assert "shares of a cycle: silicon 100 %\n90 % intervals cover kernels, but not the engine" in ideal
    assert "TP" in result(tp=2).to_text() and "TP" not in vllm


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


def test_the_footer_shows_a_draft_length_that_all_rows_share():
    assert "draft eagle3 with draft_len 3, engine" in result(batch=[1, 64]).to_text()
    assert "draft eagle3 with draft_len 2, engine" in result(acceptance=[0.8, 0.7]).to_text()
    assert "draft_len 3" not in result(draft_len=[1, 3]).to_text()


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


def test_verification_that_no_published_row_describes_is_never_called_faster():
    """fp8 KV before Hopper under vLLM: the lower end falls to about half of the speed-up, and a note says why."""
    options = {"draft": "eagle3", "tokens_per_cycle": 2.87, "draft_len": 5, "batch": [1, 64], "engine": "vllm"}
    fp8 = predict("llama-3.1-8b", hardware="a100-sxm", kv_precision="fp8", **options)
    assert [row["verdict"] for row in fp8.rows()] == ["undecided", "undecided"]
    assert all(row["speedup_lower"] < 0.6 * row["speedup"] for row in fp8.rows())
    assert any("no published row" in note for note in fp8.notes)
    plain = predict("llama-3.1-8b", hardware="a100-sxm", **options)
    assert [row["verify_attention"] for row in plain.rows()] == ["FlashAttention-2"] * 2
    assert plain.rows()[0]["verdict"] == "faster"
    kernels = {row["kernels"] for row in plain.breakdown() if row["op"] == "attention" and row["phase"] == "verify"}
    assert kernels == {"FlashAttention-2"}
