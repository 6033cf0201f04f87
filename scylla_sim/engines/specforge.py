"""Tokens per cycle from the benchmarks of SpecForge and of its SpecBundle.

Source: sgl-project/SpecForge, ``benchmarks/bench_eagle3.py`` (runs of one draft by benchmark),
``specforge/benchmarks/sglang.py`` (one run), and ``docs/spec_bundle/public/raw_data/data.json`` (runs of several
drafts by model and benchmark, each beside a run without a draft). The accept length counts the bonus token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail, in_range, whole
from scylla_sim.engines.documents import documents, objects
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows, of_cycles

SOURCE = "SpecForge benchmark"


def read_specforge(text: TextFile) -> list[Measurement]:
    """Return the acceptance of every run in a file; runs without a draft are left out.

    Raises
    ------
    InputError
        For a file without runs that drafted.

    Examples
    --------
    >>> run = '{"model": "m", "gsm8k": [{"batch_size": 1, "steps": 3, "topk": 1, "num_draft_tokens": 4, "metrics": '
    >>> run += '[{"latency": 9.0, "output_throughput": 100.0, "accept_length": 2.5, "num_questions": 80}]}]}'
    >>> found = read_specforge(TextFile.of(run))[0]
    >>> float(found.found.tau().value), found.found.draft_len, found.served.output_tokens_per_s
    (2.5, 3, 100.0)
    """
    values = documents(text)
    found = [_whole_run(item) for item in objects(values, "spec_verify_count") if item["spec_verify_count"]]
    for path, run in _runs(values, ()):
        found += _metrics(path, run)
    if not found:
        raise fail("file", text.name, "holds no run with a draft")
    return found


def _runs(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every run with the keys above it."""
    pending = [(value, path)]
    while pending:
        item, where = pending.pop()
        if isinstance(item, dict) and isinstance(item.get("metrics"), list) and "steps" in item:
            yield where, item
        elif isinstance(item, dict):
            named = [(part, (*where, key)) for key, part in item.items() if isinstance(part, dict | list)]
            pending += reversed(named)
        elif isinstance(item, list):
            pending += [(part, where) for part in reversed(item)]


def _metrics(path: tuple[str, ...], run: Mapping[str, Any]) -> list[Measurement]:
    """Return the measurements of one run: one for each draft that it names, or the mean of its repetitions."""
    by_draft: dict[str, list[Mapping[str, Any]]] = {}
    for item in run["metrics"]:
        if (
            isinstance(item, dict)
            and isinstance(item.get("accept_length"), int | float)
            and item["accept_length"] > 1
        ):
            by_draft.setdefault(str(item.get("Name", "")), []).append(item)
    steps = run.get("steps")
    draft_len = None if steps is None else int(whole("steps", steps, 1, MAX_DRAFT_LEN))
    shape = [f"{key}={run[key]}" for key in ("batch_size", "steps", "topk", "num_draft_tokens") if run.get(key)]
    notes = []
    if run.get("topk") not in (None, 1):
        notes.append(f"the run drafted trees (topk={run['topk']}); the rates are those of a chain")
    found = []
    for draft, items in by_draft.items():
        lengths = np.atleast_1d(in_range("accept_length", [item["accept_length"] for item in items], 1))
        speeds = [item["output_throughput"] for item in items if isinstance(item.get("output_throughput"), float)]
        where = " ".join(part for part in (*path, draft, *shape) if part and part != "results")
        batch = run.get("batch_size")
        served = MeasuredServing(
            output_tokens_per_s=float(np.mean(speeds)) if speeds else None,
            max_concurrency=float(batch) if isinstance(batch, int) and batch > 0 else None,
        )
        found.append(
            Measurement(
                SOURCE,
                Windows(lengths, np.ones(lengths.size), draft_len=draft_len),
                engine="sglang",
                series=where,
                served=served,
                notes=tuple(notes),
            )
        )
    return found


def _whole_run(item: Mapping[str, Any]) -> Measurement:
    """Return the measurement of a run with its tokens and verifications.

    The first token of an answer comes from its prompt.
    """
    verified = float(whole("spec_verify_count", item["spec_verify_count"], 1))
    tokens = float(whole("output_tokens", item.get("output_tokens", 0), 1))
    samples = float(whole("samples", item.get("samples", 0), 0))
    gained = max(tokens - samples - verified, 0.0)
    speed, seconds = item.get("throughput_tokens_per_second"), item.get("latency_seconds")
    served = MeasuredServing(
        output_tokens_per_s=float(speed) if isinstance(speed, int | float) else None,
        output_len=tokens / samples if samples else None,
        requests=samples or None,
        duration_s=float(seconds) if isinstance(seconds, int | float) else None,
    )
    return Measurement(
        SOURCE, of_cycles([verified], [gained]), engine="sglang", series=str(item.get("dataset", "")), served=served
    )
