"""Shipping calibrations keeps the fits that the workflow does not make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkout import ROOT

SHIPPED = {
    "kernels": {"gemm": {"bfloat16": 1, "int4_wo": 2}, "experts": {"mxfp4": 3}},
    "additions": [{"groups": ["gemm int4_wo", "experts mxfp4"], "provenance": {}}],
}


def test_groups_fitted_apart_are_kept_and_others_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "workflow"))
    import ship_calibrations

    results, package = tmp_path / "results", tmp_path / "package"
    results.mkdir()
    package.mkdir()
    (package / "h100-sxm.json").write_text(json.dumps(SHIPPED))
    (results / "h100-sxm.json").write_text(json.dumps({"kernels": {"gemm": {"bfloat16": 9}}}))
    (results / "local.json").write_text("{}")
    ship_calibrations.main(results, package)
    found = json.loads((package / "h100-sxm.json").read_text())
    assert found["kernels"] == {"gemm": {"bfloat16": 9, "int4_wo": 2}, "experts": {"mxfp4": 3}}
    assert found["additions"] == SHIPPED["additions"]
    assert "kept gemm int4_wo, experts mxfp4" in capsys.readouterr().out
    assert not (package / "local.json").exists()
