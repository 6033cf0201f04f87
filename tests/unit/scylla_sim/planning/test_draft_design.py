"""Draft design: optimum, ranges, budgets and laws."""

import numpy as np
import pytest

from scylla_sim.acceptance import draft_shape, positions, tau_transfer
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.laws import sdsl
from scylla_sim.ops import memory
from scylla_sim.planning import draft_design
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

LLAMA8 = catalog.model("llama-3.1-8b")
HEAD = catalog.draft("eagle2")
DEPLOYMENT = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))


@pytest.fixture(scope="module")
def designs():
    return draft_design.design(
        LLAMA8, HEAD, DEPLOYMENT, batch=[1, 256], context=1024, budget=draft_design.Budget(tokens=10e9)
    )


def test_large_batches_have_smaller_trees(designs):
    small, large = designs
    assert small.verify_tokens > large.verify_tokens
    assert small.draft_len >= large.draft_len
    assert small.speedup > large.speedup


def test_ranges_and_interval_contain_the_optimum(designs):
    for item in designs:
        assert item.layers_range[0] <= item.layers <= item.layers_range[1]
        assert item.draft_len_range[0] <= item.draft_len <= item.draft_len_range[1]
        assert item.verify_tokens_range[0] <= item.verify_tokens <= item.verify_tokens_range[1]
        assert item.speedup_lower < item.speedup < item.speedup_upper
        assert item.designs_as_good >= 1


def test_throughput_equals_that_of_predict(designs):
    best = designs[0]
    head = catalog.draft("eagle2", layers=best.layers)
    tau = best.tokens_per_cycle
    item = SpeculativeConfig(head, best.draft_len, best.top_k, best.verify_tokens, tau, tau, tau)
    out = predict(LLAMA8, item, DEPLOYMENT, batch=1, context=1024)
    assert float(out.tokens_per_s) == pytest.approx(best.tokens_per_s)


def test_flop_budget_affords_fewer_tokens_for_deeper_drafts():
    budget = draft_design.Budget(flop=1e20)
    tokens = [draft_design.affordable_tokens(catalog.draft(f"scylla-{n}l"), LLAMA8, budget) for n in (1, 5, 10)]
    assert tokens[0] > tokens[1] > tokens[2]
    flop = draft_design.training_flop_per_token(catalog.draft("scylla-1l"), LLAMA8)
    assert tokens[0] == pytest.approx(1e20 / flop)


def test_tokens_are_limited_to_the_range_of_the_law():
    assert draft_design.affordable_tokens(HEAD, LLAMA8, draft_design.Budget(tokens=1e15)) == 100e9


def test_negative_budget_is_refused():
    with pytest.raises(InputError, match="train_flop"):
        draft_design.Budget(flop=-1.0)


def test_transfer_to_many_shapes_equals_transfer_to_each():
    some = draft_design.shapes()[:12]
    law = positions.law_of("eagle2")
    each = [tau_transfer.transfer(4.5, draft_shape.reference(), shape, law) for shape in some]
    assert np.allclose(tau_transfer.tau_from_reference(4.5, some, law), each)


def test_sdsl_treats_the_head_as_an_independent_model(designs):
    """SDSL predicts less than the theorems, whose heads read the features of the target."""
    (rival,) = draft_design.design(
        LLAMA8, HEAD, DEPLOYMENT, batch=[1], context=1024, budget=draft_design.Budget(tokens=10e9), law="sdsl"
    )
    size = memory.draft_parameters(catalog.draft("eagle2", layers=rival.layers), LLAMA8)
    rate = sdsl.draft_rate(size, 10e9, LLAMA8.active_parameters).value
    constant = positions.law_of("eagle2", exponent=0.0)
    shape = draft_shape.DraftShape(rival.draft_len, rival.top_k, rival.verify_tokens)
    assert rival.tokens_per_cycle == pytest.approx(tau_transfer.tau_at_rate(float(rate), [shape], constant)[0])
    assert (rival.law, designs[0].law) == ("sdsl", "theorems")
    assert rival.speedup < designs[0].speedup
    assert rival.draft_len < designs[0].draft_len, "lower acceptance favours shorter drafts"


def test_optimum_ranges_are_ordered(designs):
    for item in designs:
        for span in (item.optimum_layers, item.optimum_draft_len, item.optimum_verify_tokens):
            assert span[0] <= span[1]


def test_unknown_law_is_refused():
    with pytest.raises(InputError, match="law='powers' is not known"):
        draft_design.design(
            LLAMA8,
            HEAD,
            DEPLOYMENT,
            batch=[1],
            context=1024,
            budget=draft_design.Budget(tokens=1e9),
            law="powers",
        )


@pytest.mark.parametrize("limits", [{"tokens": 1.0}, {"tokens": 9e5}])
def test_a_budget_that_trains_no_head_is_refused(limits):
    with pytest.raises(InputError, match=r"train_tokens=.* must be at least 1e\+06; fewer do not train a head"):
        draft_design.Budget(**limits)


def test_flops_that_train_no_head_are_refused():
    with pytest.raises(InputError, match=r"train_flop=10000000000 must be at least .* that is 1e\+06 tokens"):
        draft_design.affordable_tokens(
            catalog.draft("eagle2"), catalog.model("llama-3.1-8b"), draft_design.Budget(flop=1e10)
        )


def test_training_takes_six_flops_for_each_weight_and_two_for_each_of_the_target():
    llama, draft = catalog.model("llama-3.1-8b"), catalog.draft("scylla-2l")
    expected = 6.0 * memory.draft_parameters(draft, llama) + 2.0 * llama.active_parameters
    assert draft_design.training_flop_per_token(draft, llama) == expected
    budget = draft_design.Budget(tokens=50e9, flop=10e9 * expected)
    assert draft_design.affordable_tokens(draft, llama, budget) == pytest.approx(10e9)
    assert draft_design.affordable_tokens(draft, llama, draft_design.Budget(tokens=3e9)) == 3e9


def test_the_range_of_an_optimum_is_that_of_the_ends_of_the_law():
    """The optimum moves from one layer at the lower end to three at the upper end."""
    shapes = [draft_shape.DraftShape(n, 1, n + 1) for n in (1, 4)]
    layers = len(draft_design.LAYERS)
    rate = np.ones((3, layers, 2, 1))
    rate[0, 0, 0], rate[1, 1, 0], rate[2, 2, 1] = 2.0, 2.0, 2.0
    ones = np.ones((layers, 2, 1))
    grid = draft_design._Grid(rate, rate, np.ones((3, layers, 2)), ones, ones, np.ones(layers))
    found = draft_design._best_design(grid, shapes, [8], 0, "theorems")
    assert (found.layers, found.draft_len) == (2, 1)
    assert (found.optimum_layers, found.optimum_draft_len) == ((1, 3), (1, 4))
    assert found.optimum_verify_tokens == (2, 5)
