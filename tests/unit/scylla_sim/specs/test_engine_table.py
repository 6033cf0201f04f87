"""The engine that a table describes."""

from typing import Any

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs.engine_table import engine_from


def quantity(value: float, lower: float, upper: float, unit: str, **more: str) -> dict[str, Any]:
    return {"value": value, "lower": lower, "upper": upper, "unit": unit, "source": "a test", **more}


TABLE = {
    "host_s": quantity(2.0, 1.0, 4.0, "ms"),
    "token_s": quantity(10.0, 0.0, 20.0, "us", evidence="theory"),
    "max_graph_tokens": {"value": 512},
    "max_graph_batch": {"value": 160},
    "memory_share": quantity(0.9, 0.8, 0.92, "fraction"),
}


def test_values_intervals_and_limits_are_read() -> None:
    found = engine_from("x", TABLE)
    assert (found.host_s, found.intervals["host_s"]) == (2e-3, (1e-3, 4e-3))
    assert found.intervals["token_s"] == pytest.approx((0.0, 20e-6))
    assert (found.max_graph_tokens, found.max_graph_batch) == (512, 160)
    assert found.theory == {"token_s"}
    assert found.sources["host_s"] == "a test"
    assert found.memory.share == (0.8, 0.92)


def test_an_interval_needs_both_ends() -> None:
    with pytest.raises(InputError, match="lacks its upper end"):
        engine_from("x", {"host_s": {"value": 1.0, "lower": 0.5, "unit": "ms", "source": "a"}})
