"""Stages of a campaign, most valuable first.

The first two stages measure the speed-up of speculative decoding by draft length and batch. Verify attention by
width and context comes next, because nobody publishes it. Later stages widen the grids, repeat measurements for the
noise floor, and measure the cost of the host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.device.timer import Plan
from gpu_validate.models import attention
from gpu_validate.suites import cycles, decode, kernel_shapes, kernels, steps
from gpu_validate.suites.case import ELEMENT_BYTES, Case, fits_memory
from gpu_validate.suites.random_models import random_pair
from gpu_validate.suites.runner import Job
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.specs import catalog


@dataclass(frozen=True)
class Stage:
    """Jobs that belong together.

    Attributes
    ----------
    name
        Name in progress lines.
    seconds
        Seconds that the stage requests out of nine minutes.
    jobs
        Jobs in order.
    too_large
        Jobs that do not fit into the memory of the device.
    """

    name: str
    seconds: float
    jobs: Sequence[Job]
    too_large: Sequence[Job] = ()

    def without_kernels(self, names: Collection[str]) -> Stage:
        """Return the stage without the cases of kernels that failed the self-check."""
        return replace(self, jobs=[job for job in self.jobs if job.case.shape.get("kernel_source") not in names])

    def thinned(self, every: int) -> Stage:
        """Return the stage with every ``every``-th job."""
        return replace(self, jobs=self.jobs[::every])


@dataclass(frozen=True)
class Scope:
    """Shapes of a campaign.

    Attributes
    ----------
    target, draft
        Models of the catalog with one vocabulary.
    core_batches, core_contexts, core_tokens, core_lengths
        Shapes of the first two stages: tokens per sequence of a step, drafted tokens of a cycle.
    batches, contexts, tokens
        Wider grid of steps.
    cycle_batches, lengths, branching
        Wider grid of cycles, and a tree.
    heads
        ``(num_heads, num_kv_heads, head_dim)`` of verify attention.
    attention_groups
        ``(batch, kv_len)``, most valuable first.
    widths
        Query tokens of verify attention.
    gemms, gemm_rows, fp8_gemms, fp8_rows
        ``(n, k)`` and rows of GEMMs: first those of the target's layers and head, then those of the draft.
    decode
        Grid of whole texts.
    eager_lengths
        Draft lengths whose cycles are launched eagerly too, at batch 1.
    stream_bytes
        Sizes of copies and reads.
    """

    target: str
    draft: str
    core_batches: tuple[int, ...]
    core_contexts: tuple[int, ...]
    core_tokens: tuple[int, ...]
    core_lengths: tuple[int, ...]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    tokens: tuple[int, ...]
    cycle_batches: tuple[int, ...]
    lengths: tuple[int, ...]
    branching: tuple[int, ...]
    heads: tuple[int, int, int]
    attention_groups: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]
    gemms: tuple[tuple[int, int], ...]
    gemm_rows: tuple[int, ...]
    fp8_gemms: tuple[tuple[int, int], ...]
    fp8_rows: tuple[int, ...]
    decode: decode.Grid
    eager_lengths: tuple[int, ...]
    stream_bytes: tuple[float, ...]


_TARGET, _DRAFT = "llama-3.1-8b", "llama-3.2-1b"
GPU_SCOPE = Scope(
    target=_TARGET,
    draft=_DRAFT,
    core_batches=(1, 32, 128),
    core_contexts=(512, 2048),
    core_tokens=(1, 4, 8, 16),
    core_lengths=(1, 3, 5, 8),
    batches=(8, 1, 16, 32, 64, 128, 256),
    contexts=(2048, 512, 8192),
    tokens=(1, 4, 2, 8, 16),
    cycle_batches=(8, 64, 1, 32, 128, 16, 256),
    lengths=(3, 1, 5, 2, 8),
    branching=(4, 4),
    heads=(32, 8, 128),
    attention_groups=(
        *((8, 2048), (1, 2048), (64, 2048), (8, 8192), (64, 8192), (1, 8192)),
        *((8, 512), (1, 512), (64, 512), (1, 32768), (8, 32768)),
    ),
    widths=(1, 4, 8, 2, 16, 32, 64, 3, 6, 12),
    gemms=(*kernel_shapes.GPU_GEMM_SHAPES["ci"], (3072, 2048), (16384, 2048), (2048, 8192), (128256, 2048)),
    gemm_rows=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
    fp8_gemms=kernel_shapes.GPU_GEMM_SHAPES["ci"][:4],
    fp8_rows=(1, 8, 16, 32, 64, 128, 256, 1024),
    decode=decode.GRIDS["cuda", "small"],
    eager_lengths=(1, 3, 5),
    stream_bytes=(256 * 2.0**20, 1024 * 2.0**20),
)
"""Shapes on a GPU."""

_SMALL = "llama-160m"
CPU_SCOPE = replace(
    GPU_SCOPE,
    target=_SMALL,
    draft="llama-68m",
    core_batches=(1, 4),
    core_contexts=(256,),
    core_tokens=(1, 4),
    core_lengths=(1, 3),
    batches=(1, 4),
    contexts=(256, 1024),
    tokens=(1, 2, 4),
    cycle_batches=(1, 4),
    lengths=(1, 3),
    branching=(2, 2),
    heads=(12, 12, 64),
    attention_groups=((1, 256), (4, 1024)),
    widths=(1, 4),
    gemms=((768, 768), (2304, 768), (6144, 768), (768, 3072)),
    gemm_rows=(1, 4, 16, 64),
    decode=decode.GRIDS["cpu", "ci"],
    stream_bytes=(64 * 2.0**20,),
)
"""Shapes on a CPU, small enough for a trial."""
SCOPES = {"cuda": GPU_SCOPE, "cpu": CPU_SCOPE}
"""Shapes by kind of device."""

_SHORT = Plan(relative_error=0.005, min_samples=12, max_samples=200, time_limit_s=0.3, min_sample_s=2e-3)
_LONG = replace(_SHORT, min_samples=25, time_limit_s=0.5)
_WALL = Plan(relative_error=0.01, min_samples=3, max_samples=20, time_limit_s=4.0, warmup_calls=1, min_sample_s=0.0)
PLANS = {
    "cuda": {"kernels": _SHORT, "step": _LONG, "specdecode": _LONG, "decode": _WALL},
    "cpu": {
        suite: Plan(relative_error=0.05, min_samples=3, time_limit_s=0.2, warmup_calls=1)
        for suite in ("kernels", "step", "specdecode", "decode")
    },
}
"""Sampling plan by kind of device and suite."""


def _steps(
    device: Device, scope: Scope, batches: Iterable[int], contexts: Iterable[int], tokens: Sequence[int]
) -> Iterator[Case]:
    """Yield steps of the target and of the draft."""
    gpu = device.kind == "cuda"
    target, draft = catalog.model(scope.target), catalog.model(scope.draft)
    for context, batch in product(contexts, batches):
        for n in tokens:
            yield steps.step_case(device, target, (batch, context, n), graph=gpu)
        for n in tokens[:1]:
            case = steps.step_case(device, draft, (batch, context, n), graph=gpu, role="draft")
            weights = ELEMENT_BYTES[device.dtype] * target.parameters  # the target's weights stay in memory
            yield replace(case, memory_bytes=case.memory_bytes + weights)


def _cycles(
    device: Device,
    scope: Scope,
    batches: Iterable[int],
    contexts: Iterable[int],
    trees: Sequence[DraftTree],
    parts: Sequence[str] = ("cycle",),
    graph: bool | None = None,
) -> Iterator[Case]:
    """Yield plain steps and cycles, or parts of cycles."""
    specs = (catalog.model(scope.target), catalog.model(scope.draft))
    make = partial(random_pair, specs, device.kind, torch_dtype(device))
    for context, batch in product(contexts, batches):
        yield cycles.plain_case(device, specs, make, batch, context, graph=graph)
        for tree, part in product(trees, parts):
            yield cycles.part_case(device, specs, make, (batch, context), tree, part, graph=graph)


def _attention(device: Device, scope: Scope) -> Iterator[Case]:
    """Yield verify attention: the decoder's kernel at each width, then those of torch."""
    gpu = device.kind == "cuda"
    others = (attention.PACKED, attention.CAUSAL, attention.CUDNN) if gpu else (attention.PACKED,)
    for batch, kv_len in scope.attention_groups:
        for width in scope.widths:
            if width >= kv_len:
                continue
            yield kernels.attention_case(device, batch, kv_len, width, scope.heads)
            for other in others:
                if other == attention.CAUSAL and width == 1:
                    continue  # the same computation as the packed kernel
                yield kernels.attention_case(device, batch, kv_len, width, scope.heads, other)


def _gemms(device: Device, scope: Scope) -> Iterator[Case]:
    """Yield streams, launches and GEMMs, which a calibration of the GPU needs besides attention."""
    yield kernels.launch_case(device, graph=False)
    if device.kind == "cuda":
        yield kernels.launch_case(device, graph=True)
    for size, op in product(scope.stream_bytes, ("copy", "read")):
        yield kernels.stream_case(device, op, size)
    for m, (n, k) in product(scope.gemm_rows, scope.gemms):
        yield kernels.gemm_case(device, m, n, k)
    if not device.has_fp8 or device.dtype != "bfloat16":
        return
    for (n, k), m in product(scope.fp8_gemms, scope.fp8_rows):
        yield kernels.fp8_case(device, m, n, k)
        if m <= kernels.MAX_PADDED_ROWS:
            yield kernels.fp8_case(device, m, n, k, padded=True)
    for k in sorted({k for _, k in scope.fp8_gemms}):
        for m in scope.fp8_rows:
            yield kernels.quantize_case(device, m, k)
    target = catalog.model(scope.target)
    for batch, n in product(scope.core_batches[:2], scope.core_tokens[:2]):
        yield steps.step_case(
            device, target, (batch, scope.core_contexts[0], n), graph=device.kind == "cuda", fp8=True
        )


_REPEATED = {"steps": 1, "cycles": 1, "attention": 2, "more cycles": 2, "more steps": 2}
"""Stage that the second pass repeats -> n, to repeat every n-th of its cases."""


def _suite_of(case: Case) -> str:
    """Return the suite that a case belongs to."""
    op = str(case.shape["op"])
    if op in ("step", "decode"):
        return op
    return "specdecode" if op in ("plain", *cycles.PARTS) else "kernels"


def stages(device: Device, scope: Scope | None = None) -> list[Stage]:
    """Return the stages of a campaign on a device.

    A case belongs to the first stage that lists it. Cases that do not fit into memory are listed separately. The
    second pass repeats steps, cycles and the decoder's attention, and every second case of the wider grids.
    """
    scope = scope or SCOPES[device.kind]
    core = [chain(length) for length in scope.core_lengths]
    wide = [*(chain(length) for length in scope.lengths), full_tree(scope.branching)]
    parts = ("draft", "verify")
    eager = [chain(length) for length in scope.eager_lengths]
    first, b1 = scope.core_contexts[:1], scope.core_batches[:1]
    listed = [
        ("steps", 25.0, _steps(device, scope, scope.core_batches, scope.core_contexts, scope.core_tokens)),
        ("cycles", 40.0, _cycles(device, scope, scope.core_batches, scope.core_contexts, core)),
        ("attention", 90.0, _attention(device, scope)),
        ("more cycles", 70.0, _cycles(device, scope, scope.cycle_batches, scope.core_contexts, wide)),
        ("more steps", 60.0, _steps(device, scope, scope.batches, scope.contexts, scope.tokens)),
        ("decode", 40.0, decode.grid_cases(device, scope.decode)),
        ("gemms", 50.0, _gemms(device, scope)),
        ("parts", 40.0, _cycles(device, scope, scope.core_batches, first, core, parts)),
        (
            "host",
            15.0,
            _cycles(device, scope, b1, first, eager, graph=False if cycles.uses_graphs(device) else None),
        ),
    ]
    seen: set[str] = set()
    found = []
    for name, seconds, cases in listed:
        jobs: list[Job] = []
        too_large: list[Job] = []
        for case in cases:
            key = f"{_suite_of(case)}/{case.id}"
            if key not in seen:
                seen.add(key)
                (jobs if fits_memory(device, case) else too_large).append(Job(_suite_of(case), case))
        found.append(Stage(name, seconds, jobs, too_large))
    decoder = attention.decoder_kernel(device.kind)
    again = [
        Job(job.suite, job.case, 2)
        for stage in found
        if stage.name in _REPEATED
        for job in [job for job in stage.jobs if job.case.shape.get("kernel_source") == decoder][
            :: _REPEATED[stage.name]
        ]
    ]
    return [*found[:-2], Stage("second pass", 120.0, again), *found[-2:]]
