"""Engines: overheads within their intervals, and the memory that they keep free."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs.engine import Engine, Reserve

RESERVE = Reserve(
    base_bytes=512.0,
    rank_bytes=128.0,
    token_bytes=1.5,
    sequence_bytes=2.0,
    head_bytes=2048.0,
    model_bytes=6144.0,
    floor_bytes=0.0,
    floor_above_bytes=1e9,
    below_bytes=(20_000.0, 60_000.0),
    chunk_tokens=(2048, 4096, 8192),
    graph_sequences=(8, 80, 256),
    graph_sequences_tp4=(80, 160, 512),
)


@pytest.mark.parametrize(
    ("memory", "tp", "draft", "kept"),
    [
        (10_000, 1, "none", 512 + 128 + 1.5 * 2048 + 2 * 8),
        (20_000, 1, "none", 512 + 128 + 1.5 * 4096 + 2 * 80),
        (80_000, 4, "ngram", 512 + 4 * 128 + 1.5 * 8192 + 2 * 512),
        (80_000, 1, "head", 512 + 128 + 1.5 * 8192 + 2 * 256 + 2048),
        (80_000, 1, "model", 512 + 128 + 1.5 * 8192 + 2 * 256 + 6144),
    ],
)
def test_the_reserve_follows_gpu_ranks_and_draft(memory: float, tp: int, draft: str, kept: float) -> None:
    assert RESERVE.kept_bytes(memory, tp=tp, draft_kind=draft) == kept


@pytest.mark.parametrize("interval", [(2e-3, 3e-3), (0.0, 0.5e-3)])
def test_an_overhead_lies_in_its_interval(interval: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="must lie in its own interval"):
        Engine("x", host_s=1e-3, intervals={"host_s": interval})
