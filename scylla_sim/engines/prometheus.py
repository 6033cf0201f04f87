"""Samples of Prometheus: text pages, federated pages, and the JSON of its query API.

A series is a name with all its labels. Counters start again at zero when an engine restarts, so they are subtracted
series by series. Source: the Prometheus text exposition format, OpenMetrics, ``/federate``, and ``/api/v1/query``
and ``/api/v1/query_range`` of the HTTP API, https://prometheus.io/docs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.engines.documents import documents
from scylla_sim.engines.text_file import TextFile

Labels = frozenset[tuple[str, str]]
"""Labels of a series, as pairs of name and value."""

_SAMPLE = re.compile(
    r"(?<![\w:])([a-zA-Z_:][\w:]*)(?:\{((?:[^\"{}]|\"(?:[^\"\\]|\\.)*\")*)\})?[ \t]+"
    r"([+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|Inf|NaN))(?:[ \t]+(-?\d+(?:\.\d+)?))?(?:[ \t]+#.*)?[ \t\r]*$"
)
_LABEL = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')
_COMMENT = re.compile(r"#\s*(HELP|TYPE|UNIT|EOF)\b")

MAX_DIGITS = 15
"""Digits of the largest counter: float64 represents whole numbers up to 2^53."""


@dataclass(frozen=True)
class Series:
    """Increase of one series.

    Attributes
    ----------
    name
        Name without ``_total``.
    labels
        All labels.
    value
        Last value, or the increase since the first sample if there are several or an earlier page.
    restarted
        Whether the counter started again in between.
    """

    name: str
    labels: Labels
    value: float
    restarted: bool = False


def label(series: Labels, name: str) -> str:
    """Return the value of a label; empty if it is missing."""
    return dict(series).get(name, "")


def _number(text: str, place: str) -> float:
    """Return a sample value."""
    if len(text.split("e")[0].split("E")[0].strip("+-").split(".")[0]) > MAX_DIGITS:
        raise fail("metric", text, f"must have at most {MAX_DIGITS} digits {place}")
    value = float(text)
    if not abs(value) < 10.0**MAX_DIGITS:
        raise fail("metric", text, f"must be a finite number {place}")
    return value


def _text_samples(text: TextFile, prefix: str) -> Iterator[tuple[str, Labels, float, float | None]]:
    """Yield name, labels, value and time of each sample of a page whose name starts with ``prefix``."""
    for number, line in text.lines(re.escape(prefix).encode()):
        if _COMMENT.search(line) is not None:
            continue
        match = _SAMPLE.search(line)
        if match is None:
            raise fail("line", number, f"of {text.name} has no value of its metric", "is the page cut?")
        if match[1].startswith(prefix):
            labels = frozenset(_LABEL.findall(match[2] or ""))
            time = None if match[4] is None else float(match[4])
            if match[3].lower().endswith("nan"):
                continue
            yield match[1], labels, _number(match[3], f"in line {number}"), time


def _api_samples(answers: Iterable[Any], prefix: str) -> Iterator[tuple[str, Labels, float, float | None]]:
    """Yield the samples of answers of the query API."""
    for answer in answers:
        for item in _results(answer):
            metric = item.get("metric")
            metric = metric if isinstance(metric, dict) else {}
            name = str(metric.get("__name__", ""))
            if not name:
                rule = "has no name, so it is the result of a function such as rate()"
                raise fail("series", metric, rule, 'query {__name__=~"vllm:spec_decode_.*"} instead')
            if not name.startswith(prefix):
                continue
            labels = frozenset((str(key), str(value)) for key, value in metric.items() if key != "__name__")
            points = item.get("values", [item.get("value")])
            for point in points if isinstance(points, list) else [None]:
                if not isinstance(point, list) or len(point) != 2 or not isinstance(point[0], int | float):
                    raise fail("value", point, f"of {name} must be a pair of time and number")
                if str(point[1]) != "NaN":
                    yield name, labels, _number(str(point[1]), f"in {name}"), float(point[0])


def _results(answer: Any) -> list[dict[str, Any]]:
    """Return the results of one answer."""
    data = answer.get("data") if isinstance(answer, dict) else None
    results = data.get("result") if isinstance(data, dict) else None
    if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
        status = answer.get("status", "?") if isinstance(answer, dict) else "?"
        raise fail(
            "status", status, "must be success, with data.result", "is this an answer of Prometheus' query API?"
        )
    return results


def is_api(text: TextFile) -> bool:
    """Return whether a text is JSON with ``resultType``."""
    start = text.start()
    return start.startswith("{") and '"resultType"' in start


def samples(text: TextFile, prefix: str) -> list[Series]:
    """Return every series whose name starts with ``prefix``, with its value or its increase over time.

    Raises
    ------
    InputError
        For a line of the metric without a value, and for a series that appears twice at one time.

    Examples
    --------
    >>> page = TextFile.of("vllm:num_drafts_total 5.0 1000" + chr(10) + "vllm:num_drafts_total 9 2000")
    >>> [(item.name, item.value) for item in samples(page, "vllm:")]
    [('vllm:num_drafts', 4.0)]
    """
    points: dict[tuple[str, Labels], dict[float | None, float]] = {}
    read = _api_samples(documents(text), prefix) if is_api(text) else _text_samples(text, prefix)
    for name, labels, value, time in read:
        known = points.setdefault((name.removesuffix("_total"), labels), {})
        if (time in known and known[time] != value) or (time is None and known) or None in known:
            hint = "give two pages as FILE and --before"
            raise fail("series", _shown(name, labels), f"appears twice in {text.name}", hint)
        known[time] = value
    return [_over_time(name, labels, known) for (name, labels), known in points.items()]


def _shown(name: str, labels: Labels) -> str:
    return name + "{" + ",".join(f"{key}={value}" for key, value in sorted(labels)) + "}"


def _over_time(name: str, labels: Labels, known: Mapping[float | None, float]) -> Series:
    """Return a series from its values by time: the increase of several, which is its last value if it restarted."""
    if len(known) == 1 or not _is_counter(name):
        return Series(name, labels, list(known.values())[-1])
    values = [known[time] for time in sorted(time for time in known if time is not None)]
    pairs = list(pairwise(values))
    steps = [later - earlier if later >= earlier else later for earlier, later in pairs]
    return Series(name, labels, sum(steps), any(later < earlier for earlier, later in pairs))


def _is_counter(name: str) -> bool:
    """Return whether a series is a counter and no gauge; only counters have an increase."""
    return not name.endswith("_created") and (
        "num_" in name or name.endswith(("_sum", "_count", "_calls", "_tokens"))
    )


def increase(
    after: Iterable[Series], before: Iterable[Series], same: Iterable[str] = ("position", "le")
) -> tuple[list[Series], list[str]]:
    """Return the increase of every series since an earlier page, and notes on engines that restarted or are new.

    All series of an engine restart together, so one that fell shows that the others began at zero too. An engine is
    the labels of a series without those in ``same``.

    Raises
    ------
    InputError
        If the counters of every engine fell, as in pages in the wrong order.

    Examples
    --------
    >>> def page(first, second):
    ...     labels = [frozenset({("engine", name)}) for name in "01"]
    ...     return [Series("num_drafts", each, value) for each, value in zip(labels, (first, second))]
    >>> [item.value for item in increase(page(4.0, 25.0), page(10.0, 20.0))[0]]
    [4.0, 5.0]
    """
    inside = frozenset(same)

    def engine(labels: Labels) -> Labels:
        return frozenset(pair for pair in labels if pair[0] not in inside)

    later, known = list(after), {(item.name, item.labels): item.value for item in before}
    seen, now = {engine(labels) for _, labels in known}, {engine(item.labels) for item in later}
    restarted = _restarted(later, known, engine)
    notes = [f"{_shown('engine', each)} restarted between the pages; it counts from zero" for each in restarted]
    notes += [f"{_shown('engine', each)} is only in the later page; it counts from zero" for each in now - seen]
    notes += [f"{_shown('engine', each)} is only in the earlier page, and left out" for each in seen - now]
    found = []
    for item in later:
        new = engine(item.labels) in restarted
        base = 0.0 if new or not _is_counter(item.name) else known.get((item.name, item.labels), 0.0)
        found.append(Series(item.name, item.labels, item.value - base, new))
    return found, sorted(notes)


def _restarted(
    later: Sequence[Series], known: Mapping[tuple[str, Labels], float], engine: Callable[[Labels], Labels]
) -> set[Labels]:
    """Return the engines whose counters fell, or whose counters were created anew."""
    fell, created, both = set(), set(), set()
    for item in later:
        earlier = known.get((item.name, item.labels))
        if earlier is None:
            continue
        if item.name.endswith("_created"):
            if item.value > earlier + 1:
                created.add(engine(item.labels))
        elif _is_counter(item.name):
            both.add(engine(item.labels))
            if item.value < earlier:
                fell.add(engine(item.labels))
    if fell and fell - created == both - created:
        hint = "is the earlier page the later one? if the engine restarted, leave --before out"
        raise fail("before", _shown("engine", next(iter(fell))), "has larger counters than the later page", hint)
    return fell | created
