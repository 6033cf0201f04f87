"""``scylla-sim`` itself: verbs, help and the catalog."""

import pytest
from command_line import refused, rows

from scylla_sim import cli


def test_unknown_name_lists_the_known_names(capsys):
    assert "known: h100-sxm, h100-pcie" in refused(
        capsys, "predict", "--hardware", "h101", "--model", "llama-3.1-8b"
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


def test_catalog_rows_have_a_source(capsys):
    found = rows(capsys, "catalog", "hardware", "h100-sxm")
    assert all(row["source"] for row in found)
    assert {row["name"] for row in rows(capsys, "catalog", "models")} >= {"llama-3.1-8b", "qwen2.5-72b"}
    assert "kind='gpus' is not known" in refused(capsys, "catalog", "gpus")


def test_a_closed_stdout_and_an_empty_file_name(capsys, monkeypatch):
    assert cli.main(["catalog", "models", "--out", ""]) == 2
    assert "out='' must be the name of a file" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdout", None)
    assert cli.main(["catalog", "models"]) == 0
    assert cli.main([]) == 0
