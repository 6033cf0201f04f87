"""Drafted and accepted tokens from TensorRT-LLM's Prometheus series.

Source: NVIDIA/TensorRT-LLM, ``tensorrt_llm/metrics/collector.py``: counters of drafted and of accepted tokens, and
a gauge of the last acceptance length. The number of cycles is not among them.
"""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import fail
from scylla_sim.engines import prometheus
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Totals

PREFIX = "trtllm_"
SOURCE = "TensorRT-LLM metrics"
WHY = "TensorRT-LLM's /metrics page does not count cycles"

_NAMES = {
    "drafted": ("spec_decode_num_draft_tokens",),
    "accepted": ("spec_decode_num_accepted_tokens",),
}


def read_trtllm_metrics(text: TextFile, before: TextFile | None = None) -> list[Measurement]:
    r"""Return the acceptance of a page, or of the time between two pages.

    Examples
    --------
    >>> page = "trtllm_spec_decode_num_draft_tokens_total 30\ntrtllm_spec_decode_num_accepted_tokens_total 18\n"
    >>> float(read_trtllm_metrics(TextFile.of(page))[0].found.windows(3).tau().value)
    2.8
    """
    series = prometheus.samples(text, PREFIX)
    notes: list[str] = []
    if before is not None:
        series, notes = prometheus.increase(series, prometheus.samples(before, PREFIX))
    models = list(dict.fromkeys(prometheus.label(item.labels, "model_name") for item in series))
    found = []
    for model in models:
        own = [item for item in series if prometheus.label(item.labels, "model_name") == model]
        drafted, accepted = (
            sum(item.value for item in own if item.name.removeprefix(PREFIX) in names) for names in _NAMES.values()
        )
        if drafted <= 0:
            continue
        if not 0 <= accepted <= drafted:
            raise fail("accepted_tokens", accepted, f"must lie in [0, {drafted:g}], the drafted tokens")
        found.append(
            Measurement(
                SOURCE,
                Totals(np.array([drafted]), np.array([accepted]), WHY),
                engine="trtllm",
                series=f"model_name={model}" if len(models) > 1 else "",
                model=model or None,
                notes=tuple(notes),
            )
        )
    if not found:
        raise fail("draft_tokens", 0, "were counted on this page")
    return found
