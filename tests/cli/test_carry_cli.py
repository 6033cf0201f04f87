"""``scylla-sim kernels --carry``: a calibration at the datasheet rates of another device."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim import cli
from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.benchmark import benchmark_seconds
from scylla_sim.calibration.fitted_kernel import SOURCE_WEIGHT
from scylla_sim.calibration.kernel_table import from_columns
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import values_of
from scylla_sim.records import dump_json
from scylla_sim.specs import catalog

SHAPES = "op,device,dtype,m,n,k\ngemm,h100-sxm,bf16,8,8192,8192\ngemm,b200-sxm,bf16,8,8192,8192\n"


@pytest.fixture
def files(tmp_path):
    shapes, calibration = tmp_path / "shapes.csv", tmp_path / "h100.json"
    shapes.write_text(SHAPES)
    calibration.write_text(dump_json(device_calibration.to_json(device_calibration.shipped("h100-sxm"))))
    return ["--shapes", str(shapes), "--calibration", str(calibration)]


def seconds(capsys, *arguments):
    assert cli.main(["kernels", *arguments]) == 0
    return [
        {name: float(row[name]) for name in ("predicted_s", "lower_s", "upper_s", "naive_s")}
        for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
    ]


def test_a_transferred_row_uses_its_own_datasheet_and_a_wider_interval(capsys, files):
    own, transferred = seconds(capsys, *files, "--carry")
    still = seconds(capsys, *files)
    assert own == still[0]
    assert transferred["predicted_s"] < own["predicted_s"] == still[1]["predicted_s"]
    assert transferred["naive_s"] == pytest.approx(own["naive_s"] * 3.35 / 7.7)
    width = [row["upper_s"] / row["lower_s"] for row in (own, transferred)]
    assert width[1] > width[0] ** 1.2


def test_within_a_family_parameters_are_kept_and_outside_pooled_with_the_prior():
    given = device_calibration.shipped("h100-sxm").kernel("gemm")
    family, other = given.transferred(same_family=True), given.transferred(same_family=False)
    assert family.parameters == given.parameters
    prior = np.log(values_of(given.model.prior))
    share = (np.log(values_of(other.parameters)) - prior) / (np.log(values_of(given.parameters)) - prior)
    assert share == pytest.approx(np.full(share.size, SOURCE_WEIGHT))
    assert given.band.upper_ratio < family.band.upper_ratio < other.band.upper_ratio
    assert other.evidence == family.evidence == "transferred"


@pytest.mark.parametrize(("group", "fastest", "slowest"), [("graph", 0.83, 0.99), ("graph@sglang", 0.58, 0.93)])
def test_slower_links_do_not_make_small_all_reduces_slower_than_measured_ones(group, fastest, slowest):
    """The H100's kernels at the links of an A100, against the A100's own: the check that docs/claims.md quotes."""
    sizes = 2.0 ** np.arange(16, 23)
    columns = {"num_gpus": np.full(sizes.shape, 4.0), "bytes": sizes}
    a100 = catalog.hardware("a100-sxm")
    slower = replace(catalog.hardware("h100-sxm"), link_bytes_per_s=a100.link_bytes_per_s)
    scaled, own = (
        device_calibration.shipped(name).kernels["all_reduce"][group] for name in ("h100-sxm", "a100-sxm")
    )
    ratio = scaled.model.seconds(scaled.parameters, columns, rates(slower, "bfloat16"))
    ratio /= own.model.seconds(own.parameters, columns, rates(a100, "bfloat16"))
    assert [ratio.min(), ratio.max()] == pytest.approx([fastest, slowest], abs=0.01)


def test_the_bus_bandwidth_of_eight_h800_is_near_a_published_one(capsys, tmp_path):
    shapes, size = tmp_path / "shapes.csv", 2**32
    shapes.write_text(f"op,device,dtype,num_gpus,bytes\nall_reduce,h800-sxm,bf16,8,{size}\n")
    (row,) = seconds(capsys, "--shapes", str(shapes))
    bus = size * 2 * 7 / 8 / row["predicted_s"]
    assert bus == pytest.approx(215e9, rel=0.07)  # NCCL with NVLink SHARP, NVIDIA/nccl issue 1374


def test_the_file_and_the_library_agree(capsys, files):
    columns = {name: list(cells) for name, *cells in zip(*(line.split(",") for line in SHAPES.split()))}
    rows = from_columns(columns, "shapes.csv")
    given = device_calibration.shipped("h100-sxm")
    calibrations = {name: given.transferred_to(catalog.hardware(name)) for name in ("h100-sxm", "b200-sxm")}
    found = benchmark_seconds(rows, calibrations)["predicted_s"].tolist()
    assert [row["predicted_s"] for row in seconds(capsys, *files, "--carry")] == found


def test_carry_without_a_calibration_is_refused(capsys, files):
    assert cli.main(["kernels", *files[:2], "--carry"]) == 2
    assert "carry='yes' needs --calibration" in capsys.readouterr().err
