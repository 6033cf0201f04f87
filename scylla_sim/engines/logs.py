"""Acceptance from the output of a serving engine: recognize the kind of a file and read it.

============  ============================================  ========================================
Kind          Recognized by                                 Reader
============  ============================================  ========================================
vLLM log      ``SpecDecoding metrics:``                     `scylla_sim.engines.vllm_log`
vLLM metrics  ``vllm:spec_decode_num_accepted_tokens...``   `scylla_sim.engines.prometheus`
SGLang log    ``Decode batch ... accept len:``              `scylla_sim.engines.sglang_log`
counts        first line ``position,accepted,drafted``      `scylla_sim.engines.counts`
============  ============================================  ========================================

To read another kind, write a module with its reader and add one entry to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scylla_sim.checks import fail
from scylla_sim.engines import prometheus, sglang_log, vllm_log
from scylla_sim.engines.counts import Counts, read_counts
from scylla_sim.engines.sglang_log import Lengths


@dataclass(frozen=True)
class Kind:
    """A kind of engine output.

    Attributes
    ----------
    matches
        Function that recognizes the kind by the text of a file.
    read
        Function that reads the text.
    """

    matches: Callable[[str], bool]
    read: Callable[[str], Counts | Lengths]


KINDS = {
    "vLLM log": Kind(lambda text: vllm_log.MARKER in text, vllm_log.read_vllm_log),
    "vLLM metrics": Kind(lambda text: prometheus.ACCEPTED in text, prometheus.read_vllm_metrics),
    "SGLang log": Kind(lambda text: sglang_log.LINE.search(text) is not None, sglang_log.read_sglang_log),
    "counts": Kind(lambda text: text.lstrip("\ufeff").startswith("position,"), read_counts),
}
"""Kinds of engine output by name."""


def read(text: str, name: str) -> Counts | Lengths:
    r"""Read acceptance from the output of an engine.

    Parameters
    ----------
    text
        Content of a log, of a metrics page, or of a CSV file of counts.
    name
        Name of the file, for error messages.

    Returns
    -------
    Counts or Lengths
        Counts per position; lengths for an SGLang log, which has no positions.

    Raises
    ------
    InputError
        For a text of no kind, or of several kinds.

    Examples
    --------
    >>> read("position,accepted,drafted\n1,7,10\n2,4,10\n", "counts.csv").accepted
    (7, 4)
    """
    found = [kind for kind, item in KINDS.items() if item.matches(text)]
    if len(found) > 1:
        raise fail("file", name, f"holds several kinds ({', '.join(found)})", "give one at a time")
    if found:
        return KINDS[found[0]].read(text)
    if vllm_log.MARKER_V0 in text:
        rule = "is of vLLM's V0 engine, which counts tokens behind a rejection"
        raise fail("file", name, rule, "use the V1 engine")
    raise fail(
        "file",
        name,
        "holds no acceptance",
        "give vLLM's 'SpecDecoding metrics' lines or /metrics page, SGLang's 'accept len' lines, or a CSV file "
        "position,accepted,drafted",
    )
