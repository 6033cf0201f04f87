"""A decoder stack as serving engines run it.

A layer has RMSNorm, rotary positions, grouped-query attention over a KV cache and a gated MLP. The query, key and
value projections are one matrix, and so are gate and up. The weights are random, since the seconds of a step do not
depend on their values. `gpu_validate.models.checkpoints` loads real weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_validate.models import triton_fused
from gpu_validate.models.attention import Placement, attend, causal_mask, causal_visibility
from gpu_validate.models.triton_support import triton_available
from scylla_sim.checks import one_of, positive
from scylla_sim.specs.model import Model

_WEIGHT_STD = 0.02
"""Standard deviation of random weights."""

ROPE_SCALINGS = ("none", "linear", "llama3")
"""Supported scalings of rotary positions."""


@dataclass(frozen=True)
class Rope:
    """Rotary positions.

    Attributes
    ----------
    base
        Base of the wavelengths.
    scaling
        ``none``; ``linear``, which multiplies all wavelengths by ``factor``; or ``llama3``, which multiplies the
        long ones by ``factor`` and blends between ``original_context / low_freq_factor`` and ``original_context /
        high_freq_factor``.
    factor, low_freq_factor, high_freq_factor, original_context
        Parameters of the scaling, as in the configs of Llama 3.1.
    """

    base: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        """Check the values."""
        one_of("rope scaling", self.scaling, ROPE_SCALINGS)
        positive(
            "rope",
            [
                self.base,
                self.factor,
                self.low_freq_factor,
                self.high_freq_factor - self.low_freq_factor,
                self.original_context,
            ],
        )


@dataclass(frozen=True)
class DecoderOptions:
    """Options of a decoder besides its shape: rotary positions and the epsilon of the norms."""

    rope: Rope = Rope()
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Check the values."""
        positive("norm_eps", self.norm_eps)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x @ weight.T`` for ``x`` ``(..., in)`` and ``weight`` ``(out, in)``.

    On a CPU, inputs of two or three rows are padded to four. The CPU library needs up to twice as long for them as
    for four rows. Engines would avoid this artifact, which lies in the middle of the range of speculative decoding.
    """
    rows = x.numel() // x.shape[-1]
    if x.is_cuda or rows not in (2, 3):
        return functional.linear(x, weight)
    four = functional.pad(x.reshape(rows, -1), (0, 0, 0, 4 - rows))
    return functional.linear(four, weight)[:rows].reshape(*x.shape[:-1], -1)


@dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers, ``(layers, batch, num_kv_heads, capacity, head_dim)`` each."""

    keys: Tensor
    values: Tensor

    @staticmethod
    def empty(spec: Model, batch: int, capacity: int, like: Tensor) -> KVCache:
        """Return a zero cache for ``capacity`` tokens of ``batch`` sequences, in the dtype of ``like``."""
        size = (spec.num_layers, batch, spec.num_kv_heads, capacity, spec.head_dim)
        return KVCache(like.new_zeros(size), like.new_zeros(size))

    def fill_randomly(self) -> KVCache:
        """Fill the cache with random numbers; zeros would draw less power and run faster."""
        self.keys.normal_()
        self.values.normal_()
        return self


def placement_after(context: int, n: int, spec: Model, like: Tensor, *, batch: int = 1) -> Placement:
    """Return the causal placement of the next ``n`` tokens after the same ``context``."""
    device = like.device
    positions = torch.arange(context, context + n, device=device).expand(batch, n)
    on_gpu = like.is_cuda
    return Placement(
        positions,
        positions.contiguous() if on_gpu else context,
        torch.full((batch,), context, device=device),
        causal_visibility(n, device),
        context + n,
        context=context,
        mask=None if on_gpu else causal_mask(n, context + n, spec.num_heads // spec.num_kv_heads, device),
        causal=True,
    )


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def rope_frequencies(rope: Rope, head_dim: int, device: torch.device) -> Tensor:
    """Return the radians per position of each pair of a head's elements, ``(head_dim / 2,)``.

    Source: Su et al., arXiv 2104.09864; ``llama3`` as in the reference code of Llama 3.1.
    """
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    found = 1.0 / rope.base**exponent
    if rope.scaling == "linear":
        return found / rope.factor
    if rope.scaling == "llama3":
        turns = rope.original_context * found / (2.0 * math.pi)
        kept = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0.0, 1.0)
        return (1.0 - kept) * found / rope.factor + kept * found
    return found


def rotary(positions: Tensor, head_dim: int, dtype: torch.dtype, rope: Rope | None = None) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the rotary embedding at ``positions``, ``(batch, 1, n, head_dim)`` each."""
    angle = positions[:, None, :, None].float() * rope_frequencies(rope or Rope(), head_dim, positions.device)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat((-second, first), dim=-1) * turn[1]


class Projection(nn.Linear):
    """Projection without bias that runs `linear`."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(inner, outer, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inner)`` to ``(..., outer)``."""
        return linear(x, self.weight)


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, spec: Model, norm_eps: float = DecoderOptions.norm_eps) -> None:
        super().__init__()
        self.spec = spec
        self.norm_eps = norm_eps
        width, inner = spec.hidden_size, spec.num_heads * spec.head_dim
        joint = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim
        self.norm_in = nn.Parameter(torch.ones(width))
        self.qkv = Projection(width, joint)
        self.out = Projection(inner, width)
        self.norm_mid = nn.Parameter(torch.ones(width))
        self.gate_up = Projection(width, 2 * spec.intermediate_size)
        self.down = Projection(spec.intermediate_size, width)

    def heads(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries and keys, and values, of ``x`` ``(batch, n, width)``.

        Each is ``(batch, heads, n, head_dim)``.
        """
        spec = self.spec
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm_in, self.norm_eps)
        joint = self.qkv(normed).view(*x.shape[:2], -1, spec.head_dim).transpose(1, 2)
        q, k, v = torch.split(joint, [spec.num_heads, spec.num_kv_heads, spec.num_kv_heads], dim=1)
        return _rotate(q, turn), _rotate(k, turn), v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return the layer's output from its input and the attention output."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        normed = functional.rms_norm(x, (x.shape[-1],), self.norm_mid, self.norm_eps)
        gate, up = self.gate_up(normed).chunk(2, dim=-1)
        out: Tensor = x + self.down(functional.silu(gate) * up)
        return out

    def forward(
        self, x: Tensor, cache: tuple[Tensor, Tensor], place: Placement, turn: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Map ``(batch, n, width)`` to the same shape and write keys and values into ``cache``."""
        batch, n, _ = x.shape
        if triton_available(x, self.spec.head_dim) and isinstance(place.slots, Tensor):
            return self._fused(x, cache, place, turn)
        q, k, v = self.heads(x, turn)
        for store, new in zip(cache, (k, v)):
            if isinstance(place.slots, int):
                store[:, :, place.slots : place.slots + n] = new
            else:
                rows = torch.arange(batch, device=x.device)[:, None]
                store[rows, :, place.slots] = new.transpose(1, 2)
        return self.finish(x, attend(q, *cache, place))

    def _fused(
        self, x: Tensor, cache: tuple[Tensor, Tensor], place: Placement, turn: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Run `forward` with fused kernels between the GEMMs."""
        spec = self.spec
        assert isinstance(place.slots, Tensor)
        joint = self.qkv(functional.rms_norm(x, (x.shape[-1],), self.norm_in, self.norm_eps))
        cos, sin = (part[:, 0] for part in turn)
        q = triton_fused.rotate_and_store(joint, cos, sin, *cache, place.slots, spec.num_heads, spec.num_kv_heads)
        mixed = attend(q, *cache, place).transpose(1, 2).flatten(2)
        x, normed = triton_fused.add_rms_norm(x, self.out(mixed), self.norm_mid, self.norm_eps)
        out: Tensor = x + self.down(triton_fused.silu_times(self.gate_up(normed)))
        return out


class Decoder(nn.Module):
    """Dense decoder-only transformer with random weights.

    Parameters
    ----------
    spec
        Shape of the model.
    device, dtype
        Device and dtype of the weights.
    seed
        Seed of the random weights.
    options
        Rotary positions and norms.
    """

    def __init__(
        self,
        spec: Model,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        options: DecoderOptions | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.options = options or DecoderOptions()
        with torch.device("meta"):  # allocates nothing
            self.embedding = nn.Embedding(spec.vocab_size, spec.hidden_size)
            self.layers = nn.ModuleList(Layer(spec, self.options.norm_eps) for _ in range(spec.num_layers))
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

    def features(self, tokens: Tensor, cache: KVCache, place: Placement) -> Tensor:
        """Return the normed outputs ``(batch, n, width)`` of the last layer and fill the cache."""
        x = self.embedding(tokens)
        turn = rotary(place.positions, self.spec.head_dim, x.dtype, self.options.rope)
        for index, layer in enumerate(self.layers):
            x = layer(x, (cache.keys[index], cache.values[index]), place, turn)
        return self.normed(x)

    def normed(self, x: Tensor) -> Tensor:
        """Apply the final norm."""
        return functional.rms_norm(x, (x.shape[-1],), self.norm, self.options.norm_eps)

    def forward(self, tokens: Tensor, cache: KVCache, place: Placement) -> Tensor:
        """Return the logits ``(batch, n, vocab)`` of tokens ``(batch, n)`` and fill the cache."""
        return linear(self.features(tokens, cache, place), self.head.weight)

    def last_logits(self, tokens: Tensor, cache: KVCache, place: Placement) -> Tensor:
        """Return the logits ``(batch, 1, vocab)`` of the last token alone, as a prefill does."""
        return linear(self.features(tokens, cache, place)[:, -1:], self.head.weight)
