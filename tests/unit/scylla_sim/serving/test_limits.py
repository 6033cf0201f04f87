"""Limits on latencies: how they are read and what is refused."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.serving.limits import Limit, parse_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("p95:500ms", Limit("ttft", "p95", 0.5)),
        ("mean:2s", Limit("ttft", "mean", 2.0)),
        ("40ms", Limit("ttft", "mean", 0.04)),
    ],
)
def test_limits(text, limit):
    assert parse_limit("ttft", text) == limit


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("40", "tpot='40' is not understood ('40' must have a unit, such as 40ms or 40s)"),
        ("p95:0.04", "must have a unit"),
        ("p80:40ms", "tpot='p80' is not known; did you mean p90?"),
        ("-1ms", "tpot=-0.001 must be above 0"),
        ("p95", "is not a duration"),
    ],
)
def test_refusals(text, line):
    with pytest.raises(InputError) as found:
        parse_limit("tpot", text)
    assert line in str(found.value)
