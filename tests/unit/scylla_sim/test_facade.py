"""The public names of the package: lazy, complete, and the same call as the command line's."""

import ast
import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import scylla_sim
from scylla_sim import cli
from scylla_sim.checks import InputError

CODE = """
import sys
import scylla_sim
assert "numpy" not in sys.modules, "import scylla_sim loads numpy"
scylla_sim.predict("llama-3.1-8b", hardware="h100-sxm", draft="scylla-2l", batch=[1, 64], engine="vllm")
heavy = [name for name in ("torch", "pandas", "scipy", "matplotlib") if name in sys.modules]
assert not heavy, f"predict imports {heavy}"
"""


def test_predict_imports_numpy_only():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves_and_is_listed():
    for name in scylla_sim.__all__:
        assert getattr(scylla_sim, name) is not None
        assert name in dir(scylla_sim)
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        getattr(scylla_sim, "predcit")  # noqa: B009


def test_type_checkers_see_the_names_that_run():
    tree = ast.parse(Path(scylla_sim.__file__).read_text())
    (typing_only,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        item.name: statement.module
        for statement in typing_only.body
        if isinstance(statement, ast.ImportFrom)
        for item in statement.names
    }
    assert sorted(seen) == sorted(scylla_sim.__all__)
    for name, module in seen.items():
        assert scylla_sim._ORIGINS[name] in (f"{module}:{name}", f"{module}.{name}")


def test_predict_takes_the_fields_of_a_scenario():
    parameters = inspect.signature(scylla_sim.predict).parameters.values()
    ours = [(item.name, item.annotation, item.default) for item in parameters]
    scenario = inspect.signature(scylla_sim.Scenario).parameters.values()
    assert ours == [(item.name, item.annotation, item.default) for item in scenario]
    assert [name for name, *_ in ours] == [field.name for field in fields(scylla_sim.Scenario)]


def test_the_command_line_prints_the_rows_of_predict(capsys):
    options = ["--draft", "eagle3", "--draft-len", "1,3", "--acceptance", "0.7,0.6", "--batch", "1,64"]
    code = cli.main(["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", *options, "--format", "json"])
    out, err = capsys.readouterr()
    result = scylla_sim.predict(
        "llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=[1, 3], acceptance=[0.7, 0.6], batch=[1, 64]
    )
    assert code == 0
    assert json.loads(out)["rows"] == result.rows()
    assert err.splitlines() == [f"note: {note}" for note in result.notes]
    measured, continued = result.notes
    assert measured == "acceptance was measured with draft_len 2 and is predicted with 1"
    assert continued.startswith("acceptance is given for 2 positions; later positions follow the position law")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"batch": 8}, "batch=8 must not be given; the load decides it"),
        ({"context": 100}, "context=100 must not be given; the load decides it"),
        ({"ttft": 0.5}, "ttft=0.5 must be text with a unit; write p95:500ms, or 40ms for the mean"),
        ({"scheduling": "nope"}, "policy='nope' is not known"),
        ({"warmup": 0.9, "cooldown": 0.2}, "cooldown=0.2 must leave requests that count after warmup=0.9"),
    ],
)
def test_serve_refuses_what_it_would_ignore(options, line):
    load = {"rate": 2.0, "input_len": 100, "output_len": 20, "requests": 20, "seeds": 1}
    with pytest.raises(InputError, match=re.escape(line)):
        scylla_sim.serve("llama-3.1-8b", hardware="h100-sxm", **load, **options)


def test_serve_names_itself_for_an_option_that_it_does_not_have():
    with pytest.raises(TypeError, match="serve.. got an unexpected keyword argument 'nope'"):
        scylla_sim.serve("llama-3.1-8b", hardware="h100-sxm", rate=1.0, input_len=9, output_len=9, nope=1)
