"""The arithmetic of the page (``model.js``) in Node, against hand numbers and the package; skipped without Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.acceptance.positions import PositionLaw, Z
from scylla_sim.explore.packing import packed
from scylla_sim.planning.crossover import spans_of
from scylla_sim.prediction.verdict import probability_below
from scylla_sim.stats.estimate import Estimate

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="Node is not installed: the arithmetic of the page was not run"
)

LAW = PositionLaw("eagle3", 0.5, 0.2)
BATCHES, CONTEXTS = np.arange(1.0, 9.0), np.array([100.0, 200.0])
SHAPES = [[0, 1, 1], [1, 1, 2], [3, 1, 4]]
GEMM = np.array(
    [
        8 * [4e-3],
        [4e-3, 4e-3, 12e-3, 4e-3, 4e-3, 12e-3, 12e-3, 12e-3],  # jumps at batch 3 and from 6 on
        [5e-3, 5e-3, 5e-3, 9e-3, 20e-3, 20e-3, 20e-3, 20e-3],
    ]
)
DENSE = {
    "gemm": GEMM,
    "other": np.full((3, 8), 1e-3),
    "draft_dense": np.array([8 * [0.0], 8 * [1e-3], 8 * [2e-3]]),
    "overhead": np.array([8 * [1e-3], 8 * [1.5e-3], 8 * [2e-3]]),
}
ATTENTION = np.array([[1e-3, 3e-3], [1e-3, 3e-3]])
SMOOTH = {
    "attention": np.stack(3 * [ATTENTION]),
    "draft_attention": np.stack([0 * ATTENTION, 0.1 * ATTENTION, 0.2 * ATTENTION]),
    "waiting": np.zeros((3, 2, 2)),
    "below": np.full((3, 2, 2), 0.1),
    "above": np.full((3, 2, 2), 0.2),
    "memory": np.full((3, 2, 2), 4e-3),
    "compute": np.full((3, 2, 2), 2e-3),
}
DATA: dict[str, Any] = {
    "grid": {
        "batches": BATCHES.astype(int).tolist(),
        "nodes": [1, 8],
        "contexts": CONTEXTS.astype(int).tolist(),
        "shapes": SHAPES,
        "dense": {name: packed(values) for name, values in DENSE.items()},
        "smooth": {name: packed(values) for name, values in SMOOTH.items()},
        "most": [[100, 50], [100, 50], [100, 50]],
        "most_upper": [[200, 100], [200, 100], [200, 100]],
    },
    "law": {"exponent": LAW.exponent, "spread": LAW.spread, "later": None, "ranks": 0.5},
    "idle_draft": 0.1,
    "undecided": [False, False, False],
    "device": {"peak_flop_per_s": 1e15, "bytes_per_s": 3e12},
}


def computed(expression: str, **changes: Any) -> Any:
    """Return the value of a JavaScript expression over the exports of the script and a model of the data."""
    assert NODE is not None
    data = json.dumps({**DATA, **changes})
    source = ROOT / "scylla_sim/explore/assets/model.js"
    script = f"const {{Model, tauOf}} = require({json.dumps(str(source))}); const model = new Model({data});"
    done = subprocess.run(
        [NODE, "-e", f"{script} console.log(JSON.stringify({expression}))"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tau(rates: list[float], length: int, law: PositionLaw = LAW) -> float:
    return 1.0 + float(np.cumprod(law.continued(rates, length)).sum())


def seconds(shape: int, context: float) -> np.ndarray:
    """Seconds of a cycle at all batches, from the arrays and no shorter than a step without a draft."""
    share = (context - 100.0) / 100.0
    smooth = sum(
        SMOOTH[name][:, 0, 0] * (1 - share) + SMOOTH[name][:, 0, 1] * share
        for name in ("attention", "draft_attention")
    )
    total = sum(DENSE[name] for name in ("gemm", "other", "draft_dense", "overhead")) + smooth[:, None]
    return np.maximum(total[shape], total[0])


def speedups(shape: int, context: float, rates: list[float]) -> np.ndarray:
    return tau(rates, SHAPES[shape][0]) * seconds(0, context) / seconds(shape, context)


def test_a_cycle_is_the_sum_of_its_parts_between_two_contexts() -> None:
    found = computed("[1, 2].map(K => [0, 2, 7].map(i => model.parts(K, i, 150).total))")
    wanted = [[seconds(k, 150.0)[i] for i in (0, 2, 7)] for k in (1, 2)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_a_cycle_takes_no_less_than_a_step() -> None:
    dense = {**DENSE, "gemm": np.vstack([GEMM[:1], 1e-6 * GEMM[1:]]), "overhead": np.full((3, 8), 1e-3)}
    grid = {**DATA["grid"], "dense": {name: packed(values) for name, values in dense.items()}}
    found = computed("[model.parts(1, 0, 150).total, model.parts(0, 0, 150).total]", grid=grid)
    assert found[0] == found[1]


def test_the_speed_up_and_its_interval() -> None:
    given, unsure = [0.8, 0.6], 0.05
    found = computed(f"model.at(2, 1, 150, {given}, {unsure})")
    speedup = speedups(2, 150.0, given)[1]
    assert found["speedup"] == pytest.approx(speedup, rel=1e-3)
    middle = tau(given, 3)
    ends = [tau(given, 3, LAW.moved(by * Z)) for by in (-1, 1)]
    moved = [tau([rate + by for rate in given], 3) for by in (-unsure, unsure)]
    low, high = (
        middle - np.hypot(middle - ends[0], middle - moved[0]),
        middle + np.hypot(ends[1] - middle, moved[1] - middle),
    )
    assert found["tau"] == pytest.approx(middle)
    assert found["lower"] == pytest.approx(speedup / (1 + np.hypot(0.1, 1 - low / middle)), rel=1e-3)
    assert found["upper"] == pytest.approx(min(speedup * (1 + np.hypot(0.2, high / middle - 1)), high), rel=1e-3)
    one = Estimate.of(found["speedup"], found["lower"], found["upper"])
    assert found["slower"] == pytest.approx(float(probability_below(1.0, one)), abs=1e-6)


def test_a_slow_draft_is_probably_slower() -> None:
    found = computed("model.at(1, 2, 150, [0.1], 0)")
    one = Estimate.of(found["speedup"], found["lower"], found["upper"])
    assert found["speedup"] < 1.0
    assert found["slower"] == pytest.approx(float(probability_below(1.0, one)), abs=1e-6)
    assert found["slower"] > 0.5


@pytest.mark.parametrize("given", [[0.7], [0.9, 0.5], [0.9, 0.8, 0.7, 0.6]])
def test_rates_continue_by_the_law_from_the_last_given_one(given: list[float]) -> None:
    law = json.dumps(DATA["law"])
    found = computed(f"[1, 3, 6].map(K => tauOf({given}, [K, 1, K + 1], {law}, 0)[0])")
    np.testing.assert_allclose(found, [tau(given, length) for length in (1, 3, 6)], rtol=1e-12)


def test_rates_stay_between_nothing_and_certainty() -> None:
    law = json.dumps({**DATA["law"], "spread": 0})
    value, lower, upper = computed(f"tauOf([0.95, 0.02], [2, 1, 3], {law}, 0.1)")
    middle = 1 + 0.95 + 0.95 * 0.02
    assert value == pytest.approx(middle)
    assert upper == pytest.approx(middle + (1 + 1 + 0.12) - middle)
    assert lower == pytest.approx(middle - (middle - (1 + 0.85)))


def test_the_crossover_is_the_last_batch_with_a_gain() -> None:
    """The chain of one token gains up to batch 2, loses at 3, gains at 4 and 5, and loses from 6 on."""
    assert (speedups(1, 100.0, [0.9]) > 1.0).tolist() == [True, True, False, True, True, False, False, False]
    assert computed("model.crossovers(1, 100, [0.9], 0).speedup") == 6


def scores(rates: list[float], *, idle: float = 1 / 1.1) -> np.ndarray:
    """Logarithm of the throughput at all batches: of the idle draft and of both chains."""
    return np.log([np.full(8, idle), *(speedups(shape, 100.0, rates) for shape in (1, 2))])


def test_the_schedule_is_that_of_the_package() -> None:
    for rates in ([0.9, 0.85, 0.8], [0.75, 0.7, 0.6]):
        found = computed(f"model.schedule(100, {rates})")
        assert [tuple(one) for one in found] == spans_of(scores(rates))
    assert len(computed("model.schedule(100, [0.9, 0.85, 0.8])")) > 1
    assert computed("model.schedule(100, [0.05, 0.05, 0.05])") == []


def test_a_switch_of_the_draft_length_has_a_cost() -> None:
    rates = [0.68, 0.48, 0.48]
    found = computed(f"model.schedule(100, {rates})")
    assert [tuple(one) for one in found] == spans_of(scores(rates)) != spans_of(scores(rates), 0.0)


def test_an_idle_draft_takes_time() -> None:
    rates = [0.38, 0.28, 0.28]
    found = computed(f"model.schedule(100, {rates})")
    assert [tuple(one) for one in found] == spans_of(scores(rates)) != spans_of(scores(rates, idle=1.0))


def test_sequences_in_memory_share_a_pool_of_tokens() -> None:
    """Between 100 and 50 sequences the mean is in the tokens of one: 1 / (0.5 / 100 + 0.5 / 50)."""
    assert computed("[100, 150, 200].map(context => model.most(1, context))") == [100, 66, 50]
