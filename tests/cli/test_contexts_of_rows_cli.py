"""Contexts beyond the positions of a model in the CSV files of ``steps``, ``cycles`` and ``tpot``."""

import pytest
from command_line import refused, run

FILES = {
    "steps": ("--shapes", "device,dtype,model,batch,context,tokens", "h100-sxm,bf16,llama-3.1-8b,1,{},1"),
    "cycles": (
        "--shapes",
        "device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len",
        "h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,1,{}",
    ),
    "tpot": (
        "--runs",
        "device,engine,model,dtype,tp,batch,input_len,output_len",
        "h100-sxm,vllm,llama-3.1-8b,bfloat16,1,1,{},2",
    ),
}


@pytest.mark.parametrize("verb", FILES)
def test_a_context_beyond_the_model_names_its_row_and_can_be_allowed(capsys, tmp_path, verb):
    option, header, row = FILES[verb]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, row.format(1000), row.format(200_000)]) + "\n")
    context = 200_002 if verb == "tpot" else 200_000
    text = f"context={context} exceeds the 131072 positions of llama-3.1-8b on line 3 of rows.csv; allow it with"
    assert text in refused(capsys, verb, option, path)
    code, out, err = run(capsys, verb, option, path, "--allow-long-context")
    assert code == 0 and out.count("\n") == 3
    assert "note: 1 rows have a context beyond the positions of their model" in err


def test_a_context_at_the_limit_is_no_finding(capsys, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([FILES["steps"][1], FILES["steps"][2].format(131_072)]) + "\n")
    assert run(capsys, "steps", "--shapes", path)[2] == ""
