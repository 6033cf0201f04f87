"""Counts of accepted tokens from vLLM's log.

vLLM's "Per-position acceptance rate" is cumulative: the share of drafts in which position i and all positions
before it were accepted. The reader compares the rates of every record with its mean acceptance length. This detects
conditional rates and damaged records.

=============  ======================================================================================
vLLM           record
=============  ======================================================================================
V0             ``Speculative metrics: ... System efficiency ...``; refused
0.8 (V1)       ``Speculative metrics: ...`` or ``SpecDecoding metrics: ...`` with totals only
0.9 and later  ``SpecDecoding metrics: ...`` with mean acceptance length, totals, and rates by position
=============  ======================================================================================

Source: vllm-project/vllm, ``vllm/v1/spec_decode/metrics.py``; pull requests 15902 (0.8) and 24049. Versions add and
reorder fields, so every field is searched by its name. V0 counts tokens behind a rejection (issue 9565).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError, fail
from scylla_sim.engines.counts import ROUNDING, Counts, from_rates
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Totals

MARKER = "SpecDecoding metrics:"
"""Text in front of every record."""

MARKER_OLD = "Speculative metrics:"
"""The same text of V0, and of the first version of V1."""

V0 = "System efficiency"
"""Field that only records of V0 have."""

SHARE = "Draft acceptance rate"
"""Field of every record with positions."""

SOURCE = "vLLM log"

_WHOLE = r"(\d{1,15})"
_FIELDS = {
    "length": re.compile(r"Mean acceptance length: (\d{1,6}\.\d{2})(?![\d.])"),
    "accepted": re.compile(rf"Accepted: {_WHOLE} tokens"),
    "drafted": re.compile(rf"Drafted: {_WHOLE} tokens"),
    "rates": re.compile(r"Per-position acceptance rate: (\d\.\d{3}(?:, \d\.\d{3})*)(?![\d.])(?!, ?\d)"),
}
"""Numbers of a record that the reader needs, with the decimals that vLLM prints: others were cut."""

_TOTALS = (
    re.compile(rf"Number of accepted tokens: {_WHOLE}, Number of draft tokens: {_WHOLE}"),
    re.compile(rf"Accepted: {_WHOLE} tokens, Drafted: {_WHOLE} tokens"),
)
_IDLE = re.compile(r"length: nan|Drafted: 0 tokens|draft tokens: 0,")
_TIME = re.compile(r"\d\d:\d\d:\d\d")
_LINES = re.compile(b"metrics:(?:(?<=SpecDecoding metrics:)|(?<=Speculative metrics:))")
_MARKERS = re.compile(f"{MARKER}|{MARKER_OLD}")
_SPEED = re.compile(r"Avg generation throughput: (\d{1,9}\.\d+) tokens/s, Running: (\d{1,9}) reqs")
_CONFIG = re.compile(r"SpeculativeConfig\(method='([\w-]{1,40})'")
_MODEL = re.compile(r"with config: model='([^']{1,300})'")
_VERSION = re.compile(r"engine \(v(\d[\w.+]{0,40})\)")

WHY_TOTALS = "vLLM 0.8 did not print drafts or positions; use 0.9 or newer, or its /metrics page"


class Window(NamedTuple):
    """Counts of one record: drafts, accepted tokens by position, drafted tokens; whether drafts had one length."""

    cycles: int
    accepted: tuple[int, ...]
    drafted: int
    whole: bool


@dataclass
class Records:
    """Records of a log.

    Attributes
    ----------
    windows
        Sum of the records with positions, and their number, by the number of positions.
    totals
        Accepted and drafted tokens of each record without positions.
    problems
        Number of records that were cut or damaged, by what is wrong with them.
    first_problem
        Message about the first of them.
    repeated
        Records that are equal to an earlier one with its time stamp.
    """

    windows: dict[int, tuple[Window, int]] = field(default_factory=dict)
    totals: list[tuple[int, int]] = field(default_factory=list)
    problems: int = 0
    first_problem: str = ""
    repeated: int = 0


def records(text: TextFile) -> Records:
    """Return the records of a log; idle records are left out."""
    found, seen = Records(), set[int]()
    for number, record in _marked(text):
        if _IDLE.search(record) is not None:
            continue
        key = hash(record)
        found.repeated += key in seen and _TIME.search(record) is not None
        seen.add(key)
        try:
            _add(_read(record, number), found)
        except InputError as error:
            found.problems += 1
            found.first_problem = found.first_problem or str(error)
    return found


def _marked(text: TextFile) -> Iterator[tuple[int, str]]:
    """Yield the number of the line and the text of every record; the first has the text in front of it."""
    for number, line in text.lines(_LINES):
        begins = [match.start() for match in _MARKERS.finditer(line)]
        for i, begin in enumerate(begins):
            yield number, line[begin if i else 0 : begins[i + 1] if i + 1 < len(begins) else None]


def _add(read: Window | tuple[int, int], found: Records) -> None:
    """Add the numbers of one record."""
    if not isinstance(read, Window):
        found.totals.append(read)
        return
    known = found.windows.get(len(read.accepted))
    if known is None:
        found.windows[len(read.accepted)] = (read, 1)
        return
    old, number = known
    both = Window(
        old.cycles + read.cycles,
        tuple(map(operator.add, old.accepted, read.accepted)),
        old.drafted + read.drafted,
        old.whole and read.whole,
    )
    found.windows[len(read.accepted)] = (both, number + 1)


def _read(record: str, number: int) -> Window | tuple[int, int]:
    """Return the counts of one record, or its accepted and drafted tokens if it has no positions."""
    fields = [pattern.search(record) for pattern in _FIELDS.values()]
    length, accepted, drafted, rates = fields
    whole = SHARE in record  # in front of the rates in 0.9, and behind them since: a cut may leave fewer rates
    if whole and length is not None and accepted is not None and drafted is not None and rates is not None:
        shares = [float(part) for part in rates[1].split(", ")]
        return _window(number, float(length[1]), int(accepted[1]), int(drafted[1]), shares)
    if V0 in record:
        rule = "is of vLLM's V0 engine, which counts tokens behind a rejection"
        raise fail("line", number, rule, "use the V1 engine")
    if "Mean" not in record and "Per-position" not in record:
        for pattern in _TOTALS:
            if (match := pattern.search(record)) is not None:
                return int(match[1]), int(match[2])
    missing = next((name for name, match in zip(_FIELDS, fields, strict=True) if match is None), f"'{SHARE}'")
    hint = "is it cut, or has the format of vLLM's metrics changed?"
    raise fail("line", number, f"has no {missing}", hint)


def _window(number: int, length: float, accepted: int, drafted: int, rates: list[float]) -> Window:
    """Return the counts of one record."""
    positions, total = len(rates), sum(rates)
    if abs(total - (length - 1)) > 0.0055 + ROUNDING * positions:
        found = f"has rates that sum to {total:.3f}, with a mean acceptance length of {length:.2f}"
        raise fail("line", number, found, "they are not cumulative, as vLLM's rates are")
    if any(later > earlier for earlier, later in zip([1.0, *rates], rates)):
        raise fail("line", number, "has rates that rise with the position", "are these rates conditional?")
    drafts = drafted / positions
    whole = drafted % positions == 0 and abs(accepted - drafts * total) <= 0.5 + ROUNDING * drafted
    if not whole:  # the last draft of a request may be shorter, and suffix decoding drafts as many as it finds
        known = total if ROUNDING * positions <= 0.005 else length - 1
        drafts = max(drafts, accepted / known) if known > 0 else drafts
    cycles = min(max(round(drafts), -(-drafted // positions), 1), drafted)
    counts = from_rates(rates, cycles, accepted)
    if accepted > drafted or abs(sum(counts) - accepted) > positions * (1 + ROUNDING * cycles):
        raise fail("line", number, f"accepts {accepted} of {drafted} tokens, and {sum(counts)} by its rates")
    return Window(cycles, counts, drafted, whole)


def read_vllm_log(text: TextFile) -> list[Measurement]:
    """Return the acceptance of a log: one measurement for each number of positions.

    Idle records are left out. Records that were cut or damaged are skipped and counted.

    Raises
    ------
    InputError
        If no record can be used. The message is that of the first record.

    Examples
    --------
    >>> line = "SpecDecoding metrics: Mean acceptance length: 2.10, Accepted: 11 tokens, Drafted: 20 tokens, "
    >>> line += "Per-position acceptance rate: 0.700, 0.400, Avg Draft acceptance rate: 55.0%"
    >>> read_vllm_log(TextFile.of(line))[0].found
    Counts(cycles=10, accepted=(7, 4), drafted=None, windows=1, whole_drafts=True)
    """
    read = records(text)
    if not read.windows and not read.totals:
        raise InputError(read.first_problem) if read.problems else fail("drafts", 0, "were verified in this log")
    several = len(read.windows) + bool(read.totals) > 1
    first = replace(_facts(text), skipped=read.problems, notes=_notes(read))
    found = [
        replace(first, found=_counts(window, number), series=f"draft_len={length}" if several else "")
        for length, (window, number) in read.windows.items()
    ]
    if read.totals:
        accepted, drafted = np.array(read.totals, dtype=np.float64).T
        name = "without positions" if several else ""
        found.append(replace(first, found=Totals(drafted, accepted, WHY_TOTALS), series=name))
    return found


def _counts(window: Window, number: int) -> Counts:
    """Return the counts of the sum of some records."""
    same = window.whole and window.drafted == window.cycles * len(window.accepted)
    drafted = None if same else max(window.drafted, sum(window.accepted))
    return Counts(window.cycles, window.accepted, drafted, number, window.whole)


def _notes(read: Records) -> tuple[str, ...]:
    """Return notes on records that were skipped, and on records that appear twice."""
    used = sum(number for _, number in read.windows.values()) + len(read.totals)
    notes = []
    if read.problems:
        share = f"{read.problems} of {used + read.problems} records"
        notes.append(f"{share} are cut or damaged and skipped; the first: {read.first_problem}")
    if read.repeated:
        notes.append(f"{read.repeated} records repeat an earlier record and its time, and are counted again")
    return tuple(notes)


def _facts(text: TextFile) -> Measurement:
    """Return a measurement with method, model, version and served figures, where the log has them."""
    start = list(text.texts(b"with config: model="))

    def only(pattern: re.Pattern[str]) -> str | None:
        values = {match[1] for line in start for match in pattern.finditer(line)}
        return values.pop() if len(values) == 1 else None

    speeds = [
        (float(match[1]), float(match[2]))
        for line in text.texts(b"Avg generation throughput: ")
        for match in _SPEED.finditer(line)
    ]
    busy = np.array([pair for pair in speeds if min(pair) > 0]).reshape(-1, 2)
    served = None
    if len(busy):
        rate, running = busy.mean(axis=0)
        served = MeasuredServing(output_tokens_per_s=float(rate), concurrency=float(running))
    return Measurement(
        SOURCE,
        Counts(1, (0,)),
        engine="vllm",
        model=only(_MODEL),
        method=only(_CONFIG),
        version=only(_VERSION),
        served=served,
    )
