"""Types and ranges of the values in a record, checked when it is read.

A checksum shows that a record was not edited by accident. It says nothing about a record that somebody else
wrote, so every value that becomes a number, a column or a path is checked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from scylla_sim.checks import MAX_WHOLE, fail

TEXTS = frozenset(
    {
        *("case", "op", "device", "dtype", "kv_dtype", "role", "model", "draft", "kernel_source", "framework"),
        *("version", "gpu", "arm", "target", "drafting", "domain", "paths", "drift", "stopping_reason", "clock"),
        "cache",
    }
)
"""Keys of a row whose values are texts. A suite may add others; their texts and lists pass."""
BLANK = frozenset({"peak_fraction", "gain", "gain_stderr", "energy_j", "power_w", "sm_mhz"})
"""Keys whose value may be ``null``: the device does not tell."""
COUNTS = frozenset(
    {
        *("batch", "context", "tokens", "m", "n", "k", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim"),
        *(
            "draft_len",
            "top_k",
            "verify_tokens",
            "new_tokens",
            "nodes",
            "depth",
            "rank",
            "repeated",
            "pass",
            "graph",
        ),
        *(
            "decoder_layers",
            "parameters",
            "train_tokens",
            "seed",
            "window",
            "num_gpus",
            "count",
            "calls_per_sample",
        ),
    }
)
"""Keys of whole numbers, at least 0."""
FROM_ONE = frozenset({"batch", "repeated", "pass", "m", "n", "k", "num_heads", "num_kv_heads", "head_dim"})
"""Keys of whole numbers for which 0 has no meaning."""
MEASURED = frozenset({"latency_ms", "median_s", "tokens_per_s", "tokens_per_cycle"})
"""Keys of numbers that are above 0."""
MAX_NUMBER, MIN_MEASURED = 1e30, 1e-15
"""Bounds of a number, and the smallest value of a `MEASURED` key."""
_SHAPE = ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads", "head_dim", "vocab_size")
"""Numbers of a model in the provenance."""


def _is_text(value: Any) -> TypeGuard[str]:
    """Return whether a value is text that a file can hold: without lone surrogates and null characters."""
    return isinstance(value, str) and "\0" not in value and not any(0xD800 <= ord(sign) < 0xE000 for sign in value)


def _is_number(value: Any, low: float = -MAX_NUMBER, high: float = MAX_NUMBER) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _rule(key: str, value: Any) -> str | None:
    """Return the rule that a value of a row breaks, ``None`` if it is fine."""
    if key in TEXTS:
        return None if _is_text(value) else "must be text"
    if value is None:
        return None if key in BLANK else "must be a number"
    if key in COUNTS:
        low = int(key in FROM_ONE)
        good = isinstance(value, int) and _is_number(value, low, MAX_WHOLE)
        return None if good else f"must be a whole number of at least {low}"
    if key in MEASURED:
        return None if _is_number(value, MIN_MEASURED) else "must be a number above 0"
    if isinstance(value, list | bool) or _is_text(value):
        return None
    return None if _is_number(value) else f"must be a number up to {MAX_NUMBER:g}"


def check_rows(rows: Any, name: str, path: str) -> None:
    """Check the rows of a record, ``values`` or ``samples``.

    Raises
    ------
    InputError
        If they are not objects, or a value has another type or is out of range.
    """
    if not isinstance(rows, list) or not rows:
        raise fail("record", path, f"has no {name}")
    for row in rows:
        if not isinstance(row, dict):
            raise fail(name, row, f"must hold objects in {path}")
        for key, value in row.items():
            rule = _rule(key, value)
            if rule is not None or not _is_text(key):
                raise fail(key[:40].encode("unicode_escape").decode(), value, f"{rule or 'must be text'} in {path}")


def check_provenance(about: Any, path: str) -> None:
    """Check the parts of a provenance that other code reads: versions, device and models.

    Raises
    ------
    InputError
        If a part is missing or has another type.
    """
    if not isinstance(about, dict):
        raise fail("provenance", about, f"must be an object in {path}")
    for key in ("versions", "device", "utc"):
        if key not in about:
            raise fail("record", path, f"has no provenance.{key}")
    _check_texts(about["versions"], "versions", path)
    device = about["device"]
    if not isinstance(device, dict) or not isinstance(device.get("details", {}), dict):
        raise fail("device", device, f"must be an object in {path}")
    for key in ("kind", "name"):
        if not _is_text(device.get(key)):
            raise fail(f"device.{key}", device.get(key), f"must be text in {path}")
    for key in ("memory_bytes", "cache_bytes", "threads"):
        if not _is_number(device.get(key), 0.0):
            raise fail(f"device.{key}", device.get(key), f"must be a number of at least 0 in {path}")
    for key in ("utc", "scale"):
        if key in about and not _is_text(about[key]):
            raise fail(key, about[key], f"must be text in {path}")
    for key, kind in (("complete", bool), ("failed", list), ("states", list), ("drifting", list)):
        if key in about and not isinstance(about[key], kind):
            raise fail(key, about[key], f"must be a {kind.__name__} in {path}")
    if not isinstance(about.get("specs", []), list):
        raise fail("specs", about["specs"], f"must be a list in {path}")


def _check_texts(value: Any, name: str, path: str) -> None:
    if not isinstance(value, dict) or not all(_is_text(part) for item in value.items() for part in item):
        raise fail(name, value, f"must be an object of texts in {path}")


def check_models(specs: Sequence[Any], path: str) -> None:
    """Check the models of a provenance before they become files.

    Raises
    ------
    InputError
        If a name is not one component of a path, or a number is not a size.
    """
    for spec in specs:
        if not isinstance(spec, Mapping):
            raise fail("specs", spec, f"must hold objects in {path}")
        name = spec.get("name")
        if not _is_text(name) or name in ("", ".", "..") or len(name) > 100 or set(name) & set("/\\"):
            raise fail(
                "name", name, f"must be one component of a path in {path}", "a record may not choose folders"
            )
        for key in _SHAPE:
            if not _is_number(spec.get(key), 1, 2**31) or not isinstance(spec[key], int):
                raise fail(key, spec.get(key), f"must be a whole number in [1, 2147483648] for {name} in {path}")
        if not isinstance(spec.get("tied_embeddings"), bool):
            raise fail(
                "tied_embeddings", spec.get("tied_embeddings"), f"must be true or false for {name} in {path}"
            )
