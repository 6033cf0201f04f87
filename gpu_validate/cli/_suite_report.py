"""Messages about a measured suite: warnings, missing cases, and cases that were not lossless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.console import note

_WHOLE_CORE = 0.95
"""Share of a CPU core below which other processes lengthened a latency."""


def report(suite: str, record: dict[str, Any], seconds: float) -> None:
    """Print the results of a suite. Cases that did not converge or that drifted are warnings."""
    samples = record["samples"]
    note(f"{suite}: {len(samples)} cases in {seconds:.1f} s")
    limited = sum(sample["stopping_reason"] != "converged" for sample in samples)
    if limited:
        worst = max(sample["relative_error"] for sample in samples)
        note(f"{suite}: warning: {limited} cases reached the time limit, relative error up to {worst:.1%}")
    drifting = record["provenance"]["drifting"]
    if drifting:
        note(f"{suite}: warning: {len(drifting)} cases drifted (clock, power limit, or another process)")
    shared = [row["cpu_share"] for row in record["values"] if row["cpu_share"] < _WHOLE_CORE]
    if shared and record["provenance"]["device"]["kind"] == "cpu":
        note(f"{suite}: warning: {len(shared)} cases shared their cores with others, down to {min(shared):.0%}")
    slowed = sorted(
        {reason for now in record["provenance"]["states"] for reason in now["throttling"]}
        | set(record["provenance"]["monitor"].get("throttled_share", {}))
    )
    if slowed:
        note(f"{suite}: warning: the GPU was throttled: {', '.join(slowed)}")
    about = record["provenance"]
    for name, what in (
        ("left_out", "need more memory than the device has"),
        ("failed", "failed; the record contains their errors"),
        ("missing", "were not reached; run the same command again to measure them"),
    ):
        if about[name]:
            note(f"{suite}: {len(about[name])} cases {what}")


def is_lossless(suite: str, record: Mapping[str, Any]) -> bool:
    """Return whether speculative decoding gave the target's own output in all cases; name the others."""
    broken = [row["case"] for row in record["values"] if row.get("lossless_verdict") == "different"]
    if broken:
        note(f"{suite}: ERROR: not lossless, the output is not the target's own: {', '.join(broken)}")
    return not broken
