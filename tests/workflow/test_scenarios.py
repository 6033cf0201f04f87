"""Scenarios: schema, command lines, and the result files that `paper` reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from checkout import ROOT, run_in
from endtoend_results import CYCLES
from smallscale_results import GROUPS

from paper.sources import published
from scylla_sim import cli


@pytest.fixture(scope="module")
def scenarios() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import scenarios as module

    sys.path.pop(0)
    return module


@pytest.fixture(scope="module")
def loaded(scenarios: ModuleType) -> dict[str, dict[str, Any]]:
    return dict(scenarios.load())


def test_a_command_has_verb_points_and_options_in_order(scenarios: ModuleType) -> None:
    scenario = {"verb": "laws", "points": "a.csv", "options": {"x": "layers", "breakdown": True, "level": 0.9}}
    assert scenarios.points(scenario) == "paper/published/a.csv"
    assert scenarios.command(scenario, "a.csv") == "laws a.csv --x layers --breakdown --level 0.9"
    assert scenarios.inputs({"options": {"reference": "paper/published/b.csv"}}) == ["paper/published/b.csv"]


def test_shared_options_are_merged_and_no_result_themselves(loaded: dict[str, dict[str, Any]]) -> None:
    assert set(loaded) == {"laws", "steps", "endtoend", "served", "small-scale"}
    options = loaded["steps"]["table5-scylla-5-layers"]["options"]
    assert (options["model"], options["draft"]) == ("qwen2.5-72b", "scylla-5l")


def test_published_inputs_exist(scenarios: ModuleType, loaded: dict[str, dict[str, Any]]) -> None:
    for section in ("laws", "steps", "endtoend", "served"):
        for name, scenario in loaded[section].items():
            assert all((ROOT / path).is_file() for path in scenarios.inputs(scenario)), name


def test_results_of_the_tests_are_those_of_the_scenarios(
    loaded: dict[str, dict[str, Any]], finished_results: Path
) -> None:
    for section in ("laws", "steps"):
        written = {path.stem for path in (finished_results / section).glob("*.json")}
        assert {name for name in written if not name.startswith("small-scale-")} == set(loaded[section])
    assert {Path(path).stem for path in CYCLES} == set(loaded["endtoend"])
    assert {*GROUPS, "joint"} == set(loaded["small-scale"])


def test_cycles_are_of_the_batches_that_were_published(loaded: dict[str, dict[str, Any]]) -> None:
    for path, batches in CYCLES.items():
        options = loaded["endtoend"][Path(path).stem]["options"]
        assert str(options["batch"]) == ",".join(map(str, batches))
    ladder = [int(row["batch_size"]) for row in published.rows("eagle3_sglang_ladder")]
    assert set(ladder) <= {batch for batches in CYCLES.values() for batch in batches}


def test_converted_points_are_the_published_ones(loaded: dict[str, dict[str, Any]]) -> None:
    known = published.series("pretraining_elsewhere", "pretrain_tokens_b", "tokens_per_cycle")
    assert known.keys() == {84, 462}
    for tokens, tau in known.items():
        assert loaded["laws"][f"osprey-{tokens:g}"]["options"]["tokens-per-cycle"] == tau


def test_acceptance_rates_of_trees_are_the_published_ones(loaded: dict[str, dict[str, Any]]) -> None:
    for name, series in (("eagle", "EAGLE MT-Bench"), ("eagle-3", "EAGLE-3 MT-Bench")):
        rates = published.series("rates_by_position", "position", "acceptance_rate", series=series)
        given = loaded["laws"][f"tree-{name}-dynamic"]["options"]["acceptance"]
        assert [float(rate) for rate in given.split(",")] == list(rates.values())


def test_every_cycle_command_is_accepted(
    scenarios: ModuleType, loaded: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for name, scenario in loaded["endtoend"].items():
        out = tmp_path / f"{name}.json"
        assert cli.main([*scenarios.command(scenario).split(), "--format", "json", "--out", str(out)]) == 0
        assert {"batch_size", "seconds", "datasheet_s", "evidence"} <= set(json.loads(out.read_text())["rows"][0])


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (
            {"verb": "predict", "option": {"x": 1}},
            "scenarios: laws.decay.option is not a setting; did you mean options?",
        ),
        ({"options": {"x": 1}}, "scenarios: laws.decay.verb is missing"),
        (
            {"verb": "law", "options": {"x": 1}},
            "scenarios: laws.decay.verb='law' must be one of acceptance, decay, laws, predict, served, "
            "turning-points",
        ),
        (
            {"verb": "laws", "options": {"x": [1]}},
            "scenarios: laws.decay.options.x=[1] must be of type string or number or boolean",
        ),
    ],
)
def test_a_mistake_in_a_scenario_is_one_line(
    scenarios: ModuleType, capsys: pytest.CaptureFixture[str], edit: dict[str, Any], line: str
) -> None:
    content = yaml.safe_load((ROOT / "workflow/config/scenarios.yaml").read_text())
    content["laws"]["decay"] = edit
    with pytest.raises(SystemExit, match="2"):
        scenarios.check_schema(content, ROOT / "workflow/schemas/scenarios.schema.yaml", label="scenarios")
    assert capsys.readouterr().err == f"{line}\n"


def test_a_mistake_in_the_file_stops_the_workflow(checkout: Path) -> None:
    path = checkout / "workflow/config/scenarios.yaml"
    text = path.read_text()
    path.write_text(text.replace("verb: decay", "verb: decays", 1))
    done = run_in(checkout, "snakemake", "-n")
    path.write_text(text)
    assert done.returncode == 2
    assert "scenarios: laws.decay.verb='decays' must be one of" in done.stderr
