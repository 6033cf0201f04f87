"""The command line as a person meets it: rows, formats, exit codes, one line for every mistake."""

import csv
import io
import json
import subprocess
import sys

import pytest

from scylla_sim import cli

PREDICT = ["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b"]
EAGLE3 = [*PREDICT, "--draft", "eagle3", "--acceptance", "0.76,0.74,0.77"]
ROW_KEYS = """hardware model tp precision engine batch_size context_len draft draft_len top_k verify_tokens
tokens_per_cycle draft_s verify_s overhead_s cycle_s plain_step_s plain_overhead_s tpot_s tokens_per_s
plain_tokens_per_s speedup speedup_lower speedup_upper bound fits_memory evidence""".split()


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def rows(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--format", "json")
    assert code == 0
    value = json.loads(out)
    assert value["schema"].startswith("scylla-sim/")
    assert value["provenance"]["version"]
    return value["rows"]


def refused(capsys, *arguments):
    """Exit 2, nothing on stdout, one line on stderr."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_predict_gives_the_promised_keys_over_the_grid(capsys):
    found = rows(capsys, *EAGLE3, "--batch", "1,8", "--context", "1K,8Ki")
    assert [(row["batch_size"], row["context_len"]) for row in found] == [
        (1, 1000),
        (1, 8192),
        (8, 1000),
        (8, 8192),
    ]
    assert list(found[0])[: len(ROW_KEYS)] == ROW_KEYS
    for row in found:
        assert row["cycle_s"] == pytest.approx(row["draft_s"] + row["verify_s"] + row["overhead_s"])
        assert row["tokens_per_s"] == pytest.approx(row["batch_size"] * row["tokens_per_cycle"] / row["cycle_s"])
        plain = row["batch_size"] / (row["plain_step_s"] + row["plain_overhead_s"])
        assert row["plain_tokens_per_s"] == pytest.approx(plain)
        assert row["speedup"] == pytest.approx(row["tokens_per_s"] / row["plain_tokens_per_s"])
        assert row["speedup_lower"] < row["speedup"] < row["speedup_upper"]
        assert row["tokens_per_cycle"] == pytest.approx(1 + 0.76 + 0.76 * 0.74 + 0.76 * 0.74 * 0.77)


def test_the_three_formats_hold_the_same_numbers(capsys):
    (row,) = rows(capsys, *EAGLE3)
    _, text, _ = run(capsys, *EAGLE3, "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(text))
    assert float(line["speedup"]) == row["speedup"]
    _, table, _ = run(capsys, *EAGLE3)
    assert f"{row['speedup']:.4g}" in table
    assert "evidence: silicon" in table


def test_predictions_are_bit_stable(capsys):
    assert rows(capsys, *EAGLE3, "--batch", "1,7,64") == rows(capsys, *EAGLE3, "--batch", "1,7,64")


def test_out_is_written_and_stdout_stays_empty(capsys, tmp_path):
    code, out, err = run(capsys, *EAGLE3, "--format", "json", "--out", tmp_path / "a" / "p.json")
    assert (code, out) == (0, "")
    assert "wrote" in err
    assert json.loads((tmp_path / "a" / "p.json").read_text())["rows"]


def test_no_draft_is_speedup_one(capsys):
    (row,) = rows(capsys, *PREDICT, "--draft", "none")
    assert (row["speedup"], row["tokens_per_cycle"], row["draft_s"]) == (1.0, 1.0, 0.0)


def test_what_does_not_fit_is_predicted_all_the_same(capsys):
    (row,) = rows(capsys, "predict", "--hardware", "rtx-3090", "--model", "qwen2.5-72b")
    assert row["fits_memory"] is False
    assert row["tokens_per_s"] > 0


def test_breakdown_adds_up_to_the_cycle(capsys):
    (whole,) = rows(capsys, *EAGLE3, "--engine", "vllm", "--batch", "8")
    parts = rows(capsys, *EAGLE3, "--engine", "vllm", "--batch", "8", "--breakdown")
    assert sum(part["seconds"] for part in parts) == pytest.approx(whole["cycle_s"])
    assert sum(part["share"] for part in parts) == pytest.approx(1)
    assert {part["phase"] for part in parts} == {"draft", "verify", "overhead"}
    paid = {part["op"]: part["count"] for part in parts if part["phase"] == "overhead"}
    assert paid == {"host": 1, "token": 8 * 4, "draft_pass_host": 3}


def test_without_graphs_a_small_model_waits_for_its_launches(capsys):
    small = ["predict", "--hardware", "h100-sxm", "--model", "qwen2.5-0.5b", "--engine", "vllm"]
    (graph,), (eager,) = rows(capsys, *small), rows(capsys, *small, "--eager")
    assert eager["plain_step_s"] > 2 * graph["plain_step_s"]
    assert eager["bound"] == "overhead"
    parts = {part["op"]: part for part in rows(capsys, *small, "--eager", "--breakdown")}
    assert parts["waiting_for_launches"]["seconds"] > 0.5 * eager["cycle_s"]
    assert "waiting_for_launches" not in {part["op"] for part in rows(capsys, *small, "--breakdown")}
    assert "eager='ideal' has no launch cost" in refused(capsys, *small, "--engine", "ideal", "--eager")


def test_experts_scaled_by_blocks_are_kernels_of_their_own(capsys):
    """On Hopper vLLM's kernels for experts scaled by tensor are far slower, and a note says which is meant."""
    model = ["predict", "--hardware", "h200-sxm", "--model", "qwen3-30b-a3b", "--batch", "8"]
    (blocks,) = rows(capsys, *model, "--precision", "fp8_block")
    (tensor,) = rows(capsys, *model, "--precision", "fp8")
    assert blocks["precision"] == "fp8_block"
    assert blocks["plain_step_s"] < 0.7 * tensor["plain_step_s"]
    run(capsys, *model, "--precision", "fp8")
    assert "fp8_block" in run(capsys, *model, "--precision", "fp8")[2]
    assert "kv_precision" in refused(capsys, *model, "--kv-precision", "fp8_block")


def test_the_laws_feed_predict_with_their_interval(capsys):
    (row,) = rows(capsys, *PREDICT, "--draft", "scylla-5l", "--draft-train-tokens", "10B")
    assert row["tokens_per_cycle_lower"] < row["tokens_per_cycle"] < row["tokens_per_cycle_upper"]
    deeper = rows(capsys, *PREDICT, "--draft", "eagle", "--draft-layers", 5, "--draft-train-tokens", "10B")
    shallow = rows(capsys, *PREDICT, "--draft", "eagle", "--draft-layers", 1, "--draft-train-tokens", "10B")
    assert deeper[0]["tokens_per_cycle"] > shallow[0]["tokens_per_cycle"]


def test_draft_lengths_may_be_a_list(capsys):
    found = rows(capsys, *PREDICT, "--draft", "eagle3", "--acceptance", "0.8", "--draft-len", "1,3,5")
    assert [row["draft_len"] for row in found] == [1, 3, 5]
    assert [row["verify_tokens"] for row in found] == [2, 4, 6]


def test_one_verified_tree_per_batch(capsys):
    draft = [*PREDICT, "--draft", "eagle2", "--reference-tokens-per-cycle", "4.3"]
    found = rows(capsys, *draft, "--batch", "1,64", "--verify-tokens", "61,15")
    assert [row["verify_tokens"] for row in found] == [61, 15]
    assert found[0]["tokens_per_cycle"] == pytest.approx(4.3, abs=1e-3)
    assert found[1]["tokens_per_cycle"] < found[0]["tokens_per_cycle"]


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--batch", "-1"], "batch=-1.0 must be at least 1"),
        (["--batch", "1.5"], "batch=1.5 must be a whole number"),
        (["--batch", "many"], "batch='many' is not understood"),
        (["--context", "0"], "context=0.0 must be at least 1"),
        (["--tp", "3"], "tp=3 must divide num_heads=32"),
        (["--tp", "16"], "tp=16 must be at most 8"),
        (["--precision", "fp7"], "precision='fp7' is not known"),
        (["--engine", "vlm"], "engine='vlm' is not known; did you mean vllm?"),
        (["--pp", "2"], "pp=2 must be 1; pipeline parallelism is not modelled"),
        (["--draft", "eagle4"], "draft='eagle4' is not known"),
        (["--draft", "eagle3"], "acceptance=None is needed"),
        (["--draft", "eagle3", "--acceptance", "1.2"], "acceptance_rate=1.2 must lie in [0, 1]"),
        (["--draft", "eagle3", "--acceptance", "nan"], "acceptance_rate=nan must be finite"),
        (["--draft", "eagle3", "--tokens-per-cycle", "9"], "tokens_per_cycle=9.0 must lie in [1, 4]"),
        (["--draft", "eagle3", "--draft-len", "0", "--acceptance", "0.5"], "draft_len=0.0 must be at least 1"),
        (["--calibration", "no.json"], "file='no.json' cannot be read"),
        (["--batch", "1e30"], "batch=1e+30 must be at most 9.0072e+15"),
        (["--draft", "scylla-3l", "--draft-layers", "2"], "draft_layers=2 contradicts scylla-3l"),
        (["--draft", "eagle3", "--acceptance", "0.7", "--top-k", "10000"], "top_k=10000.0 must lie in [1, 256]"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(capsys, extra, line):
    assert line in refused(capsys, *PREDICT, *extra)


def test_unknown_names_list_the_known(capsys):
    assert "known: h100-sxm, h100-pcie" in refused(
        capsys, "predict", "--hardware", "h100", "--model", "llama-3.1-8b"
    )
    assert "did you mean llama-3.1-8b?" in refused(capsys, "predict", "--hardware", "l4", "--model", "llama-3.1-8")
    assert "known: predict" in refused(capsys, "predcit")


def test_every_verb_has_help_with_an_example(capsys):
    for verb in cli.VERBS:
        with pytest.raises(SystemExit) as stopped:
            cli.main([verb, "--help"])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert "example" in out
        assert f"scylla-sim {verb}" in out


def test_kernels_reads_and_writes_csv_and_passes_columns_through(capsys, tmp_path):
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


def test_kernels_of_an_unknown_device_or_column_is_one_line(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    shapes.write_text("op,device,dtype,m,n,k\ngemm,h300,bf16,1,1,1\n")
    assert "hardware='h300' is not known" in refused(capsys, "kernels", "--shapes", shapes)
    shapes.write_text("op,device,dtype,m,n\ngemm,h100-sxm,bf16,1,1\n")
    assert "column='k' is missing" in refused(capsys, "kernels", "--shapes", shapes)
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
    assert "op='mla' is not known; known: gemm, decode_attention, latent_attention" in line


def test_kernels_without_an_operation_price_what_stands_in_for_it(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    shapes.write_text(
        "op,device,dtype,batch,kv_len,num_heads,kv_rank,rope_dim\nlatent_attention,h100-sxm,bf16,8,1024,16,512,64\n"
    )

    def priced(*options):
        (row,) = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes, *options)[1]))
        return {name: float(row[name]) for name in ("naive_s", "lower_s", "predicted_s", "upper_s")}

    fitted, lent = priced(), priced("--without", "latent_attention")
    assert fitted["naive_s"] == lent["naive_s"] < min(fitted["predicted_s"], lent["predicted_s"])
    assert lent["upper_s"] / lent["lower_s"] > 1.5 * fitted["upper_s"] / fitted["lower_s"]
    assert priced("--without", "gemm") == fitted


def test_steps_agree_with_predict(capsys, tmp_path):
    shapes = tmp_path / "steps.csv"
    shapes.write_text("device,dtype,model,batch,context,tokens,mine\nh100-sxm,bf16,llama-3.1-8b,8,1024,1,x\n")
    (row,) = csv.DictReader(io.StringIO(run(capsys, "steps", "--shapes", shapes)[1]))
    (same,) = rows(capsys, *PREDICT, "--batch", "8")
    assert float(row["predicted_s"]) == same["plain_step_s"]
    assert float(row["naive_s"]) < float(row["lower_s"]) < float(row["predicted_s"]) < float(row["upper_s"])
    assert row["mine"] == "x"
    shapes.write_text("device,dtype,model,batch,context,tokens\nh100-sxm,bf16,llama-3.1-8b,8,nan,1\n")
    assert "context='nan' must be a number of at least 1 on line 2" in refused(capsys, "steps", "--shapes", shapes)


def test_cycles_agree_with_predict(capsys, tmp_path):
    shapes = tmp_path / "cycles.csv"
    head = "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\n"
    shapes.write_text(head + "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\n")
    (row,) = csv.DictReader(io.StringIO(run(capsys, "cycles", "--shapes", shapes)[1]))
    (same,) = rows(
        capsys, *PREDICT, "--draft", "eagle3", "--tokens-per-cycle", "2.4", "--batch", "8", "--context", 1024
    )
    for name in ("draft_s", "verify_s", "cycle_s", "plain_step_s", "speedup", "speedup_lower"):
        assert float(row[name]) == pytest.approx(same[name], rel=1e-12)
    shapes.write_text(head + "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,many,8,1024\n")
    assert "tokens_per_cycle='many' must be a number" in refused(capsys, "cycles", "--shapes", shapes)


def test_calibrate_then_predict_and_kernels_with_the_file(capsys, tmp_path):
    shapes = tmp_path / "shapes.csv"
    lines = [f"gemm,h100-sxm,bf16,{m},{n},4096" for m in (1, 16, 64, 256) for n in (2048, 4096, 8192, 16384, 12288)]
    shapes.write_text("op,device,dtype,m,n,k\n" + "\n".join(lines) + "\n")
    predicted = csv.DictReader(io.StringIO(run(capsys, "kernels", "--shapes", shapes)[1]))
    measured = tmp_path / "measured.csv"
    slower = [f"{line},{1e3 * 1.3 * float(row['predicted_s'])}" for line, row in zip(lines, predicted)]
    measured.write_text("op,device,dtype,m,n,k,latency_ms\n" + "\n".join(slower) + "\n")
    out = tmp_path / "cal.json"
    code, text, _ = run(capsys, "calibrate", "--measurements", measured, "--device", "h100-sxm", "--out", out)
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


def test_writing_follows_a_link_and_keeps_the_mode(capsys, tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    assert run(capsys, *EAGLE3, "--format", "json", "--out", link)[0] == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["rows"]
    assert real.stat().st_mode & 0o777 == 0o600


def test_acceptance_may_be_a_file_of_any_name(capsys, tmp_path):
    file = tmp_path / "measured rates"
    file.write_text(json.dumps({"acceptance_rate": [0.8, 0.5], "kind": "conditional"}))
    (row,) = rows(capsys, *PREDICT, "--draft", "eagle3", "--draft-len", "2", "--acceptance", file)
    assert row["tokens_per_cycle"] == pytest.approx(1 + 0.8 + 0.4)
    line = refused(capsys, *PREDICT, "--draft", "eagle3", "--acceptance", tmp_path / "none.json")
    assert "acceptance=" in line
    assert "cannot be read" in line


def test_plan_ranks_and_says_what_was_left_out(capsys):
    arguments = [
        "plan",
        "--model",
        "llama-3.1-70b",
        "--hardware",
        "h100-sxm,l40s",
        "--tp",
        "2,4",
        "--context",
        "2048",
    ]
    draft = ["--draft", "none,eagle3", "--draft-len", "2,4", "--acceptance", "0.7", "--tpot", "40ms"]
    code, out, err = run(capsys, *arguments, *draft, "--format", "json")
    found = json.loads(out)["rows"]
    assert code == 0
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    assert all(row["tpot_s"] <= 0.04 for row in found)
    assert "do not fit in memory" in err
    costs = rows(capsys, *arguments, *draft, "--price", "h100-sxm=2,l40s=1")
    assert [row["cost_per_million_tokens"] for row in costs] == sorted(
        row["cost_per_million_tokens"] for row in costs
    )


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--tpot", "soon"], "tpot='soon' is not understood"),
        (["--tpot=-1ms"], "tpot=-0.001 must be above 0"),
        (["--price", "h200-sxm=2"], "price='h200-sxm' is not known"),
        (["--price", "l4=cheap"], "price='l4=cheap' must be NAME=NUMBER"),
        (["--price", "l4=-2"], "price=-2.0 must lie in (0, 1e+09]"),
    ],
)
def test_plan_refuses_bad_limits_and_prices(capsys, extra, line):
    assert line in refused(capsys, "plan", "--model", "llama-3.2-1b", "--hardware", "l4", *extra)


def test_turning_points_fall_with_batch(capsys):
    command = ["turning-points", "--hardware", "h800-sxm", "--model", "qwen2.5-72b", "--context", "10Ki"]
    found = rows(capsys, *command, "--batch", "1,8,64")
    assert found[0]["k_opt"] > found[1]["k_opt"] > found[2]["k_opt"]
    sparse = rows(capsys, *command, "--batch", "1,8,64", "--peak", "sparse")
    assert sparse[0]["ridge_point"] == pytest.approx(2 * found[0]["ridge_point"])


def test_catalog_shows_value_unit_and_source(capsys):
    found = rows(capsys, "catalog", "hardware", "h100-sxm")
    assert all(row["source"] for row in found)
    assert {row["name"] for row in rows(capsys, "catalog", "models")} >= {"llama-3.1-8b", "qwen2.5-72b"}
    assert "kind='gpus' is not known" in refused(capsys, "catalog", "gpus")


def test_predict_imports_neither_torch_nor_pandas_nor_scipy():
    code = (
        "import sys; from scylla_sim import cli; "
        "code = cli.main(['predict','--hardware','h100-sxm','--model','llama-3.1-8b','--draft','scylla-2l']); "
        "heavy = [n for n in ('torch','pandas','scipy','matplotlib','aiconfigurator_core') if n in sys.modules]; "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
