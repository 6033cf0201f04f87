"""SDSL: its published numbers, their consistency, and data that it does not fit."""

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.acceptance import draft_shape, positions, profiles, tau_transfer
from scylla_sim.checks import InputError
from scylla_sim.laws import fit, grouped, sdsl, theorems
from scylla_sim.laws.additive import fit_additive
from scylla_sim.records import read_columns

PUBLISHED = ROOT / "paper" / "published"


def test_perplexity_is_the_exponential_of_hoffmanns_loss():
    """Hoffmann et al., arXiv 2203.15556: Chinchilla, 70 B parameters and 1.4 T tokens, has a loss of 1.94 nats."""
    loss = 1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28
    assert sdsl.perplexity(parameters=70e9, train_tokens=1.4e12) == pytest.approx(np.exp(loss))
    assert loss == pytest.approx(1.94, abs=0.005)


def test_a_missing_size_changes_every_perplexity_by_the_same_factor():
    tokens = np.array([1e9, 1e10, 1e11])
    whole, alone = sdsl.perplexity(parameters=2e8, train_tokens=tokens), sdsl.perplexity(train_tokens=tokens)
    assert whole / alone == pytest.approx(np.full(3, whole[0] / alone[0]))
    y = [5.1, 5.3, 5.4]
    one, other = (fit.fit([*p, p[0]], [*y, 5.2], "sdsl") for p in (whole, alone))
    assert one.rss == pytest.approx(other.rss), "a law affine in it cannot notice"


def test_the_quoted_plane_and_its_interval():
    rate = sdsl.acceptance_rate(10.0, 8.0)
    assert float(rate.value) == pytest.approx(-0.0067 * 10 + 0.01297 * 8 + 0.642)
    assert float(rate.up) == pytest.approx(1.645 * np.sqrt(0.00128), rel=1e-3)
    assert rate.lower < rate.value < rate.upper
    assert sdsl.acceptance_rate(1e4, 8.0).value == 0, "a rate is never negative"


def best_draft_parameters(target, train_tokens):
    """Return the size of the independent draft with the highest throughput, each at its best draft length.

    A cycle with gamma drafted tokens costs gamma N + M, where N and M are the parameters of draft and target: time
    is proportional to parameters, and verification is one pass. The best draft lengths are below 15.
    """
    size = np.geomspace(1e6, target, 1000)
    rate = sdsl.draft_rate(size, train_tokens, target).value
    length = np.arange(1, 60)[:, None]
    speed = profiles.iid_tokens_per_cycle(rate, length) / (length * size / target + 1.0)
    return size[np.argmax(speed.max(axis=0))]


@pytest.mark.parametrize("target", [13e9, 30e9, 66e9, 72e9, 110e9])
@pytest.mark.parametrize("train_tokens", [180e9, 1e12, 15e12])
def test_the_quoted_numbers_agree_with_each_other(target, train_tokens):
    """The plane and a cycle time of gamma N + M reproduce the quoted best size 2.71e-3 M + 8.71e7."""
    best = best_draft_parameters(target, train_tokens)
    quoted = theorems.constants("sdsl")
    assert best == pytest.approx(quoted["size_slope"] * target + quoted["size_floor"], rel=0.2)


def columns(name, *wanted):
    read = read_columns(PUBLISHED / f"{name}.csv")
    return [np.array(read[column], dtype=float) for column in wanted]


def test_both_panels_of_fig_1_are_not_one_function_of_perplexity():
    """The law of perplexity has a higher AICc with any number of tuning tokens."""
    layers, tokens, parameters, tau = columns(
        "fig1_both", "decoder_layers", "pretrain_tokens_b", "draft_parameters", "tokens_per_cycle"
    )
    logs = fit_additive([layers, tokens], tau, ["log-linear", "log1p"])
    assert logs.values == pytest.approx(theorems.joint_fit().values)
    assert logs.r2 > 0.95
    for tuning in (0.1, 1.0, 10.0):
        p = sdsl.perplexity(parameters=parameters, train_tokens=(tokens + tuning) * 1e9)
        rival = fit.fit(p, tau, "sdsl")
        assert rival.aicc - logs.aicc > 15
    assert rival.r2 < 0.75


def test_each_panel_alone_is_a_function_of_perplexity():
    tokens, tau = columns("fig1_tokens", "pretrain_tokens_b", "tokens_per_cycle")
    rival = fit.fit(sdsl.perplexity(train_tokens=(tokens + 1) * 1e9), tau, "sdsl")
    assert fit.fit(tokens, tau, "log1p").aicc - rival.aicc > 4
    layers, parameters, tau = columns("fig1_layers", "decoder_layers", "draft_parameters", "tokens_per_cycle")
    rival = fit.fit(sdsl.perplexity(parameters=parameters), tau, "sdsl")
    assert rival.r2 == pytest.approx(0.980, abs=1e-3)
    assert fit.fit(layers, tau, "log-linear").r2 == pytest.approx(0.990, abs=1e-3)


@pytest.mark.parametrize("kind", ["tokens", "rates"])
def test_dspark_layers_fit_sdsl_better_than_a_logarithm(kind):
    """27 points, chains of 7: tau is not linear in the acceptance rate over this range."""
    read = read_columns(PUBLISHED / "capacity_layers.csv")
    rows = [i for i, name in enumerate(read["series"]) if name.startswith("dspark")]
    series = {"series": [read["series"][i] for i in rows]}
    layers, parameters, tau = (
        np.array([float(read[name][i]) for i in rows])
        for name in ("decoder_layers", "draft_parameters", "tokens_per_cycle")
    )
    y = tau if kind == "tokens" else profiles.iid_rate(tau, 7)
    logarithm = grouped.fit_grouped(layers, y, "log-linear", series)
    rival = grouped.fit_grouped(sdsl.perplexity(parameters=parameters), y, "sdsl", series)
    assert rival.aicc < logarithm.aicc - 10
    assert grouped.fit_grouped(layers, y, "saturating-exponential", series).aicc < rival.aicc


def test_tokens_are_a_straight_line_in_the_rate_over_fig_1():
    tau = np.linspace(5.03, 5.83, 17)
    constant = positions.law_of("eagle2", exponent=0.0)
    rate = np.array([tau_transfer.first_rate(t, draft_shape.reference(), constant) for t in tau])
    line = np.polynomial.Polynomial.fit(rate, tau, 1)
    assert np.abs(line(rate) - tau).max() < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sdsl.perplexity(parameters=0), "parameters=0 must be above 0"),
        (lambda: sdsl.perplexity(train_tokens=-1), "train_tokens=-1 must be above 0"),
        (lambda: sdsl.acceptance_rate(0, 5), "draft_perplexity=0 must be above 0"),
        (
            lambda: fit_additive([[1, 2]], [1, 2], ["linear", "linear"]),
            r"terms='linear\+linear' must be one term per column",
        ),
        (lambda: fit_additive([[1, 2]], [1, 2], ["power"]), "term='power' is not known"),
        (lambda: fit_additive([[0, 2, 3]], [1, 2, 3], ["log-linear"]), "x=0 must be above 0"),
        (lambda: theorems.constants("points"), "section='points' is not known"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
