"""Differences between sources: where they apply, and their estimate from scored runs."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.prediction import between_sources
from scylla_sim.prediction.between_sources import RATE, SPEEDUP, estimated_sd, required_sd
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine


def test_deviation_is_the_half_width_of_the_shipped_log_normal():
    assert between_sources.deviation(catalog.engine("sglang"), SPEEDUP) == pytest.approx(
        np.exp(1.6449 * between_sources.shipped_sd(SPEEDUP)) - 1, rel=1e-4
    )


def test_superseded_presets_have_a_size_of_their_own():
    named = ("vllm-2025", "vllm-2023", "sglang-2025", "vllm-2026", "sglang-2026", "trtllm-2026", "ideal")
    assert [catalog.engine(name).superseded for name in named] == [True] * 3 + [False] * 4
    sizes = [between_sources.shipped_sd(between_sources.speedup_of(catalog.engine(name))) for name in named[2:4]]
    assert sizes[0] > sizes[1]


def test_exact_engines_are_taken_at_their_word():
    served = Engine("x", host_s=1e-3, intervals={"host_s": (0.5e-3, 2e-3)})
    assert between_sources.deviation(served, RATE) > 0.0
    assert between_sources.deviation(replace(served, intervals={}), RATE) == 0.0
    assert between_sources.deviation(replace(served, intervals={"host_s": (1e-3, 1e-3)}), RATE) == 0.0


def test_required_size_completes_the_interval_exactly():
    # 1.25 is 0.25 away; the interval reaches 0.15 up, so sqrt(0.25^2 - 0.15^2) = 0.2 is missing
    found = required_sd([1.25, 1.15, 0.8], 1.0, [0.5, 0.5, 1 / 1.15], 1.15)
    assert found == pytest.approx([np.log(1.2) / 1.6449, 0.0, np.log(1.2) / 1.6449], rel=1e-4)


def test_weight_of_a_source_is_the_root_of_its_runs_in_the_estimate():
    many, few = [0.0] * 93 + [0.5] * 7, [0.1, 0.3, 0.3, 0.3]
    # weights 0.1 each of 100 runs and 0.5 each of 4 runs, 12 in all: 9.3 at 0, 9.8 at 0.1, 11.3 at 0.3
    assert estimated_sd(np.array(many + few), ["a"] * 100 + ["b"] * 4) == 0.3
    assert estimated_sd(np.array(many), ["a"] * 100) == 0.0


def test_estimate_of_simulated_sources_returns_their_spread():
    rng = np.random.default_rng(3)
    error = np.exp(rng.normal(0.0, 0.1, 4000))
    found = estimated_sd(required_sd(error, 1.0, 1.0, 1.0), ["a", "b"] * 2000)
    assert found == pytest.approx(0.1, rel=0.05)


def test_a_source_is_estimated_from_the_others():
    found = between_sources.estimated_without_each(np.array([0.1, 0.1, 0.3]), ["a", "a", "b"])
    assert found.tolist() == [0.3, 0.3, 0.1]
    assert np.isnan(between_sources.estimated_without_each(np.array([0.1]), ["a"])).all()
