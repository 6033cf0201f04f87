"""Counts of accepted tokens from vLLM's Prometheus series.

Series that differ in the engine, the pod or the instance only are added up if they have the same model and the same
number of positions. Other models and lengths are series of their own.

Source: vllm-project/vllm, ``vllm/v1/spec_decode/metrics.py`` (counters) and ``vllm/v1/metrics/loggers.py``
(histograms of latencies and lengths).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail, whole
from scylla_sim.engines import prometheus
from scylla_sim.engines.counts import Counts, total
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.prometheus import Labels, Series
from scylla_sim.engines.text_file import TextFile

PREFIX = "vllm:"
SPEC = "vllm:spec_decode_num_"
ACCEPTED = f"{SPEC}accepted_tokens_per_pos"
"""Counter of accepted tokens per position."""

TOLERANCE = 0.01
"""Share by which counters of one page may differ, because the page is written while they rise."""

SOURCE = "vLLM metrics"

HISTOGRAMS = {
    "ttft_s": ("time_to_first_token_seconds",),
    "tpot_s": ("request_time_per_output_token_seconds",),
    "itl_s": ("inter_token_latency_seconds", "time_per_output_token_seconds"),
    "input_len": ("request_prompt_tokens",),
    "output_len": ("request_generation_tokens",),
}
"""Served figure -> histograms whose mean it is, the newest name first."""


def read_vllm_metrics(text: TextFile, before: TextFile | None = None) -> list[Measurement]:
    r"""Return the acceptance of a page, or of the time between two pages.

    Parameters
    ----------
    text
        A page of ``/metrics`` or ``/federate``, or JSON of Prometheus' query API.
    before
        An earlier page, which is subtracted series by series.

    Raises
    ------
    InputError
        For a page without drafts, with missing positions or contradicting counters, or earlier than ``before``.

    Examples
    --------
    >>> page = 'vllm:spec_decode_num_drafts_total 10.0\n'
    >>> page += 'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 7.0\n'
    >>> read_vllm_metrics(TextFile.of(page))[0].found
    Counts(cycles=10, accepted=(7,), drafted=None, windows=1, whole_drafts=True)
    """
    series = prometheus.samples(text, PREFIX)
    notes: list[str] = []
    if before is not None:
        series, notes = prometheus.increase(series, prometheus.samples(before, PREFIX))
    elif any(item.restarted for item in series):
        notes = ["a counter began at zero again, because its engine restarted"]
    engines = _engines(series)
    if not engines:
        raise fail("drafts", 0, "were counted on this page", f"are the counters {SPEC}... on it?")
    return _by_model(series, engines, notes, compared=before is not None)


def _engines(series: Iterable[Series]) -> dict[Labels, dict[str, float | dict[int, float]]]:
    """Return the counters of each engine: those without a position by name, and the accepted tokens by position."""
    found: dict[Labels, dict[str, float | dict[int, float]]] = {}
    for item in series:
        if not item.name.startswith(SPEC) or item.name.endswith("_created"):
            continue
        engine = found.setdefault(frozenset(pair for pair in item.labels if pair[0] != "position"), {})
        if item.name != ACCEPTED:
            engine[item.name.removeprefix(SPEC)] = item.value
            continue
        text = prometheus.label(item.labels, "position")
        if not (text.isascii() and text.isdigit() and len(text) < 5):
            raise fail("position", text, f"must be a whole number, the label of {item.name}")
        positions = engine.setdefault("positions", {})
        assert isinstance(positions, dict)
        positions[int(text)] = item.value
    return found


def _counts(engine: Mapping[str, float | dict[int, float]], name: str, compared: bool) -> Counts | None:
    """Return the counts of one engine; ``None`` if it drafted nothing."""
    positions, values = engine.get("positions", {}), {}
    assert isinstance(positions, dict)
    for key in ("drafts", "draft_tokens", "accepted_tokens"):
        value = engine.get(key)
        assert not isinstance(value, dict)
        values[key] = value
    hint = "is the earlier page the later one?" if compared else ""
    drafts = values["drafts"]
    if drafts is None or not positions:
        raise fail("series", name, "has no drafts or no positions", "is the page cut?")
    if min(drafts, *positions.values()) < 0:
        raise fail("drafts", drafts, "must be at least 1", hint)
    if sorted(positions) != list(range(len(positions))):
        raise fail("positions", sorted(positions), "must run from 0 without gaps")
    if drafts < 1:
        return None
    accepted = [round(positions[i]) for i in range(len(positions))]
    _agree(name, "accepted tokens", values["accepted_tokens"], sum(accepted))
    drafted = None if values["draft_tokens"] is None else round(values["draft_tokens"])
    if drafted is not None and not max(drafts, sum(accepted)) * (1 - TOLERANCE) <= drafted:
        raise fail(
            "draft_tokens", drafted, f"must be at least drafts={round(drafts)} in {name}", "is the page cut?"
        )
    longest = round(drafts) * len(accepted)
    if drafted is not None and drafted > longest * (1 + TOLERANCE):
        raise fail("draft_tokens", drafted, f"must be at most {longest} in {name}", "is a position missing?")
    given = (
        None if drafted is None or abs(drafted - longest) <= TOLERANCE * longest else max(drafted, sum(accepted))
    )
    whole("drafts", round(drafts), 1)
    return Counts(round(drafts), tuple(accepted), given, whole_drafts=given is None)


def _agree(name: str, what: str, counted: float | None, summed: float) -> None:
    """Raise if two counters of the same tokens differ by more than `TOLERANCE`."""
    if counted is not None and abs(counted - summed) > TOLERANCE * max(counted, summed) + 1:
        raise fail(what.replace(" ", "_"), round(counted), f"must be {summed}, the sum over positions in {name}")


def _shown(labels: Labels, keys: Sequence[str]) -> str:
    return ",".join(f"{key}={prometheus.label(labels, key)}" for key in keys if prometheus.label(labels, key))


def _by_model(
    series: Sequence[Series],
    engines: Mapping[Labels, dict[str, float | dict[int, float]]],
    notes: Sequence[str],
    *,
    compared: bool,
) -> list[Measurement]:
    """Return one measurement for each model and number of positions."""
    groups: dict[tuple[str, int], list[tuple[Labels, Counts]]] = {}
    for labels, engine in engines.items():
        shown = _shown(labels, sorted({key for key, _ in labels})) or "this page"
        counts = _counts(engine, shown, compared)
        if counts is not None:
            groups.setdefault((prometheus.label(labels, "model_name"), len(counts.accepted)), []).append(
                (labels, counts)
            )
    if not groups:
        raise fail("drafts", 0, "must be at least 1", "is the earlier page the later one?" if compared else "")
    lengths = {length for _, length in groups}
    found = []
    for (model, length), members in groups.items():
        name = f"model_name={model}" if model else ""
        name += f"{',' if name else ''}draft_len={length}" if len(lengths) > 1 else ""
        added = len(members)
        found.append(
            Measurement(
                SOURCE,
                total([counts for _, counts in members]),
                engine="vllm",
                series=name if len(groups) > 1 else "",
                model=model or None,
                served=_served(series, model) if len({m for m, _ in groups}) == len(groups) else None,
                notes=(*notes, *([f"{added} engines are added up"] if added > 1 else [])),
            )
        )
    return found


def _served(series: Iterable[Series], model: str) -> MeasuredServing | None:
    """Return the means of the histograms of a model."""
    sums: dict[str, float] = {}
    for item in series:
        if prometheus.label(item.labels, "model_name") == model and item.name.endswith(("_sum", "_count")):
            sums[item.name] = sums.get(item.name, 0.0) + item.value
    means = {}
    for field, names in HISTOGRAMS.items():
        for name in names:
            count = sums.get(f"{PREFIX}{name}_count", 0.0)
            if count > 0 and field not in means:
                means[field] = max(sums.get(f"{PREFIX}{name}_sum", 0.0), 0.0) / count
    return MeasuredServing(**means) if means else None
