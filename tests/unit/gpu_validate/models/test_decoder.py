"""The decoder stack computes what it says, and the suites declare what their cases do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.cli import measure
from gpu_validate.device.facts import Device, catalog_device
from gpu_validate.models import decoder
from gpu_validate.models.attention import causal_mask, masked_attention, packed_mask
from gpu_validate.models.decoder import Decoder, KVCache, placement_after
from gpu_validate.records.rows import SPLIT_BY, held_out_keys
from gpu_validate.suites import cycles, kernels, steps
from gpu_validate.suites.case import PASSES, SCALES, Case, LastResults, fits_memory, rotation_copies, sampling_plan
from gpu_validate.suites.costs import pass_cost
from scylla_sim.specs.model import Model

SPEC = Model(
    name="tiny",
    num_layers=2,
    hidden_size=32,
    intermediate_size=48,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    vocab_size=19,
)


def device(kind: str, *, memory_bytes: float = 80 * 2.0**30) -> Device:
    versions = {"python": "3.11", "torch": "2.6", "numpy": "2.0"}
    return Device(kind, "a device", "local", memory_bytes, 32 * 2.0**20, 1, versions)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Attention by the book: repeat the KV heads, mask, softmax."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~visible[:, None], -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("q_len", [1, 3])
def test_packed_attention_is_attention(heads: tuple[int, int], q_len: int) -> None:
    q = torch.randn(2, heads[0], q_len, 8)
    k, v = (torch.randn(2, heads[1], 11, 8) for _ in "kv")
    causal = torch.ones(q_len, 11, dtype=torch.bool).tril(11 - q_len).expand(2, -1, -1)
    got = masked_attention(q, k, v, causal_mask(q_len, 11, heads[0] // heads[1], q.device))
    torch.testing.assert_close(got, reference(q, k, v, causal))


def test_any_mask_of_a_sequence_is_honoured() -> None:
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 11, 8), torch.randn(2, 2, 11, 8)
    visible = torch.rand(2, 3, 11) < 0.5
    visible[..., 0] = True
    torch.testing.assert_close(masked_attention(q, k, v, packed_mask(visible, 2)), reference(q, k, v, visible))


@pytest.mark.parametrize("rows", [(1,), (2,), (3,), (4,), (3, 1), (1, 2)])
def test_linear_is_the_matrix_product_whatever_the_rows(rows: tuple[int, ...]) -> None:
    x, weight = torch.randn(*rows, 8), torch.randn(5, 8)
    torch.testing.assert_close(decoder.linear(x, weight), x @ weight.T)


def test_a_step_of_n_tokens_is_n_steps_of_one() -> None:
    model = Decoder(SPEC)
    tokens = torch.randint(19, (3, 9))
    at_once = KVCache.empty(SPEC, 3, 9, model.norm)
    whole = model(tokens, at_once, placement_after(0, 9, SPEC, model.norm, batch=3))
    one_by_one = KVCache.empty(SPEC, 3, 9, model.norm)
    parts = [
        model(tokens[:, i : i + 1], one_by_one, placement_after(i, 1, SPEC, model.norm, batch=3)) for i in range(9)
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one_by_one.keys, at_once.keys, rtol=1e-4, atol=1e-5)


def test_slots_given_one_by_one_write_the_same_cache_as_a_shared_start() -> None:
    model = Decoder(SPEC)
    tokens = torch.randint(19, (2, 4))
    shared, given = (KVCache.empty(SPEC, 2, 6, model.norm) for _ in "ab")
    place = placement_after(0, 4, SPEC, model.norm, batch=2)
    first = model(tokens, shared, place)
    slots = torch.arange(4).expand(2, 4)
    second = model(tokens, given, replace(place, slots=slots))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(shared.values, given.values)


def test_weights_follow_the_seed() -> None:
    assert torch.equal(Decoder(SPEC, seed=3).head.weight, Decoder(SPEC, seed=3).head.weight)
    assert not torch.equal(Decoder(SPEC, seed=3).head.weight, Decoder(SPEC, seed=4).head.weight)


def test_the_model_has_the_parameters_that_its_spec_counts() -> None:
    matrices = sum(weight.numel() for weight in Decoder(SPEC).parameters() if weight.dim() > 1)
    assert matrices == SPEC.parameters


@pytest.mark.parametrize(("batch", "context", "tokens"), [(1, 7, 1), (2, 16, 4)])
def test_declared_flop_of_a_step_is_what_torch_counts(batch: int, context: int, tokens: int) -> None:
    model = Decoder(SPEC)
    cache = KVCache.empty(SPEC, batch, context + tokens, model.norm)
    place = placement_after(context, tokens, SPEC, model.norm, batch=batch)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(batch, tokens, dtype=torch.int64), cache, place)
    assert counter.get_total_flops() == pass_cost(SPEC, batch, context, tokens, "float32").flop


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


def test_weights_are_kept_for_the_next_case_and_let_go_before_others_are_made() -> None:
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
