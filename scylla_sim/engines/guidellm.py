"""Tokens per cycle and times from a GuideLLM report.

GuideLLM measures at the client. It has no counters of drafts, but the tokens of each piece of a streamed answer.
With speculation an engine sends the tokens of a cycle as one piece.

Source: vllm-project/guidellm, ``src/guidellm/benchmark/schemas/metrics.py`` and ``schemas/request_stats.py``:
``iter_tokens_per_iteration`` excludes the first token (``output_tokens_per_iteration`` in versions without it),
times are in milliseconds, and every distribution has the parts successful, incomplete, errored and total.
``inter_token_latency_ms`` is the time of a token, from the first token on: the seconds behind the first piece over
the tokens behind it. Elsewhere that is TPOT. ``time_per_output_token_ms`` has the wait for the first token too, and
is not read. No statistic is the time between two pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail
from scylla_sim.engines.documents import documents, objects
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows

SOURCE = "GuideLLM report"
NOTE = "tokens per cycle are those of a streamed piece at the client; a server that joins pieces makes them larger"

_FIELDS = {
    "tpot_s": ("inter_token_latency_ms", "mean", 1e-3),
    "tpot_median_s": ("inter_token_latency_ms", "median", 1e-3),
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


PIECES = ("iter_tokens_per_iteration", "output_tokens_per_iteration")
"""Distributions of the tokens of a piece, the better one first."""
DISTRIBUTIONS = {*PIECES, *(name for name, *_ in _FIELDS.values())}
"""Keys of the metrics of a benchmark."""
PLAIN = 1.02
"""Most tokens of a piece on average in a run without a draft: text that is held back joins a piece now and then."""


def is_guidellm(start: str) -> bool:
    """Return whether the first characters of a file are those of a report."""
    return start.startswith("{") and ('"generative_benchmark"' in start or '"guidellm_version"' in start)


def runs(text: TextFile) -> list[tuple[float | None, str, MeasuredServing]]:
    """Return tokens per piece, model and served figures of every benchmark in a report.

    Tokens per piece are ``None`` without streaming, and below 1 where an engine sends pieces without a token.
    """
    found = []
    for item in objects(documents(text), "metrics"):
        metrics = item["metrics"]
        if not isinstance(metrics, dict) or not DISTRIBUTIONS & metrics.keys():
            continue  # settings have a key of this name too
        pieces = [tokens for name in PIECES if (tokens := _statistic(metrics, name, "mean")) is not None]
        values = {field: _statistic(metrics, *where[:2]) for field, where in _FIELDS.items()}
        served = {name: value * _FIELDS[name][2] for name, value in values.items() if value}
        count = _statistic(metrics, "output_token_count", "count")
        backend = next(objects(item, "model"), {})
        model = backend.get("model")
        run = MeasuredServing(**served, requests=count or None)
        found.append((next(iter(pieces), None) or None, model if isinstance(model, str) else "", run))
    return found


def read_guidellm(text: TextFile) -> list[Measurement]:
    """Return the acceptance of every benchmark in a report, each as a series of its own.

    Raises
    ------
    InputError
        For a report without successful requests that streamed their answers in pieces of several tokens.
    """
    every = runs(text)
    found = [
        Measurement(
            SOURCE,
            Windows(np.array([tokens]), np.ones(1)),
            series=f"benchmark {number}" if len(every) > 1 else "",
            model=model or None,
            served=served,
            notes=(NOTE,),
        )
        for number, (tokens, model, served) in enumerate(every, 1)
        if tokens is not None and tokens > PLAIN
    ]
    if not found:
        if any(tokens is not None for tokens, _, _ in every):
            rule = "holds answers of one token a piece: no draft was used, or its tokens came one by one"
            raise fail("file", text.name, rule, "a plain run goes to predict --compare or ingest --fit-overhead")
        raise fail("file", text.name, "holds no streamed answers", "run GuideLLM with streaming")
    return found
