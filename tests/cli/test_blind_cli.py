"""``scylla-sim blind``: predictions of a measurement before it is made, written for all GPUs or for none."""

import json

import pytest

from scylla_sim import cli, records

STEP = "device,dtype,model,batch,context,tokens\nh100-sxm,bf16,llama-3.1-8b,8,1024,4\n"
DECODE = (
    "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\n"
    "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\n"
)


@pytest.fixture
def shapes(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "step.csv").write_text(STEP)
    (folder / "decode.csv").write_text(DECODE)
    return folder


def blind(shapes, out, hardware="h100-sxm,l40s"):
    return cli.main(["blind", "--shapes", str(shapes), "--hardware", hardware, "--out", str(out)])


def test_every_gpu_gets_its_predictions_and_their_hashes(shapes, tmp_path, capsys):
    out = tmp_path / "recorded" / "blind"
    assert blind(shapes, out) == 0
    seconds = {}
    for device in ("h100-sxm", "l40s"):
        folder = out / device
        assert set(records.read_sums(folder)) == {"step.csv", "decode.csv", "provenance.json"}
        for name in records.read_sums(folder):
            records.check_sums(folder / name)
        columns = records.read_columns(folder / "step.csv")
        assert columns["device"] == [device]
        seconds[device] = float(columns["predicted_s"][0])
        facts = json.loads((folder / "provenance.json").read_text())
        assert (facts["schema"], facts["hardware"]) == ("scylla-sim/blind/1", device)
    assert seconds["l40s"] > 2 * seconds["h100-sxm"], "a quarter of the bandwidth"
    assert f"SHA256SUMS of l40s: {records.sha256_of(out / 'l40s' / 'SHA256SUMS')}" in capsys.readouterr().err


def test_predictions_equal_those_of_the_verb(shapes, tmp_path, capsys):
    assert blind(shapes, tmp_path / "blind", "h100-sxm") == 0
    arguments = ["--engine", "ideal", "--shapes", str(shapes / "step.csv"), "--out", str(tmp_path / "steps.csv")]
    assert cli.main(["steps", *arguments]) == 0
    assert (tmp_path / "blind" / "h100-sxm" / "step.csv").read_text() == (tmp_path / "steps.csv").read_text()


def test_bad_file_leaves_nothing_written(shapes, tmp_path, capsys):
    (shapes / "decode.csv").write_text(DECODE.replace(",2.4,", ",many,"))
    assert blind(shapes, tmp_path / "blind") == 2
    assert "tokens_per_cycle='many' must be a number of at least 1 on line 2" in capsys.readouterr().err
    (shapes / "decode.csv").write_text("a,b\n1,2\n")
    assert blind(shapes, tmp_path / "blind") == 2
    assert f"is missing from {shapes / 'decode.csv'}" in capsys.readouterr().err
    assert not (tmp_path / "blind").exists()


def test_measured_gpu_and_empty_folder_are_refused(shapes, tmp_path, capsys):
    (tmp_path / "h100-sxm").mkdir()
    assert blind(shapes, tmp_path / "blind") == 2
    assert "hardware='h100-sxm' has been measured" in capsys.readouterr().err
    assert blind(tmp_path / "nothing", tmp_path / "blind") == 2
    assert "must be a folder with at least one of kernels.csv" in capsys.readouterr().err
