"""Counts of accepted tokens from vLLM's log.

vLLM's "Per-position acceptance rate" is cumulative: the share of drafts in which position i and all positions
before it were accepted. The reader compares the rates of every line with the mean acceptance length of the line.
This detects conditional rates.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.profiles import to_conditional
from scylla_sim.checks import InputError, fail
from scylla_sim.engines.counts import Counts

MARKER = "SpecDecoding metrics:"
"""Text in every line with acceptance."""

MARKER_V0 = "Speculative metrics:"
"""The same text of vLLM's first engine (V0), whose counts include tokens behind a rejection (vLLM #9565)."""

_FIELDS = {
    "length": re.compile(r"Mean acceptance length: ([\d.]+)"),
    "accepted": re.compile(r"Accepted: (\d+) tokens"),
    "drafted": re.compile(r"Drafted: (\d+) tokens"),
    "rates": re.compile(r"Per-position acceptance rate: ((?:[\d.]+)(?:, [\d.]+)*)"),
}
"""Numbers of a line that the reader needs."""


def read_vllm_log(text: str) -> Counts:
    """Return the sum of the counts of vLLM's ``SpecDecoding metrics`` lines.

    Lines without drafts (nan) are skipped.

    Raises
    ------
    InputError
        For a line in another format, for conditional rates, and for lines with different draft lengths.

    Notes
    -----
    Source: vllm-project/vllm, vllm/v1/spec_decode/metrics.py: rate i is the share of drafts whose position i was
    accepted. The mean acceptance length is 1 + accepted / drafts.

    Examples
    --------
    >>> line = "SpecDecoding metrics: Mean acceptance length: 2.10, Accepted: 11 tokens, Drafted: 20 tokens, "
    >>> read_vllm_log(line + "Per-position acceptance rate: 0.700, 0.400, Avg Draft acceptance rate: 55.0%")
    Counts(cycles=10, accepted=(7, 4), windows=1, whole_drafts=True)
    """
    cycles, accepted, windows, exact = 0, None, 0, True
    for number, line in enumerate(text.splitlines(), 1):
        if MARKER not in line or re.search(r"\bnan\b", line):
            continue
        drafts, counts, divides = _window(line, number)
        if drafts == 0:
            continue
        if accepted is not None and len(counts) != accepted.size:
            raise fail(
                "positions", len(counts), f"were {accepted.size} before line {number}", "split the log there"
            )
        accepted = counts if accepted is None else accepted + counts
        cycles, windows, exact = cycles + drafts, windows + 1, exact and divides
    if accepted is None:
        raise fail("drafts", 0, "were verified in this log")
    return Counts(cycles, tuple(accepted.tolist()), windows, exact)


def _window(line: str, number: int) -> tuple[int, NDArray[np.int64], bool]:
    """Return the drafts and the cumulative counts of one line, and whether all its drafts had the same length."""
    found = {name: pattern.search(line) for name, pattern in _FIELDS.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise fail("line", number, f"has no {missing[0]}", "has the format of vLLM's metrics changed?")
    length, accepted, drafted, text = (match[1] for match in found.values() if match is not None)
    rates = np.array([float(part) for part in text.split(", ")])
    rounding = 0.0055 + 0.0005 * rates.size
    if abs(rates.sum() - (float(length) - 1)) > rounding:
        raise fail(
            "line",
            number,
            f"has rates that sum to {rates.sum():.3f}, with a mean acceptance length of {length}",
            "they are not cumulative, as vLLM's rates are",
        )
    try:
        to_conditional(rates)
    except InputError as error:
        raise InputError(f"{error}, in line {number}") from None
    drafts = int(drafted) / rates.size
    divides = int(drafted) % rates.size == 0 and bool(
        abs(int(accepted) - drafts * rates.sum()) <= 0.5 + 0.0005 * int(drafted)
    )
    if not divides:  # the last draft of a request may be shorter
        drafts = float(int(accepted) / rates.sum()) if rates.sum() > 0 else drafts
    return round(drafts), np.round(rates * round(drafts)).astype(np.int64), divides
