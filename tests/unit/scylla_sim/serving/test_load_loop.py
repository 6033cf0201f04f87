"""The loop of decoding and prefills against hand values and against the loop itself, iterated."""

import numpy as np
import pytest

from scylla_sim.serving.load_loop import dispersion, gamma_quantile, loop_covariances, stay_variance, two_nodes


def loop(share, feedback, stay, *, iterations=400_000, mean=2.0, seed=1):
    """Return decoding requests and iteration seconds of a linear loop whose prompts are Poisson."""
    rng = np.random.default_rng(seed)
    slope, base = feedback * (1.0 - share) / stay, 1.0 - share - feedback * (1.0 - share)
    arrived, n, seconds = np.zeros(iterations), np.zeros(iterations), np.ones(iterations)
    prompts = rng.poisson(mean, stay + 1).tolist()
    running = float(sum(prompts[:-1]))
    for i in range(iterations):
        # in units of the mean iteration, at `mean` prompts per iteration
        seconds[i] = base + slope * running / mean + share * prompts[-1] / mean
        n[i], arrived[i] = running, prompts[-1]
        running += prompts[-1] - prompts[-1 - stay]
        prompts.append(int(rng.poisson(mean * seconds[i])))
    return n, seconds


@pytest.mark.parametrize(("share", "feedback"), [(0.0, 0.5), (0.4, 0.0), (0.3, 0.4)])
def test_spread_and_stay_agree_with_the_iterated_loop(share, feedback):
    stay, mean = 50, 2.0
    n, seconds = loop(share, feedback, stay, iterations=150_000, mean=mean)
    assert dispersion(share, feedback) == pytest.approx(n.var() / n.mean(), rel=0.12)
    stays = np.convolve(seconds, np.ones(stay), "valid")
    assert stay_variance(share, feedback) == pytest.approx(stays.var() / (stay / mean), rel=0.12)


def test_covariances_by_hand():
    """Without feedback n is Poisson, and its covariance falls linearly over a stay: 1, 1/2 and 2/3."""
    assert [float(one) for one in loop_covariances(0.0)] == pytest.approx([1.0, 0.5, 2.0 / 3.0], rel=2e-3)
    spread, mixed, mean = (float(one) for one in loop_covariances(0.5))
    assert (spread, mixed) == pytest.approx((2.0, 2.0 - (np.exp(0.5) - 1.5) / 0.25))
    assert spread - 2 * 0.5 * mixed + 0.25 * mean == pytest.approx(1.0)  # power of the noise


def test_two_nodes_have_three_moments_of_a_gamma_variable():
    shape, scale = 3.0, 2.0
    nodes, weights = two_nodes(np.array(shape * scale), np.array(scale))
    moments = [sum(float(w * x**k) for x, w in zip(nodes, weights)) for k in range(4)]
    assert moments == pytest.approx([1.0, 6.0, 3 * 4 * 4, 3 * 4 * 5 * 8])


def test_gamma_quantiles_of_tables():
    """Half a chi-squared variable of 8 degrees of freedom: 95 % below 15.507 / 2, 50 % below 7.344 / 2."""
    found = gamma_quantile(np.array(4.0), np.array(2.0), [0.5, 0.95])
    assert found == pytest.approx([7.344 / 2, 15.507 / 2], rel=3e-3)
