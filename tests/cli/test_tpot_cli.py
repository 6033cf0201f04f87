"""``scylla-sim tpot``: CSV in, CSV out, and one line for every mistake."""

import csv
import io
import json

import numpy as np
import pytest

from gpu_validate.comparison import errors, join
from scylla_sim import cli
from scylla_sim.calibration import device_calibration
from scylla_sim.prediction import aggregated_serving
from scylla_sim.prediction.aggregated_serving import ServingOverheads
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog

HEADER = "device,engine,model,dtype,tp,batch,input_len,output_len,tpot_ms"


def call(capsys, *arguments):
    code = cli.main(["tpot", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def runs(tmp_path):
    """Runs of two engines in 16 groups, whose times are the prediction with known scalars."""
    shapes = [(tp, b, i, o) for tp in (1, 2) for b in (4, 32) for i in (512, 1024, 2048) for o in (128, 256)]
    lines = [
        f"h100-sxm,{engine},llama-3.1-8b,bf16,{tp},{b},{i},{o},1"
        for engine in ("vllm", "sglang")
        for tp, b, i, o in shapes
    ]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_run_is_predicted_and_its_columns_pass_through(capsys, runs):
    code, out, _ = call(capsys, "--runs", runs)
    found = table(out)
    assert code == 0
    assert len(found) == 48
    assert {row["engine"] for row in found} == {"vllm", "sglang"}
    for row in found:
        assert float(row["lower_s"]) < float(row["predicted_s"]) < float(row["upper_s"])
        assert float(row["least_s"]) <= float(row["naive_s"])
        assert (float(row["share"]), float(row["host_s"])) == (1.0, 0.0)
        assert "half" not in row


def test_fit_half_recovers_the_scalars_of_each_engine(capsys, runs, tmp_path):
    wanted = {
        "vllm": ServingOverheads(0.9, 1e-3),
        "sglang": ServingOverheads(0.5, 2e-3),
    }
    made = []
    for row in table(runs.read_text()):
        deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"), tp=int(row["tp"]))
        numbers = aggregated_serving.ServingRuns(
            *(np.array(float(row[name])) for name in ("batch", "input_len", "output_len"))
        )
        seconds = aggregated_serving.token_time(catalog.model("llama-3.1-8b"), deployment, numbers).tpot_s(
            wanted[row["engine"]]
        )
        made.append(",".join([*list(row.values())[:-1], repr(1e3 * float(seconds))]))
    path = tmp_path / "made.csv"
    path.write_text("\n".join((HEADER, *made)) + "\n")
    fitted = tmp_path / "fitted.csv"
    code, _, err = call(capsys, "--runs", path, "--fit-half", "--out", fitted)
    assert code == 0
    assert "vllm: share 0.900, host 1.000 ms" in err
    assert "sglang: share 0.500, host 2.000 ms" in err
    assert {row["half"] for row in table(fitted.read_text())} == {"fit", "held out"}
    columns = join.read(str(fitted))
    rows = errors.compare(columns, columns, by=["half"])
    assert [row["quantity"] for row in rows] == ["tpot"] * 3
    assert max(row["mape"] for row in rows) < 1e-6


def test_json_has_schema_and_hash_of_the_input(capsys, runs):
    value = json.loads(call(capsys, "--runs", runs, "--format", "json")[1])
    assert value["schema"] == "scylla-sim/tpot/1"
    assert list(value["provenance"]["inputs"]) == ["runs.csv"]


@pytest.mark.parametrize(
    ("change", "option", "said"),
    [
        (("bf16,1,4,512", "bf16,1,0,512"), (), "batch='0' must be a whole number of at least 1 on line 2"),
        (("bf16,1,4,512", "bf16,1,4,x"), (), "input_len='x' must be a whole number"),
        (("output_len", "osl"), (), "column='output_len' is missing"),
        (("tpot_ms", "other"), ("--fit-half",), "column='tpot_ms' is missing"),
        (("128,1", "128,-1"), ("--fit-half",), "tpot_ms='-1' must be a number above 0 on line 2"),
        (("llama-3.1-8b", "llama-9"), (), "model='llama-9' is not known"),
        (("bf16", "bf15"), (), "dtype='bf15' is not known"),
    ],
)
def test_mistakes_are_one_line(capsys, runs, change, option, said):
    runs.write_text(runs.read_text().replace(*change, 1))
    code, out, err = call(capsys, "--runs", runs, *option)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
