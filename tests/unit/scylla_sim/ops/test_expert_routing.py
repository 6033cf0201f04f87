"""Experts in use and tiles of an MoE layer, against hand-counted numbers and random routings."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.checks import InputError
from scylla_sim.cli import main
from scylla_sim.ops import expert_routing
from scylla_sim.ops.expert_routing import (
    distinct_experts,
    filled_tiles,
    independent_tokens,
    routed_loads,
    routing_probabilities,
)
from scylla_sim.specs import catalog
from scylla_sim.specs.layers import MoE


def test_uniform_router_is_a_coupon_collector():
    rng = np.random.default_rng(0)
    experts = MoE(num_experts=64, experts_per_token=6, intermediate_size=1)
    drawn = [len({i for _ in range(9) for i in rng.choice(64, 6, replace=False)}) for _ in range(4000)]
    assert float(distinct_experts(experts, 9)) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 4000**0.5)


def test_extreme_skew_uses_the_same_experts_for_all_tokens():
    experts = MoE(num_experts=16, experts_per_token=2, intermediate_size=1, router_skew=8.0)
    assert float(distinct_experts(experts, 50)) < 3.1
    probabilities = routing_probabilities(experts)
    assert probabilities[0] == 1.0
    assert probabilities.sum() == pytest.approx(2.0)


@pytest.mark.parametrize("skew", [0.0, 1.3])
@pytest.mark.parametrize("rows", [4, 16])
def test_expected_tiles_match_random_routings(skew, rows):
    rng = np.random.default_rng(1)
    experts = MoE(num_experts=12, experts_per_token=2, intermediate_size=1, router_skew=skew)
    drawn = rng.binomial(90, routing_probabilities(experts), size=(4000, 12))
    tiles = (-(-drawn // rows)).sum(axis=1)
    expected = float(filled_tiles(experts, 90, rows))
    assert expected == pytest.approx(tiles.mean(), abs=4 * tiles.std() / 4000**0.5)


SKEWED = MoE(num_experts=128, experts_per_token=4, intermediate_size=2880, router_skew=0.95)
SOME = np.array([3.0, 40.0, 127.0, 700.0, 3001.0, 8191.0])


def test_tiles_of_many_numbers_of_tokens_are_interpolated_within_a_twentieth_of_a_percent():
    every = filled_tiles(SKEWED, np.arange(1.0, 8193.0), 128)
    assert every[SOME.astype(int) - 1] == pytest.approx(filled_tiles(SKEWED, SOME, 128), rel=5e-4)


def test_tiles_of_a_few_dozen_numbers_of_tokens_are_those_of_each_alone():
    tokens = np.array([*range(1, 60), 126.5, *SOME[2:]])
    alone = [float(filled_tiles(SKEWED, one, 128)) for one in tokens]
    assert filled_tiles(SKEWED, tokens, 128) == pytest.approx(alone, rel=1e-12)


def test_tiles_of_an_expert_that_takes_every_token():
    experts = MoE(num_experts=4, experts_per_token=4, intermediate_size=1)
    assert filled_tiles(experts, [1, 64, 65, 200], 64).round(9).tolist() == [4, 4, 8, 16]
    loads = routed_loads(experts, [64.0, 65.0])
    assert loads["ragged"].tolist() == [4.0, 4.0]  # in service, whatever the fill


def test_skewed_router_uses_more_tiles_per_expert():
    even, skewed = (MoE(128, 8, 768, router_skew=skew) for skew in (0.0, 1.0))
    assert filled_tiles(skewed, 16, 16) < filled_tiles(even, 16, 16)  # few rows: fewer experts
    per_expert = [
        float(routed_loads(e, 1024)["tiles_64"] / routed_loads(e, 1024)["groups"]) for e in (even, skewed)
    ]
    assert per_expert[1] > per_expert[0]


def test_more_experts_per_token_than_experts_are_refused():
    with pytest.raises(InputError, match="experts_per_token=9 exceeds num_experts=8"):
        MoE(8, 9, 64)
    with pytest.raises(InputError, match="router_skew=1 does not apply to llama-3.1-8b"):
        catalog.model("llama-3.1-8b").with_router_skew(1)


def test_a_skewed_router_speeds_up_both_verification_and_plain_decoding(capsys):
    def row(*more):
        argv = ["predict", "--hardware", "h100-sxm", "--model", "qwen3-30b-a3b", "--draft", "eagle3"]
        assert main([*argv, "--acceptance", "0.7", "--batch", "8", "--format", "json", *more]) == 0
        return json.loads(capsys.readouterr().out)["rows"][0]

    uniform, skewed = row(), row("--router-skew", "1")
    assert skewed["verify_s"] < uniform["verify_s"]
    assert skewed["plain_step_s"] < uniform["plain_step_s"]
    assert row("--router-skew", "0") == uniform
    assert uniform["evidence"] == "silicon"


def test_tokens_of_one_sequence_share_experts_by_hand():
    """128 experts, 8 a token: 8 sequences of 4 tokens with overlap 0.4 use the experts of 8 * 2.8 = 22.4 tokens."""
    qwen = MoE(128, 8, 768)
    assert independent_tokens(8, 4, 0.4) == pytest.approx(22.4)
    loads = routed_loads(qwen, 32, independent_tokens(8, 4, 0.4))
    assert float(loads["groups"]) == pytest.approx(128 * (1 - (1 - 8 / 128) ** 22.4))
    assert float(loads["tiles_128"]) == pytest.approx(float(loads["groups"])), "few rows fill one tile per expert"


def test_overlap_shortens_verification_and_leaves_plain_decoding(capsys):
    def row(*more):
        argv = ["predict", "--hardware", "h200-sxm", "--model", "qwen3-30b-a3b", "--draft", "eagle3"]
        argv += ["--acceptance", "0.7,0.7,0.7", "--batch", "8", "--format", "json"]
        assert main([*argv, *more]) == 0
        return json.loads(capsys.readouterr().out)["rows"][0]

    data = tomllib.loads((ROOT / "scylla_sim/data/expert_overlap.toml").read_text(encoding="utf-8"))
    chain, siblings = (str(data[kind]["value"]) for kind in ("chain", "tree"))
    published, none, some = row(), row("--expert-overlap", "0"), row("--expert-overlap", chain)
    assert published["verify_s"] == some["verify_s"] < none["verify_s"]
    assert published["plain_step_s"] == none["plain_step_s"] == some["plain_step_s"]
    assert published["tokens_per_s_upper"] > some["tokens_per_s_upper"], "the range of sources widens the interval"
    assert published["plain_step_upper_s"] == some["plain_step_upper_s"]
    shape = ("--top-k", "2", "--draft-len", "3", "--verify-tokens", "5")
    assert row(*shape)["verify_s"] == row(*shape, "--expert-overlap", siblings)["verify_s"]


def test_overlap_of_a_dense_model_is_refused(capsys):
    argv = ["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--expert-overlap"]
    assert main([*argv, "0.4"]) == 2
    assert "expert_overlap=0.4 does not apply to llama-3.1-8b; the model has no experts" in capsys.readouterr().err
    argv[argv.index("llama-3.1-8b")] = "qwen3-30b-a3b"
    assert main([*argv, "1.4"]) == 2
    assert "expert_overlap=1.4 must lie in [0, 1]" in capsys.readouterr().err


def test_tables_depend_on_the_routing_only():
    one = MoE(num_experts=96, experts_per_token=6, intermediate_size=512, router_skew=0.7, expert_overlap=0.3)
    tokens = np.arange(1.0, 900.0)
    found = filled_tiles(one, tokens, 64)
    known = expert_routing._remainder_table.cache_info().currsize
    np.testing.assert_array_equal(filled_tiles(replace(one, expert_overlap=0.0), tokens, 64), found)
    np.testing.assert_array_equal(filled_tiles(replace(one, intermediate_size=9), tokens, 64), found)
    assert expert_routing._remainder_table.cache_info().currsize == known
