"""What engines say about acceptance: vLLM's log and metrics, SGLang's log, or plain counts.

The kinds are never mixed. vLLM's "per-position acceptance rate" is **cumulative** (position i and all before it
were accepted, over all drafts), and every line is checked against the mean acceptance length printed in it, which
conditional rates would miss. SGLang's "accept len" is tokens per cycle with the bonus token, and says nothing of
positions. Lines of vLLM's first engine (V0) are refused: they count tokens behind the first mismatch
(vllm-project/vllm #9565).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.profiles import rates_from_counts, to_conditional
from scylla_sim.checks import FloatArray, InputError, fail, whole
from scylla_sim.stats.estimate import Estimate, exact
from scylla_sim.stats.quantiles import student_quantile

_VLLM = "SpecDecoding metrics:"
_VLLM_V0 = "Speculative metrics:"
_METRICS = "vllm:spec_decode_num_accepted_tokens_per_pos"
_SGLANG = re.compile(r"Decode batch.*#running-req: (\d+).*accept len: ([\d.]+)")
_FIELDS = {
    "length": re.compile(r"Mean acceptance length: ([\d.]+)"),
    "accepted": re.compile(r"Accepted: (\d+) tokens"),
    "drafted": re.compile(r"Drafted: (\d+) tokens"),
    "rates": re.compile(r"Per-position acceptance rate: ((?:[\d.]+)(?:, [\d.]+)*)"),
}
_SAMPLE = re.compile(r"^(vllm:spec_decode_num_[a-z_]+?)(?:_total)?(?:\{(.*)\})?\s+([0-9.eE+]+)$")
_POSITION = re.compile(r'position="(\d+)"')


@dataclass(frozen=True)
class Counts:
    """Draft-verify cycles of a chain, and in how many of them each position was accepted (cumulative, so falling).

    ``windows`` is how many lines they were added up from; ``whole_drafts`` is false where some drafts were shorter,
    so that the cycles follow from rounded rates.
    """

    cycles: int
    accepted: tuple[int, ...]
    windows: int = 1
    whole_drafts: bool = True

    def __post_init__(self) -> None:
        whole("cycles", self.cycles, 1)
        counts = whole("accepted", list(self.accepted), 0)
        if counts.size == 0 or (np.diff(np.append(self.cycles, counts)) > 0).any():
            raise fail(
                "accepted", list(self.accepted), f"must fall from cycles={self.cycles}", "are they conditional?"
            )

    @property
    def reached(self) -> NDArray[np.int64]:
        """Cycles in which each position was reached: those in which the one before it was accepted."""
        return np.array((self.cycles, *self.accepted[:-1]), dtype=np.int64)

    def rates(self, level: float = 0.9) -> Estimate:
        """Conditional rates with Jeffreys intervals; a position never reached has rate 0, and [0, 1] around it."""
        reached = self.reached
        rate = rates_from_counts(self.accepted, np.maximum(reached, 1), level=level)
        never = reached == 0
        return Estimate(
            np.where(never, 0.0, rate.value), np.where(never, 0.0, rate.lower), np.where(never, 1.0, rate.upper)
        )

    def tokens_per_cycle(self, level: float = 0.9) -> Estimate:
        """tau and its interval, taking cycles for independent: the variance is that of the counted distribution."""
        emitted = -np.diff(np.array([self.cycles, *self.accepted, 0])) / self.cycles
        tokens = np.arange(1, emitted.size + 1)
        tau = float(emitted @ tokens)
        error = np.sqrt(max(float(emitted @ tokens**2) - tau**2, 0.0) / self.cycles)
        half = student_quantile(level, max(self.cycles - 1, 1)) * error
        return Estimate.of(tau, max(tau - half, 1.0), min(tau + half, float(emitted.size)))


@dataclass(frozen=True)
class Lengths:
    """Tokens per cycle of SGLang's log, one a line, with the requests that ran in it."""

    accept_len: FloatArray
    requests: FloatArray

    def tokens_per_cycle(self, level: float = 0.9) -> Estimate:
        """Mean over lines, weighted by their running requests, and its interval from the scatter between lines."""
        tau = float(np.average(self.accept_len, weights=self.requests))
        if self.accept_len.size < 2:
            return exact(tau)
        share = self.requests / self.requests.sum()
        error = float(np.sqrt(np.sum((share * (self.accept_len - tau)) ** 2) / (1 - np.sum(share**2))))
        half = student_quantile(level, self.accept_len.size - 1) * error
        return Estimate.of(tau, max(tau - half, 1.0), tau + half)


def read(text: str, name: str) -> Counts | Lengths:
    """Recognise a log, a page of metrics or a CSV of counts by its content, and read it.

    Raises
    ------
    InputError
        When it is none of them, or several engines at once.
    """
    kinds = {
        "vLLM log": _VLLM in text,
        "vLLM metrics": _METRICS in text,
        "SGLang log": _SGLANG.search(text) is not None,
        "counts": text.lstrip("\ufeff").startswith("position,"),
    }
    found = [kind for kind, there in kinds.items() if there]
    if len(found) > 1:
        raise fail("file", name, f"holds several kinds ({', '.join(found)})", "give one at a time")
    if not found:
        if _VLLM_V0 in text:
            raise fail("file", name, "is of vLLM's V0 engine, which counts tokens behind a mismatch", "use V1")
        raise fail(
            "file",
            name,
            "holds no acceptance",
            "wanted: vLLM's 'SpecDecoding metrics' lines or /metrics page, SGLang's 'accept len' lines, or CSV "
            "position,accepted,drafted",
        )
    if found[0] == "SGLang log":
        return read_sglang_log(text)
    if found[0] == "counts":
        return read_counts(text)
    return read_vllm_log(text) if found[0] == "vLLM log" else read_vllm_metrics(text)


def read_vllm_log(text: str) -> Counts:
    """Add up the windows of vLLM's ``SpecDecoding metrics`` lines; those without drafts (nan) count nothing.

    Notes
    -----
    Source: vllm-project/vllm, vllm/v1/spec_decode/metrics.py: rate i is the number of drafts whose position i was
    accepted over the number of drafts, mean acceptance length is 1 + accepted / drafts.

    Examples
    --------
    >>> line = "SpecDecoding metrics: Mean acceptance length: 2.10, Accepted: 11 tokens, Drafted: 20 tokens, "
    >>> read_vllm_log(line + "Per-position acceptance rate: 0.700, 0.400, Avg Draft acceptance rate: 55.0%")
    Counts(cycles=10, accepted=(7, 4), windows=1, whole_drafts=True)
    """
    cycles, accepted, windows, exact = 0, None, 0, True
    for number, line in enumerate(text.splitlines(), 1):
        if _VLLM not in line or re.search(r"\bnan\b", line):
            continue
        drafts, counts, divides = _window(line, number)
        if drafts == 0:
            continue
        if accepted is not None and len(counts) != accepted.size:
            raise fail(
                "positions", len(counts), f"were {accepted.size} before line {number}", "split the log there"
            )
        accepted = counts if accepted is None else accepted + counts
        cycles, windows, exact = cycles + drafts, windows + 1, exact and divides
    if accepted is None:
        raise fail("drafts", 0, "were verified in this log")
    return Counts(cycles, tuple(accepted.tolist()), windows, exact)


def _window(line: str, number: int) -> tuple[int, NDArray[np.int64], bool]:
    """Drafts and cumulative counts of one line, checked against its own totals."""
    found = {name: pattern.search(line) for name, pattern in _FIELDS.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise fail("line", number, f"has no {missing[0]}", "the format of vLLM's metrics changed?")
    length, accepted, drafted, text = (match[1] for match in found.values() if match is not None)
    rates = np.array([float(part) for part in text.split(", ")])
    rounding = 0.0055 + 0.0005 * rates.size
    if abs(rates.sum() - (float(length) - 1)) > rounding:
        raise fail(
            "line",
            number,
            f"has rates that sum to {rates.sum():.3f}, with a mean acceptance length of {length}",
            "they are not cumulative, so this is not a line as vLLM writes it",
        )
    try:
        to_conditional(rates)
    except InputError as error:
        raise InputError(f"{error}, in line {number}") from None
    drafts = int(drafted) / rates.size
    divides = int(drafted) % rates.size == 0 and bool(
        abs(int(accepted) - drafts * rates.sum()) <= 0.5 + 0.0005 * int(drafted)
    )
    if not divides:  # the last drafts of a request may be shorter
        drafts = float(int(accepted) / rates.sum()) if rates.sum() > 0 else drafts
    return round(drafts), np.round(rates * round(drafts)).astype(np.int64), divides


def _samples(text: str) -> tuple[float, dict[int, float]]:
    drafts, accepted = 0.0, dict[int, float]()
    for line in text.splitlines():
        match = _SAMPLE.match(line.strip())
        if match is None:
            continue
        if match[1] == "vllm:spec_decode_num_drafts":
            drafts += float(match[3])
        elif match[1] == _METRICS:
            position = _POSITION.search(match[2] or "")
            if position is None:
                raise fail("metric", match[1], "has no label position")
            accepted[int(position[1])] = accepted.get(int(position[1]), 0.0) + float(match[3])
    return drafts, accepted


def read_vllm_metrics(text: str, before: str | None = None) -> Counts:
    """Counters of vLLM's Prometheus page, engines added up; less an earlier page where one is given.

    Examples
    --------
    >>> page = 'vllm:spec_decode_num_drafts_total 10.0\\n'
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
        raise fail("positions", sorted(accepted), "must run from 0 without a gap")
    if drafts < 1:
        raise fail("drafts", drafts, "must be at least 1", "is the earlier page the later one?" if before else "")
    return Counts(round(drafts), tuple(round(accepted[i]) for i in range(len(accepted))))


def read_sglang_log(text: str) -> Lengths:
    """Every ``Decode batch`` line with an ``accept len``; lines without running requests count nothing.

    Notes
    -----
    Source: sgl-project/sglang, scheduler metrics: the accept length includes the bonus token.

    Examples
    --------
    >>> line = "Decode batch, #running-req: 4, #token: 900, accept len: 2.50, gen throughput (token/s): 310"
    >>> read_sglang_log(line).tokens_per_cycle().value.item()
    2.5
    """
    pairs = [(float(m[2]), float(m[1])) for m in map(_SGLANG.search, text.splitlines()) if m is not None]
    kept = np.array([pair for pair in pairs if pair[1] > 0]).reshape(-1, 2)
    if not len(kept):
        raise fail("requests", 0, "ran in this log")
    if (kept[:, 0] < 1).any():
        raise fail("accept_len", float(kept[:, 0].min()), "must be at least 1: it counts the bonus token")
    return Lengths(kept[:, 0], kept[:, 1])


def read_counts(text: str) -> Counts:
    """CSV ``position,accepted,drafted``, positions from 1: counted over all cycles, or over those that got there.

    The first has one ``drafted`` for all positions; in the second it is what the position before accepted. Anything
    else is refused rather than guessed.

    Examples
    --------
    >>> read_counts("position,accepted,drafted\\n1,7,10\\n2,4,7\\n") == read_counts(
    ...     "position,accepted,drafted\\n1,7,10\\n2,4,10\\n"
    ... )
    True
    """
    lines = [line.split(",") for line in text.lstrip("\ufeff").split()]
    if lines[0] != ["position", "accepted", "drafted"]:
        raise fail("columns", ",".join(lines[0]), "must be position,accepted,drafted")
    try:
        table = [(int(a), int(b), int(c)) for a, b, c in lines[1:]]
    except ValueError:
        raise InputError("counts must be three whole numbers a line: position,accepted,drafted") from None
    if [row[0] for row in table] != list(range(1, len(table) + 1)) or not table:
        raise fail("position", [row[0] for row in table], "must run from 1 without a gap")
    accepted, drafted = [row[1] for row in table], [row[2] for row in table]
    if len(set(drafted)) > 1 and drafted[1:] != accepted[:-1]:
        raise fail("drafted", drafted, "is neither the same for all positions nor what the one before accepted")
    return Counts(drafted[0], tuple(accepted))
