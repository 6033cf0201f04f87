"""Runs without a draft: their served figures, and what is not one."""

import json

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines import logs
from scylla_sim.engines.plain_runs import read_plain
from scylla_sim.engines.text_file import TextFile

RESULT = {"completed": 320, "total_output_tokens": 40960, "mean_tpot_ms": 8.05, "concurrency": 15.9}
RESULT |= {"output_throughput": 1946.2, "total_input_tokens": 320000}
TABLE = """============ Serving Benchmark Result ============
Successful requests:                     320
Mean TPOT (ms):                          8.05
==================================================
"""


@pytest.mark.parametrize(
    "text", [json.dumps(RESULT), json.dumps([RESULT]), json.dumps({**RESULT, "accept_length": None}), TABLE]
)
def test_benchmarks_without_a_draft_give_their_times(tmp_path, text):
    path = tmp_path / "run"
    path.write_text(text)
    run = read_plain(str(path))
    assert run is not None and (run.tpot_s, run.requests) == (pytest.approx(0.00805), 320)
    with pytest.raises(InputError, match="is a benchmark without acceptance; .* a run without a draft goes to"):
        logs.read(TextFile.of(text))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({**RESULT, "spec_decode_num_drafts": 10}),
        json.dumps({**RESULT, "accept_length": 2.5}),
        TABLE.replace("Mean TPOT", "Accept length:  2.5\nMean TPOT"),
        "SpecDecoding metrics: Mean",
        "",
    ],
)
def test_a_damaged_file_with_drafts_is_no_plain_run(tmp_path, text):
    path = tmp_path / "run"
    path.write_text(text)
    assert read_plain(str(path)) is None


def test_several_runs_are_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(RESULT) + "\n" + json.dumps({**RESULT, "concurrency": 1.0}))
    with pytest.raises(InputError, match="must hold one run without a draft, and holds 2; split it"):
        read_plain(str(path))
