"""KV pools that engines printed when they started, with ``paper/published/kv_pools.csv``."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from scylla_sim.ops import memory
from scylla_sim.ops.memory import MemoryPlan
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import canonical_dtype

PUBLISHED = Path(__file__).parents[4] / "paper" / "published"
POOLS = list(csv.DictReader((PUBLISHED / "kv_pools.csv").open(encoding="utf-8")))
GIB = 2.0**30


def from_file(name):
    return str(PUBLISHED / name) if name.endswith(".json") else name


def plan_of(row):
    return MemoryPlan(
        catalog.model(from_file(row["model"])),
        catalog.draft(from_file(row["draft"])),
        tp=int(row["tp"]),
        dtype=canonical_dtype(row["precision"]),
        slots=int(row["draft_len"] or -1) + 1,
    )


def use_of(row):
    """Return the use of memory of an engine with the settings that the source states."""
    use = catalog.engine(row["engine"]).memory
    stated = {"memory_share": "share", "step_tokens": "profiled_tokens", "step_sequences": "profiled_sequences"}
    given = {field: (float(row[key]), float(row[key])) for key, field in stated.items() if row[key]}
    return replace(use, **given, reserve=None if "share" in given else use.reserve)


@pytest.mark.parametrize("row", POOLS, ids=[row["id"] for row in POOLS])
def test_published_pool_lies_in_a_useful_range(row):
    plan, use, tokens = plan_of(row), use_of(row), int(row["tokens"])
    hardware = catalog.hardware(row["hardware"])
    unread = float(row["unread_gib"] or 0) * GIB
    less = replace(hardware, reported_memory_bytes=hardware.usable_memory_bytes - unread / use.share[0])
    lower, upper = memory.stated_tokens(plan, less, use, max_context=int(row["max_context"]))
    assert lower < tokens < upper
    assert upper / lower < (3.0 if not row["memory_share"] else 1.35)


LOGGED = [row for row in POOLS if row["available_gib"] and row["engine"].startswith("vllm-2026")]


@pytest.mark.parametrize("row", LOGGED, ids=[row["id"] for row in LOGGED])
def test_groups_of_layers_give_the_tokens_of_a_logged_pool(row):
    """The log prints the bytes of the pool with 0.01 GiB, which is 0.03 %."""
    plan, use = plan_of(row), use_of(row)
    size = float(row["available_gib"]) * GIB
    given = {"max_context": int(row["max_context"]), "step_tokens": use.profiled_tokens[0]}
    for pool in memory.block_pools(plan, use):
        assert pool.stated_tokens(size, **given) == pytest.approx(int(row["tokens"]), rel=5e-4)


@pytest.mark.parametrize(("blocks", "tokens"), [(20_026, 106_723), (19_594, 104_421)])
def test_logged_blocks_of_gemma_give_its_logged_tokens(blocks, tokens):
    """seongyun1104/depthchart, ctx_uplift: num_gpu_blocks and kv_cache_size_tokens, without and with a draft."""
    row = next(row for row in POOLS if row["id"] == "gemma-34k")
    pool = memory.block_pools(plan_of(row), use_of(row))[1]
    found = pool.stated_tokens(blocks * pool.block_bytes, max_context=34_816, step_tokens=8192)
    assert int(found) == tokens
