"""How benchmarks of published serving runs send their requests, from ``serving_protocols.toml``.

A time to first token depends on the arrivals as much as on the kernels, so every run carries its protocol.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from scylla_sim.checks import fail

SETTINGS = (
    *("documented", "shortest", "rounds", "engine", "kv_dtype", "max_num_seqs", "max_num_batched_tokens"),
    *("tokens_per_input", "prefill_first", "poll_iterations", "hold_iterations", "hold_share", "dtype"),
)
"""Settings of a rule."""
COLUMNS = (
    *("documented", "engine", "kv_dtype", "shortest", "rounds", "max_num_seqs", "max_num_batched_tokens"),
    *("prefill_first", "poll_iterations", "hold_iterations", "hold_tokens"),
)
"""Columns of a run that `protocol` returns."""

Run = Mapping[str, Any]


@cache
def rules() -> tuple[Mapping[str, Any], ...]:
    """Return the rules in the order of the file.

    Raises
    ------
    InputError
        A rule has a setting that is not known.
    """
    text = (resources.files("gpu_validate") / "silicon" / "serving_protocols.toml").read_text("utf-8")
    found = tuple(tomllib.loads(text)["rule"])
    for rule in found:
        for name in rule:
            if name not in (*SETTINGS, "source", "match"):
                raise fail(
                    "setting", name, "in serving_protocols.toml is not known", f"known: {', '.join(SETTINGS)}"
                )
    return found


def matches(rule: Mapping[str, Any], run: Run) -> bool:
    """Return whether a run has all properties that a rule asks for.

    Examples
    --------
    >>> rule = {"match": {"framework": ["trtllm"], "tp_below": 8, "since": "2026-04-03"}}
    >>> run = {"framework": "trtllm", "tp": 4, "measured": "2026-04-17"}
    >>> matches(rule, run), matches(rule, {**run, "tp": 8}), matches(rule, {**run, "measured": ""})
    (True, False, False)
    """
    wanted = dict(rule["match"])
    since, below, least = wanted.pop("since", ""), wanted.pop("tp_below", None), wanted.pop("batch_from", 0)
    if (
        (since and run["measured"] < since)
        or (below is not None and run["tp"] >= below)
        or (least and run["batch"] < least)
    ):
        return False
    return all(run[name] in values for name, values in wanted.items())


def protocol(run: Run) -> dict[str, Any]:
    """Return the columns of a run that state how its requests are sent and served.

    Parameters
    ----------
    run
        Values of ``origin``, ``framework``, ``version``, ``checkpoint``, ``device``, ``measured``, ``tp``,
        ``batch``, ``input_len``, ``output_len`` and ``dtype``.

    Returns
    -------
    dict
        `COLUMNS`, and ``dtype`` of the weights as the engine runs them. Cells that do not apply are empty, such
        as ``rounds`` of a protocol that is not documented.
    """
    found: dict[str, Any] = {}
    for rule in rules():
        if matches(rule, run):
            found |= {name: value for name, value in rule.items() if name in SETTINGS}
    budget = found["max_num_batched_tokens"]
    if "tokens_per_input" in found:
        budget = found["tokens_per_input"] * run["input_len"]
    seats = run["batch"] if found["max_num_seqs"] == "concurrency" else max(found["max_num_seqs"], run["batch"])
    return {
        "dtype": found.get("dtype", run["dtype"]),
        "documented": "yes" if found["documented"] else "no",
        "engine": found["engine"],
        "kv_dtype": found["kv_dtype"],
        "shortest": found["shortest"],
        "rounds": found.get("rounds", ""),
        "max_num_seqs": seats,
        "max_num_batched_tokens": budget,
        "prefill_first": "yes" if found.get("prefill_first") else "no",
        "poll_iterations": found.get("poll_iterations", 1),
        "hold_iterations": found.get("hold_iterations", 0),
        "hold_tokens": round(found["hold_share"] * budget) if "hold_share" in found else "",
    }
