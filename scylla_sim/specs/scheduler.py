"""Limits of an engine's scheduler by default, from ``scylla_sim/data/scheduler_defaults.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import GIBI


@dataclass(frozen=True)
class SchedulerDefaults:
    """What a server does if its user sets nothing.

    Attributes
    ----------
    max_num_seqs, max_num_batched_tokens
        Requests that run together, and tokens of an iteration.
    prefill_first
        Whether prompts run in iterations of their own, before decodes.
    source
        Where the values are documented.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    prefill_first: bool
    source: str


@cache
def _table() -> dict[str, Any]:
    text = resources.files("scylla_sim").joinpath("data/scheduler_defaults.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def scheduler_defaults(engine: Engine, hardware: Hardware) -> SchedulerDefaults:
    """Return the limits of an engine's scheduler on a GPU.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> for name in ("h100-sxm", "a100-sxm", "l40s"):
    ...     found = scheduler_defaults(catalog.engine("vllm"), catalog.hardware(name))
    ...     print(name, found.max_num_seqs, found.max_num_batched_tokens)
    h100-sxm 1024 8192
    a100-sxm 256 2048
    l40s 256 2048
    """
    table = _table()
    found = table.get(engine.framework, table["other"])
    small = any(part in hardware.name for part in found["small"])
    memory = 0.0 if small else hardware.memory_bytes / GIBI
    seats, budget = next((seats, budget) for least, seats, budget in found["sizes"] if memory >= least)
    return SchedulerDefaults(seats, budget, found["prefill_first"], found["source"])
