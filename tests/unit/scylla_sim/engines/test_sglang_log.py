"""Tokens per cycle from SGLang's log."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines import sglang_log
from scylla_sim.stats.estimate import exact

SGLANG = (
    "[2026-01-01 TP0] Decode batch, #running-req: {requests}, #token: 900, token usage: 0.01, accept len: "
    "{length}, accept rate: 0.57, cuda graph: True, gen throughput (token/s): 310.2, #queue-req: 0"
)


def test_lines_are_weighted_by_their_requests():
    log = "\n".join(SGLANG.format(requests=r, length=x) for r, x in ((1, 2.0), (3, 3.0), (0, 9.0)))
    tau = sglang_log.read_sglang_log(log).tokens_per_cycle()
    assert tau.value == pytest.approx((1 * 2.0 + 3 * 3.0) / 4)
    assert tau.lower < tau.value < tau.upper
    assert sglang_log.read_sglang_log(SGLANG.format(requests=2, length=2.5)).tokens_per_cycle() == exact(2.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SGLANG.format(requests=1, length=0.5), "accept_len=0.5 must be at least 1"),
        (SGLANG.format(requests=0, length=2.5), "requests=0 were running in this log"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        sglang_log.read_sglang_log(text)
