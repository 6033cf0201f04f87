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


def seconds(engine, draft, **shape):
    return float(overhead_seconds(catalog.engine(engine), cycle_overhead_counts(catalog.draft(draft), **shape)))


STEP = {"host_s": 1}
CYCLE = {"host_s": 1, "draft_host_s": 1, "draft_pass_host_s": 3, "fused_pass_host_s": 3, "token_s": 32}


@pytest.mark.parametrize(
    ("engine", "draft", "tp", "counts"),
    [
        ("vllm-2026", "none", 1, STEP),
        ("vllm-2026", "eagle3", 1, CYCLE),
        ("vllm-2026", "eagle3", 4, CYCLE | {"tp_host_s": 1, "tp_draft_host_s": 1, "tp_draft_pass_s": 3}),
        ("vllm-2026", "none", 4, STEP | {"tp_host_s": 1}),
        ("vllm-2026", "ngram", 1, STEP | {"ngram_host_s": 1, "tp_ngram_host_s": 0, "token_s": 32}),
        ("vllm-2026", "ngram", 4, STEP | {"ngram_host_s": 1, "tp_ngram_host_s": 1, "tp_host_s": 1, "token_s": 32}),
        ("vllm-2025", "eagle", 1, CYCLE | {"fused_pass_host_s": 0}),
        ("vllm-2025", "eagle3", 1, CYCLE),
        ("sglang-2025", "eagle3", 8, CYCLE | {"tp_host_s": 1, "tp_draft_host_s": 1, "tp_draft_pass_s": 3}),
        ("sglang-2026", "eagle3", 1, CYCLE),
        ("ideal", "eagle3", 4, {}),
    ],
)
def test_host_work_is_the_sum_of_its_parts(engine, draft, tp, counts):
    shape = {"tokens": 8, "draft_len": 0} if draft == "none" else {"tokens": 32, "draft_len": 3}
    expected = sum(getattr(catalog.engine(engine), name) * count for name, count in counts.items())
    assert seconds(engine, draft, tp=tp, **shape) == pytest.approx(expected)


def test_tree_costs_more_host_work_than_a_chain():
    chain, tree = (seconds("sglang-2026", "eagle3", tokens=6, draft_len=5, top_k=top_k) for top_k in (1, 3))
    assert tree - chain == pytest.approx(catalog.engine("sglang-2026").tree_host_s)


def test_a_draft_on_one_gpu_pays_no_communication_per_pass():
    shape = {"tokens": 6, "draft_len": 5, "tp": 4}
    whole, alone = (seconds("vllm-2026", "llama-3.2-1b", **shape, draft_tp=ranks) for ranks in (4, 1))
    assert whole - alone == pytest.approx(5 * catalog.engine("vllm-2026").tp_draft_pass_s)


def test_medusa_pays_one_pass_and_an_ngram_draft_none():
    passes = {
        name: float(
            cycle_overhead_counts(catalog.draft(name), tokens=6, draft_len=5).get("draft_pass_host_s", np.zeros(()))
        )
        for name in ("eagle3", "medusa", "ngram")
    }
    assert passes == {"eagle3": 5.0, "medusa": 1.0, "ngram": 0.0}


def test_a_loaded_draft_that_drafts_nothing_pays_a_share_of_the_step():
    counts = cycle_overhead_counts(catalog.draft("eagle3"), tokens=8, draft_len=0, step_s=10e-3)
    engine = catalog.engine("vllm-2026")
    assert float(overhead_seconds(engine, counts)) == pytest.approx(engine.host_s + 0.066 * 10e-3)


def test_a_block_drafter_pays_one_pass_and_its_own_host_work():
    block = Draft("dflash", "block", 5, block=Block(16))
    counts = cycle_overhead_counts(block, tokens=16, draft_len=15)
    assert (float(counts["draft_pass_host_s"]), float(counts["block_host_s"])) == (1.0, 1.0)
    assert "block_host_s" not in cycle_overhead_counts(catalog.draft("eagle3"), tokens=16, draft_len=15)
    for name in ("vllm", "sglang"):
        each = catalog.engine(name).overhead("block_host_s")
        assert each.upper >= 2 * each.value > 4 * each.lower


def test_errors_of_kernels_and_overheads_add_in_quadrature():
    step = Step((), Estimate.of(10.0, 7.0, 10.0))
    engine = Engine("x", host_s=2.0, token_s=0.5, intervals={"token_s": (0.25, 1.0)})
    found = with_overheads(step, engine, step_overhead_counts(verified=16))
    assert float(found.value) == 10.0 + 2.0 + 16 * 0.5
    between = 20.0 * between_sources.deviation(engine, between_sources.RATE)
    assert float(found.up) == pytest.approx(np.hypot(16 * 0.5, between))
    low = between / (1.0 + between / 20.0)
    assert float(found.down) == pytest.approx(np.hypot(5.0, low)), "3 of the step, 16 x 0.25 of the tokens"
    exact = with_overheads(step, Engine("x", host_s=2.0), step_overhead_counts(16))
    assert (float(exact.down), float(exact.up)) == (3.0, 0.0)


def test_counts_broadcast_over_a_grid():
    counts = step_overhead_counts(verified=np.array([1.0, 3.0]))
    assert overhead_seconds(Engine("x", host_s=1.0, token_s=1.0), counts).tolist() == [2.0, 4.0]


def test_a_backend_without_graphs_costs_every_draft_pass():
    eagle3 = catalog.draft("eagle3")
    with_graphs = cycle_overhead_counts(eagle3, tokens=4, draft_len=3)
    without = cycle_overhead_counts(eagle3, tokens=4, draft_len=3, piecewise=True)
    assert "piecewise_pass_s" not in with_graphs
    assert without == {**with_graphs, "piecewise_pass_s": 3.0}
