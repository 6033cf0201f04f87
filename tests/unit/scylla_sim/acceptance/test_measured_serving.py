"""Served figures of ``acceptance.json``: the fields of the class are those of the schema."""

import json
from dataclasses import fields
from importlib import resources

import pytest

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError


def test_the_schema_lists_the_same_fields():
    text = (resources.files("scylla_sim") / "data" / "acceptance.schema.json").read_text("utf-8")
    assert list(json.loads(text)["properties"]["served"]["properties"]) == [f.name for f in fields(MeasuredServing)]


@pytest.mark.parametrize("value", [-1.0, float("nan"), [1.0], "x"])
def test_a_value_that_is_no_time_is_refused(value):
    with pytest.raises(InputError, match="served.tpot_s="):
        MeasuredServing.of({"tpot_s": value})
