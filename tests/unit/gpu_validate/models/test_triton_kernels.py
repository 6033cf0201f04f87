"""The fused kernels compute what torch does; without a GPU Triton interprets them, in a process of its own.

The interpreter has to be chosen before anything imports Triton, as torch and other tests do.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from gpu_validate.models import decoder, fp8, triton_attention, triton_fused, triton_support, triton_tiling
from scylla_sim.checks import InputError

INSTALLED = importlib.util.find_spec("triton") is not None
ON_GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if ON_GPU and not INTERPRETED else "cpu"
NAN = float("nan")

HALF = torch.float16 if INTERPRETED else torch.bfloat16
"""The interpreter multiplies no matrices in bfloat16, and cuts off instead of rounding to it."""

CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, HALF: {"rtol": 8e-3, "atol": 4e-3}}

few = settings(max_examples=6, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**16)


@pytest.fixture(scope="module", autouse=True)
def whole_numbers_in_the_interpreter() -> Iterator[None]:
    """The interpreter of Triton 3.6 makes bounds of loops from arrays of one element, which NumPy 2.4 forbids."""
    if not (INSTALLED and INTERPRETED):
        yield
        return
    from triton.runtime import interpreter

    given = interpreter._patch_lang_tensor

    def also(tensor: Any, scope: Any) -> None:
        given(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang_tensor", also)
        yield


def test_the_kernels_in_the_interpreter() -> None:
    if not INSTALLED:
        pytest.skip("NOT CHECKED: triton is not installed")
    if ON_GPU or INTERPRETED:
        pytest.skip("the other tests of this file run the kernels in this process")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(Path(__file__)),
    ]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_kernels_are_for_gpus() -> None:
    assert not triton_support.triton_available(torch.zeros(1))
    if ON_GPU and INSTALLED:
        assert triton_support.triton_available(torch.zeros(1, device="cuda"))


@pytest.mark.parametrize("blocks, bound", [(1, 1), (8, 4096), (64, 300), (300, 1000), (5000, 32768), (1, 10**6)])
def test_splits_fill_the_device_with_pieces_that_are_not_too_small(blocks: int, bound: int) -> None:
    places = 264
    splits = triton_tiling.choose_splits(blocks, bound, places)
    assert 1 <= splits <= 128
    assert splits == 1 or bound / splits >= 128
    if blocks <= places:
        assert blocks * splits >= 0.8 * min(places, blocks * min(bound // 128, 128))
    if blocks > 10 * places:
        assert splits == 1


@pytest.mark.parametrize("rows, height", [(1, 16), (17, 32), (33, 64), (65, 128), (400, 128)])
def test_tiles_hold_the_rows(rows: int, height: int) -> None:
    assert triton_tiling.choose_tile(rows, 128, 2).rows == height
    assert triton_tiling.choose_tile(rows, 128, 4).rows == min(height, 32)


def reference(q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, visible: Tensor) -> Tensor:
    """Attention in float32, sequence by sequence, over the slots that some query attends to."""
    group = q.shape[1] // keys.shape[1]
    out = torch.empty(q.shape, device=q.device)
    for index, length in enumerate(lengths.tolist()):
        committed = torch.ones(q.shape[2], length, dtype=torch.bool, device=q.device)
        mask = torch.cat((committed, visible), dim=1)
        used = mask.any(0).nonzero()[:, 0]
        k, v = (part[index].float()[:, used].repeat_interleave(group, 0) for part in (keys, values))
        out[index] = functional.scaled_dot_product_attention(q[index].float(), k, v, attn_mask=mask[:, used])
    return out


def chain(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()


def tree(n: int, generator: torch.Generator) -> Tensor:
    """Each node attends to itself and its ancestors; parents are drawn at random among the nodes before it."""
    sees = torch.eye(n, dtype=torch.bool)
    for node in range(1, n):
        sees[node] |= sees[int(torch.randint(0, node, (), generator=generator))]
    return sees


class Example:
    """Random queries and a cache that is a view of a larger one, with NaN wherever nobody may look."""

    def __init__(
        self,
        seed: int,
        lengths: list[int],
        visible: Tensor,
        *,
        group: int = 2,
        kv_heads: int = 1,
        head_dim: int = 16,
        dtype: torch.dtype = torch.float32,
        slot_major: bool = False,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        n, tail = visible.shape
        batch, capacity = len(lengths), max(lengths) + tail + 3
        size = [2, 2, batch, kv_heads, capacity, head_dim]  # keys and values, of two layers
        if slot_major:
            size[3], size[4] = size[4], size[3]
        cache = torch.randn(size, generator=generator).to(dtype)
        if slot_major:
            cache = cache.transpose(3, 4)
        cache[:, 0] = NAN
        for index, length in enumerate(lengths):
            cache[:, 1, index, :, length + tail :] = NAN
            cache[:, 1, index, :, length : length + tail][:, :, ~visible.any(0)] = NAN
        joint = torch.randn(batch, n, kv_heads * (group + 2), head_dim, generator=generator).to(dtype).to(DEVICE)
        self.q = joint.transpose(1, 2)[:, : kv_heads * group]
        self.keys, self.values = (part[1].to(DEVICE) for part in cache)
        self.lengths = torch.tensor(lengths, device=DEVICE)
        self.visible = visible.to(DEVICE)
        self.bound = max(lengths) + tail

    def attend(self, splits: int | None = None) -> Tensor:
        return triton_attention.attend(
            self.q, self.keys, self.values, self.lengths, self.visible, bound=self.bound, splits=splits
        )

    def reference(self) -> Tensor:
        return reference(self.q, self.keys, self.values, self.lengths, self.visible)


class TestKernels:
    """Runs where the kernels can."""

    __test__ = INSTALLED and (ON_GPU or INTERPRETED)

    @few
    @given(
        seed=seeds,
        lengths=st.lists(st.integers(0, 300), min_size=1, max_size=3),
        n=st.integers(1, 9),
        group=st.sampled_from((1, 2, 3, 8)),
        kv_heads=st.integers(1, 2),
        head_dim=st.sampled_from((16, 32)),
        splits=st.sampled_from((None, 2, 3)),
        slot_major=st.booleans(),
    )
    def test_a_chain(
        self,
        seed: int,
        lengths: list[int],
        n: int,
        group: int,
        kv_heads: int,
        head_dim: int,
        splits: int | None,
        slot_major: bool,
    ) -> None:
        example = Example(
            seed, lengths, chain(n), group=group, kv_heads=kv_heads, head_dim=head_dim, slot_major=slot_major
        )
        torch.testing.assert_close(example.attend(splits), example.reference(), rtol=1e-5, atol=1e-5)

    @few
    @given(
        seed=seeds,
        lengths=st.lists(st.integers(0, 300), min_size=1, max_size=3),
        nodes=st.integers(2, 12),
        group=st.integers(1, 4),
        splits=st.sampled_from((1, 2, 4)),
    )
    def test_a_level_of_a_tree(self, seed: int, lengths: list[int], nodes: int, group: int, splits: int) -> None:
        """Some nodes ask, and the slots of those that are nobody's ancestors have not been written."""
        generator = torch.Generator().manual_seed(seed)
        asking = torch.rand(nodes, generator=generator) < 0.5
        asking[int(torch.randint(0, nodes, (), generator=generator))] = True
        example = Example(seed, lengths, tree(nodes, generator)[asking], group=group)
        torch.testing.assert_close(example.attend(splits), example.reference(), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("splits", [1, 3])
    @pytest.mark.parametrize(
        "n, group, head_dim, rows",
        [(1, 1, 64, 16), (5, 4, 128, 32), (9, 4, 64, 64), (20, 4, 32, 128), (50, 3, 16, 128)],
    )
    def test_every_tile(self, n: int, group: int, head_dim: int, rows: int, splits: int) -> None:
        assert triton_tiling.choose_tile(n * group, head_dim, 2).rows == rows
        sees = tree(n, torch.Generator().manual_seed(n))
        example = Example(n, [70, 0, 290], sees, group=group, head_dim=head_dim, dtype=HALF)
        found = example.attend(splits)
        assert found.dtype == HALF
        torch.testing.assert_close(found.float(), example.reference(), **CLOSE[HALF])

    def test_splits_are_chosen_and_agree_with_one(self) -> None:
        example = Example(1, [700, 3], chain(3), kv_heads=2)
        assert triton_tiling.choose_splits(4, example.bound, 264) > 1
        torch.testing.assert_close(example.attend(), example.attend(1), rtol=1e-5, atol=1e-5)

    def test_scores_of_any_size_do_not_overflow(self) -> None:
        example = Example(2, [150], chain(2))
        example.q = example.q * 200.0
        torch.testing.assert_close(example.attend(3), example.reference(), rtol=1e-4, atol=1e-4)

    def test_the_output_needs_no_copy_for_the_next_projection(self) -> None:
        found = Example(3, [10], chain(2), group=3).attend()
        flat = found.transpose(1, 2).flatten(2)
        assert flat.data_ptr() == found.data_ptr()
        assert flat.shape == (1, 2, 48)

    def test_a_captured_graph_follows_the_lengths(self) -> None:
        if DEVICE == "cpu":
            pytest.skip("NOT CHECKED: graphs need a GPU")
        example = Example(5, [700, 40], chain(4), group=4, head_dim=64, dtype=HALF)
        example.attend()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = example.attend()
        for lengths in ([700, 40], [333, 0]):
            example.lengths.copy_(torch.tensor(lengths))
            graph.replay()
            torch.testing.assert_close(found.float(), example.reference(), **CLOSE[HALF])

    def test_what_attend_cannot_do(self) -> None:
        example = Example(4, [10], chain(2))
        with pytest.raises(InputError, match="splits"):
            example.attend(0)
        with pytest.raises(InputError, match="head_dim"):
            triton_attention.attend(
                example.q[..., :12], example.keys, example.values, example.lengths, example.visible, bound=12
            )

    @few
    @given(
        seed=seeds,
        batch=st.integers(1, 3),
        n=st.integers(1, 4),
        kv_heads=st.integers(1, 3),
        group=st.integers(1, 3),
        head_dim=st.sampled_from((8, 16, 64)),
        shared=st.booleans(),
        dtype=st.sampled_from((torch.float32, HALF)),
    )
    def test_rotate_and_store(
        self,
        seed: int,
        batch: int,
        n: int,
        kv_heads: int,
        group: int,
        head_dim: int,
        shared: bool,
        dtype: torch.dtype,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        heads, capacity = kv_heads * group, 11
        size = (batch, n, (heads + 2 * kv_heads) * head_dim)
        joint = torch.randn(size, generator=generator).to(dtype).to(DEVICE)
        positions = torch.randint(0, 500, (1 if shared else batch, n), generator=generator).to(DEVICE)
        turn = decoder.rotary(positions, head_dim, dtype)
        slots = torch.stack([torch.randperm(capacity, generator=generator)[:n] for _ in range(batch)]).to(DEVICE)
        stores = torch.randn(2, batch, kv_heads, capacity, head_dim, generator=generator).to(dtype).to(DEVICE)
        wanted = stores.clone()
        parts = joint.view(batch, n, -1, head_dim).transpose(1, 2).split([heads, kv_heads, kv_heads], dim=1)
        rows = torch.arange(batch, device=DEVICE)[:, None]
        for store, new in zip(wanted, (decoder._rotate(parts[1], turn), parts[2])):
            store[rows, :, slots] = new.transpose(1, 2)

        found = triton_fused.rotate_and_store(joint, *turn, stores[0], stores[1], slots, heads, kv_heads)
        # a GPU may fuse a product with the sum, and then rounds once less than torch
        exact = dtype != torch.float32 and DEVICE == "cpu"
        close = {"rtol": 0.0, "atol": 0.0} if exact else CLOSE[dtype]
        torch.testing.assert_close(found, decoder._rotate(parts[0], turn), **close)
        torch.testing.assert_close(stores, wanted, **close)
        flat = [part[:, 0] for part in turn]
        again = triton_fused.rotate_and_store(joint, *flat, stores[0], stores[1], slots, heads, kv_heads)
        assert torch.equal(again, found)

    @few
    @given(
        seed=seeds,
        rows=st.integers(1, 4),
        inner=st.integers(1, 1500),
        dtype=st.sampled_from((torch.float32, HALF)),
    )
    def test_silu_times(self, seed: int, rows: int, inner: int, dtype: torch.dtype) -> None:
        made = torch.randn(2, rows, 2 * inner, generator=torch.Generator().manual_seed(seed)).to(dtype).to(DEVICE)
        gate, up = made.chunk(2, dim=-1)
        torch.testing.assert_close(triton_fused.silu_times(made), functional.silu(gate) * up, **CLOSE[dtype])

    @few
    @given(
        seed=seeds,
        rows=st.integers(1, 4),
        width=st.integers(50, 700),
        dtype=st.sampled_from((torch.float32, HALF)),
    )
    def test_add_rms_norm(self, seed: int, rows: int, width: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)
        x, delta = torch.randn(2, 2, rows, width, generator=generator).to(dtype).to(DEVICE)
        weight = torch.randn(width, generator=generator).to(dtype).to(DEVICE)
        both, normed = triton_fused.add_rms_norm(x, delta, weight, 1e-5)
        assert torch.equal(both, x + delta)
        wanted = functional.rms_norm(both.float(), (width,), weight.float(), 1e-5)
        torch.testing.assert_close(normed.float(), wanted, **CLOSE[dtype])
        if dtype == HALF:  # the norm of a sum that was not rounded would differ in every fourth element
            assert (normed == wanted.to(dtype)).float().mean() > 0.95

    @few
    @given(seed=seeds, rows=st.integers(1, 3), width=st.integers(1, 1200))
    def test_quantize_static(self, seed: int, rows: int, width: int) -> None:
        """Exact numbers only: the interpreter rounds 7.9 to 4 (on a GPU any number will do)."""
        generator = torch.Generator().manual_seed(seed)
        x = 100.0 * torch.randn(rows, width, generator=generator)
        if INTERPRETED:
            x = (x.to(fp8.DTYPE).float() * 4.0).clamp(-1792.0, 1792.0)
            x[0, 0] = 5000.0
        x = x.bfloat16().to(DEVICE)
        inverse = torch.tensor(0.25, device=DEVICE)
        found = triton_fused.quantize_static(x, inverse)
        assert found.dtype == fp8.DTYPE
        wanted = (x.float() * inverse).clamp(-448.0, 448.0).to(fp8.DTYPE)
        assert torch.equal(found.float(), wanted.float())
