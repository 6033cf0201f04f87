"""``scylla-sim kernels``, ``steps`` and ``cycles``: CSV in and out."""

import csv
import io
import json

import pytest
from command_line import PREDICT, refused, rows, run

from scylla_sim.calibration import device_calibration
from scylla_sim.prediction.prefill import prefill_step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog


def test_kernels_keeps_the_columns_of_its_input(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    shapes.write_text(
        "op,device,dtype,m,n,k,batch,kv_len,num_heads,num_kv_heads,head_dim,num_gpus,bytes,mine\n"
        "gemm,h100-sxm,bf16,64,4096.0,4096,,,,,,,,a\n"
        "decode_attention,h100-sxm,bf16,,,,8,1024,32,8,128,,,b\n"
        "all_reduce,h100-sxm,,,,,,,,,,4,65536,c\n"
    )
    code, out, _ = run(capsys, "kernels", "--shapes", shapes)
    assert code == 0
    found = list(csv.DictReader(io.StringIO(out)))
    assert [row["mine"] for row in found] == ["a", "b", "c"]
    for row in found:
        predicted = float(row["predicted_s"])
        assert float(row["lower_s"]) <= predicted <= float(row["upper_s"])
        assert float(row["naive_s"]) < predicted
    again = json.loads(run(capsys, "kernels", "--shapes", shapes, "--format", "json")[1])["rows"]
    assert [row["predicted_s"] for row in again] == [float(row["predicted_s"]) for row in found]


def test_kernels_refuses_unknown_devices_and_missing_columns(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    shapes.write_text("op,device,dtype,m,n,k\ngemm,h300,bf16,1,1,1\n")
    assert "hardware='h300' is not known" in refused(capsys, "kernels", "--shapes", shapes)
    shapes.write_text("op,device,dtype,m,n\ngemm,h100-sxm,bf16,1,1\n")
    assert "column='k' is missing" in refused(capsys, "kernels", "--shapes", shapes)
    shapes.write_text("op,dtype,m,n,k\ngemm,bf16,1,1,1\n")
    assert "device='' must be given on line 2 of shapes.csv" in refused(capsys, "kernels", "--shapes", shapes)
    latent = "op,device,dtype,batch,kv_len,num_heads,kv_rank{}\nlatent_attention,h100-sxm,bf16,8,1024,16,512{}\n"
    shapes.write_text(latent.format("", ""))
    line = refused(capsys, "kernels", "--shapes", shapes)
    assert "column='rope_dim' is missing" in line
    assert "op latent_attention needs it" in line
    shapes.write_text(latent.format(",rope_dim", ","))
    assert "rope_dim='' must be a whole number in (0, 1e+15] on line 2" in refused(
        capsys, "kernels", "--shapes", shapes
    )
    shapes.write_text(latent.format(",rope_dim", ",64"))
    line = refused(capsys, "kernels", "--shapes", shapes, "--without", "mla")
    assert "op='mla' is not known; known: gemm, decode_attention, context_attention, latent_attention" in line


def test_kernels_without_an_operation_uses_its_fallback(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    shapes.write_text(
        "op,device,dtype,batch,kv_len,num_heads,kv_rank,rope_dim\nlatent_attention,h100-sxm,bf16,8,1024,16,512,64\n"
    )

    def estimated(*options):
        (row,) = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes, *options)[1]))
        return {name: float(row[name]) for name in ("naive_s", "lower_s", "predicted_s", "upper_s")}

    fitted, fallback = estimated(), estimated("--without", "latent_attention")
    assert fitted["naive_s"] == fallback["naive_s"] < min(fitted["predicted_s"], fallback["predicted_s"])
    assert fallback["upper_s"] / fallback["lower_s"] > 1.5 * fitted["upper_s"] / fitted["lower_s"]
    assert estimated("--without", "gemm") == fitted


def test_steps_agree_with_predict(capsys, tmp_path):
    shapes = tmp_path / "steps.csv"
    shapes.write_text("device,dtype,model,batch,context,tokens,mine\nh100-sxm,bf16,llama-3.1-8b,8,1024,1,x\n")
    (row,) = csv.DictReader(io.StringIO(run(capsys, "steps", "--shapes", shapes, "--engine", "ideal")[1]))
    (same,) = rows(capsys, *PREDICT, "--batch", "8")
    assert float(row["predicted_s"]) == same["plain_step_s"]
    assert float(row["naive_s"]) < float(row["lower_s"]) < float(row["predicted_s"]) < float(row["upper_s"])
    assert row["mine"] == "x"
    shapes.write_text("device,dtype,model,batch,context,tokens\nh100-sxm,bf16,llama-3.1-8b,8,nan,1\n")
    assert "context='nan' must be a number of at least 1 on line 2" in refused(capsys, "steps", "--shapes", shapes)


CELLS = (("prefill", 0), ("prefill", 4096), ("verify", 4096))
"""Role and context of the rows."""


def test_steps_that_read_prompts_are_prefill_steps(capsys, tmp_path):
    shapes = tmp_path / "steps.csv"
    head = "device,dtype,role,model,batch,context,tokens\n"
    shapes.write_text(head + "".join(f"h100-sxm,bf16,{r},llama-3.1-8b,2,{c},512\n" for r, c in CELLS))
    found = list(csv.DictReader(io.StringIO(run(capsys, "steps", "--shapes", shapes, "--engine", "ideal")[1])))
    deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    for row, (_, cached) in zip(found[:2], CELLS):
        step = prefill_step(catalog.model("llama-3.1-8b"), deployment, tokens=512, cached=cached, sequences=2)
        assert float(row["predicted_s"]) == pytest.approx(float(step.seconds), rel=1e-12)
    assert float(found[2]["predicted_s"]) > float(found[1]["predicted_s"]), "verification scores every token"
    shapes.write_text(head + "h100-sxm,bf16,verify,llama-3.1-8b,2,0,512\n")
    assert "context='0' must be a number of at least 1 on line 2" in refused(capsys, "steps", "--shapes", shapes)


def test_cycles_agree_with_predict(capsys, tmp_path):
    shapes = tmp_path / "cycles.csv"
    head = "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\n"
    shapes.write_text(head + "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\n")
    (row,) = csv.DictReader(io.StringIO(run(capsys, "cycles", "--shapes", shapes)[1]))
    (same,) = rows(
        capsys, *PREDICT, "--draft", "eagle3", "--tokens-per-cycle", "2.4", "--batch", "8", "--context", 1024
    )
    assert float(row["plain_step_s"]) == pytest.approx(same["plain_step_s"] + same["plain_overhead_s"], rel=1e-12)
    for name in ("draft_s", "verify_s", "cycle_s", "speedup", "speedup_lower"):
        assert float(row[name]) == pytest.approx(same[name], rel=1e-12)
    shapes.write_text(head + "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,many,8,1024\n")
    assert "tokens_per_cycle='many' must be a number" in refused(capsys, "cycles", "--shapes", shapes)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("Prefill,1,0,512,1", "role='Prefill' must be empty or one of plain, decode, verify, draft, prefill on"),
        ("prefill,2,0,5000,1", "tokens='5000' with batch=2 must be at most 8192 together on line 2"),
        ("prefill,1,131000,100,1", "context+tokens=131100 exceeds the 131072 positions of llama-3.1-8b on line"),
        ("plain,1,1024,1,8", "tp='8' must be 1 on line 2"),
    ],
)
def test_rows_that_steps_cannot_predict_name_their_line(row, rule, capsys, tmp_path):
    shapes = tmp_path / "steps.csv"
    shapes.write_text(f"device,dtype,model,role,batch,context,tokens,tp\nh100-sxm,bf16,llama-3.1-8b,{row}\n")
    assert rule in refused(capsys, "steps", "--shapes", shapes)
