"""Sampling plans of the suites, and the seconds that a case is expected to take."""

from __future__ import annotations

from dataclasses import replace

from gpu_validate.device.facts import Device
from gpu_validate.device.timer import Plan
from gpu_validate.suites.case import Case, roofline_seconds, rotation_copies

SCALES = ("ci", "small", "full")
"""Sizes of the grids."""


_GPU_SAMPLE_S = 2e-3
"""Seconds of a sample on a GPU. Events and the gap before the first call take less than a thousandth of it."""


PLANS = {
    ("cpu", "ci"): Plan(relative_error=0.03, min_samples=6, time_limit_s=0.15, warmup_calls=1),
    ("cpu", "small"): Plan(relative_error=0.01, min_samples=10, time_limit_s=0.5),
    ("cpu", "full"): Plan(relative_error=0.005, min_samples=30, time_limit_s=4.0),
    ("cuda", "ci"): Plan(relative_error=0.02, min_samples=10, time_limit_s=0.2, min_sample_s=_GPU_SAMPLE_S),
    ("cuda", "small"): Plan(relative_error=0.005, min_samples=20, time_limit_s=0.35, min_sample_s=_GPU_SAMPLE_S),
    ("cuda", "full"): Plan(relative_error=0.002, min_samples=50, time_limit_s=1.5, min_sample_s=_GPU_SAMPLE_S),
}
"""Sampling plan of a kernel by kind of device and scale."""


TIME_FACTOR = {"kernels": 1.0, "step": 2.0, "specdecode": 2.0, "decode": 4.0, "trained": 2.0}
"""Time limit of a case of each suite, in multiples of the limit of a kernel."""


PASSES = {"kernels": 1, "step": 2, "specdecode": 2, "decode": 2, "trained": 2}
"""Passes over the grid of each suite. The difference between two passes, minutes apart, is the noise floor of a
prediction's error. Repeats in direct succession would share the state of the machine.
"""


GRAPH_S = 1e-3
"""Seconds that a replay of a graph must last. The gap of 1-2 us between replays is then negligible."""


SETTLE_S = 0.5
"""Warm-up of a case that may reach the power limit, in seconds. An engine under load stays at the limit.
"""


_SETTLE_FLOP_PER_BYTE = 80.0
"""Intensity above which a case may reach the power limit."""


_EFFICIENCY = 0.6
"""Share of the datasheet rates that an estimate assumes."""


_FILL_BYTES_PER_S = 5e11
"""Bytes per second at which buffers are filled."""


_BUILD_S = {"cpu": 0.02, "cuda": 0.06}
"""Seconds to allocate, capture and warm up a case, without filling its memory."""


_EAGER_S = 2e-5
"""Seconds of the host for one eager call of torch."""


def sampling_plan(suite: str, device: Device, scale: str) -> Plan:
    """Return the sampling plan of one suite, for each pass over its grid."""
    plan = PLANS[device.kind, scale]
    return replace(plan, time_limit_s=plan.time_limit_s * TIME_FACTOR[suite])


def settling_plan(device: Device, case: Case, plan: Plan) -> Plan:
    """Return the plan with a longer warm-up for cases of high intensity on a GPU."""
    heavy = case.flop > _SETTLE_FLOP_PER_BYTE * case.bytes
    return replace(plan, warmup_s=SETTLE_S) if device.kind == "cuda" and heavy else plan


def expected_seconds(device: Device, case: Case, plan: Plan) -> float:
    """Return the expected seconds of a case from its datasheet bound, or its time limit where there is none."""
    least = roofline_seconds(device, case)
    if least is None or case.gpus > 1:
        return plan.time_limit_s + _BUILD_S[device.kind]
    call = max(least / _EFFICIENCY, _EAGER_S) * case.work
    sample = max(rotation_copies(device, case.bytes) * call if case.graph else call, plan.min_sample_s, GRAPH_S)
    sampling = (plan.min_samples + plan.warmup_calls + (5 if case.graph else 0)) * sample
    shared = min(case.memory_bytes, 10e9)  # most cases share models and caches with the one before
    ready = settling_plan(device, case, plan).warmup_s + _BUILD_S[device.kind] + shared / _FILL_BYTES_PER_S
    return min(sampling, plan.time_limit_s + 5 * sample) + ready
