"""Models and shapes of a campaign, on a GPU and on a CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_validate.suites import decode, kernel_shapes


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
    prompts
        ``(batch, cached tokens, new tokens)`` of the target's prefill.
    draft_prompts
        The same for the draft.
    prompt_attention
        The same for the attention of prompts measured alone.
    prompt_rows
        Rows of the GEMMs of prompts, besides ``gemm_rows``.
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
    prompts: tuple[tuple[int, int, int], ...]
    draft_prompts: tuple[tuple[int, int, int], ...]
    prompt_attention: tuple[tuple[int, int, int], ...]
    prompt_rows: tuple[int, ...]
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
    prompts=(
        *((1, 0, 2048), (1, 0, 512), (1, 8192, 2048), (1, 8192, 512), (1, 0, 8192), (1, 32768, 512)),
        *((1, 0, 1024), (1, 0, 4096), (1, 2048, 512), (1, 2048, 2048), (4, 0, 512), (4, 0, 2048)),
        *((4, 8192, 512), (1, 32768, 2048), (1, 0, 256)),
    ),
    draft_prompts=((1, 0, 2048), (1, 8192, 512), (1, 0, 8192)),
    prompt_attention=(
        *((1, 0, 2048), (1, 0, 512), (1, 8192, 2048), (1, 8192, 512), (1, 0, 8192), (1, 32768, 512)),
        *((1, 0, 256), (1, 0, 1024), (1, 0, 4096), (4, 0, 256), (4, 0, 512), (4, 0, 2048), (16, 0, 512)),
        *((1, 2048, 256), (1, 2048, 512), (1, 2048, 2048), (1, 8192, 256), (1, 8192, 8192), (4, 8192, 512)),
        *((4, 8192, 2048), (1, 32768, 256), (1, 32768, 2048), (8, 8192, 512), (16, 2048, 256)),
    ),
    prompt_rows=(4096, 8192),
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
    prompts=((1, 0, 256), (1, 256, 256)),
    draft_prompts=((1, 0, 256),),
    prompt_attention=((1, 0, 256), (1, 256, 256)),
    prompt_rows=(256,),
    stream_bytes=(64 * 2.0**20,),
)
"""Shapes on a CPU, small enough for a trial."""
SCOPES = {"cuda": GPU_SCOPE, "cpu": CPU_SCOPE}
"""Shapes by kind of device."""
