"""The registry of operations, and a made-up operation that needs one entry only."""

import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest

from scylla_sim import cli
from scylla_sim.calibration import device_calibration, op_time
from scylla_sim.checks import InputError
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import MEMORY, Execution, FitSettings, Operation, OpKind, TableColumns
from scylla_sim.kernels.registry import OPERATIONS, kernel_models, op_kind, operation
from scylla_sim.ops import op as ops_op
from scylla_sim.prediction import steps
from scylla_sim.specs import catalog


@dataclass(frozen=True)
class Transpose:
    bandwidth_fraction: float = parameter(0.5, 1.0, "Achieved fraction of the memory bandwidth.")
    launch_s: float = parameter(4e-6, 1.0, "Launch latency.")


def moved_bytes(c):
    return 4.0 * c["height"] * c["width"]


def transpose_seconds(p, c, r):
    return p.launch_s + moved_bytes(c) / (p.bandwidth_fraction * r.bytes_per_s)


MODEL = KernelModel("transpose_copy", Transpose(), ("height", "width"), transpose_seconds)
TRANSPOSE = Operation(
    name="transpose",
    models=(MODEL,),
    models_for=lambda dtype, hardware, library: (MODEL,),
    roofline_seconds=lambda c, r: moved_bytes(c) / r.bytes_per_s,
    table=TableColumns(required=("height", "width")),
    fit=FitSettings(min_rows=16, residual_scale=0.03, size_columns=("height", "width"), cv_groups=("width",)),
    kinds=(OpKind("transpose", (Execution("transpose"),), resource=MEMORY),),
)
PLANTED = Transpose(bandwidth_fraction=0.7, launch_s=2e-6)


@pytest.fixture
def transpose(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "transpose", TRANSPOSE)
    work = ops_op.Work(lambda c: np.zeros_like(c["height"]), lambda c, size: moved_bytes(c))
    monkeypatch.setitem(ops_op.WORK, "transpose", work)


@pytest.fixture
def calibrated(transpose, tmp_path):
    """Return the calibration that the command line fits to rows of the made-up operation."""
    r = rates(catalog.hardware("h100-sxm"), "bfloat16")
    shapes = [(height, width) for height in (64, 1024, 16384, 65536) for width in (128, 512, 2048, 8192, 16384)]
    lines = ["op,device,dtype,height,width,latency_ms"]
    for height, width in shapes:
        seconds = transpose_seconds(PLANTED, {"height": float(height), "width": float(width)}, r)
        lines.append(f"transpose,h100-sxm,bf16,{height},{width},{1e3 * seconds!r}")
    rows, out = tmp_path / "rows.csv", tmp_path / "calibration.json"
    rows.write_text("\n".join(lines) + "\n")
    assert cli.main(["calibrate", "--measurements", str(rows), "--device", "h100-sxm", "--out", str(out)]) == 0
    return out


def test_calibrate_fits_a_new_operation(calibrated):
    kernel = device_calibration.read(calibrated).kernels["transpose"]["bfloat16"]
    assert kernel.parameters.bandwidth_fraction == pytest.approx(0.7, rel=0.02)
    assert kernel.parameters.launch_s == pytest.approx(2e-6, rel=0.02)
    (report,) = json.loads(calibrated.read_text())["fits"]
    assert report["form"] == "transpose_copy" and report["rows"] == 20


def test_kernels_predicts_a_new_operation(calibrated, tmp_path):
    shapes, out = tmp_path / "shapes.csv", tmp_path / "seconds.csv"
    shapes.write_text("op,device,dtype,height,width\ntranspose,h100-sxm,bf16,100000,8192\n")
    argv = ["kernels", "--shapes", str(shapes), "--calibration", str(calibrated), "--out", str(out)]
    assert cli.main(argv) == 0
    (row,) = csv.DictReader(out.open())
    by_hand = 4 * 100000 * 8192 / catalog.hardware("h100-sxm").memory_bytes_per_s
    assert float(row["naive_s"]) == pytest.approx(by_hand)
    assert float(row["predicted_s"]) == pytest.approx(2e-6 + by_hand / 0.7, rel=0.02)
    assert float(row["lower_s"]) <= float(row["predicted_s"]) <= float(row["upper_s"])


def test_a_step_contains_a_new_operation(calibrated, monkeypatch):
    model, shape = catalog.model("llama-3.1-8b"), {"height": np.array(8192.0), "width": np.array(8192.0)}
    op = ops_op.Op("transpose_kv", "transpose", 32, shape)
    h100, _ = device_calibration.shipped("h100-sxm").completed_by(device_calibration.read(calibrated))
    deployment = steps.Deployment(h100, catalog.engine("ideal"))
    plain = steps.target_step(model, deployment, batch=1, context=1024)
    forward_ops = steps.forward_ops
    monkeypatch.setattr(steps, "forward_ops", lambda *args, **options: [*forward_ops(*args, **options), op])
    longer = steps.target_step(model, deployment, batch=1, context=1024)
    one = op_time.op_seconds(op, h100, dtype="bfloat16", kv_dtype="bfloat16")
    assert float(longer.seconds - plain.seconds) == pytest.approx(32 * float(one.seconds.value))
    assert one.evidence == "silicon"
    assert longer.parts[-1].name == "transpose_kv"


def test_a_new_operation_without_rows_has_its_prior(transpose):
    h100 = device_calibration.shipped("h100-sxm")
    kernel = h100.kernel("transpose")
    assert kernel.parameters == Transpose()
    assert kernel.evidence == "theory"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="op='gem' is not known; did you mean gemm"):
        operation("gem")
    with pytest.raises(InputError, match="kind='mla' is not known"):
        op_kind("mla")


def test_every_kind_of_a_forward_pass_states_its_work_and_its_kernels():
    described = {kind.name for item in OPERATIONS.values() for kind in item.kinds}
    assert described == set(ops_op.WORK)


@pytest.mark.parametrize("model", kernel_models().values(), ids=lambda model: model.name)
def test_parameters_have_a_positive_prior_and_a_doc(model):
    for item in model.parameters:
        assert item.prior > 0 and item.spread > 0
        assert item.doc[0].isupper() and item.doc.endswith(".")


def test_starts_name_parameters_of_the_model():
    with pytest.raises(ValueError, match="unknown parameters: \\['waves'\\]"):
        KernelModel("x", Transpose(), ("height",), transpose_seconds, starts=({"waves": 1.0},))
