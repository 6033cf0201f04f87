"""How errors add up: by hand, and against measured pairs of rows that no fit saw."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import FORMS
from scylla_sim.prediction.steps import EMPTY, Deployment, ErrorSource, Step, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.prediction.uncertainty import EXACT, SHARED_EXPONENT, Cycle, interval
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine

NO_ENGINE = Engine("none")


def step(seconds, **errors):
    """A step with sources of error, each a symmetric deviation in seconds: name=(kind, deviation)."""
    found = {name: ErrorSource(kind, np.asarray(d), np.asarray(d)) for name, (kind, d) in errors.items()}
    half = float(np.sqrt(sum(d**2 for _, d in errors.values())))
    return Step((), np.asarray(seconds), np.asarray(seconds - half), np.asarray(seconds + half), found)


def pace(scored, *, tokens=1, tau=(1.0, 1.0, 1.0), drafted=EMPTY, terms=None):
    seconds = scored.seconds + drafted.seconds
    return Cycle(tau[1], tau[0], tau[2], scored, tokens, drafted, 1, terms or {}, seconds)


def test_a_rate_by_itself_has_its_deviations_in_quadrature():
    one = pace(step(1.0, a=("gemm", 0.03), b=("elementwise", 0.04)), tau=(1.8, 2.0, 2.0))
    lower, upper = interval(np.asarray(2.0), one, NO_ENGINE)
    assert float(lower) == pytest.approx(2.0 / (1 + np.sqrt(0.1**2 + 0.05**2)))
    assert float(upper) == pytest.approx(2.0 * 1.05)


def test_what_two_steps_share_cancels_in_their_ratio_by_hand():
    plain = pace(step(1.0, a=("gemm", 0.1)))
    verify = pace(step(1.0, a=("gemm", 0.1)), tokens=4)
    rho = 4.0 ** -SHARED_EXPONENT["gemm"]
    lower, _ = interval(np.asarray(1.0), verify, NO_ENGINE, plain)
    # (1 - rho) (0.1^2 + 0.1^2), and nothing of the shared part, which slows both alike
    assert 1.0 / float(lower) - 1.0 == pytest.approx(np.sqrt(2 * (1 - rho) * 0.01))
    other = pace(step(1.0, a=("all_reduce", 0.1)))
    lower, _ = interval(np.asarray(1.0), replace(other, tokens=4), NO_ENGINE, other)
    assert 1.0 / float(lower) - 1.0 == pytest.approx(np.sqrt(0.02)), "a kind that was not measured is independent"


def test_the_same_way_of_decoding_held_against_itself_is_one_exactly():
    one = pace(
        step(1.0, a=("gemm", 0.1), b=("all_reduce", 0.2)), tau=(1.5, 2.0, 2.5), terms={"host_s": np.asarray(1)}
    )
    lower, upper = interval(np.asarray(1.0), one, Engine("x", host_s=0.1, intervals={"host_s": (0.0, 0.3)}), one)
    assert (float(lower), float(upper)) == (1.0, 1.0)


def test_nothing_is_known_better_than_exactly():
    assert interval(np.asarray(3.0), EXACT, NO_ENGINE)[0] == 3.0


def test_two_lengths_of_one_draft_are_surer_apart_than_either_alone():
    deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))
    three, four = (
        predict(
            catalog.model("llama-3.1-8b"),
            SpeculativeConfig(catalog.draft("eagle3"), n, 1, n + 1, tau, 0.9 * tau, 1.1 * tau),
            deployment,
            batch=64,
            context=1024,
        )
        for n, tau in ((3, 2.3), (4, 2.5))
    )
    ratio, lower, upper = three.over(four)
    assert lower < ratio < upper
    alone = np.log(float(three.tokens_per_s_upper / three.tokens_per_s_lower))
    assert np.log(float(upper / lower)) < 0.5 * alone


def test_operations_of_a_kernel_that_was_carried_err_together():
    model = catalog.model("llama-3.1-8b")
    own, carried = (
        target_step(
            model, Deployment(device_calibration.shipped(name), catalog.engine("ideal")), batch=4, context=512
        )
        for name in ("h100-sxm", "rtx-3090")
    )
    gemms = [part for part in own.parts if part.kind == "gemm"]
    assert {part.name for part in gemms} <= set(own.errors)
    up = sum(float(part.upper - part.seconds) for part in carried.parts if part.kind == "gemm")
    assert float(carried.errors["gemm"].up) == pytest.approx(up)
    assert float(own.upper - own.seconds) < sum(float(error.up) for error in own.errors.values())


@cache
def held_out(op):
    pytest.importorskip("aiconfigurator_core")
    from gpu_validate.silicon import sampling

    return sampling.export("h100-sxm", op, part="test", dtypes=["bfloat16"])


def measured_pairs(op, by, varied, ratio):
    """Held-out rows of an H100 that differ in one column only, by a factor: both paces, and the measured ratio."""
    frame = held_out(op)
    frame = (
        frame[frame["head_dim"].eq(128) & frame["kv_dtype"].eq("bfloat16")] if op == "decode_attention" else frame
    )
    frame = frame.assign(q_len=1, window=0)
    few = frame.assign(**{varied: frame[varied] * ratio})
    pairs = frame.merge(few[[*by, varied, "latency_ms"]], on=[*by, varied], suffixes=("", "_few"))
    calibration = device_calibration.shipped("h100-sxm")
    kernel = calibration.gemm("bfloat16") if op == "gemm" else calibration.attention("bfloat16", 128)
    r = rates(calibration.hardware, "bfloat16", "bfloat16")

    def priced(scale):
        columns = {name: pairs[name].to_numpy(dtype=float) for name in FORMS[kernel.form].columns}
        seconds = kernel.seconds({**columns, varied: columns[varied] / scale}, r)
        lower, upper = kernel.interval(seconds)
        error = ErrorSource(op, seconds - lower, upper - seconds)
        return pace(Step((), seconds, lower, upper, {"kernel": error}), tokens=1 if scale > 1 else ratio)

    measured = pairs["latency_ms_few"].to_numpy() / pairs["latency_ms"].to_numpy()
    return priced(1), priced(ratio), measured


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize(
    ("op", "by", "varied"),
    [("gemm", ["n", "k"], "m"), ("decode_attention", ["batch", "kv_len", "num_kv_heads"], "num_heads")],
)
def test_measured_ratios_of_held_out_shapes_lie_in_the_interval_of_shared_errors(op, by, varied, ratio):
    many, few, measured = measured_pairs(op, by, varied, ratio)
    value = few.seconds / many.seconds
    inside = {}
    for name, theirs in (("shared", few), ("independent", replace(few, scored=renamed(few.scored)))):
        lower, upper = interval(value, many, NO_ENGINE, theirs)
        inside[name] = np.mean((lower <= measured) & (measured <= upper))
    assert measured.size > 200
    assert 0.85 < inside["shared"] <= inside["independent"]


def renamed(scored):
    """The same step, its errors under names that no other step has."""
    return replace(scored, errors={f"other {name}": error for name, error in scored.errors.items()})
