"""Cases of all suites: declared work, grids, time limits, memory and shared weights."""

from __future__ import annotations

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.cli import measure
from gpu_validate.device.facts import Device, catalog_device
from gpu_validate.records.rows import SPLIT_BY, held_out_keys
from gpu_validate.suites import cycles, kernels, steps
from gpu_validate.suites.case import Case, fits_memory, rotation_copies
from gpu_validate.suites.last_results import LastResults
from gpu_validate.suites.sampling_plans import PASSES, SCALES, sampling_plan


def device(kind: str, *, memory_bytes: float = 80 * 2.0**30) -> Device:
    versions = {"python": "3.11", "torch": "2.6", "numpy": "2.0"}
    return Device(kind, "a device", "local", memory_bytes, 32 * 2.0**20, 1, versions)


def test_declared_flop_of_kernels_is_what_torch_counts() -> None:
    here = device("cpu")
    for case in (kernels.gemm_case(here, 4, 16, 8), kernels.attention_case(here, 2, 32, 3, (4, 2, 8))):
        calls = case.build()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            calls[0]()
        assert counter.get_total_flops() == case.flop, case.id


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("scale", SCALES)
def test_every_grid_has_unique_cases_and_both_parts_of_a_split(kind: str, scale: str) -> None:
    here = device(kind)
    for suite in (kernels, steps, cycles):
        every: list[Case] = list(suite.cases(here, scale))
        assert len({case.id for case in every}) == len(every)
        shapes = [case.shape for case in every if case.shape["op"] in SPLIT_BY]
        held_out = held_out_keys(shapes)
        for op in {shape["op"] for shape in shapes}:
            keys = {",".join([op, *(str(s[name]) for name in SPLIT_BY[op])]) for s in shapes if s["op"] == op}
            assert keys & held_out and keys - held_out, op


def most_seconds(here: Device, scale: str) -> float:
    """A campaign by the limits of all its cases, every one used up."""
    seconds = 0.0
    for suite, module in (("kernels", kernels), ("step", steps), ("specdecode", cycles)):
        chosen = [case for case in module.cases(here, scale) if fits_memory(here, case)]
        seconds += measure.estimate_s(here, chosen, sampling_plan(suite, here, scale), PASSES[suite])
    return seconds


@pytest.mark.parametrize("gpus", [1, 8])
@pytest.mark.parametrize("name", ["h100-sxm", "a100-sxm", "l40s"])
def test_a_campaign_on_a_gpu_stays_within_its_nine_minutes(name: str, gpus: int) -> None:
    """With the 8-bit cases where the GPU has them, and all-reduces where there are several."""
    assert most_seconds(catalog_device(name, gpus=gpus), "small") < 540
    assert most_seconds(catalog_device(name, gpus=gpus), "ci") < 120


def test_the_largest_campaign_and_those_of_a_cpu_end_when_the_guide_says() -> None:
    assert most_seconds(catalog_device("h100-sxm"), "full") < 5 * 3600
    for scale, seconds in (("ci", 120), ("small", 13 * 60), ("full", 5 * 3600)):
        assert most_seconds(device("cpu"), scale) < seconds


def test_cases_that_exceed_the_memory_are_known_before_they_run() -> None:
    small = device("cuda", memory_bytes=24 * 2.0**30)
    sizes = [fits_memory(small, case) for case in steps.cases(small, "small")]
    assert any(sizes) and not all(sizes)


def test_weights_are_shared_and_released_before_new_ones_are_made() -> None:
    held: list[int] = []
    most: list[int] = []

    class Weights:
        def __init__(self, name: str) -> None:
            self.name = name
            held.append(1)
            most.append(len(held))

        def __del__(self) -> None:
            held.pop()

    make = LastResults(Weights)
    names = [make(name).name for name in ("a", "a", "b", "b", "a")]
    assert names == ["a", "a", "b", "b", "a"]
    assert most == [1, 1, 1], "three were made, never two at a time"
    make.clear()
    assert held == []


def test_a_rotation_exceeds_the_cache() -> None:
    here = device("cpu")
    assert rotation_copies(here, 2.0**20) * 2.0**20 >= 2 * here.cache_bytes
    assert rotation_copies(here, 2.0**40) == 1
