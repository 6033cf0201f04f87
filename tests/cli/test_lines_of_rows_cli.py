"""Every verb that reads rows names the file and the line of a row that it refuses, or makes an assumption on."""

import csv
import json
from pathlib import Path

import pytest

import scylla_sim
from scylla_sim.cli import main

STEPS = ("device,dtype,model,batch,context,tokens", "h100-sxm,bf16,llama-3.1-8b,8,1024,4")
CYCLES = (
    "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len",
    "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024",
)
TPOT = (
    "device,engine,model,dtype,tp,batch,input_len,output_len,draft,draft_len,tokens_per_cycle",
    "h100-sxm,vllm,llama-3.1-8b,bf16,1,8,500,100,,,",
)
KERNELS = ("op,device,dtype,m,n,k", "gemm,h100-sxm,bf16,64,4096,4096")
SERVED = (
    "id,source,series,engine,hardware,model,precision,kv_precision,draft,tp,batch,context,draft_len,top_k,"
    "verify_tokens,tokens_per_cycle,speedup",
    "a,b,c,vllm,h100-sxm,llama-3.1-8b,bf16,bf16,eagle3,1,8,1024,3,1,4,2.4,1.5",
)
FILES = {
    "steps": ("--shapes", STEPS),
    "cycles": ("--shapes", CYCLES),
    "tpot": ("--runs", TPOT),
    "kernels": ("--shapes", KERNELS),
    "served": ("--runs", SERVED),
}


def run(tmp_path, verb, row, *options):
    """Run a verb on a good row, an empty line and one more row, which is on line 4; return the exit code."""
    option, (header, good) = FILES[verb]
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n{good}\n\n{row}\n")
    return main([verb, option, str(path), "--out", str(tmp_path / "out.csv"), *options])


@pytest.mark.parametrize(
    ("verb", "old", "new", "problem"),
    [
        ("steps", "h100-sxm", "h100-smx", "hardware='h100-smx' is not known"),
        ("steps", "bf16", "bf17", "dtype='bf17' is not known"),
        ("steps", "llama-3.1-8b", "llama", "model='llama' is not known"),
        ("steps", "llama-3.1-8b", "config.json", "model='config.json' cannot be read (No such file or directory)"),
        ("steps", "h100-sxm,bf16", "a100-sxm,fp8", "precision='fp8' has no peak in the catalog entry of a100-sxm"),
        ("cycles", "h100-sxm", "h100-smx", "hardware='h100-smx' is not known"),
        ("cycles", "llama-3.1-8b", "llama", "model='llama' is not known"),
        ("cycles", "eagle3", "eagle9", "draft='eagle9' is not known"),
        ("cycles", "2.4", "4.4", "tokens_per_cycle=4.4 must lie in [1, 4]"),
        ("cycles", "eagle3", "none", "draft='none' must name a draft"),
        ("tpot", "vllm", "vlm", "engine='vlm' is not known"),
        ("tpot", "h100-sxm", "h100-smx", "hardware='h100-smx' is not known"),
        ("tpot", "bf16,1,", "bf16,3,", "tp=3 must divide num_heads=32 of llama-3.1-8b"),
        ("tpot", "100,,,", "100,,3,2.4", "draft_len='3' must be empty or 0 without a draft"),
        ("tpot", "100,,,", "100,eagle3,0,2.4", "tokens_per_cycle='2.4' must be 1 with draft_len=0"),
        ("tpot", "100,,,", "100,eagle3,,2.4", "draft_len='' must be given"),
        ("kernels", "h100-sxm", "h100-smx", "hardware='h100-smx' is not known"),
        ("kernels", "bf16", "bf17", "dtype='bf17' is not known"),
        (
            "kernels",
            "h100-sxm,bf16",
            "a100-sxm,fp8",
            "precision='fp8' has no peak in the catalog entry of a100-sxm",
        ),
        ("served", "vllm", "vlm", "engine='vlm' is not known"),
        ("served", "bf16,bf16", "bf17,bf16", "precision='bf17' is not known"),
        ("served", "2.4", "4.4", "tokens_per_cycle=4.4 must lie in [1, 4]"),
    ],
)
def test_a_row_that_is_refused_is_named_by_file_and_line(tmp_path, capsys, verb, old, new, problem):
    good = FILES[verb][1][1]
    assert old in good
    assert run(tmp_path, verb, good.replace(old, new, 1)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{problem} on line 4 of rows.csv" in error
    assert not (tmp_path / "out.csv").exists()


def test_served_counts_the_lines_of_the_file_and_not_those_of_one_source(tmp_path, capsys):
    good = SERVED[1]
    row = good.replace("a,b,c", "a,other,c").replace("vllm", "vlm")
    assert run(tmp_path, "served", row, "--source", "other") == 2
    assert "engine='vlm' is not known on line 4 of rows.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "old", "new", "note"),
    [
        ("steps", "h100-sxm", "h100", "hardware=h100 is read as h100-sxm"),
        ("kernels", "h100-sxm", "h100", "hardware=h100 is read as h100-sxm"),
        ("cycles", "eagle3", "mtp", "the config of llama-3.1-8b has no MTP layers"),
        ("cycles", "3,1,4", "3,2,4", "vLLM drafts chains only"),
        (
            "tpot",
            "h100-sxm,vllm,llama-3.1-8b,bf16",
            "a100-sxm,vllm,llama-3.1-8b,fp8",
            "a100-sxm has no fp8 arithmetic",
        ),
        ("tpot", "llama-3.1-8b", "llama-3.1-70b", "excluded: weights leave no room for a KV pool"),
    ],
)
def test_an_assumption_on_a_row_is_noted_once_with_its_line(tmp_path, capsys, verb, old, new, note):
    row = FILES[verb][1][1].replace(old, new)
    assert run(tmp_path, verb, f"{row}\n{row}") == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if note in line)
    assert line.startswith("note: ")
    assert line.endswith("(line 4 of rows.csv)")


@pytest.mark.parametrize("verb", ["steps", "cycles", "kernels"])
def test_a_calibration_of_another_gpu_is_transferred_or_said_not_to_be(tmp_path, capsys, verb):
    """The rows named an H100 and were predicted as an L40S, without a word."""
    given = Path(scylla_sim.__file__).parent / "data" / "calibrations" / "l40s.json"
    option, (header, good) = FILES[verb]
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n{good}\n")
    known = {"steps": "naive_s", "cycles": "naive_cycle_s", "kernels": "naive_s"}[verb]
    rooflines = []
    for options in ([], ["--calibration", str(given)], ["--calibration", str(given), "--carry"]):
        if "--carry" in options and verb != "kernels":
            continue
        assert main([verb, option, str(path), "--out", str(tmp_path / "out.csv"), "--format", "csv", *options]) == 0
        with (tmp_path / "out.csv").open() as file:
            rooflines.append(float(next(csv.DictReader(file))[known]))
        said = "is transferred to rows of h100-sxm (line 2 of rows.csv)"
        if verb == "kernels" and options and "--carry" not in options:
            said = "is not transferred (--carry) to rows of h100-sxm (line 2 of rows.csv)"
        assert (f"note: the calibration of l40s {said}" in capsys.readouterr().err) == bool(options)
    assert rooflines[-1] == rooflines[0]


def test_a_draft_of_a_run_lies_beside_the_file_as_its_model_does(tmp_path, capsys):
    good = TPOT[1]
    draft = {"architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 4096, "intermediate_size": 14336}
    draft |= {"num_attention_heads": 32, "num_hidden_layers": 1, "num_key_value_heads": 8, "vocab_size": 128256}
    (tmp_path / "head.json").write_text(json.dumps(draft | {"model_type": "llama", "draft_vocab_size": 32000}))
    assert run(tmp_path, "tpot", good.replace("100,,,", "100,head.json,3,2.4")) == 0
    assert "draft head is read as an EAGLE-3 head" in capsys.readouterr().err
