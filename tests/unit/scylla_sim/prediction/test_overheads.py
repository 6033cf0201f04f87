"""Host work of engines, counted and added by hand."""

import numpy as np
import pytest

from scylla_sim.prediction import between_sources
from scylla_sim.prediction.overheads import (
    cycle_overhead_counts,
    overhead_seconds,
    step_overhead_counts,
    with_overheads,
)
from scylla_sim.prediction.step_time import Step
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Block, Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate


def test_host_work_of_a_plain_step_and_a_cycle():
    engine = catalog.engine("vllm")
    plain, drafted = (
        overhead_seconds(engine, cycle_overhead_counts(catalog.draft(name), tokens=tokens, draft_len=length))
        for name, tokens, length in (("none", 8, 0), ("eagle3", 32, 3))
    )
    assert float(plain) == pytest.approx(1.207e-3 + 8 * 13.4e-6)
    assert float(drafted) == pytest.approx(1.207e-3 + 32 * 13.4e-6 + 3 * 0.38e-3)


def test_tree_costs_more_host_work_than_a_chain():
    engine, draft = catalog.engine("sglang"), catalog.draft("eagle3")
    chain, tree = (
        overhead_seconds(engine, cycle_overhead_counts(draft, tokens=6, draft_len=5, top_k=top_k))
        for top_k in (1, 3)
    )
    assert float(chain) == pytest.approx(0.53e-3 + 0.71e-3 + 5 * 0.11e-3)
    assert float(tree - chain) == pytest.approx(0.89e-3)


def test_medusa_pays_one_pass_and_an_ngram_draft_none():
    passes = {
        name: float(cycle_overhead_counts(catalog.draft(name), tokens=6, draft_len=5)["draft_pass_host_s"])
        for name in ("eagle3", "medusa", "ngram")
    }
    assert passes == {"eagle3": 5.0, "medusa": 1.0, "ngram": 0.0}
    assert set(cycle_overhead_counts(catalog.draft("none"), tokens=1, draft_len=0)) == {"host_s", "token_s"}


def test_a_block_drafter_pays_one_pass_and_its_own_host_work():
    block = Draft("dflash", "block", 5, block=Block(16))
    counts = cycle_overhead_counts(block, tokens=16, draft_len=15)
    assert (float(counts["draft_pass_host_s"]), float(counts["block_host_s"])) == (1.0, 1.0)
    assert "block_host_s" not in cycle_overhead_counts(catalog.draft("eagle3"), tokens=16, draft_len=15)
    for name in ("vllm", "sglang"):
        assert catalog.engine(name).overhead("block_host_s").lower == 0.0


def test_errors_of_kernels_and_overheads_add_in_quadrature():
    step = Step((), Estimate.of(10.0, 7.0, 10.0))
    engine = Engine("x", host_s=2.0, token_s=0.5, intervals={"token_s": (0.25, 1.0)})
    found = with_overheads(step, engine, step_overhead_counts(16))
    assert float(found.value) == 10.0 + 2.0 + 16 * 0.5
    between = 20.0 * between_sources.deviation(engine, between_sources.RATE)
    assert float(found.up) == pytest.approx(np.hypot(16 * 0.5, between))
    low = between / (1.0 + between / 20.0)
    assert float(found.down) == pytest.approx(np.hypot(5.0, low)), "3 of the step, 16 x 0.25 of the tokens"
    exact = with_overheads(step, Engine("x", host_s=2.0), step_overhead_counts(16))
    assert (float(exact.down), float(exact.up)) == (3.0, 0.0)


def test_counts_broadcast_over_a_grid():
    seconds = overhead_seconds(Engine("x", host_s=1.0, token_s=1.0), step_overhead_counts(np.array([1.0, 3.0])))
    assert seconds.tolist() == [2.0, 4.0]
