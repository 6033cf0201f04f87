"""Tokens per cycle from the iteration statistics of TensorRT-LLM.

They come from ``LLM.get_stats()``, from ``/metrics`` of ``trtllm-serve`` as JSON, and from ``--iteration_log`` of
``trtllm-bench``: one object for each iteration, as JSON or in Python's notation. Rows of attention data-parallel
ranks above 0 repeat the statistics of rank 0 and are left out.

Source: NVIDIA/TensorRT-LLM, ``cpp/include/tensorrt_llm/executor/types.h``, struct ``SpecDecodingStats``: drafted
and accepted tokens of all requests, and requests with a draft. Accepted tokens exclude the bonus token.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError, fail
from scylla_sim.engines.documents import documents, objects
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import of_cycles

SOURCE = "TensorRT-LLM iteration statistics"
KEY = "specDecodingStats"

MAX_LINE = 1 << 20
"""Characters of the longest line that is parsed."""


def read_trtllm_stats(text: TextFile) -> list[Measurement]:
    """Return the acceptance of all iterations with drafts.

    Raises
    ------
    InputError
        If no iteration can be used, or the rows of several ranks are mixed.

    Examples
    --------
    >>> line = "{'iter': 7, 'specDecodingStats': {'numDraftTokens': 24, 'numAcceptedTokens': 12, "
    >>> line += "'numRequestsWithDraftTokens': 8, 'acceptanceLength': 2.5}}"
    >>> found = read_trtllm_stats(TextFile.of(line))[0].found
    >>> float(found.tau().value), found.counted_len
    (2.5, 3)
    """
    rows: list[tuple[float, float, float, float]] = []
    problems: list[str] = []
    ranks = set()
    for row in _rows(text, problems):
        if row.get("attentionDpRank", 0) not in (0, None):
            continue
        ranks.add(repr(row.get("rank")))
        try:
            numbers = _numbers(row)
        except InputError as error:
            problems.append(str(error))
            continue
        if numbers is not None:
            rows.append(numbers)
    if len(ranks) > 1:
        rule = "must be one rank"
        raise fail("rank", ", ".join(sorted(ranks)), rule, "all ranks repeat the same statistics; keep one")
    if not rows:
        raise InputError(problems[0]) if problems else fail("numDraftTokens", 0, "were drafted in this file")
    cycles, accepted, drafted, latency = np.array(rows).T
    found = of_cycles(cycles, accepted, drafted)
    served = None
    if (latency > 0).any():
        timed = latency > 0
        served = MeasuredServing(
            itl_s=float(np.average(latency[timed], weights=cycles[timed])),
            concurrency=float(np.average(cycles[timed], weights=latency[timed])),
        )
    notes: tuple[str, ...] = ()
    if problems:
        share = f"{len(problems)} of {len(problems) + len(rows)} records"
        notes = (f"{share} are cut or damaged and skipped; the first: {problems[0]}",)
    return [Measurement(SOURCE, found, engine="trtllm", skipped=len(problems), served=served, notes=notes)]


def _rows(text: TextFile, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the object of every iteration."""
    try:
        yield from objects(documents(text), KEY)
        return
    except InputError:
        pass  # lines with prefixes, or in Python's notation
    for number, line in text.lines(KEY.encode()):
        begin = line.find("{")
        body = line[begin : line.rfind("}") + 1] if begin >= 0 else ""
        try:
            value = _parsed(body)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            problems.append(f"line={number} is not one object; is it cut?")
            continue
        yield from objects(value, KEY)


def _parsed(body: str) -> Any:
    """Return the value of a line: JSON, or literals of Python."""
    if len(body) > MAX_LINE:
        raise ValueError("too long")
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        return ast.literal_eval(body)


def _numbers(row: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Return cycles, accepted and drafted tokens and seconds of an iteration; ``None`` without drafts."""
    stats = row.get(KEY)
    if not isinstance(stats, dict):
        return None
    place = f"in iteration {row.get('iter', '?')}"

    def count(name: str, default: float | None = None) -> float:
        value = stats.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
            raise fail(name, value, f"must be a count {place}")
        return float(value)

    drafted, accepted = count("numDraftTokens"), count("numAcceptedTokens")
    if drafted == 0:
        return None
    length = count("acceptanceLength", 0.0)
    requests = count("numRequestsWithDraftTokens", round(accepted / (length - 1)) if length > 1 else 0.0)
    if not 1 <= requests <= drafted or accepted > drafted:
        raise fail("numRequestsWithDraftTokens", requests, f"must lie in [1, {drafted:g}] {place}")
    latency = row.get("iterLatencyMS")
    good = isinstance(latency, int | float) and not isinstance(latency, bool) and 0 < latency < 1e9
    return requests, accepted, drafted, 1e-3 * float(latency) if good and latency is not None else 0.0
