"""Acceptance profiles against closed forms, hand counts and published data."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scylla_sim.acceptance import profiles as acceptance_profiles
from scylla_sim.checks import InputError

# Top-1..5 accuracy of Medusa-1's five heads. Source: FasterDecoding/Medusa, assets/medusa_acc.csv.
MEDUSA = np.array(
    [
        [0.59394, 0.70527, 0.75783, 0.79250, 0.81610],  # Vicuna-13B
        [0.33971, 0.43999, 0.50683, 0.54647, 0.58027],
        [0.21608, 0.30852, 0.36121, 0.40296, 0.43638],
        [0.14998, 0.23173, 0.28777, 0.32343, 0.35413],
        [0.12227, 0.19570, 0.24341, 0.27908, 0.30703],
        [0.60459, 0.71619, 0.76488, 0.79829, 0.82229],  # Vicuna-33B
        [0.35578, 0.46899, 0.52870, 0.56922, 0.59605],
        [0.22463, 0.31971, 0.37853, 0.42101, 0.44624],
        [0.15959, 0.24880, 0.30727, 0.34797, 0.37551],
        [0.13702, 0.20668, 0.26213, 0.29838, 0.32575],
        [0.56039, 0.67172, 0.72714, 0.75994, 0.77995],  # Vicuna-7B
        [0.31635, 0.42358, 0.48509, 0.52821, 0.56250],
        [0.20104, 0.28790, 0.34754, 0.38345, 0.41687],
        [0.14737, 0.22502, 0.27373, 0.31088, 0.33971],
        [0.11754, 0.18663, 0.23459, 0.27212, 0.29983],
    ]
)
# Probability that the i-th candidate is the accepted one. Source: Infini-AI-Lab/Sequoia, acceptance-rate-vector.pt.
SEQUOIA = np.array(
    [0.634183, 0.107946, 0.056972, 0.022489, 0.01949, 0.014993, 0.004498, 0.002999, 0.011994, 0.004498]
)


def test_chain_by_hand():
    assert acceptance_profiles.tokens_per_cycle([0.8, 0.5, 0.25]) == pytest.approx(1 + 0.8 + 0.4 + 0.1)


def test_leading_axes_are_independent_profiles():
    profiles = np.array([[[0.9, 0.8], [0.1, 0.2]], [[0.0, 0.5], [1.0, 1.0]]])
    tau = acceptance_profiles.tokens_per_cycle(profiles)
    assert tau.shape == (2, 2)
    assert tau == pytest.approx(np.array([[1 + 0.9 + 0.72, 1 + 0.1 + 0.02], [1.0, 3.0]]))


def test_iid_closed_form_is_smooth_at_one():
    """Leviathan Eq. 1 is 0/0 at alpha = 1; values near 1 approach the limit."""
    alphas = [1 - 1e-3, 1 - 1e-9, 1 - 1e-13, 1.0]
    sums = [1 + sum(a**i for i in range(1, 8)) for a in alphas]
    assert acceptance_profiles.iid_tokens_per_cycle(alphas, 7) == pytest.approx(sums, rel=1e-9)


def test_iid_broadcasts_rates_against_lengths():
    table = acceptance_profiles.iid_tokens_per_cycle(np.array([0.5, 0.8])[:, None], [1, 2, 3])
    assert table == pytest.approx(np.array([[1.5, 1.75, 1.875], [1.8, 2.44, 2.952]]))


def test_cumulative_log_line_of_vllm():
    """SpecDecode-Bench, EAGLE-3 on gsm8k, K = 3: cumulative 0.673, 0.440, 0.281 and tau 2.3937 printed."""
    conditional = acceptance_profiles.to_conditional([0.673, 0.440, 0.281])
    assert acceptance_profiles.tokens_per_cycle(conditional) == pytest.approx(2.3937, abs=2e-3)
    # Read as conditional, the same numbers would give 2.05: the two kinds must not be confused.
    assert acceptance_profiles.tokens_per_cycle([0.673, 0.440, 0.281]) == pytest.approx(2.05, abs=0.01)


def test_rising_rates_are_not_cumulative():
    with pytest.raises(InputError, match=r"cumulative_rate=0.81 must not exceed .*conditional"):
        acceptance_profiles.to_conditional([0.8, 0.81])


def test_distribution_and_quantiles_by_hand():
    assert acceptance_profiles.cycle_distribution([0.8, 0.5, 0.5]) == pytest.approx([0.2, 0.4, 0.2, 0.2])
    quantiles = [
        float(acceptance_profiles.cycle_quantile([0.8, 0.5, 0.5], q)) for q in (0.0, 0.2, 0.5, 0.6, 0.99, 1.0)
    ]
    assert quantiles == [1, 1, 2, 2, 4, 4]


def test_extend_repeats_the_last_and_cuts():
    assert acceptance_profiles.extend([0.9, 0.7], 3).tolist() == [0.9, 0.7, 0.7]
    assert acceptance_profiles.extend([0.9, 0.7], 1).tolist() == [0.9]


def test_rank_exponent_is_the_fit_to_the_published_ranks():
    ranks = np.arange(1.0, 11)
    targets = [(row[0], np.arange(1.0, 6), row) for row in MEDUSA]
    targets.append((SEQUOIA[0], ranks, np.cumsum(SEQUOIA)))

    def errors(exponent):
        curves = [
            np.cumsum(acceptance_profiles.rank_profile(a, len(r), exponent=exponent)) - top for a, r, top in targets
        ]
        return np.concatenate([curve[1:] for curve in curves])

    best = minimize_scalar(lambda c: np.sum(errors(c) ** 2), bounds=(0.1, 1), method="bounded").x
    assert best == pytest.approx(acceptance_profiles.RANK_EXPONENT, abs=5e-4)
    found = errors(acceptance_profiles.RANK_EXPONENT)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.0115, abs=3e-4)
    assert np.abs(found).max() == pytest.approx(0.0247, abs=3e-4)


def test_rank_profile_at_the_ends():
    assert acceptance_profiles.rank_profile([0.0, 1.0], 3).tolist() == [[0, 0, 0], [1, 0, 0]]


def test_counts_give_jeffreys_intervals():
    rate = acceptance_profiles.rates_from_counts([0, 50, 100], 100, level=0.95)
    assert rate.value.tolist() == [0, 0.5, 1]
    # Brown, Cai and DasGupta's prior, closed ends; the middle interval by scipy.stats.beta.ppf(.., 50.5, 50.5).
    assert rate.lower == pytest.approx([0.0, 0.4032, 0.9753], abs=1e-4)
    assert rate.upper == pytest.approx([0.0247, 0.5968, 1.0], abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: acceptance_profiles.tokens_per_cycle([0.5, 1.2]), r"acceptance_rate=1.2 must lie in \[0, 1\]"),
        (lambda: acceptance_profiles.tokens_per_cycle([0.5, np.nan]), "acceptance_rate=nan must be finite"),
        (lambda: acceptance_profiles.tokens_per_cycle([]), "must have at least one position"),
        (
            lambda: acceptance_profiles.iid_rate(5.0, 3),
            "tokens_per_cycle=5 exceeds 4, the most this draft can yield",
        ),
        (lambda: acceptance_profiles.iid_rate(0.9, 3), "tokens_per_cycle=0.9 must be at least 1"),
        (lambda: acceptance_profiles.rates_from_counts([5], [4]), "accepted=5 must not exceed drafted"),
        (lambda: acceptance_profiles.rank_profile(0.5, 0), "top_k=0 must be at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_acceptance_does_not_import_scipy():
    code = (
        "import sys, scylla_sim.laws.theorems, scylla_sim.acceptance.profiles, scylla_sim.acceptance.trees;"
        "scylla_sim.laws.theorems.tokens_per_cycle(layers=5, train_tokens=1e10);"
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
