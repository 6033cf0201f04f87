"""A decoder stack as engines run it, and the suite ``step``: plain and verify steps of the whole stack.

RMSNorm, rotary positions, grouped-query attention over a KV cache, gated MLP, vocabulary projection; the query,
key and value projections are one matrix, and so are gate and up. Built from `scylla_sim.specs.Model` with random
weights: the seconds of a step do not depend on their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_validate.cases import ELEMENT_BYTES, Case
from gpu_validate.clocks import Call
from gpu_validate.device import Device, torch_dtype
from scylla_sim import catalog
from scylla_sim.specs import Model

_ROPE_BASE = 10000.0
NORM_EPS = 1e-5
_WEIGHT_STD = 0.02


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` for ``x`` ``(..., in)`` and ``weight`` ``(out, in)``, as a layer of a decoder runs it.

    On a CPU two or three rows are multiplied from the other side: there the library's own way takes up to twice as
    long as for four rows, an artefact that no engine would keep in the middle of speculation's range.
    """
    rows = x.numel() // x.shape[-1]
    if x.is_cuda or rows not in (2, 3):
        return functional.linear(x, weight)
    return (weight @ x.reshape(rows, -1).t()).t().reshape(*x.shape[:-1], -1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Grouped-query attention of a few tokens over a cache.

    Parameters
    ----------
    q
        ``(batch, num_heads, q_len, head_dim)``.
    k, v
        ``(batch, num_kv_heads, kv_len, head_dim)``.
    mask
        From `causal_mask` or `packed_mask`; ``None`` lets every query see everything, as a single one does.

    Notes
    -----
    Heads that share a KV head are packed into one matrix of queries, so the cache is read once for all of them.
    """
    batch, num_heads, q_len, head_dim = q.shape
    num_kv_heads = k.shape[1]
    if mask is not None and mask.dtype != torch.bool:
        split: Tensor = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return split
    packed = q.reshape(batch, num_kv_heads, (num_heads // num_kv_heads) * q_len, head_dim)
    joint: Tensor = functional.scaled_dot_product_attention(packed, k, v, attn_mask=mask)
    return joint.reshape(batch, num_heads, q_len, head_dim)


def causal_mask(q_len: int, kv_len: int, group: int, like: Tensor) -> Tensor | None:
    """Mask of the last ``q_len`` of ``kv_len`` tokens, for ``group`` query heads to a KV head.

    On a GPU in half precision this is torch's causal bias: the flash kernel it leads to splits a long cache over
    the SMs, which the kernel for arbitrary masks does not.
    """
    if q_len == 1:
        return None
    if like.is_cuda and like.dtype != torch.float32:
        from torch.nn.attention.bias import causal_lower_right  # slow to import, and for GPUs only

        bias: Tensor = causal_lower_right(q_len, kv_len)
        return bias
    causal = torch.ones(q_len, kv_len, dtype=torch.bool, device=like.device).tril(kv_len - q_len)
    return causal.repeat(group, 1)


def packed_mask(visible: Tensor, group: int) -> Tensor:
    """Mask from ``visible`` ``(batch, q_len, kv_len)``, true where a query may look, for `attention`."""
    return visible[:, None].repeat(1, 1, group, 1)


@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers: ``(layers, batch, num_kv_heads, capacity, head_dim)`` each."""

    keys: Tensor
    values: Tensor

    @staticmethod
    def empty(spec: Model, batch: int, capacity: int, like: Tensor) -> Cache:
        """Room for ``capacity`` tokens of ``batch`` sequences, with the dtype and device of ``like``."""
        size = (spec.num_layers, batch, spec.num_kv_heads, capacity, spec.head_dim)
        return Cache(like.new_zeros(size), like.new_zeros(size))

    def fill_randomly(self) -> Cache:
        """Pretend that a context was read: zeros would let a kernel or a power limit look too good."""
        self.keys.normal_()
        self.values.normal_()
        return self


@dataclass(frozen=True)
class Place:
    """Where the tokens of a forward pass stand.

    Attributes
    ----------
    positions
        ``(batch, n)`` rotary positions.
    slots
        Cache slots written: a start shared by all sequences, or ``(batch, n)``.
    length
        Cache slots read.
    mask
        For `attention`; see `causal_mask`.
    """

    positions: Tensor
    slots: int | Tensor
    length: int
    mask: Tensor | None


def place_after(context: int, n: int, spec: Model, like: Tensor, *, batch: int = 1) -> Place:
    """The next ``n`` tokens after the same ``context`` in every sequence, causal."""
    positions = torch.arange(context, context + n, device=like.device).expand(batch, n)
    mask = causal_mask(n, context + n, spec.num_heads // spec.num_kv_heads, like)
    return Place(positions, context, context + n, mask)


def rotary(positions: Tensor, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary embeddings, ``(batch, 1, n, head_dim)`` each."""
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angle = positions[:, None, :, None].float() * _ROPE_BASE**-exponent
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat((-second, first), dim=-1) * turn[1]


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, spec: Model) -> None:
        super().__init__()
        self.spec = spec
        width, inner = spec.hidden_size, spec.num_heads * spec.head_dim
        joint = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
        self.norm_in = nn.Parameter(torch.ones(width))
        self.qkv = nn.Linear(width, joint, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.norm_mid = nn.Parameter(torch.ones(width))
        self.gate_up = nn.Linear(width, 2 * spec.intermediate_size, bias=False)
        self.down = nn.Linear(spec.intermediate_size, width, bias=False)

    def heads(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``(batch, heads, n, head_dim)`` of ``x`` ``(batch, n, width)``, rotated."""
        spec = self.spec
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm_in, NORM_EPS)
        joint = linear(normed, self.qkv.weight).view(*x.shape[:2], -1, spec.head_dim).transpose(1, 2)
        q, k, v = torch.split(joint, [spec.num_heads, spec.num_kv_heads, spec.num_kv_heads], dim=1)
        return _rotate(q, turn), _rotate(k, turn), v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The layer's output from its input and what attention returned, ``(batch, heads, n, head_dim)``."""
        x = x + linear(mixed.transpose(1, 2).flatten(2), self.out.weight)
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm_mid, NORM_EPS)
        gate, up = linear(normed, self.gate_up.weight).chunk(2, dim=-1)
        out: Tensor = x + linear(functional.silu(gate) * up, self.down.weight)
        return out

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor], place: Place, turn: tuple[Tensor, Tensor]) -> Tensor:
        """``(batch, n, width)`` -> the same; writes this layer's keys and values into ``cache``."""
        batch, n, _ = x.shape
        q, k, v = self.heads(x, turn)
        for store, new in zip(cache, (k, v)):
            if isinstance(place.slots, int):
                store[:, :, place.slots : place.slots + n] = new
            else:
                rows = torch.arange(batch, device=x.device)[:, None]
                store[rows, :, place.slots] = new.transpose(1, 2)
        keys, values = (store[:, :, : place.length] for store in cache)
        return self.finish(x, attention(q, keys, values, place.mask))


class Decoder(nn.Module):
    """A dense decoder-only transformer with random weights in the shape of ``spec``."""

    def __init__(
        self, spec: Model, *, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> None:
        super().__init__()
        self.spec = spec
        with torch.device("meta"):  # nothing is allocated, nor initialised twice
            self.embedding = nn.Embedding(spec.vocab_size, spec.hidden_size)
            self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.num_layers))
            self.norm = nn.Parameter(torch.ones(spec.hidden_size))
            self.head = nn.Linear(spec.hidden_size, spec.vocab_size, bias=False)
        self.to(dtype).to_empty(device=device)
        if spec.tied_embeddings:
            self.head.weight = self.embedding.weight
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                if weight.dim() > 1:
                    weight.normal_(0.0, _WEIGHT_STD, generator=generator)
                else:
                    weight.fill_(1.0)
        self.requires_grad_(False)

    def features(self, tokens: Tensor, cache: Cache, place: Place) -> Tensor:
        """Normed outputs ``(batch, n, width)`` of the last layer; the cache keeps the tokens' keys and values."""
        x = self.embedding(tokens)
        turn = rotary(place.positions, self.spec.head_dim, x.dtype)
        for index, layer in enumerate(self.layers):
            x = layer(x, (cache.keys[index], cache.values[index]), place, turn)
        return functional.rms_norm(x, (x.shape[-1],), self.norm, NORM_EPS)

    def forward(self, tokens: Tensor, cache: Cache, place: Place) -> Tensor:
        """Logits ``(batch, n, vocab)`` of tokens ``(batch, n)``; the cache keeps their keys and values."""
        logits: Tensor = linear(self.features(tokens, cache, place), self.head.weight)
        return logits


def step_cost(spec: Model, batch: int, context: int, tokens: int, element_bytes: float) -> tuple[float, float]:
    """FLOPs and bytes of one forward pass of ``tokens`` new tokens a sequence after ``context`` tokens.

    Bytes are weights, cache read and written, and logits; activations between layers stay in the cache.
    """
    rows = batch * tokens
    weights = spec.num_layers * spec.layer_parameters + spec.head_parameters
    seen = context + tokens
    flop = 2.0 * rows * weights + 4.0 * rows * spec.num_layers * spec.num_heads * spec.head_dim * seen
    kv_tokens = batch * (seen + tokens)
    return flop, element_bytes * (weights + spec.kv_elements_per_token * kv_tokens + rows * spec.vocab_size)


GRIDS = {
    ("cuda", "ci"): ("llama-3.1-8b", (1, 16), (512, 2048), (1, 4)),
    ("cuda", "small"): ("llama-3.1-8b", (1, 4, 16, 64), (512, 2048, 8192), (1, 2, 4, 8)),
    ("cuda", "full"): (
        "llama-3.1-8b",
        (1, 2, 4, 8, 16, 32, 64, 128),
        (512, 2048, 8192, 32768),
        (1, 2, 3, 4, 6, 8, 16, 32, 64),
    ),
    ("cpu", "ci"): ("llama-68m", (1, 4, 8), (256, 1024), (1, 2, 4, 8)),
    ("cpu", "small"): ("llama-68m", (1, 2, 4, 8, 16), (256, 512, 1024, 2048), (1, 2, 3, 4, 6, 8, 16)),
    ("cpu", "full"): ("tinyllama-1.1b", (1, 2, 4, 8, 16), (256, 1024, 4096), (1, 2, 4, 8, 16)),
}
"""Model, and grids of (batch, context, tokens) of the suite."""
_EAGER_CASES = 3
"""So many of the first cases are timed eagerly too, where graphs are the rule: the cost of launching."""


def step_case(
    device: Device, spec: Model, shape: tuple[int, int, int], make: Callable[[], Decoder], *, graph: bool
) -> Case:
    """One step of ``(batch, context, tokens)``; ``make`` hands out the model that all cases share."""
    batch, context, tokens = shape
    element = ELEMENT_BYTES[device.dtype]
    flop, size = step_cost(spec, batch, context, tokens, element)

    def build() -> Sequence[Call]:
        model = make()
        store = Cache.empty(spec, batch, context + tokens, model.norm).fill_randomly()
        place = place_after(context, tokens, spec, model.norm, batch=batch)
        chosen = torch.randint(spec.vocab_size, (batch, tokens), device=device.kind)
        return [lambda: model(chosen, store, place)]

    return Case(
        id=f"step-{spec.name}-b{batch}-s{context}-n{tokens}-{'graph' if graph else 'eager'}",
        shape={
            "op": "step",
            "device": device.hardware,
            "dtype": device.dtype,
            "model": spec.name,
            "batch": batch,
            "context": context,
            "tokens": tokens,
            "graph": int(graph),
            "framework": "torch",
            "version": device.versions["torch"],
        },
        flop=flop,
        bytes=size,
        memory_bytes=element * (spec.parameters + spec.kv_elements_per_token * batch * (context + tokens))
        + 2 * element * batch * tokens * spec.vocab_size,
        build=build,
        graph=graph,
    )


def cases(device: Device, scale: str) -> Iterator[Case]:
    """All cases of the suite; one set of weights, built when the first case runs, serves them all."""
    name, batches, contexts, tokens = GRIDS[device.kind, scale]
    spec = catalog.model(name)

    @cache
    def make() -> Decoder:
        return Decoder(spec, device=device.kind, dtype=torch_dtype(device))

    gpu = device.kind == "cuda"
    for index, shape in enumerate(product(batches, contexts, tokens)):
        yield step_case(device, spec, shape, make, graph=gpu)
        if gpu and index < _EAGER_CASES:
            yield step_case(device, spec, shape, make, graph=False)
