"""The decoder stack against reference formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.models import decoder
from gpu_validate.models.attention import causal_mask, masked_attention, packed_mask
from gpu_validate.models.decoder import Decoder, KVCache, placement_after
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


def test_masked_attention_follows_any_mask() -> None:
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 11, 8), torch.randn(2, 2, 11, 8)
    visible = torch.rand(2, 3, 11) < 0.5
    visible[..., 0] = True
    torch.testing.assert_close(masked_attention(q, k, v, packed_mask(visible, 2)), reference(q, k, v, visible))


@pytest.mark.parametrize("rows", [(1,), (2,), (3,), (4,), (3, 1), (1, 2)])
def test_linear_equals_matmul_for_any_number_of_rows(rows: tuple[int, ...]) -> None:
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
    again = KVCache.empty(SPEC, 3, 9, model.norm)
    last = model.last_logits(tokens, again, placement_after(0, 9, SPEC, model.norm, batch=3))
    torch.testing.assert_close(last, parts[-1], rtol=1e-4, atol=1e-5)


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
