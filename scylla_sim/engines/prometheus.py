"""Counts of accepted tokens from vLLM's Prometheus page (``/metrics``)."""

from __future__ import annotations

import re

from scylla_sim.checks import fail
from scylla_sim.engines.counts import Counts

ACCEPTED = "vllm:spec_decode_num_accepted_tokens_per_pos"
"""Counter of accepted tokens per position."""

_SAMPLE = re.compile(r"^(vllm:spec_decode_num_[a-z_]+?)(?:_total)?(?:\{(.*)\})?\s+([0-9.eE+]+)$")
_POSITION = re.compile(r'position="(\d+)"')


def _samples(text: str) -> tuple[float, dict[int, float]]:
    """Return the number of drafts and the accepted tokens by position, summed over engines."""
    drafts, accepted = 0.0, dict[int, float]()
    for line in text.splitlines():
        match = _SAMPLE.match(line.strip())
        if match is None:
            continue
        if match[1] == "vllm:spec_decode_num_drafts":
            drafts += float(match[3])
        elif match[1] == ACCEPTED:
            position = _POSITION.search(match[2] or "")
            if position is None:
                raise fail("metric", match[1], "has no label named position")
            accepted[int(position[1])] = accepted.get(int(position[1]), 0.0) + float(match[3])
    return drafts, accepted


def read_vllm_metrics(text: str, before: str | None = None) -> Counts:
    r"""Return the counts of vLLM's Prometheus page, summed over engines.

    Parameters
    ----------
    text
        The page.
    before
        An earlier page; its counts are subtracted.

    Raises
    ------
    InputError
        For a page without drafts, with missing positions, or earlier than ``before``.

    Examples
    --------
    >>> page = 'vllm:spec_decode_num_drafts_total 10.0\n'
    >>> page += 'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 7.0'
    >>> read_vllm_metrics(page)
    Counts(cycles=10, accepted=(7,), windows=1, whole_drafts=True)
    """
    drafts, accepted = _samples(text)
    if before is not None:
        earlier, known = _samples(before)
        drafts -= earlier
        accepted = {position: count - known.get(position, 0.0) for position, count in accepted.items()}
    if sorted(accepted) != list(range(len(accepted))):
        raise fail("positions", sorted(accepted), "must run from 0 without gaps")
    if drafts < 1:
        raise fail("drafts", drafts, "must be at least 1", "is the earlier page the later one?" if before else "")
    return Counts(round(drafts), tuple(round(accepted[i]) for i in range(len(accepted))))
