"""Tokens per cycle from SGLang's log.

The log has no acceptance per position. Its "accept len" is the number of tokens per cycle of the last decode steps,
bonus token included; 0.00 means that nothing was verified. Its "accept rate" divides by another number of tokens in
each version, so the reader does not use it.

Source: sgl-project/sglang, ``python/sglang/srt/observability/scheduler_metrics_mixin.py``
(``managers/scheduler.py`` before 2025), and ``ServerArgs``, which the server prints when it starts.
"""

from __future__ import annotations

import re

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError, fail
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows

SOURCE = "SGLang log"

MARKER = "Decode batch"
"""Text in front of every record."""

_FIELDS = {
    "requests": re.compile(r"#running-req: (\d{1,9})(?!\d)"),
    "accept_len": re.compile(r"accept len: (\d{1,6}\.\d{2})(?![\d.])"),
}
_THROUGHPUT = re.compile(r"gen throughput \(token\\?/s\): (\d{1,12}\.\d{2})(?![\d.])")
_RANK = re.compile(r"\bTP(\d{1,4})\b")
_STEPS = re.compile(r"speculative_num_steps=(\d{1,4})\b")
_TOP_K = re.compile(r"speculative_eagle_topk=(\d{1,4})\b")
_METHOD = re.compile(r"speculative_algorithm='(\w{1,40})'")
_MODEL = re.compile(r"model_path='([^']{1,300})'")


def read_sglang_log(text: TextFile) -> list[Measurement]:
    """Return the acceptance of a log: the ``accept len`` of every ``Decode batch`` record with running requests.

    Records of tensor-parallel ranks above 0 repeat those of rank 0 and are left out.

    Raises
    ------
    InputError
        If no record can be used.

    Examples
    --------
    >>> line = "Decode batch, #running-req: 4, #token: 900, accept len: 2.50, gen throughput (token/s): 310.00"
    >>> float(read_sglang_log(TextFile.of(line))[0].found.tau().value)
    2.5
    """
    kept: list[tuple[float, float, float]] = []
    problems: list[str] = []
    idle = copies = 0
    for number, line in text.lines(b"accept len:"):
        for record in _split(line):
            rank = _RANK.search(record[: record.find(MARKER)])
            if rank is not None and int(rank[1]) > 0:
                copies += 1
                continue
            try:
                requests, length, rate = _numbers(record, number)
            except InputError as error:
                problems.append(str(error))
                continue
            if requests > 0 and length > 0:
                kept.append((length, requests, rate))
            else:
                idle += 1
    if not kept:
        if problems:
            raise InputError(problems[0])
        raise fail(
            "requests", 0, "were running in this log" if idle else "are of tensor-parallel rank 0 in this log"
        )
    return [_measurement(text, np.array(kept), problems)]


def _split(line: str) -> list[str]:
    """Return the records of a line, each with the text in front of it."""
    ends = [match.start() for match in re.finditer(MARKER, line)]
    begins = [0, *(_begin(line, ends[i], ends[i - 1]) for i in range(1, len(ends)))]
    return [line[begin:end] for begin, end in zip(begins, [*begins[1:], len(line)], strict=True)]


def _begin(line: str, marker: int, earlier: int) -> int:
    """Return where the text in front of a marker begins: at its bracket with the time, if there is one."""
    bracket = line.rfind("[", earlier, marker)
    return bracket if bracket >= 0 else marker


def _numbers(record: str, number: int) -> tuple[float, float, float]:
    """Return the running requests, the tokens per cycle and the throughput of a record."""
    fields = {name: pattern.search(record) for name, pattern in _FIELDS.items()}
    missing = [name for name, match in fields.items() if match is None]
    if missing:
        raise fail("line", number, f"has no {missing[0]} of a Decode batch", "is it cut?")
    requests, length = (float(match[1]) for match in fields.values() if match is not None)
    if 0 < length < 1:
        raise fail("accept_len", length, f"must be at least 1 in line {number}, because it counts the bonus token")
    rate = _THROUGHPUT.search(record)
    return requests, length, float(rate[1]) if rate is not None else 0.0


def _measurement(text: TextFile, kept: np.ndarray, problems: list[str]) -> Measurement:
    """Return the measurement of the windows that were kept, with the settings that the server printed."""
    settings: dict[str, set[str]] = {"steps": set(), "top_k": set(), "method": set(), "model": set()}
    for line in text.texts(b"speculative_num_steps="):
        for name, pattern in (("steps", _STEPS), ("top_k", _TOP_K), ("method", _METHOD), ("model", _MODEL)):
            settings[name] |= {match[1] for match in pattern.finditer(line)}
    one = {name: values.pop() if len(values) == 1 else None for name, values in settings.items()}
    notes = []
    if problems:
        share = f"{len(problems)} of {len(problems) + len(kept)} records"
        notes.append(f"{share} are cut or damaged and skipped; the first: {problems[0]}")
    if one["top_k"] not in (None, "1"):
        notes.append(
            f"the server drafts trees (speculative_eagle_topk={one['top_k']}); the rates are those of a chain"
        )
    rates = kept[kept[:, 2] > 0]
    served = None
    if len(rates):
        served = MeasuredServing(
            output_tokens_per_s=float(rates[:, 2].mean()), concurrency=float(rates[:, 1].mean())
        )
    return Measurement(
        SOURCE,
        Windows(kept[:, 0], kept[:, 1], draft_len=int(one["steps"]) if one["steps"] is not None else None),
        engine="sglang",
        model=one["model"],
        method=None if one["method"] is None else one["method"].lower(),
        skipped=len(problems),
        served=served,
        notes=tuple(notes),
    )
