"""Traces of three formats, and refusals that name the columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from scylla_sim.checks import InputError
from scylla_sim.serving.traces import read_trace


def test_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,cached_tokens\n5.5,100,20,0\n5.0,50,10,50\n")
    found = read_trace(path).requests
    assert found.arrival_s.tolist() == [0.0, 0.5]
    assert found.input_tokens.tolist() == [50, 100]
    assert found.cached_tokens.tolist() == [49, 0]  # one token is always computed
    assert found.output_tokens.tolist() == [10, 20]


def test_azure(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.6805900,396,0\n"
        "2023-11-16 18:16:46.9305900,879,55\n"
    )
    found = read_trace(path)
    assert found.requests.arrival_s.tolist() == pytest.approx([0.0, 60.25])
    assert found.requests.output_tokens.tolist() == [44, 55]
    assert found.left_out == 1


def test_mooncake(tmp_path: Path) -> None:
    path = tmp_path / "mooncake.jsonl"
    path.write_text(
        '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
        '{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0]}\n'
    )
    found = read_trace(path).requests
    assert found.arrival_s.tolist() == [0.0, 3.0]
    assert found.input_tokens.tolist() == [6758, 7322]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "time,prompt\n1,2\n", "has the columns time,prompt; give arrival_s,input_tokens,output_tokens"),
        ("a.csv", "arrival_s,input_tokens,output_tokens\n0,x,1\n", "input_tokens='x' must be a whole number"),
        (
            "a.csv",
            "arrival_s,input_tokens,output_tokens,cached_tokens\n0,5,1,9\n",
            "cached_tokens=9 must be at most",
        ),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,5,1\n", "TIMESTAMP="),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,0,0\n", "no request with prompt and answer"),
        ("a.jsonl", '{"timestamp": 1}\n', "line 1 of a.jsonl="),
        ("a.jsonl", "\n", "a.jsonl has no rows"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_trace(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
