"""The page: one HTML text that names no host, choices with reasons, and settings that the engine can run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from scylla_sim.checks import InputError
from scylla_sim.explore import interpolate
from scylla_sim.explore.choices import choices_of
from scylla_sim.explore.grid import build
from scylla_sim.explore.html import page
from scylla_sim.explore.measured import nearest_rows
from scylla_sim.explore.page_data import details, page_data, quick_data
from scylla_sim.explore.settings import LONGEST, RANGES, settings_of
from scylla_sim.prediction.scenario import Scenario

CHAIN = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3")
RUNS = str(ROOT / "paper/published/served_runs.csv")


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return page_data(CHAIN)


def test_the_page_names_no_host_and_loads_nothing(data: dict[str, Any]) -> None:
    text = page(data, library="/* plotly */")
    assert not re.search(r"https?://", text)
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "/*" + "PAGE*/" not in text and "<!--PLOTLY-->" not in text


def test_the_data_of_the_page_can_be_read_back(data: dict[str, Any]) -> None:
    text = page(data, library="")
    start = text.index("const START = ") + len("const START = ")
    assert json.JSONDecoder().raw_decode(text, start)[0] == json.loads(json.dumps(data))


def test_text_of_the_user_cannot_end_the_script(data: dict[str, Any]) -> None:
    assert "</script><b>" not in page({**data, "notes": ["</script><b>"]}, library="")


def test_choices_that_cannot_run_have_a_reason() -> None:
    found = {name: dict(items) for name, items in choices_of(CHAIN).items()}
    assert found["draft"]["eagle3"] == "" and "MTP" in found["draft"]["mtp"] and "tree" in found["draft"]["eagle2"]
    assert dict(choices_of(replace(CHAIN, engine="sglang"))["draft"])["eagle2"] == ""
    assert found["draft"]["llama-3.2-1b"] == "" and "qwen3-8b" not in found["draft"]
    assert found["tp"]["8"] == "" and found["precision"]["fp8"] == ""
    assert dict(choices_of(Scenario("qwen2.5-7b", hardware="h100-sxm"))["tp"])["8"] != ""


def test_settings_hold_every_length_and_a_template() -> None:
    found = settings_of(CHAIN)
    assert [f'"num_speculative_tokens": {length}' in text for length, text in enumerate(found["fixed"], 1)] == [
        True
    ] * 8
    assert RANGES in found["by_batch"] and LONGEST in found["by_batch"]
    filled = found["by_batch"].replace(RANGES, "[[1, 8, 3], [9, 99, 1]]").replace(LONGEST, "3")
    option = json.loads(re.search(r"'(\{.*\})'", filled)[1])  # type: ignore[index]
    assert option["num_speculative_tokens"] == 3
    assert option["num_speculative_tokens_per_batch_size"] == [[1, 8, 3], [9, 99, 1]]


def test_settings_of_trees_are_those_of_the_engine() -> None:
    found = settings_of(Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3", engine="sglang"))
    assert "--speculative-eagle-topk 4 --speculative-num-draft-tokens 8" in found["fixed"][8]
    assert found["left_out"] == "" and "trees: vLLM" in settings_of(CHAIN)["left_out"]


def test_settings_name_the_reason_where_an_engine_cannot_draft() -> None:
    found = settings_of(Scenario("llama-3.1-8b", hardware="h100-sxm", draft="medusa", engine="sglang"))
    assert found["fixed"] == [] and "Medusa" in found["reason"]


def test_the_nearest_rows_are_those_of_the_deployment() -> None:
    rows = nearest_rows(CHAIN, RUNS)
    assert rows and all(row["draft_len"] > 0 and row["predicted"] > 0 for row in rows)
    assert nearest_rows(CHAIN, None) == []
    assert nearest_rows(Scenario("llama-3.1-8b", hardware="l4", draft="eagle3"), RUNS) == []


def test_a_file_of_runs_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("source,model\na,b\n")
    with pytest.raises(InputError, match="must have the column series"):
        nearest_rows(CHAIN, str(path))
    with pytest.raises(InputError, match="cannot be read"):
        nearest_rows(CHAIN, str(tmp_path))


def test_a_grid_that_errs_too_much_is_replaced_by_a_finer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolate, "MAX_ERROR", 1e-4)
    monkeypatch.setattr(interpolate, "ROUNDS", 1)
    grid = build(CHAIN)
    found = details(CHAIN, grid)
    assert len(found["grid"]["nodes"]) == grid.nodes.size + 1
    assert quick_data(CHAIN, grid).keys() >= found.keys()  # the page replaces what it was drawn with
