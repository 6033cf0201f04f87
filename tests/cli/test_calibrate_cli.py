"""``scylla-sim calibrate``: fit, write, and use the file."""

import csv
import io
import json

from command_line import PREDICT, refused, rows, run

from scylla_sim.text.digits import WIDTH


def test_predict_uses_a_written_calibration(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    lines = [f"gemm,h100-sxm,bf16,{m},{n},4096" for m in (1, 16, 64, 256) for n in (2048, 4096, 8192, 16384, 12288)]
    shapes.write_text("op,device,dtype,m,n,k\n" + "\n".join(lines) + "\n")
    predicted = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes)[1]))
    measured = tmp_path / "measured.csv"
    slower = [f"{line},{1e3 * 1.3 * float(row['predicted_s'])}" for line, row in zip(lines, predicted)]
    measured.write_text("op,device,dtype,m,n,k,latency_ms\n" + "\n".join(slower) + "\n")
    out = tmp_path / "cal.json"
    code, text, _ = run(capsys, "calibrate", "--measurements", measured, "--device", "h100-sxm", "--out", out)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert code == 0
    assert "gemm_tiles" in text
    before = rows(capsys, *PREDICT)[0]["plain_step_s"]
    after = rows(capsys, *PREDICT, "--calibration", out)[0]["plain_step_s"]
    assert 1.15 < after / before < 1.6
    value = json.loads(out.read_text())
    assert value["provenance"]["inputs"]["measured.csv"]
    assert value["fits"][0]["parameters"]["bandwidth_fraction"]["lower"]


def test_calibrate_refuses_too_few_rows_and_writes_nothing(capsys, tmp_path):
    measured = tmp_path / "measured.csv"
    measured.write_text("op,device,dtype,m,n,k,latency_ms\ngemm,h100-sxm,bf16,1,4096,4096,0.02\n")
    out = tmp_path / "cal.json"
    line = refused(capsys, "calibrate", "--measurements", measured, "--device", "h100-sxm", "--out", out)
    assert "at least 16 are needed" in line
    assert not out.exists()
    assert "device='l40s' has no rows" in refused(
        capsys, "calibrate", "--measurements", measured, "--device", "l40s", "--out", out
    )


def test_rows_of_several_files_are_fitted_together(capsys, tmp_path):
    lines = [f"gemm,h100-sxm,bf16,{m},{n},4096" for m in (1, 16, 64, 256) for n in (2048, 4096, 8192, 16384, 12288)]
    shapes = tmp_path / "shapes.csv"
    shapes.write_text("op,device,dtype,m,n,k\n" + "\n".join(lines) + "\n")
    predicted = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes)[1]))
    rows_ = [f"{line},{1e3 * float(row['predicted_s'])}" for line, row in zip(lines, predicted)]
    head = "op,device,dtype,m,n,k,latency_ms\n"
    whole, first, second = (tmp_path / f"{name}.csv" for name in ("whole", "first", "second"))
    whole.write_text(head + "\n".join(rows_) + "\n")
    first.write_text(head + "\n".join(rows_[:10]) + "\n")
    second.write_text(head + "\n".join(rows_[10:]) + "\n")
    fits = []
    for given in (f"{whole}", f"{first},{second}"):
        out = tmp_path / "cal.json"
        assert run(capsys, "calibrate", "--measurements", given, "--device", "h100-sxm", "--out", out)[0] == 0
        fits.append(json.loads(out.read_text())["kernels"])
    assert fits[0] == fits[1]
    for nothing in (",", ""):
        line = refused(
            capsys, "calibrate", "--measurements", nothing, "--device", "h100-sxm", "--out", tmp_path / "x"
        )
        assert "must name at least one file" in line


def measured_gemms(capsys, path, factor):
    """Write GEMM rows whose times are those of the shipped calibration times a factor."""
    lines = [f"gemm,h100-sxm,bf16,{m},{n},4096" for m in (1, 16, 64, 256) for n in (2048, 4096, 8192, 16384, 12288)]
    shapes = path.with_name("shapes.csv")
    shapes.write_text("op,device,dtype,m,n,k\n" + "\n".join(lines) + "\n")
    predicted = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes)[1]))
    times = [f"{line},{1e3 * factor * float(row['predicted_s'])}" for line, row in zip(lines, predicted)]
    path.write_text("op,device,dtype,m,n,k,latency_ms\n" + "\n".join(times) + "\n")


def test_calibrate_refuses_seconds_and_writes_nothing(capsys, tmp_path):
    measured, out = tmp_path / "seconds.csv", tmp_path / "cal.json"
    measured_gemms(capsys, measured, 1e-3)
    line = refused(capsys, "calibrate", "--measurements", measured, "--device", "h100-sxm", "--out", out)
    assert "are these seconds?; --allow-implausible" in line
    assert "on line 2 of seconds.csv" in line
    assert not out.exists()


def test_allow_implausible_fits_and_records_the_finding(capsys, tmp_path):
    measured, out = tmp_path / "micros.csv", tmp_path / "cal.json"
    measured_gemms(capsys, measured, 1e3)
    arguments = ("calibrate", "--measurements", measured, "--device", "h100-sxm", "--out", out)
    assert "are these microseconds?" in refused(capsys, *arguments)
    code, _, err = run(capsys, *arguments, "--allow-implausible")
    assert code == 0
    assert "note: latency_ms=" in err
    assert "are these microseconds?" in json.loads(out.read_text())["implausible"][0]


def test_a_file_appended_to_itself_is_noted_and_two_runs_are_refused(capsys, tmp_path):
    first, second, out = tmp_path / "first.csv", tmp_path / "second.csv", tmp_path / "cal.json"
    measured_gemms(capsys, first, 1.0)
    measured_gemms(capsys, second, 1.5)
    line = refused(capsys, "calibrate", "--measurements", f"{first},{second}", "--device", "h100-sxm", "--out", out)
    assert "20 shapes of gemm bfloat16 repeated, times differ 1.50-fold" in line
    assert "first.csv" in line
    assert "second.csv" in line
    measured_gemms(capsys, second, 1.0)
    code, _, err = run(
        capsys, "calibrate", "--measurements", f"{first},{second}", "--device", "h100-sxm", "--out", out
    )
    assert code == 0
    assert "20 shapes of gemm bfloat16 repeated, times differ 1.00-fold" in err
