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
from gpu_validate.suites import cycles, decode, kernels, steps
from gpu_validate.suites.campaign_scopes import SCOPES, Scope
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


def _prompts(device: Device, scope: Scope) -> Iterator[Case]:
    """Yield prefill steps of the target and of the draft, then the attention and the GEMMs of prompts."""
    graph = device.kind == "cuda"
    target, draft = catalog.model(scope.target), catalog.model(scope.draft)
    for shape in scope.prompts:
        yield steps.prefill_case(device, target, shape, graph=graph)
    for shape in scope.draft_prompts:
        case = steps.prefill_case(device, draft, shape, graph=graph, copy=1)
        weights = ELEMENT_BYTES[device.dtype] * target.parameters  # the target's weights stay in memory
        yield replace(case, memory_bytes=case.memory_bytes + weights)
    for batch, cached, tokens in scope.prompt_attention:
        yield kernels.prompt_case(device, batch, cached, tokens, scope.heads)
        if graph and not cached:
            yield kernels.prompt_case(device, batch, cached, tokens, scope.heads, attention.CUDNN_PROMPT)
    for m, (n, k) in product(scope.prompt_rows, scope.gemms[:4]):
        yield kernels.gemm_case(device, m, n, k)


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


_REPEATED = {"steps": 1, "cycles": 1, "attention": 2, "more cycles": 2, "more steps": 2, "prompts": 2}
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
        ("prompts", 75.0, _prompts(device, scope)),
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
    decoder = (attention.decoder_kernel(device.kind), attention.prompt_kernel(device.kind))
    again = [
        Job(job.suite, job.case, 2)
        for stage in found
        if stage.name in _REPEATED
        for job in [job for job in stage.jobs if job.case.shape.get("kernel_source") in decoder][
            :: _REPEATED[stage.name]
        ]
    ]
    return [*found[:-2], Stage("second pass", 120.0, again), *found[-2:]]
