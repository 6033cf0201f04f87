"""Scalars of engines on devices from serving runs that are fitted to half of each group."""

import sys
import tomllib

import pytest
from checkout import ROOT


@pytest.fixture(scope="module")
def fits():
    sys.path.insert(0, str(ROOT / "workflow"))
    try:
        import fit_serving_scalars as module
    finally:
        sys.path.pop(0)
    return module


def group(checkpoint, *, host_s, documented="yes", count=8, fitted=4):
    """Rows of one group, whose scalars are all fitted: a host time, 10 % slower prompts, and 20 ms."""
    scalars = {"host_s": host_s, "slow": 0.1, "first_token_s": 0.02}
    ends = {
        f"{name}{end}": value * factor
        for name, value in scalars.items()
        for end, factor in (("", 1.0), ("_lower", 0.5), ("_upper", 2.0))
    }
    named = {"engine": "vllm-2026", "framework": "vllm", "device": "h100-sxm", "checkpoint": f"org/{checkpoint}"}
    row = {**named, "precision": "fp8", "scalars": "half", "documented": documented, "excluded": "", **ends}
    return [{**row, "half": "fit" if place < fitted else "held"} for place in range(count)]


def written(fits, *groups):
    return tomllib.loads(fits.text([row for rows in groups for row in rows]))


def test_an_engine_takes_the_median_of_its_groups_and_the_range_of_their_intervals(fits):
    rows = [group(name, host_s=host_s) for name, host_s in (("a", 1e-3), ("b", 2e-3), ("c", 6e-3))]
    found = written(fits, *rows)["vllm-2026"]["h100-sxm"]
    assert found["host_s"] == {"value": 2.0, "lower": 0.5, "upper": 12.0}  # milliseconds
    assert found["slow"] == {"value": 0.1, "lower": 0.05, "upper": 0.2}
    assert found["source"].endswith("a fp8 (4 runs), b fp8 (4 runs), c fp8 (4 runs)")


@pytest.mark.parametrize("options", [{"documented": "no"}, {"count": 7}, {"fitted": 3}])
def test_groups_that_tell_too_little_do_not_count(fits, options):
    found = written(fits, group("a", host_s=1e-3), group("b", host_s=9e-3, **options))
    assert found["vllm-2026"]["h100-sxm"]["host_s"]["value"] == 1.0


def test_the_shipped_file_has_the_head_of_the_program(fits):
    shipped = (ROOT / "scylla_sim/data/serving_scalars.toml").read_text(encoding="utf-8")
    assert shipped.startswith(fits.text([]).rstrip())
