"""Results of ``vllm bench serve`` and of SGLang's ``bench_serving``, as text or JSON.

Both print a table of labels and numbers, and save one JSON object for each run. vLLM's results have the counters of
the server over the run: drafts, drafted and accepted tokens, and cumulative rates of positions that count from 0
(in percent in the text). SGLang's have the mean accept length of the server since it started.

Source: vllm-project/vllm, ``vllm/benchmarks/serve.py``; sgl-project/sglang, ``python/sglang/bench_serving.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import fail, in_range, number, whole
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.documents import documents, objects
from scylla_sim.engines.measurement import Measurement
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.windows import Windows

SOURCE_VLLM, SOURCE_SGLANG = "vLLM benchmark", "SGLang benchmark"

_SERVED = {
    "tpot_s": ("mean_tpot_ms", "Mean TPOT (ms)", 1e-3),
    "tpot_median_s": ("median_tpot_ms", "Median TPOT (ms)", 1e-3),
    "itl_s": ("mean_itl_ms", "Mean ITL (ms)", 1e-3),
    "itl_median_s": ("median_itl_ms", "Median ITL (ms)", 1e-3),
    "ttft_s": ("mean_ttft_ms", "Mean TTFT (ms)", 1e-3),
    "ttft_median_s": ("median_ttft_ms", "Median TTFT (ms)", 1e-3),
    "output_tokens_per_s": ("output_throughput", "Output token throughput (tok/s)", 1.0),
    "concurrency": ("concurrency", "Concurrency", 1.0),
    "max_concurrency": ("max_concurrency", "Maximum request concurrency", 1.0),
    "request_rate_per_s": ("request_rate", "Request rate configured (RPS)", 1.0),
    "requests": ("completed", "Successful requests", 1.0),
    "duration_s": ("duration", "Benchmark duration (s)", 1.0),
}
"""Served figure -> JSON key, label of the text, and its unit."""

_INPUT = ("total_input_tokens", "Total input tokens")
_OUTPUT = ("total_output_tokens", "Total generated tokens")
_SPEC = ("Drafts", "Draft tokens", "Accepted tokens", "Accept length")
_LABELS = (*_SPEC, _INPUT[1], _OUTPUT[1], "Max request concurrency", *(names[1] for names in _SERVED.values()))
_LINE = re.compile(rf"(?:^|\s)({'|'.join(map(re.escape, _LABELS))}):[ \t]+(\d{{1,15}}(?:\.\d+)?)[ \t\r]*$")
_POSITION = re.compile(r"\bPosition (\d{1,4}):[ \t]+(\d{1,3}\.\d+|\d{1,3}|nan)[ \t\r]*$")
_TITLE = "Serving Benchmark Result"
MARKS = ('"mean_tpot_ms"', _TITLE)
"""Texts that show a benchmark with or without acceptance."""
PLAIN_HINT = "was speculation on? a run without a draft goes to predict --compare or ingest --fit-overhead"
_END = re.compile("={40,}\\s*$")

Values = Mapping[str, Any]


def _as_number(value: Any) -> float | None:
    """Return a finite number of at least 0; ``None`` for anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
    return float(value) if good else None


def _served(values: Values, column: int) -> MeasuredServing | None:
    """Return the served figures; ``column`` selects the JSON keys or the labels of the text."""
    found: dict[str, float] = {}
    for field, (key, label, unit) in _SERVED.items():
        number = _as_number(values.get((key, label)[column]))
        if number is not None:
            found[field] = number * unit
    requests = found.get("requests", 0.0)
    for field, sums in (("input_len", _INPUT), ("output_len", _OUTPUT)):
        number = _as_number(values.get(sums[column]))
        if requests > 0 and number is not None:
            found[field] = number / requests
    return MeasuredServing(**found) if found else None


def _counts(totals: Sequence[Any], rates: Any, name: str) -> Counts:
    """Return the counts of vLLM's result: totals of drafts, drafted and accepted tokens, and cumulative rates."""
    cycles, tokens, hits = (
        int(number(key, whole(key, value, 0))) for key, value in zip(_KEYS, totals, strict=True)
    )
    shares = np.atleast_1d(in_range("per_position_acceptance_rates", rates, 0, 1))
    if cycles < 1 or shares.ndim != 1 or not shares.size:
        raise fail(
            "spec_decode_num_drafts", cycles, f"must be at least 1, with a rate for each position, in {name}"
        )
    counts = np.round(shares * cycles).astype(np.int64)
    if abs(int(counts.sum()) - hits) > shares.size * (1 + 5e-5 * cycles):
        rule = f"must be {counts.sum()}, as the rates of the positions say, in {name}"
        raise fail("spec_decode_accepted_tokens", hits, rule, "is the result cut?")
    whole_drafts = tokens == cycles * shares.size
    if not hits <= tokens <= cycles * shares.size:
        rule = f"must lie in [{hits}, {cycles * shares.size}], drafts times positions, in {name}"
        raise fail("spec_decode_draft_tokens", tokens, rule)
    return Counts(
        cycles, tuple(counts.tolist()), None if whole_drafts else max(tokens, int(counts.sum())), 1, whole_drafts
    )


_KEYS = ("spec_decode_num_drafts", "spec_decode_draft_tokens", "spec_decode_accepted_tokens")


def read_bench_json(text: TextFile) -> list[Measurement]:
    """Return the acceptance of every result in a JSON file.

    Raises
    ------
    InputError
        For counts that contradict each other.

    Examples
    --------
    >>> result = '{"spec_decode_num_drafts": 10, "spec_decode_draft_tokens": 20, "mean_tpot_ms": 8.0, '
    >>> result += '"spec_decode_accepted_tokens": 11, "spec_decode_per_position_acceptance_rates": [0.7, 0.4]}'
    >>> found = read_bench_json(TextFile.of(result))[0]
    >>> found.found.accepted, found.served.tpot_s
    ((7, 4), 0.008)
    """
    found = []
    values = documents(text)
    for item in objects(values, _KEYS[0]):
        rates = item.get("spec_decode_per_position_acceptance_rates")
        counts = _counts([item.get(key) for key in _KEYS], rates, text.name)
        model = item.get("model_id")
        found.append(
            Measurement(
                SOURCE_VLLM,
                counts,
                engine="vllm",
                model=model if isinstance(model, str) else None,
                served=_served(item, 0),
            )
        )
    found += [
        _sglang(item)
        for item in objects(values, "accept_length")
        if item.get("output_throughput") is not None and item["accept_length"] is not None
    ]
    if not found:
        raise fail("file", text.name, "is a benchmark without acceptance", PLAIN_HINT)
    return found


def _sglang(item: Values) -> Measurement:
    """Return the acceptance of SGLang's result."""
    server = item.get("server_info")
    server = server if isinstance(server, dict) else {}
    steps, method = server.get("speculative_num_steps"), server.get("speculative_algorithm")
    model = server.get("model_path")
    return Measurement(
        SOURCE_SGLANG,
        _one_length(item.get("accept_length"), steps if isinstance(steps, int) and steps > 0 else None),
        engine="sglang",
        model=model if isinstance(model, str) else None,
        method=method.lower() if isinstance(method, str) else None,
        served=_served(item, 0),
        notes=("SGLang's accept length is that of the server since it started",),
    )


def plain_runs(text: TextFile) -> list[MeasuredServing]:
    """Return the served figures of the results in a file, JSON or text; none if a result counts drafts.

    Examples
    --------
    >>> [run.tpot_s for run in plain_runs(TextFile.of('{"mean_tpot_ms": 8.0, "accept_length": null}'))]
    [0.008]
    """
    if text.start()[:1] in ("{", "["):
        found: list[Values] = list(objects(documents(text), "mean_tpot_ms"))
        drafts, column = (_KEYS[0], "accept_length"), 0
    else:
        found = [values for values, _ in _tables(text.whole())]
        drafts, column = ("Drafts", "Accept length"), 1
    if any(item.get(key) is not None for item in found for key in drafts):
        return []
    return [run for run in (_served(item, column) for item in found) if run is not None]


def _one_length(value: Any, draft_len: int | None) -> Windows:
    """Return one window with an accept length."""
    length = in_range("accept_length", value, 1, hint="it counts the bonus token")
    if length.ndim:
        raise fail("accept_length", value, "must be one number")
    return Windows(np.array([float(length)]), np.ones(1), draft_len=draft_len)


def read_bench_text(text: TextFile) -> list[Measurement]:
    """Return the acceptance of every result table in a text.

    Raises
    ------
    InputError
        For a table that is cut.
    """
    found = []
    for title, (values, positions) in enumerate(_tables(text.whole()), 1):
        name = f"table {title} of {text.name}"
        if "Drafts" in values:
            if sorted(positions) != list(range(len(positions))) or not positions:
                raise fail("positions", sorted(positions), f"must run from 0 without gaps in {name}", "is it cut?")
            rates = [positions[i] / 100 for i in range(len(positions))]
            totals = [values.get(key) for key in _SPEC[:3]]
            counts = _counts(totals, rates, name)
            found.append(Measurement(SOURCE_VLLM, counts, engine="vllm", served=_served(values, 1)))
        elif "Accept length" in values:
            note = "SGLang's accept length is that of the server since it started"
            served, windows = _served(values, 1), _one_length(values["Accept length"], None)
            found.append(Measurement(SOURCE_SGLANG, windows, engine="sglang", served=served, notes=(note,)))
    if not found:
        raise fail("file", text.name, "is a benchmark without acceptance", PLAIN_HINT)
    return found


def _tables(text: str) -> list[tuple[dict[str, float], dict[int, float]]]:
    """Return labels and positions of every result table; a label that appears twice in one is an error."""
    found: list[tuple[dict[str, float], dict[int, float]]] = []
    inside = False
    for line in text.split("\n"):
        if _TITLE in line:
            found.append(({}, {}))
            inside = True
        elif inside and _END.search(line) is not None:
            inside = False
        elif inside:
            values, positions = found[-1]
            at = _POSITION.search(line)
            match = None if at is not None else _LINE.search(line)
            if at is not None:
                _put(positions, int(at[1]), float(at[2]))
            elif match is not None:
                label = "Maximum request concurrency" if match[1] == "Max request concurrency" else match[1]
                _put(values, label, float(match[2]))
    return found


def _put(table: dict[Any, float], key: Any, value: float) -> None:
    if key in table and table[key] != value:
        raise fail("label", key, "appears twice in one result table", "are two results mixed?")
    table[key] = value
