"""Readers of request traces.

=====================  =====================================================================
File                   Columns or keys
=====================  =====================================================================
CSV of this package    ``arrival_s,input_tokens,output_tokens`` and, optionally, ``cached_tokens``
Azure LLM inference    ``TIMESTAMP,ContextTokens,GeneratedTokens``; dates and times
Mooncake (JSON lines)  ``timestamp`` in milliseconds, ``input_length``, ``output_length``
=====================  =====================================================================

Sources: Azure/AzurePublicDataset (AzureLLMInferenceDataset2023 and 2024), kvcache-ai/Mooncake (FAST25 traces).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail, in_range
from scylla_sim.number_columns import NumberRule, line_of, parse_numbers
from scylla_sim.records import read_columns, read_text
from scylla_sim.serving.workload import IntArray, Requests
from scylla_sim.text.formats import parse_json
from scylla_sim.units import MILLI

OWN = ("arrival_s", "input_tokens", "output_tokens")
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE = ("timestamp", "input_length", "output_length")
NEEDED = f"{','.join(OWN)}[,cached_tokens], {','.join(AZURE)}, or JSON lines with {','.join(MOONCAKE)}"
"""Formats that `read_trace` knows, for error messages."""

MAX_VALUE = 1e12
"""Largest time, in the unit of its column, and the largest number of tokens."""
AT_LEAST_ZERO = NumberRule(0.0, MAX_VALUE, whole=True)
TOKENS = NumberRule(1.0, MAX_VALUE, whole=True)
ARRIVAL = NumberRule(-MAX_VALUE, MAX_VALUE)


@dataclass(frozen=True)
class Trace:
    """Requests of a trace, from its first arrival at 0.

    Attributes
    ----------
    requests
        The requests, in the order of their arrivals.
    left_out
        Number of rows without prompt or answer tokens, which are left out.
    """

    requests: Requests
    left_out: int = 0


def read_trace(path: Path | str) -> Trace:
    """Return the requests of a trace file, whose format follows from its columns.

    Raises
    ------
    InputError
        For a file of another format, or with a bad cell.
    """
    if Path(path).suffix == ".jsonl":
        return _mooncake(Path(path))
    columns = read_columns(path)
    if set(AZURE) <= set(columns):
        return _azure(columns, path)
    if not set(OWN) <= set(columns):
        raise fail("trace", str(path), f"has the columns {','.join(columns)}", f"give {NEEDED}")
    place = line_of(path)
    arrival = parse_numbers("arrival_s", columns["arrival_s"], place, rule=ARRIVAL)
    prompt, answer = (parse_numbers(name, columns[name], place, rule=TOKENS) for name in OWN[1:])
    cached = np.zeros(arrival.size)
    if "cached_tokens" in columns:
        cached = parse_numbers("cached_tokens", columns["cached_tokens"], place, rule=AT_LEAST_ZERO, empty=0.0)
        if np.any(cached > prompt):
            row = int(np.argmax(cached > prompt))
            raise fail("cached_tokens", cached[row], f"must be at most input_tokens {place(row)}")
    return _trace(arrival, prompt, answer, cached)


def _azure(columns: dict[str, list[str]], path: Path | str) -> Trace:
    """Return the requests of a trace of Azure."""
    place = line_of(path)
    prompt, answer = (parse_numbers(name, columns[name], place, rule=AT_LEAST_ZERO) for name in AZURE[1:])
    texts = [text.strip().removesuffix("+00:00").removesuffix("Z") for text in columns["TIMESTAMP"]]
    try:
        times = np.array(texts, dtype="datetime64[ns]")
    except ValueError as error:
        raise fail(
            "TIMESTAMP", str(path), f"is not understood ({error})", "dates such as 2023-11-16 18:15:46"
        ) from None
    arrival = (times - times.min()) / np.timedelta64(1, "s")
    return _trace(arrival.astype(np.float64), prompt, answer, np.zeros(arrival.size))


def _mooncake(path: Path) -> Trace:
    """Return the requests of a trace of Mooncake."""
    rows = []
    for number, line in enumerate(read_text(path, option="trace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line, f"line {number} of {path.name}", option="trace")
            rows.append([float(in_range(key, entry[key], 0, MAX_VALUE)) for key in MOONCAKE])
        except (ValueError, KeyError, TypeError) as error:
            rule = f"is not understood ({type(error).__name__}: {error})"
            raise fail(f"line {number} of {path.name}", line, rule, f"give {NEEDED}") from None
    if not rows:
        raise InputError(f"{path.name} has no rows")
    values = np.array(rows).T
    return _trace(MILLI * values[0], values[1], values[2], np.zeros(values.shape[1]))


def _trace(arrival: FloatArray, prompt: FloatArray, answer: FloatArray, cached: FloatArray) -> Trace:
    """Return a trace in the order of its arrivals, without requests that have no tokens."""
    kept = (prompt > 0) & (answer > 0)
    if not kept.any():
        raise InputError("the trace has no request with prompt and answer tokens")
    order = np.argsort(arrival[kept], kind="stable")
    times = arrival[kept][order]
    inputs, old, outputs = (column[kept][order].astype(np.int64) for column in (prompt, cached, answer))
    one_class = np.zeros(times.size, dtype=np.int64)
    found = Requests(times - times[0], inputs, np.minimum(old, inputs - 1), outputs, one_class)
    return Trace(found, int(arrival.size - kept.sum()))


def lengths_of(requests: Requests, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return input, cached and output tokens of requests drawn from a trace, with replacement."""
    picked = rng.integers(0, requests.count, count)
    return requests.input_tokens[picked], requests.cached_tokens[picked], requests.output_tokens[picked]
