"""Tokens per cycle from llama.cpp: the log of ``llama-server``, and ``timings`` of its answers.

A request prints its generated tokens and times, and then its drafted and accepted tokens. The first token comes
from the prompt, and every later step gives one token more than it accepts. So a request of n tokens that accepted a
of them took n - 1 - a steps, steps without a draft included. Rates by position are cumulative: accepted tokens of
the position over the drafts that were verified.

Source: ggml-org/llama.cpp, ``tools/server/server-context.cpp`` (``print_timing``: "draft acceptance", before 2026
"draft acceptance rate"; since pull request 24536 of June 2026 "acceptance rate per position"),
``tools/server/README.md`` (``timings``: ``predicted_n``, ``draft_n``, ``draft_n_accepted``) and
``common/speculative.cpp`` ("statistics" lines add up over requests and give the method).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError, fail
from scylla_sim.engines.counts import ROUNDING, Counts, from_rates, total
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Totals, Windows, of_cycles

SOURCE = "llama.cpp log"

_N = r"(\d{1,12})"
_EVAL = re.compile(rf"(?<!prompt )\beval time =\s*(\d{{1,12}}\.\d+) ms /\s*{_N} (?:tokens|runs)")
_DRAFT = re.compile(rf"draft acceptance(?: rate)? = \d\.\d+ \(\s*{_N} accepted \\?/\s*{_N} generated\)")
_CUT = re.compile(r"draft acceptance(?: rate)? =")
_LINES = re.compile(rb" =(?:(?<=eval time =)|(?<=draft acceptance =)|(?<=draft acceptance rate =))")
_MEAN = re.compile(r"mean (?:len|acceptance length) =\s*(\d{1,6}\.\d{2})(?!\d)")
_RATES = re.compile(r"acceptance rate per position = \((\d\.\d{2,3}(?:, \d\.\d{2,3})*)\)")
_METHOD = re.compile(r"statistics\s+([\w-]{1,40}):")
_TIMINGS = re.compile(r'"timings"\s*:\s*\{([^{}]*)\}')
_TIMING = {
    "tokens": re.compile(rf'"predicted_n"\s*:\s*{_N}(?!\d)'),
    "ms": re.compile(r'"predicted_ms"\s*:\s*(\d{1,12}(?:\.\d+)?)'),
    "drafted": re.compile(rf'"draft_n"\s*:\s*{_N}(?!\d)'),
    "accepted": re.compile(rf'"draft_n_accepted"\s*:\s*{_N}(?!\d)'),
}
_UNFINISHED = re.compile(r'^\s*data:(?!.*("stop"\s*:\s*true|"finish_reason"\s*:\s*"))')
WHY = "these requests have no line with their generated tokens, so their steps are unknown"


@dataclass(frozen=True)
class Request:
    """One request: its drafted and accepted tokens, and what is known of its tokens, seconds and positions."""

    drafted: int
    accepted: int
    tokens: int | None = None
    seconds: float = 0.0
    mean_len: float | None = None
    rates: tuple[float, ...] = ()

    @property
    def steps(self) -> float | None:
        """Steps of the request; ``None`` if they are unknown.

        Examples
        --------
        >>> Request(3927, 2703, tokens=4013).steps
        1309.0
        """
        if self.tokens is not None:
            return float(max(self.tokens - 1 - self.accepted, 0))
        if self.mean_len is not None and self.mean_len > 1:
            return float(round(self.accepted / (self.mean_len - 1)))
        return None

    def counts(self) -> Counts | None:
        """Return the counts per position; ``None`` if they are unknown or contradict the accepted tokens.

        Examples
        --------
        >>> Request(259, 167, tokens=256, rates=(0.805, 0.632, 0.483)).counts().accepted
        (70, 55, 42)
        """
        total = sum(self.rates)
        if not self.steps or total <= 0 or any(b > a for a, b in zip((1.0, *self.rates), self.rates)):
            return None
        least = ceil(self.accepted / (total + ROUNDING * len(self.rates)))  # a verified draft is a step
        verified = max(min(round(self.accepted / total), int(self.steps)), least)
        accepted = from_rates(self.rates, verified, self.accepted)
        cycles = max(int(self.steps), verified)
        if sum(accepted) != self.accepted or self.drafted > cycles * len(self.rates):
            return None
        same = self.drafted == cycles * len(self.rates)
        return Counts(cycles, accepted, None if same else self.drafted, whole_drafts=same)


def read_llama_log(text: TextFile) -> list[Measurement]:
    """Return the acceptance of all requests that drafted.

    Raises
    ------
    InputError
        If no request can be used.

    Examples
    --------
    >>> lines = "eval time = 161.86 ms / 8 tokens (20.23 ms per token)" + chr(10)
    >>> lines += "draft acceptance = 0.37500 (3 accepted / 8 generated)"
    >>> found = read_llama_log(TextFile.of(lines))[0].found
    >>> found.cycles, float(found.tau().value)
    (4, 1.75)
    """
    problems: list[str] = []
    requests = [item for item in _requests(text, problems) if item.drafted > 0]
    bad = [item for item in requests if item.accepted > item.drafted or item.steps == 0]
    problems += [f"accepted={item.accepted} contradicts {item.drafted} drafted tokens" for item in bad]
    requests = [item for item in requests if item not in bad]
    if not requests:
        raise InputError(problems[0]) if problems else fail("drafted", 0, "tokens are in this log")
    known = [item for item in requests if item.steps]
    notes = []
    if problems:
        share = f"{len(problems)} of {len(problems) + len(requests)} records"
        notes.append(f"{share} are cut or damaged and skipped; the first: {problems[0]}")
    if known and len(known) < len(requests):
        notes.append(f"{len(requests) - len(known)} of {len(requests)} requests are left out: {WHY}")
    methods = {match[1] for line in text.texts(b"statistics ") for match in _METHOD.finditer(line)}
    item = Measurement(
        SOURCE,
        _windows(known or requests),
        engine="llama.cpp",
        method=methods.pop() if len(methods) == 1 else None,
        skipped=len(problems),
        served=_served(known),
        notes=tuple(notes),
    )
    counts = [each for each in (request.counts() for request in known) if each is not None]
    lengths = sorted({len(each.accepted) for each in counts})
    if len(counts) < len(requests) or not lengths:
        return [item]
    found = [(n, total([each for each in counts if len(each.accepted) == n])) for n in lengths]
    if len(found) == 1:
        return [replace(item, found=found[0][1])]
    return [replace(item, found=each, served=None, series=f"draft_len={n}") for n, each in found]


def _windows(requests: Sequence[Request]) -> Windows | Totals:
    """Return one window for each request."""
    drafted, accepted = ([float(getattr(item, key)) for item in requests] for key in ("drafted", "accepted"))
    steps = [item.steps for item in requests if item.steps]
    if len(steps) < len(requests):
        return Totals(np.array(drafted), np.array(accepted), WHY)
    return of_cycles(steps, accepted, drafted)


def _served(requests: Sequence[Request]) -> MeasuredServing | None:
    """Return the mean time per token of the requests that print it."""
    timed = [item for item in requests if item.seconds > 0 and item.tokens]
    if not timed:
        return None
    tokens = sum(item.tokens or 0 for item in timed)
    mean = sum(item.seconds for item in timed) / tokens
    return MeasuredServing(tpot_s=mean, output_len=tokens / len(timed), requests=len(timed))


def _requests(text: TextFile, problems: list[str]) -> Iterator[Request]:
    """Yield the requests of a log; a log without them may have answers.

    The server prints the lines of a request together, so the last time belongs to the next draft.
    """
    pending, found = (0.0, 0), False
    for number, line in text.lines(_LINES):
        marks = sorted(
            [(match.start(), match) for match in (*_EVAL.finditer(line), *_CUT.finditer(line))],
            key=lambda pair: pair[0],
        )
        for at, match in marks:
            if match.re is _EVAL:
                pending = (float(match[1]), int(match[2]))
                continue
            draft, mean = _DRAFT.match(line, at), _MEAN.search(line, at)
            if draft is None:
                problems.append(f"line={number} has no accepted and generated tokens; is it cut?")
                continue
            (ms, tokens), pending, found = pending, (0.0, 0), True
            rates = _RATES.search(line, at)
            yield Request(
                int(draft[2]),
                int(draft[1]),
                tokens or None,
                1e-3 * ms,
                None if mean is None else float(mean[1]),
                () if rates is None else tuple(map(float, rates[1].split(", "))),
            )
    if not found:
        for number, line in text.lines(b'"draft_n_accepted"'):
            yield from _answers(line, number, problems)


def _answers(line: str, number: int, problems: list[str]) -> Iterator[Request]:
    """Yield the requests of the answers in a line; pieces of a streamed answer are left out but the last."""
    if _UNFINISHED.search(line) is not None:
        return
    found = _TIMINGS.findall(line)
    if not found:
        problems.append(f"line={number} has no timings; is it cut?")
    for body in found:
        values = {name: pattern.search(body) for name, pattern in _TIMING.items()}
        if values["drafted"] is None or values["accepted"] is None:
            continue
        tokens, ms = values["tokens"], values["ms"]
        yield Request(
            int(values["drafted"][1]),
            int(values["accepted"][1]),
            None if tokens is None else int(tokens[1]),
            0.0 if ms is None else 1e-3 * float(ms[1]),
        )
