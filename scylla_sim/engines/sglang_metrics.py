"""Tokens per cycle from SGLang's Prometheus series.

The counters of finished requests give the mean: generated tokens without the first of each request, divided by
verifications. Pages without them have gauges only, which hold the last decode steps.

Source: sgl-project/sglang, ``python/sglang/srt/observability/metrics_collector.py`` (``srt/metrics/collector.py``
before 2026): ``spec_accept_length`` counts the bonus token, ``spec_num_steps`` is the draft length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import fail
from scylla_sim.engines import prometheus
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.prometheus import Series
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows, of_cycles

PREFIX = "sglang:"
SOURCE = "SGLang metrics"


def read_sglang_metrics(text: TextFile, before: TextFile | None = None) -> list[Measurement]:
    r"""Return the acceptance of a page, or of the requests that finished between two pages.

    Raises
    ------
    InputError
        For a page without acceptance.

    Examples
    --------
    >>> page = 'sglang:spec_accept_length{model_name="m"} 2.5\nsglang:spec_num_steps{model_name="m"} 3.0\n'
    >>> found = read_sglang_metrics(TextFile.of(page))[0].found
    >>> float(found.tau().value), found.draft_len
    (2.5, 3)
    """
    series = prometheus.samples(text, PREFIX)
    notes: list[str] = []
    if before is not None:
        series, notes = prometheus.increase(series, prometheus.samples(before, PREFIX))
    models = list(dict.fromkeys(prometheus.label(item.labels, "model_name") for item in series))
    found = []
    for model in models:
        own = [item for item in series if prometheus.label(item.labels, "model_name") == model]
        measured = _of_model(own, notes, compared=before is not None)
        if measured is not None:
            windows, remarks = measured
            found.append(
                Measurement(
                    SOURCE,
                    windows,
                    engine="sglang",
                    series=f"model_name={model}" if len(models) > 1 else "",
                    model=model or None,
                    notes=tuple(remarks),
                )
            )
    if not found:
        raise fail("accept_length", 0, "is on this page", "was something verified before it was read?")
    return found


def _values(series: Sequence[Series], name: str) -> list[float]:
    return [item.value for item in series if item.name == PREFIX + name]


def _of_model(
    series: Sequence[Series], notes: Sequence[str], *, compared: bool
) -> tuple[Windows, list[str]] | None:
    """Return the windows of one model, and notes; ``None`` without acceptance."""
    steps = {int(value) for value in _values(series, "spec_num_steps") if value >= 1}
    if len(steps) > 1:
        rule = "must be one number on the page"
        raise fail("spec_num_steps", sorted(steps), rule, "give the page of one server, or of a fixed draft length")
    length = steps.pop() if steps else None
    verified = sum(_values(series, "spec_verify_calls"))
    generated, requests = sum(_values(series, "generation_tokens")), sum(_values(series, "num_requests"))
    if verified >= 1 and generated - requests >= verified:
        found = of_cycles([verified], [generated - requests - verified])
        return Windows(found.tokens_per_cycle, found.weight, found.cycles, None, found.accepted, length), list(
            notes
        )
    lengths = np.array(_values(series, "spec_accept_length"))
    if compared and len(lengths):
        raise fail("before", "gauges", "cannot be subtracted", "this page has no counters; leave --before out")
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return None
    if (lengths < 1).any():
        raise fail(
            "spec_accept_length", float(lengths.min()), "must be at least 1, because it counts the bonus token"
        )
    remark = f"{PREFIX}spec_accept_length holds the last decode steps only; a log or two pages give more"
    return Windows(lengths, np.ones(len(lengths)), draft_len=length), [*notes, remark]
