"""Suite ``step``: whole decoder stacks in plain steps, verify steps and draft steps.

A step of one token is autoregressive decoding, and a step of several tokens is verification. Steps of the small
model are the steps of a draft. A prefill reads new tokens of some prompts and computes the logits of the last ones.
On a GPU each step is one CUDA graph. A few are launched eagerly too, and a few run
with 8-bit weights where the device supports them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models.attention import Placement, decoder_kernel, prompt_kernel
from gpu_validate.models.decoder import Decoder, KVCache, placement_after
from gpu_validate.suites.case import ELEMENT_BYTES, Case
from gpu_validate.suites.costs import model_bytes, operations_cost, pass_cost
from gpu_validate.suites.random_models import random_caches, random_model
from scylla_sim.ops.forward import prefill_ops
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class Grid:
    """Steps of one model over batch, context and tokens. ``role`` is ``target`` or ``draft``."""

    role: str
    model: str
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    tokens: tuple[int, ...]


_LLAMA, _SMALL_LLAMA = "llama-3.1-8b", "llama-3.2-1b"
GRIDS = {
    ("cuda", "ci"): (
        Grid("target", _LLAMA, (1, 16), (512, 2048), (1, 4)),
        Grid("draft", _SMALL_LLAMA, (1, 16), (512,), (1,)),
    ),
    ("cuda", "small"): (
        Grid("target", _LLAMA, (1, 8, 32, 128), (512, 2048), (1, 2, 4, 8, 16)),
        Grid("draft", _SMALL_LLAMA, (1, 8, 32, 128), (512, 2048), (1, 2)),
    ),
    ("cuda", "full"): (
        Grid(
            "target",
            _LLAMA,
            (1, 2, 4, 8, 16, 32, 64, 128, 256),
            (512, 2048, 8192, 32768),
            (1, 2, 3, 4, 6, 8, 16, 32, 64),
        ),
        Grid("draft", _SMALL_LLAMA, (1, 2, 4, 8, 16, 32, 64, 128, 256), (512, 2048, 8192, 32768), (1, 2, 4, 8)),
    ),
    ("cpu", "ci"): (
        Grid("target", "llama-160m", (1, 4), (256, 1024), (1, 2, 4)),
        Grid("draft", "llama-68m", (1, 4, 8), (256, 1024), (1, 2)),
    ),
    ("cpu", "small"): (
        Grid("target", "llama-160m", (1, 2, 4, 8), (256, 1024, 2048), (1, 2, 3, 4, 6, 8)),
        Grid("draft", "llama-68m", (1, 4, 16), (256, 1024, 2048), (1, 2, 4)),
    ),
    ("cpu", "full"): (
        Grid("target", "tinyllama-1.1b", (1, 2, 4, 8, 16), (256, 1024, 4096), (1, 2, 4, 8, 16)),
        Grid("draft", "llama-68m", (1, 2, 4, 8, 16), (256, 1024), (1, 2, 4)),
    ),
}
"""Grids by kind of device and scale."""

_EAGER_CASES = 3
"""Number of first cases that are also timed eagerly, which gives the cost of launching."""
_FP8_SHAPES = {"ci": 2, "small": 2, "full": 4}
"""Number of smallest batches, contexts and tokens that are also timed in 8 bits."""


def _role(grid: str, tokens: int) -> str:
    """Return the role of a step: ``draft``, ``plain`` or ``verify``."""
    return grid if grid == "draft" else "plain" if tokens == 1 else "verify"


def _columns(device: Device, spec: Model, shape: tuple[int, int, int], role: str, *, graph: bool) -> dict[str, Any]:
    """Return the columns of a step of ``(batch, context, tokens)``."""
    return {
        "op": "step",
        "device": device.hardware,
        "dtype": device.dtype,
        "role": role,
        "model": spec.name,
        **dict(zip(("batch", "context", "tokens"), shape)),
        "graph": int(graph),
        "framework": "torch",
        "version": device.versions["torch"],
    }


def _inputs(model: Decoder, shape: tuple[int, int, int]) -> tuple[Tensor, KVCache, Placement]:
    """Return random tokens, a random cache and the placement of a step of ``(batch, context, tokens)``."""
    batch, context, tokens = shape
    (store,) = random_caches((model.spec,), batch, context + tokens, model.norm)
    place = placement_after(context, tokens, model.spec, model.norm, batch=batch)
    return torch.randint(model.spec.vocab_size, (batch, tokens), device=model.norm.device), store, place


def step_case(
    device: Device,
    spec: Model,
    shape: tuple[int, int, int],
    *,
    graph: bool,
    role: str = "target",
    fp8: bool = False,
) -> Case:
    """Return the case of one forward pass. All cases of a model share its weights.

    Parameters
    ----------
    device
        Device under test.
    spec
        Model.
    shape
        ``(batch, context, tokens)``.
    graph
        Whether to capture a CUDA graph.
    role
        ``target`` or ``draft``.
    fp8
        Whether the layers have 8-bit weights.
    """
    batch, context, tokens = shape
    element = ELEMENT_BYTES[device.dtype]
    dtype = "fp8" if fp8 else device.dtype
    cost = pass_cost(spec, batch, context, tokens, device.dtype, layer_dtype=dtype)

    def build() -> Sequence[Call]:
        model = random_model(spec, device.kind, torch_dtype(device), fp8=fp8, copy=int(role == "draft"))
        inputs = _inputs(model, shape)
        return [lambda: model(*inputs)]

    return Case(
        id=f"step-{spec.name}-b{batch}-s{context}-n{tokens}-{'graph' if graph else 'eager'}{'-fp8' if fp8 else ''}",
        shape=_columns(device, spec, shape, _role(role, tokens), graph=graph)
        | {"dtype": dtype, "kernel_source": decoder_kernel(device.kind)},
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=model_bytes([spec], batch * (context + tokens), device.dtype)
        + 2 * element * batch * tokens * spec.vocab_size,
        build=build,
        graph=graph,
    )


PREFILL = "prefill"
"""Role of a step that reads prompts."""


def prefill_case(device: Device, spec: Model, shape: tuple[int, int, int], *, graph: bool, copy: int = 0) -> Case:
    """Return the case of one step over new tokens of some prompts.

    Parameters
    ----------
    device
        Device under test.
    spec
        Model.
    shape
        ``(batch, context, tokens)``: prompts, cached tokens of each before the step, and new tokens of each.
    graph
        Whether to capture a CUDA graph.
    copy
        Number of the model with random weights; see `gpu_validate.suites.random_models.random_model`.
    """
    batch, context, tokens = shape
    ops = prefill_ops(spec, tokens=tokens, cached=context, sequences=batch, dtype=device.dtype)
    cost = operations_cost(ops, device.dtype)

    def build() -> Sequence[Call]:
        model = random_model(spec, device.kind, torch_dtype(device), copy=copy)
        inputs = _inputs(model, shape)
        return [lambda: model.last_logits(*inputs)]

    widest = max(2 * spec.intermediate_size, spec.hidden_size)
    return Case(
        id=f"prefill-{spec.name}-b{batch}-s{context}-n{tokens}-{'graph' if graph else 'eager'}",
        shape=_columns(device, spec, shape, PREFILL, graph=graph) | {"kernel_source": prompt_kernel(device.kind)},
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=model_bytes([spec], batch * (context + tokens), device.dtype)
        + 4 * ELEMENT_BYTES[device.dtype] * batch * tokens * widest,
        build=build,
        graph=graph,
    )


def cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield all cases of the suite, model by model."""
    gpu = device.kind == "cuda"
    for grid in GRIDS[device.kind, scale]:
        spec = catalog.model(grid.model)
        for index, shape in enumerate(product(grid.batches, grid.contexts, grid.tokens)):
            yield step_case(device, spec, shape, graph=gpu, role=grid.role)
            if gpu and grid.role == "target" and index < _EAGER_CASES:
                yield step_case(device, spec, shape, graph=False, role=grid.role)
    if device.has_fp8 and device.dtype == "bfloat16":
        grid, few = GRIDS[device.kind, scale][0], _FP8_SHAPES[scale]
        spec = catalog.model(grid.model)
        for shape in product(grid.batches[:few], grid.contexts[:few], grid.tokens[:few]):
            yield step_case(device, spec, shape, graph=gpu, role=grid.role, fp8=True)
