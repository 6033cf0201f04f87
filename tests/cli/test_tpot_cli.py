"""``scylla-sim tpot``: CSV in, CSV out, and one line for every mistake."""

import csv
import io
import json

import pytest
from command_line import refused, run

from scylla_sim import cli
from scylla_sim.serving.serving_scalars import serving_scalars

HEADER = "device,engine,model,dtype,tp,batch,input_len,output_len,tpot_ms,ttft_ms,rounds"


def call(capsys, *arguments):
    code = cli.main(["tpot", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one engine with two precisions, in eight groups of lengths each."""
    shapes = [(b, i, o) for b in (4, 32) for i in (512, 2048) for o in (128, 256)]
    lines = [
        f"h100-sxm,vllm-2026,llama-3.1-8b,{dtype},1,{b},{i},{o},1,1,10"
        for dtype in ("bf16", "fp8")
        for b, i, o in shapes
    ]
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_run_is_predicted_and_its_columns_pass_through(capsys, runs):
    code, out, _ = call(capsys, "--runs", runs)
    found = table(out)
    assert (code, len(found)) == (0, 16)
    for row in found:
        for name in ("ttft_s", "e2e_s", "requests_per_s"):
            assert float(row[f"{name}_lower"]) < float(row[name]) < float(row[f"{name}_upper"])
        assert float(row["lower_s"]) < float(row["predicted_s"]) < float(row["upper_s"])
        assert float(row["naive_s"]) < float(row["predicted_s"])
        assert float(row["naive_ttft_s"]) < float(row["ttft_s"])
        assert (row["scalars"], row["half"], row["rounds"]) == ("shipped", "", "10")
        assert float(row["requests_per_s"]) * float(row["e2e_s"]) == pytest.approx(float(row["batch"]))
        assert row["excluded"] == "faster than the datasheet allows"  # 1 ms an output token


def made(runs, tmp_path, factor=1.0):
    """Write the runs with their own predictions as measurements."""
    rows = table(runs.read_text())
    code = cli.main(["tpot", "--runs", str(runs), "--out", str(tmp_path / "found.csv")])
    assert code == 0
    found = table((tmp_path / "found.csv").read_text())
    for row, one in zip(rows, found):
        row["tpot_ms"] = repr(1e3 * float(one["predicted_s"]) * factor)
        row["ttft_ms"] = repr(1e3 * float(one["ttft_s"]) * factor)
    path = tmp_path / "made.csv"
    path.write_text("\n".join((HEADER, *(",".join(row.values()) for row in rows))) + "\n")
    return path, found


def test_both_fits_repeat_the_rows_and_say_what_they_rest_on(capsys, runs, tmp_path):
    path, found = made(runs, tmp_path)
    code, out, err = call(capsys, "--runs", path, "--fit-half", "--fit-others")
    rows = table(out)
    assert code == 0
    assert [row["scalars"] for row in rows] == ["others"] * 16 + ["half"] * 16
    assert {row["half"] for row in rows[16:]} == {"fit", "held out"}
    assert "vllm-2026 h100-sxm llama-3.1-8b bf16: host" in err
    for row, one in zip(rows[16:], found):
        assert float(row["predicted_s"]) == pytest.approx(float(one["predicted_s"]), rel=0.05)
    assert {row["first_token_s"] for row in rows[:16]} == {"0.03"}


def test_runs_without_documented_arrivals_do_not_fit_the_first_token(capsys, runs, tmp_path):
    path, _ = made(runs, tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",documented", *(line + ",no" for line in lines[1:])]) + "\n")
    _, out, _ = call(capsys, "--runs", path, "--fit-half")
    assert {row["first_token_s"] for row in table(out)} == {"0.03"}


def test_a_draft_shortens_the_time_per_token(capsys, tmp_path):
    path = tmp_path / "runs.csv"
    head = "device,engine,model,dtype,tp,batch,input_len,output_len,draft,draft_len,tokens_per_cycle"
    base = "h100-sxm,vllm,llama-3.1-8b,bf16,1,1,512,256"
    path.write_text(f"{head}\n{base},,,\n{base},eagle3,3,2.4\n")
    code, out, err = call(capsys, "--runs", path)
    plain, drafted = (float(row["predicted_s"]) for row in table(out))
    assert code == 0
    assert 0.4 < drafted / plain < 0.8
    assert "no protocol columns" in err


def test_json_has_schema_and_hash_of_the_input(capsys, runs):
    value = json.loads(call(capsys, "--runs", runs, "--format", "json")[1])
    assert value["schema"] == "scylla-sim/tpot/1"
    assert list(value["provenance"]["inputs"]) == ["runs.csv"]


def test_an_engine_without_runs_on_a_device_is_named(capsys, runs, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text(runs.read_text().replace("h100-sxm", "l40s").replace("fp8", "bf16"))
    assert "no serving runs behind the scalars of vllm-2026 on l40s" in call(capsys, "--runs", path)[2]


@pytest.mark.parametrize(
    ("change", "option", "said"),
    [
        (("bf16,1,4,512", "bf16,1,0,512"), (), "batch='0' must be a whole number of at least 1 on line 2"),
        (("bf16,1,4,512", "bf16,1,4,x"), (), "input_len='x' must be a whole number"),
        (("output_len", "osl"), (), "column='output_len' is missing"),
        (("tpot_ms", "other"), ("--fit-half",), "column='tpot_ms' is missing"),
        (("128,1,1", "128,-1,1"), ("--fit-half",), "tpot_ms='-1' must be a number above 0 on line 2"),
        (("llama-3.1-8b", "llama-9"), (), "model='llama-9' is not known"),
        (("bf16", "bf15"), (), "dtype='bf15' is not known"),
        (("vllm-2026", "vlm"), (), "engine='vlm' is not known"),
        ((",rounds", ",ttft_s"), (), "column='ttft_s' in"),
        ((",rounds", ",prefill_first"), (), "prefill_first='10' must be yes or no on line 2"),
        (("128,1,1,10", "128,1,1,0"), (), "rounds='0' must be a number of at least 1 on line 2"),
    ],
)
def test_mistakes_are_one_line(capsys, runs, tmp_path, change, option, said):
    path = tmp_path / "bad.csv"
    path.write_text(runs.read_text().replace(*change, 1))
    code, out, err = call(capsys, "--runs", path, *option)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_an_answer_of_one_token_is_refused_by_its_line(capsys, tmp_path):
    path = tmp_path / "runs.csv"
    rows = [HEADER.partition(",tpot_ms")[0], *(f"h100-sxm,vllm,llama-3.1-8b,fp8,1,8,100,{n}" for n in (2, 1))]
    path.write_text("\n".join(rows) + "\n")
    rule = "output_len='1' must be at least 2 on line 3 of runs.csv; one token has no time per token"
    assert rule in refused(capsys, "tpot", "--runs", path)


def test_what_tpot_adds_to_the_other_verbs_is_said_by_all_of_them(capsys, tmp_path):
    """Published runs take longer than their kernels; only tpot adds this, and differs from predict by it."""
    path = tmp_path / "runs.csv"
    path.write_text(
        "device,engine,model,dtype,tp,batch,input_len,output_len\nh100-sxm,vllm,llama-3.1-8b,fp8,1,1,500,100\n"
    )
    words = serving_scalars("vllm-2026", "h100-sxm").in_words()
    where = ["--model", "llama-3.1-8b", "--precision", "fp8", "--hardware", "h100-sxm"]
    load = ["--input-len", "500", "--output-len", "100", "--rate", "1/s"]
    _, _, err = run(capsys, "tpot", "--runs", path)
    assert f"include {words}, which predict, plan and serve-sim leave out" in err
    note = (
        f"published runs of vllm-2026 on h100-sxm take {words}; scylla-sim tpot adds this, and these times leave it"
    )
    assert note in run(capsys, "serve-sim", *where, *load, "--requests", "20", "--seeds", "1")[2]
    assert note in run(capsys, "plan", *where, *load, "--finalists", "0")[2]
    assert "published runs of" not in run(capsys, "plan", *where, *load, "--finalists", "0", "--engine", "ideal")[2]
