"""Theorem 1.3: the compute-bound crossover, its 1/b law, and the constants behind Fig. 5."""

from dataclasses import replace

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.checks import InputError
from scylla_sim.prediction import roofline
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog

QWEN = catalog.model("qwen2.5-72b")
H800 = catalog.hardware("h800-sxm")


def test_memory_and_compute_time_are_equal_at_the_crossover():
    at = roofline.roofline(H800)
    work = roofline.verify_work(QWEN, batch=np.array([1.0, 8.0, 64.0]), context=10240)
    crossover = work.crossover_tokens(at)
    memory, compute = work.seconds(crossover, at)
    assert memory == pytest.approx(compute)
    assert work.intensity(crossover) == pytest.approx(np.full(3, at.ridge_point))


def test_crossover_falls_exactly_as_one_over_batch():
    at = roofline.roofline(H800, sparse=True, compute_fraction=0.73, bandwidth_fraction=0.85)
    coefficient, floor = roofline.inverse_law(QWEN, at, context=10240)
    batch = np.array([1, 4, 8, 16, 32, 64, 256.0])
    crossover = roofline.verify_work(QWEN, batch=batch, context=10240).crossover_tokens(at)
    assert crossover == pytest.approx(coefficient / batch + floor, rel=1e-9)


@pytest.mark.parametrize("batch", [8, 16, 32, 64])
def test_quoted_formula_needs_more_than_the_dense_peak(batch):
    # arXiv 2505.07858, Theorem 1.3 as quoted: k_opt = 27904 sqrt(1 + 0.034 / b) - 27897
    quoted = 27904 * np.sqrt(1 + 0.034 / batch) - 27897
    work = roofline.verify_work(QWEN, batch=float(batch), context=10240)
    sparse = roofline.roofline(H800, sparse=True, compute_fraction=0.73, bandwidth_fraction=0.85)
    dense = roofline.roofline(H800)
    assert float(work.crossover_tokens(sparse)) - 4 == pytest.approx(quoted, rel=0.05)
    assert float(work.crossover_tokens(dense)) - 4 < 0.65 * quoted


def test_two_flops_per_weight_and_token():
    work = roofline.verify_work(QWEN, batch=1.0, context=1.0)
    weights = QWEN.num_layers * QWEN.layer_parameters + QWEN.head_parameters
    attention = 4 * QWEN.num_layers * QWEN.num_heads * QWEN.head_dim
    assert float(work.flops) == pytest.approx(2 * weights + attention)


def test_crossover_is_infinite_if_the_ridge_is_never_reached():
    far = roofline.Roofline(flop_per_s=1e30, bytes_per_s=1.0)
    assert np.isinf(roofline.verify_work(QWEN, batch=1.0, context=10.0).crossover_tokens(far))


FIG5 = read_columns(ROOT / "paper" / "published" / "fig5_curves.csv")
GRID_STEP = 2
"""Paths between two points of Fig. 5's digitised curves, at the batches whose crossover lies in the figure."""


def fig5_curve(batch):
    """k and tokens/s of one curve."""
    rows = [i for i, b in enumerate(FIG5["batch_size"]) if float(b) == batch]
    return tuple(np.array([float(FIG5[name][i]) for i in rows]) for name in ("k", "tokens_per_s"))


@pytest.mark.parametrize(("batch", "allowed"), [(4, 0.04), (8, 0.02), (16, 0.02), (32, 0.02)])
def test_fig_5_from_the_curve_of_batch_64(batch, allowed):
    """arXiv 2505.07858, Fig. 5: tau(k) read off one curve, the others predicted with the constants of the figure.

    Batch 1 is left out: reading within 5 tokens/s is 5 to 15 % of its curve.
    """
    at = roofline.roofline(H800, sparse=True, compute_fraction=0.73, bandwidth_fraction=0.85)
    k, reference = fig5_curve(64)
    known = roofline.verify_work(QWEN, batch=64.0, context=10240)
    tau = roofline.tau_from_curve(k, reference, known, at, batch=64, extra_tokens=4)
    work = roofline.verify_work(QWEN, batch=float(batch), context=10240)
    ours = batch * tau / np.maximum(*work.seconds(k + 4, at))
    same, reported = fig5_curve(batch)
    assert same.tolist() == k.tolist()
    assert np.abs(ours / reported - 1).mean() <= allowed
    if batch >= 8:
        assert abs(k[np.argmax(ours)] - k[np.argmax(reported)]) <= GRID_STEP


def test_theorem_1_3_is_refused_where_bytes_are_not_linear_in_tokens():
    with pytest.raises(InputError, match="model='mixtral-8x7b' is a mixture of experts"):
        roofline.verify_work(catalog.model("mixtral-8x7b"), batch=1, context=1024)
    assert (
        float(roofline.verify_work(replace(catalog.model("deepseek-v3"), moe=None), batch=1, context=1024).flops)
        > 0
    )
