"""Acceptance from the output of an engine or of a benchmark: recognize the kind of a file and read it.

The content decides the kind. Lines with the parts of `KINDS` are compared with their marks; spreadsheets and
GuideLLM's reports are known by their first characters. Exports of logs as JSON (Loki, CloudWatch, Docker) need no
reader of their own, because the records inside are unchanged.

========================  ===============================================  ======================================
Kind                      Recognized by                                    Module of `scylla_sim.engines`
========================  ===============================================  ======================================
vLLM log                  ``SpecDecoding metrics:``                        `vllm_log`
vLLM metrics              ``vllm:spec_decode_num_accepted``                `vllm_metrics`, `prometheus`
vLLM benchmark            ``Acceptance length:`` or its JSON keys          `bench_serve`
SGLang log                ``Decode batch ... accept len:``                 `sglang_log`
SGLang metrics            ``sglang:spec_accept``                           `sglang_metrics`, `prometheus`
SGLang benchmark          ``Accept length:`` or its JSON keys              `bench_serve`
TensorRT-LLM statistics   ``numAcceptedTokens``                            `trtllm_stats`
TensorRT-LLM metrics      ``trtllm_spec_decode_num_accepted``              `trtllm_metrics`, `prometheus`
llama.cpp log             ``draft acceptance =`` or ``draft_n_accepted``   `llama_log`
SpecForge benchmark       ``accept_length`` beside ``steps``               `specforge`
GuideLLM report           ``generative_benchmark``                         `guidellm`
counts                    first line ``position,accepted,drafted``         `counts_csv`
========================  ===============================================  ======================================

To read another kind, write a module with its reader and add one entry to `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from scylla_sim.checks import fail
from scylla_sim.engines import (
    bench_serve,
    counts_csv,
    guidellm,
    llama_log,
    sglang_log,
    sglang_metrics,
    specforge,
    trtllm_metrics,
    trtllm_stats,
    vllm_log,
    vllm_metrics,
)
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile

Reader = Callable[[TextFile], list[Measurement]]
PageReader = Callable[[TextFile, TextFile | None], list[Measurement]]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    parts
        Texts of which a line that shows the kind has at least one; they are faster to find than ``mark``.
    mark
        Pattern of a line that shows the kind.
    read
        Function that reads the file.
    page
        Function that reads the file and an earlier page; ``None`` if there is no such thing.
    """

    parts: tuple[str, ...]
    mark: re.Pattern[str]
    read: Reader
    page: PageReader | None = None


def _page(name: str, reader: PageReader) -> Kind:
    return Kind((name,), re.compile(name), lambda text: reader(text, None), reader)


def _text(parts: tuple[str, ...], reader: Reader, pattern: str = "") -> Kind:
    return Kind(parts, re.compile(pattern or "|".join(parts)), reader)


KINDS = {
    "vLLM log": _text(("SpecDecoding metrics:", "Speculative metrics:"), vllm_log.read_vllm_log),
    "vLLM metrics": _page("vllm:spec_decode_num_accepted", vllm_metrics.read_vllm_metrics),
    "benchmark result": _text(('"spec_decode_accepted_tokens"', '"accept_length"'), bench_serve.read_bench_json),
    "benchmark text": _text(
        ("Acceptance length:", "Accept length:"),
        bench_serve.read_bench_text,
        r"(?<!Average )\b(?:Acceptance|Accept) length:[ \t]+\d",
    ),
    "SGLang log": _text(("accept len:",), sglang_log.read_sglang_log, r"Decode batch.*accept len:"),
    "SGLang metrics": _page("sglang:spec_accept", sglang_metrics.read_sglang_metrics),
    "TensorRT-LLM statistics": _text(("numAcceptedTokens",), trtllm_stats.read_trtllm_stats),
    "TensorRT-LLM metrics": _page("trtllm_spec_decode_num_accepted", trtllm_metrics.read_trtllm_metrics),
    "llama.cpp log": _text(
        ("draft acceptance", '"draft_n_accepted"'),
        llama_log.read_llama_log,
        'draft acceptance(?: rate)? = |"draft_n_accepted"',
    ),
    "SpecForge benchmark": _text(('"average_acceptance_length"',), specforge.read_specforge),
}
"""Kinds of files with lines that show them."""

STEMS = (b"ccept", b"Spec")
"""Bytes in the parts of `KINDS`, of which each part has one: a pattern that begins with fixed bytes is fast."""

OWN = '"acceptance_rate"'
"""Key of ``acceptance.json``, which needs no reader."""

LOOKED_FOR = (
    "vLLM's or SGLang's log, /metrics page or benchmark, TensorRT-LLM's iteration statistics, llama.cpp's log, a "
    "GuideLLM or SpecForge result, or a CSV file position,accepted,drafted"
)

TAU_ALONE = "a mean acceptance length goes to predict or schedule: --tokens-per-cycle 2.1 --measured-draft-len 3"


def _searches() -> list[re.Pattern[bytes]]:
    """Return patterns of the parts of all kinds, one for each stem."""
    found = []
    for stem in STEMS:
        ends = []
        for part in (part.encode() for kind in KINDS.values() for part in kind.parts):
            if stem in part:
                at = part.index(stem)
                ends.append(b"(?<=" + re.escape(part[: at + len(stem)]) + b")" + re.escape(part[at + len(stem) :]))
        found.append(re.compile(stem + b"(?:" + b"|".join(ends) + b")"))
    return found


SEARCHES = _searches()
"""Patterns of lines that are compared with the marks of kinds."""


def kinds_of(text: TextFile) -> dict[str, Kind]:
    """Return the kinds that a file shows, by name.

    Examples
    --------
    >>> list(kinds_of(TextFile.of("position,accepted,drafted")))
    ['counts']
    """
    start = text.start()
    if counts_csv.is_counts(text):
        return {"counts": _text(("position",), counts_csv.read_counts)}
    found: dict[str, Kind] = {}
    missing = [(part, name) for name, kind in KINDS.items() for part in kind.parts]
    for search in SEARCHES:
        for line in text.texts(search):
            shown = {name for part, name in missing if part in line and KINDS[name].mark.search(line) is not None}
            if shown:
                found |= {name: KINDS[name] for name in shown}
                missing = [(part, name) for part, name in missing if name not in shown]
    found = {name: kind for name, kind in KINDS.items() if name in found}
    if '"steps"' in start and "benchmark result" in found:
        found["SpecForge benchmark"] = KINDS["SpecForge benchmark"]
        del found["benchmark result"]
    if guidellm.is_guidellm(start):
        found["GuideLLM report"] = _text(("guidellm",), guidellm.read_guidellm)
    return found


def read(text: TextFile, before: TextFile | None = None) -> list[Measurement]:
    r"""Read acceptance from the output of an engine.

    Parameters
    ----------
    text
        The file.
    before
        An earlier metrics page, which is subtracted.

    Returns
    -------
    list of Measurement
        One for each configuration that the file measured; see `scylla_sim.engines.measurement.choose`.

    Raises
    ------
    InputError
        For a file of no kind or of several kinds, and for one that cannot be read.

    Examples
    --------
    >>> read(TextFile.of("position,accepted,drafted\n1,7,10\n2,4,10\n"))[0].found.accepted
    (7, 4)
    """
    found = kinds_of(text)
    if len(found) > 1:
        raise fail("file", text.name, f"holds several kinds ({', '.join(found)})", "give one at a time")
    if not found:
        if OWN in text.start():
            raise fail("file", text.name, "is a file of rates already", "give it to --acceptance")
        if any(mark in text.start() for mark in bench_serve.MARKS):
            raise fail("file", text.name, "is a benchmark without acceptance", bench_serve.PLAIN_HINT)
        raise fail("file", text.name, "holds no acceptance", f"looked for {LOOKED_FOR}; {TAU_ALONE}")
    ((name, kind),) = found.items()
    if before is None:
        return kind.read(text)
    if kind.page is None:
        raise fail("before", before.name, f"goes with a metrics page; {text.name} is of the kind {name}")
    return kind.page(text, before)
