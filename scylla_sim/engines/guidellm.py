"""Tokens per cycle and times from a GuideLLM report.

GuideLLM measures at the client. It has no counters of drafts, but the tokens of each piece of a streamed answer.
With speculation an engine sends the tokens of a cycle as one piece.

Source: vllm-project/guidellm, ``src/guidellm/benchmark/schemas/metrics.py`` and ``report.py``:
``iter_tokens_per_iteration`` excludes the first token (``output_tokens_per_iteration`` in versions without it),
times are in milliseconds, and every distribution has the parts successful, incomplete, errored and total.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail, in_range
from scylla_sim.engines.documents import documents, objects
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows

SOURCE = "GuideLLM report"
NOTE = "tokens per cycle are those of a streamed piece at the client; a server that joins pieces makes them larger"

_FIELDS = {
    "tpot_s": ("time_per_output_token_ms", "mean", 1e-3),
    "tpot_median_s": ("time_per_output_token_ms", "median", 1e-3),
    "itl_s": ("inter_token_latency_ms", "mean", 1e-3),
    "itl_median_s": ("inter_token_latency_ms", "median", 1e-3),
    "ttft_s": ("time_to_first_token_ms", "mean", 1e-3),
    "ttft_median_s": ("time_to_first_token_ms", "median", 1e-3),
    "output_tokens_per_s": ("output_tokens_per_second", "mean", 1.0),
    "concurrency": ("request_concurrency", "mean", 1.0),
    "input_len": ("prompt_token_count", "mean", 1.0),
    "output_len": ("output_token_count", "mean", 1.0),
}
"""Served figure -> distribution, statistic and unit."""


def _statistic(metrics: Mapping[str, Any], name: str, statistic: str) -> float | None:
    """Return a statistic of the successful requests; ``None`` if it is missing."""
    item = metrics.get(name)
    part = item.get("successful") if isinstance(item, dict) else None
    value = part.get(statistic) if isinstance(part, dict) else None
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
    return float(value) if good and value is not None else None


def read_guidellm(text: TextFile) -> list[Measurement]:
    """Return the acceptance of every benchmark in a report, each as a series of its own.

    Raises
    ------
    InputError
        For a report without successful requests that streamed their answers.
    """
    found = []
    benchmarks = [item for item in objects(documents(text), "metrics") if isinstance(item["metrics"], dict)]
    for number, item in enumerate(benchmarks, 1):
        metrics = item["metrics"]
        tokens = _statistic(metrics, "iter_tokens_per_iteration", "mean")
        tokens = _statistic(metrics, "output_tokens_per_iteration", "mean") if tokens is None else tokens
        if not tokens:
            continue
        values = {field: _statistic(metrics, *where[:2]) for field, where in _FIELDS.items()}
        served = {name: value * _FIELDS[name][2] for name, value in values.items() if value is not None}
        length = float(in_range("tokens_per_iteration", tokens, 1, hint="of a streamed answer"))
        count = _statistic(metrics, "output_token_count", "count")
        found.append(
            Measurement(
                SOURCE,
                Windows(np.array([length]), np.ones(1)),
                series=f"benchmark {number}" if len(benchmarks) > 1 else "",
                served=MeasuredServing(**served, requests=count),
                notes=(NOTE,),
            )
        )
    if not found:
        raise fail("file", text.name, "holds no streamed answers", "run GuideLLM with streaming")
    return found
