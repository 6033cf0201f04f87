"""Suite ``step``: a whole decoder stack, plain steps, verify steps and the steps of a draft.

A step of one token is plain decoding, one of several is verification; the small model's are what drafting consists
of. On a GPU each is one CUDA graph, a few are launched eagerly too, and a few run with 8-bit weights where the
device has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models.attention import decoder_kernel
from gpu_validate.models.decoder import placement_after
from gpu_validate.suites.case import ELEMENT_BYTES, Case
from gpu_validate.suites.costs import pass_cost
from gpu_validate.suites.random_models import random_caches, random_model
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class Grid:
    """Steps of one model over batch, context and tokens; ``role`` says what speculation has it for."""

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

_EAGER_CASES = 3
"""So many of the first cases are timed eagerly too, where graphs are the rule: the cost of launching."""
_FP8_SHAPES = {"ci": 2, "small": 2, "full": 4}
"""So many batches, contexts and tokens, from the smallest on, are timed in 8 bits too where the device has them."""


def _role(grid: str, tokens: int) -> str:
    """What a step is: of a draft, or of a target that decodes or verifies."""
    return grid if grid == "draft" else "plain" if tokens == 1 else "verify"


def step_case(
    device: Device,
    spec: Model,
    shape: tuple[int, int, int],
    *,
    graph: bool,
    role: str = "target",
    fp8: bool = False,
) -> Case:
    """One step of ``(batch, context, tokens)``; all cases of a model share its weights."""
    batch, context, tokens = shape
    element = ELEMENT_BYTES[device.dtype]
    dtype = "fp8" if fp8 else device.dtype
    cost = pass_cost(spec, batch, context, tokens, device.dtype, layer_dtype=dtype)

    def build() -> Sequence[Call]:
        model = random_model(spec, device.kind, torch_dtype(device), fp8=fp8, copy=int(role == "draft"))
        (store,) = random_caches((spec,), batch, context + tokens, model.norm)
        place = placement_after(context, tokens, spec, model.norm, batch=batch)
        chosen = torch.randint(spec.vocab_size, (batch, tokens), device=device.kind)
        return [lambda: model(chosen, store, place)]

    return Case(
        id=f"step-{spec.name}-b{batch}-s{context}-n{tokens}-{'graph' if graph else 'eager'}{'-fp8' if fp8 else ''}",
        shape={
            "op": "step",
            "device": device.hardware,
            "dtype": dtype,
            "role": _role(role, tokens),
            "model": spec.name,
            "batch": batch,
            "context": context,
            "tokens": tokens,
            "graph": int(graph),
            "framework": "torch",
            "version": device.versions["torch"],
            "kernel_source": decoder_kernel(device.kind),
        },
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=element * (spec.parameters + spec.kv_elements_per_token * batch * (context + tokens))
        + 2 * element * batch * tokens * spec.vocab_size,
        build=build,
        graph=graph,
    )


def cases(device: Device, scale: str) -> Iterator[Case]:
    """All cases of the suite, model by model."""
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
