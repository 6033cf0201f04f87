"""Intervals of rates and ratios: by hand, and against held-out pairs of measured rows."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import op_kind
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.cycle import EXACT, Cycle
from scylla_sim.prediction.step_time import EMPTY, NAMED, ErrorSource, Step
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.prediction.uncertainty import seconds_interval, speedup_interval, with_interval
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate, exact

NO_ENGINE = Engine("none")
ONE = exact(1.0)


def step(seconds, **errors):
    """Return a step with symmetric errors in seconds, given as name=(kind, deviation)."""
    found = {name: ErrorSource(kind, np.asarray(d), np.asarray(d)) for name, (kind, d) in errors.items()}
    half = float(np.sqrt(sum(d**2 for _, d in errors.values())))
    return Step((), Estimate.of(seconds, seconds - half, seconds + half), found)


def cycle(verify, *, tokens=1, tau=ONE, counts=None):
    return Cycle(tau, verify, tokens, EMPTY, 1, counts or {}, verify.seconds + EMPTY.seconds)


def test_deviations_of_a_rate_add_in_quadrature():
    one = cycle(step(1.0, a=("gemm", 0.03), b=("elementwise", 0.04)), tau=Estimate.of(2.0, 1.8, 2.0))
    rate = with_interval(np.asarray(2.0), one, NO_ENGINE)
    assert float(rate.lower) == pytest.approx(2.0 / (1 + np.sqrt(0.1**2 + 0.05**2)))
    assert float(rate.upper) == pytest.approx(2.0 * 1.05)


def test_shared_errors_cancel_in_a_ratio():
    plain = cycle(step(1.0, a=("gemm", 0.1)))
    verify = cycle(step(1.0, a=("gemm", 0.1)), tokens=4)
    rho = 4.0 ** -op_kind("gemm").correlation_exponent
    lower = with_interval(np.asarray(1.0), verify, NO_ENGINE, plain).lower
    # (1 - rho) (0.1^2 + 0.1^2), and nothing of the shared part, which slows both alike
    assert 1.0 / float(lower) - 1.0 == pytest.approx(np.sqrt(2 * (1 - rho) * 0.01))
    other = cycle(step(1.0, a=("all_reduce", 0.1)))
    lower = with_interval(np.asarray(1.0), replace(other, verify_tokens=4), NO_ENGINE, other).lower
    assert 1.0 / float(lower) - 1.0 == pytest.approx(np.sqrt(0.02)), "a kind that was not measured is independent"


def test_ratio_of_a_cycle_to_itself_is_exactly_one():
    one = cycle(
        step(1.0, a=("gemm", 0.1), b=("all_reduce", 0.2)),
        tau=Estimate.of(2.0, 1.5, 2.5),
        counts={"host_s": np.asarray(1)},
    )
    engine = Engine("x", host_s=0.1, intervals={"host_s": (0.0, 0.3)})
    ratio = with_interval(np.asarray(1.0), one, engine, one)
    assert (float(ratio.lower), float(ratio.upper)) == (1.0, 1.0)


def test_named_source_cancels_as_far_as_it_moves_both_sides_alike():
    plain, verify = cycle(step(1.0, power=(NAMED, 0.1))), cycle(step(1.0, power=(NAMED, 0.3)), tokens=4)
    ratio = with_interval(np.asarray(1.0), verify, NO_ENGINE, plain)
    assert 1.0 / float(ratio.lower) - 1.0 == pytest.approx(0.2), "0.3 longer, of which the baseline shares 0.1"
    alone = with_interval(np.asarray(1.0), verify, NO_ENGINE, cycle(step(1.0)))
    assert 1.0 / float(alone.lower) - 1.0 == pytest.approx(0.3)


def test_named_source_moves_draft_and_verification_together():
    both = replace(cycle(step(0.5, power=(NAMED, 0.1))), draft=step(0.5, power=(NAMED, 0.2)), seconds=np.asarray(1))
    apart = replace(both, draft=step(0.5, other=(NAMED, 0.2)))
    for one, deviation in ((both, 0.3), (apart, np.hypot(0.1, 0.2))):
        assert float(with_interval(np.asarray(1.0), one, NO_ENGINE).upper) == pytest.approx(1 + deviation)


def test_exact_cycle_has_no_interval():
    assert with_interval(np.asarray(3.0), EXACT, NO_ENGINE).lower == 3.0


def test_ratio_of_two_draft_lengths_has_a_narrower_interval_than_a_rate():
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
    ratio, rate = three.over(four), three.tokens_per_s_estimate
    assert ratio.lower < ratio.value < ratio.upper
    assert np.log(float(ratio.upper / ratio.lower)) < 0.5 * np.log(float(rate.upper / rate.lower))


def test_errors_of_a_transferred_kernel_add_over_its_operations():
    model = catalog.model("llama-3.1-8b")
    own, transferred = (
        target_step(
            model, Deployment(device_calibration.shipped(name), catalog.engine("ideal")), batch=4, context=512
        )
        for name in ("h100-sxm", "rtx-3090")
    )
    gemms = [part for part in own.parts if part.kind == "gemm"]
    assert {part.name for part in gemms} <= set(own.errors)
    up = sum(float(part.time.up) for part in transferred.parts if part.kind == "gemm")
    assert float(transferred.errors["gemm"].up) == pytest.approx(up)
    assert float(own.time.up) < sum(float(error.up) for error in own.errors.values())


@cache
def held_out(op, device="h100-sxm"):
    pytest.importorskip("aiconfigurator_core")
    from gpu_validate.silicon import sampling

    return sampling.export(device, op, part="test", dtypes=["bfloat16"])


def measured_pairs(op, by, varied, ratio):
    """Return cycles and measured ratios for pairs of held-out H100 rows that differ in one column by a factor."""
    frame = held_out(op)
    frame = (
        frame[frame["head_dim"].eq(128) & frame["kv_dtype"].eq("bfloat16")] if op == "decode_attention" else frame
    )
    frame = frame.assign(q_len=1, window=0)
    few = frame.assign(**{varied: frame[varied] * ratio})
    pairs = frame.merge(few[[*by, varied, "latency_ms"]], on=[*by, varied], suffixes=("", "_few"))
    calibration = device_calibration.shipped("h100-sxm")
    kernel = calibration.kernel(op, kv_dtype="bfloat16", head_dim=128)
    r = rates(calibration.hardware, "bfloat16", "bfloat16")

    def estimated(scale):
        columns = {name: pairs[name].to_numpy(dtype=float) for name in kernel.model.columns}
        seconds = kernel.seconds({**columns, varied: columns[varied] / scale}, r)
        time = kernel.interval(seconds)
        error = ErrorSource(op, time.down, time.up)
        return cycle(Step((), time, {"kernel": error}), tokens=1 if scale > 1 else ratio)

    measured = pairs["latency_ms_few"].to_numpy() / pairs["latency_ms"].to_numpy()
    return estimated(1), estimated(ratio), measured


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize(
    ("op", "by", "varied"),
    [("gemm", ["n", "k"], "m"), ("decode_attention", ["batch", "kv_len", "num_kv_heads"], "num_heads")],
)
def test_measured_ratios_of_held_out_shapes_lie_in_their_interval(op, by, varied, ratio):
    many, few, measured = measured_pairs(op, by, varied, ratio)
    value = few.seconds / many.seconds
    inside = {}
    for name, theirs in (("shared", few), ("independent", replace(few, verify=renamed(few.verify)))):
        found = with_interval(value, many, NO_ENGINE, theirs)
        inside[name] = np.mean((found.lower <= measured) & (measured <= found.upper))
    assert measured.size > 200
    assert 0.85 < inside["shared"] <= inside["independent"]


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("device", ["h100-sxm", "h200-sxm", "b200-sxm"])
def test_measured_ratios_of_held_out_moe_layers_lie_in_their_interval(device, ratio):
    frame = held_out("experts", device)
    layer = ["num_experts", "experts_per_token", "hidden_size", "inter_size", "distribution", "kernel_source"]
    frame = frame[frame["num_tokens"].le(1024)]
    fewer = frame.assign(joined=frame["num_tokens"] * ratio)
    pairs = frame.assign(joined=frame["num_tokens"]).merge(fewer, on=[*layer, "joined"], suffixes=("", "_few"))
    calibration = device_calibration.shipped(device)
    kernel, r = calibration.kernel("experts"), rates(calibration.hardware, "bfloat16", "")

    def estimated(suffix):
        names = {n: f"{n}{suffix}" if f"{n}{suffix}" in pairs else n for n in kernel.model.columns}
        time = kernel.interval(kernel.seconds({n: pairs[at].to_numpy(float) for n, at in names.items()}, r))
        error = ErrorSource("expert_gemm", time.down, time.up)
        return cycle(Step((), time, {"experts": error}), tokens=1 if suffix else ratio)

    many, few = estimated(""), estimated("_few")
    measured = (pairs["latency_ms_few"] / pairs["latency_ms"]).to_numpy()
    inside = {}
    for name, theirs in (("shared", few), ("independent", replace(few, verify=renamed(few.verify)))):
        found = with_interval(few.seconds / many.seconds, many, NO_ENGINE, theirs)
        inside[name] = np.mean((found.lower <= measured) & (measured <= found.upper))
    assert measured.size > 200
    assert 0.85 < inside["shared"] <= inside["independent"]


def renamed(verify):
    """Return the step with errors under names that no other step has."""
    return replace(verify, errors={f"other {name}": error for name, error in verify.errors.items()})


def test_the_interval_of_an_overhead_widens_that_of_a_rate():
    """One second of host work in a cycle of four, from 0.5 to 2: the rate is 1.14 times as high, or 0.8 times."""
    engine = Engine("x", host_s=1.0, intervals={"host_s": (0.5, 2.0)})
    cycle = Cycle(ONE, EMPTY, 1, EMPTY, 1, {"host_s": np.array(1.0)}, np.array(4.0))
    between = between_sources.deviation(engine, between_sources.RATE)
    found = with_interval(np.array(0.25), cycle, engine)
    assert float(found.upper) == pytest.approx(0.25 * (1 + np.hypot(4 / 3.5 - 1, between)))
    assert float(found.lower) == pytest.approx(0.25 / (1 + np.hypot(5 / 4 - 1, between)))


def test_two_speculative_cycles_share_what_differs_between_deployments(monkeypatch):
    monkeypatch.setattr(between_sources, "shipped_sd", lambda quantity: 0.05)
    engine = catalog.engine("vllm")
    one, plain = (Cycle(ONE, EMPTY, tokens, EMPTY, 1, {}, np.array(1.0)) for tokens in (4, 1))
    both = with_interval(np.array(1.0), one, engine, replace(one, verify_tokens=2))
    assert float(both.lower) == float(both.upper) == 1.0
    assert float(with_interval(np.array(1.0), one, engine, plain).upper) > 1.0


def test_the_interval_of_seconds_is_ordered():
    engine = Engine("x", host_s=1.0, intervals={"host_s": (0.5, 2.0)})
    cycle = Cycle(Estimate.of(2.0, 1.5, 2.5), EMPTY, 1, EMPTY, 1, {"host_s": np.array(1.0)}, np.array(4.0))
    found = seconds_interval(cycle, engine)
    assert float(found.lower) < float(found.value) < float(found.upper)
    assert float(found.value) == 4.0
    assert float(found.upper) >= 5.0, "one second more host work"


def test_the_upper_end_of_a_speedup_is_the_tokens_of_a_cycle():
    """A verification as fast as a plain step, with wide errors: the ratio alone would reach above tau."""
    plain = cycle(step(1.0))
    ours = cycle(step(1.0, a=("gemm", 0.2)), tokens=2, tau=Estimate.of(1.9, 1.8, 1.95))
    found = speedup_interval(np.asarray(1.9), ours, NO_ENGINE, plain)
    assert float(with_interval(np.asarray(1.9), ours, NO_ENGINE, plain).upper) > 2.1
    assert float(found.upper) == 1.95
    assert float(speedup_interval(np.asarray(2.0), ours, NO_ENGINE, plain).upper) == 2.0, "never below the value"
