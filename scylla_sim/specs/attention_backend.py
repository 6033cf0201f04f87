"""Attention backends: the kernel that scores several query tokens of a sequence, by engine, GPU and KV data type.

A calibration fits attention of one query token. With several query tokens an engine may run another kernel, which
packs query heads differently or does not split the KV cache. ``scylla_sim/data/attention_backends.toml`` states
which one, with sources. `dispatched` reads it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from scylla_sim.checks import one_of
from scylla_sim.specs.hardware import Hardware
from scylla_sim.stats.estimate import Estimate

PACKED, HEAD, PACKED_UNSPLIT = "packed", "head", "packed_unsplit"
"""Tilings: query tokens and the query heads of a KV head share tiles and the KV cache is split; one CTA per query
head and 64 tokens reads the whole context; one CTA per KV head does."""
TILINGS = (PACKED, HEAD, PACKED_UNSPLIT)

GROUPED, LATENT = "grouped", "mla"
"""Kinds of attention: query heads that share KV heads, and multi-head latent attention."""

ONE_TOKEN_SETTINGS = ("one_token_slowdown", "call_s")
"""Settings that also change attention of one query token."""
SETTINGS = ("compute_fraction", "slowdown", *ONE_TOKEN_SETTINGS)
"""Settings of a backend that depend on the GPU."""


@dataclass(frozen=True)
class AttentionBackend:
    """A kernel for several query tokens.

    Attributes
    ----------
    name, kernels
        Name in the table, and the name of its kernels.
    tiling
        One of `TILINGS`.
    settings
        Values of `SETTINGS` with their range over versions and GPUs.
    undecided
        Whether no published row describes it, so that a speed-up may be half as high.
    piecewise
        Whether vLLM runs verification in piecewise CUDA graphs with it, and drafts without graphs.
    source, note
        Origin of the tiling, and a remark for users.
    """

    name: str
    kernels: str
    tiling: str = PACKED
    settings: Mapping[str, Estimate] = field(default_factory=dict)
    undecided: bool = False
    piecewise: bool = False
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        one_of("tiling", self.tiling, TILINGS)
        for name in self.settings:
            one_of("setting", name, SETTINGS)

    @property
    def one_token(self) -> bool:
        """Whether the backend also differs from the fitted kernel for one query token."""
        return any(name in self.settings for name in ONE_TOKEN_SETTINGS)

    def value(self, name: str, default: float) -> float:
        """Return the value of a setting, or a default."""
        return float(self.settings[name].value) if name in self.settings else default

    def ends(self, name: str) -> tuple[AttentionBackend, ...]:
        """Return the backend with one setting at the lower and at the upper end of its range."""
        one = self.settings[name]
        return tuple(
            replace(self, settings={**self.settings, name: Estimate.of(end, end, end)})
            for end in (one.lower, one.upper)
        )


@cache
def _table() -> dict[str, Any]:
    """Return the content of the table."""
    path = resources.files("scylla_sim") / "data" / "attention_backends.toml"
    return tomllib.loads(path.read_text("utf-8"))


def _applies(entry: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether each list of a dispatch entry is absent or holds one of the wanted names."""
    return all(name not in entry or set(entry[name]) & set(names) for name, names in wanted.items())


def dispatched(
    framework: str, hardware: Hardware, *, kv_dtype: str, attention: str = GROUPED
) -> AttentionBackend | None:
    """Return the backend of attention with several query tokens, which may change one query token too.

    Parameters
    ----------
    framework
        Framework of the engine; without one, the fitted kernel is used and the result is ``None``.
    hardware
        Device. An entry of the table for a device also holds for devices that use its calibration.
    kv_dtype
        Data type of the KV cache.
    attention
        `GROUPED` or `LATENT`.

    Returns
    -------
    AttentionBackend or None
        ``None`` where the fitted kernel is taken for any number of query tokens.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> dispatched("vllm", catalog.hardware("a100-sxm"), kv_dtype="bfloat16").name
    'fa2'
    >>> dispatched("vllm", catalog.hardware("h100-sxm"), kv_dtype="bfloat16").tiling
    'packed'
    """
    if not framework or hardware.sm_count == 0:
        return None
    devices = (hardware.name, hardware.calibration)
    return _dispatched(attention, framework, hardware.family, devices, kv_dtype)


@cache
def _dispatched(
    attention: str, framework: str, family: str, devices: tuple[str, ...], kv_dtype: str
) -> AttentionBackend | None:
    """Return the backend of the first entry that applies."""
    table = _table()
    wanted = {"frameworks": (framework,), "families": (family,), "devices": devices, "kv": (kv_dtype,)}
    for entry in table["dispatch"]:
        if entry.get("attention", GROUPED) == attention and _applies(entry, wanted):
            settings = {
                name: Estimate.of(*(entry[name][end] for end in ("value", "lower", "upper")))
                for name in SETTINGS
                if name in entry
            }
            return AttentionBackend(entry["backend"], settings=settings, **table["backend"][entry["backend"]])
    return None
