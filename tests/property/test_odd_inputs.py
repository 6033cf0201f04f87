"""Odd files through the command lines: a value, or one line of error and exit code 2."""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proof import fuzz, guided, inputs, odd

READERS = guided.readers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd")
    fuzz.prepare(made)
    return made


def versions(reader: inputs.Reader, chance: random.Random) -> bytes:
    """Return an odd version of a reader's file: one odd value, or damaged bytes."""
    if chance.random() < 0.5 or not reader.file.endswith(".json"):
        return odd.damaged(reader.content, chance)
    value = odd.one_json_value(json.loads(reader.content), chance)
    if reader.name.startswith("record-") and isinstance(value, dict):
        value = inputs.signed(value)
    return json.dumps(value).encode()


def run(words: list[str]) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command; other exceptions than its own are failures."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = fuzz.MAINS[words[0]](words[1:])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@settings(max_examples=12, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_an_odd_file_gives_a_value_or_one_line(reader: inputs.Reader, chance, folder) -> None:
    path, out = folder / "odd" / reader.file, folder / "out"
    path.write_bytes(versions(reader, chance))
    words = [part.replace("{f}", str(path)).replace("{d}", str(folder)).replace("{o}", str(out)) for part in
             reader.command.split()]  # fmt: skip
    code, shown, said = run(words)
    assert not fuzz.fault(fuzz.End(code, shown.encode(), said, 0.0, 0))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_the_good_files_of_the_fuzzer_are_good(reader: inputs.Reader, folder) -> None:
    words = [part.replace("{f}", "{d}/" + reader.file) for part in reader.command.split()]
    words = [part.replace("{d}", str(folder)).replace("{o}", str(folder / "out")) for part in words]
    code, _, said = run(words)
    assert code == 0, said


def test_the_fuzzer_sees_a_traceback_a_second_line_and_nan() -> None:
    def end(code, out=b"", err=""):
        return fuzz.fault(fuzz.End(code, out, err, 0.0, 0))

    assert end(0, b"1.5\n") == "" and end(2, err="x: error: a=1 must be 2\n") == ""
    assert "traceback" in end(1, err="Traceback (most recent call last):\nValueError: x\n")
    assert "still runs" in end(None)
    assert "not one line" in end(2, err="x: error: a\nx: error: b\n") and "not one line" in end(2)
    assert "nan in the output" in end(0, b"a,b\n1,nan\n") and end(0, b'{"name": "nan"}') == ""
    assert "warning" in end(0, err="/x.py:3: RuntimeWarning: overflow\n")
