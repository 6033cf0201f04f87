"""A load as a user describes it: how requests arrive, how long they are, and what they accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.checks import InputError, fail, in_range, number, one_of, positive, whole
from scylla_sim.records import read_text
from scylla_sim.serving.traces import Trace, lengths_of
from scylla_sim.serving.workload import (
    Lengths,
    RequestClass,
    Requests,
    cached_tokens,
    check_burstiness,
    closed_loop_arrivals,
    draw_lengths,
    gamma_arrivals,
)
from scylla_sim.text.formats import parse_toml

ACCEPTANCE_KEYS = ("acceptance", "tokens_per_cycle")
"""Keys of a class that replace those of the scenario."""
CLASS_KEYS = ("name", "share", "input_len", "output_len", "prefix_hit", *ACCEPTANCE_KEYS)
"""Keys of a class in a file."""


@dataclass(frozen=True)
class Load:
    """Requests that a deployment serves.

    ``rate``, ``concurrency`` or the arrivals of ``trace`` decide when requests arrive. A trace beside a rate or a
    concurrency gives the lengths only.

    Attributes
    ----------
    classes
        Classes of requests; empty with a trace.
    rate
        Requests per second.
    burstiness
        Shape of the gamma distribution of the gaps between arrivals; see `gamma_arrivals`.
    concurrency
        Clients of a closed loop.
    trace
        Requests of a trace.
    prefix_hit
        Share of each prompt of a trace in the KV cache already, where the trace has none.
    acceptance
        Name of a class -> options of its acceptance, with the keys of `ACCEPTANCE_KEYS`.
    """

    classes: Sequence[RequestClass] = ()
    rate: float | None = None
    burstiness: float = 1.0
    concurrency: int | None = None
    trace: Trace | None = None
    prefix_hit: float = 0.0
    acceptance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that arrivals and lengths are given, each once."""
        if self.rate is not None and self.concurrency is not None:
            raise fail("rate", self.rate, "must not be given beside concurrency", "choose an open or a closed loop")
        if self.rate is None and self.concurrency is None and self.trace is None:
            raise InputError("rate must be given, or a trace or a concurrency; for example rate=5/s")
        if bool(self.classes) == (self.trace is not None):
            rule = "must not be given beside a trace" if self.classes else "must be given without a trace"
            raise fail("input_len", self.classes[0].input_len.describe() if self.classes else None, rule)
        if self.rate is not None:
            positive("rate", self.rate)
            check_burstiness(self.burstiness)
        elif self.burstiness != 1.0:
            raise fail("burstiness", self.burstiness, "needs a rate", "a trace and a closed loop have their own")
        if self.concurrency is not None:
            whole("concurrency", self.concurrency, 1)
        in_range("prefix_hit", self.prefix_hit, 0, 1)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; a trace is one class."""
        return [one.name for one in self.classes] or ["all"]

    def default_count(self, count: int) -> int:
        """Return the number of requests of a run: all of a trace that gives the arrivals, otherwise ``count``."""
        own = self.trace is not None and self.rate is None and self.concurrency is None
        return self.trace.requests.count if own and self.trace is not None else count

    def draw(self, rng: np.random.Generator, count: int) -> Requests:
        """Return the first ``count`` requests of a run."""
        if self.trace is None:
            prompt, cached, answer, index = draw_lengths(rng, self.classes, count)
        elif self.rate is None and self.concurrency is None:
            found = self.trace.requests
            prompt, cached, answer = found.input_tokens, found.cached_tokens, found.output_tokens
            prompt, cached, answer = prompt[:count], cached[:count], answer[:count]
            index = np.zeros(prompt.size, dtype=np.int64)
        else:
            prompt, cached, answer = lengths_of(self.trace.requests, rng, count)
            index = np.zeros(count, dtype=np.int64)
        if self.trace is not None and self.prefix_hit:
            cached = np.maximum(cached, cached_tokens(prompt, self.prefix_hit))
        return Requests(self._arrivals(rng, prompt.size), prompt, cached, answer, index)

    def _arrivals(self, rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        if self.concurrency is not None:
            return closed_loop_arrivals(count, self.concurrency)
        if self.rate is not None:
            return gamma_arrivals(rng, count, rate=self.rate, burstiness=self.burstiness)
        assert self.trace is not None
        return self.trace.requests.arrival_s[:count]

    def describe(self) -> list[str]:
        """Return arrivals and lengths in words."""
        if self.concurrency is not None:
            arrivals = f"{self.concurrency} clients, each with one request at a time; all start at once"
        elif self.rate is not None:
            kind = "Poisson" if self.burstiness == 1.0 else f"gamma, burstiness {self.burstiness:g}"
            arrivals = f"{self.rate:g} requests/s ({kind})"
        else:
            arrivals = "arrivals of the trace"
        if self.trace is not None:
            lengths = ["lengths of the trace"]
            lengths += [f"{self.trace.left_out} requests without tokens left out"] if self.trace.left_out else []
        else:
            lengths = [_class_text(one, len(self.classes) > 1) for one in self.classes]
        return [arrivals, *lengths]


def _class_text(one: RequestClass, several: bool) -> str:
    """Return the lengths of a class in words."""
    text = f"input {one.input_len.describe()}, output {one.output_len.describe()}"
    text += f", {100.0 * one.prefix_hit:.0f} % of each prompt cached" if one.prefix_hit else ""
    return f"class {one.name} (share {one.share:g}): {text}" if several else text


def read_classes(path: Path | str) -> tuple[list[RequestClass], dict[str, dict[str, Any]]]:
    """Return the classes of a TOML file, and the options of their acceptance.

    The file has one table ``[[class]]`` per class, with the keys of `CLASS_KEYS`. ``name``, ``input_len`` and
    ``output_len`` are required.

    Raises
    ------
    InputError
        For a file that is not TOML, a key that is missing or not known, and a name that occurs twice.
    """
    tables = parse_toml(read_text(path, option="classes"), str(path), option="classes").get("class", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise fail("classes", str(path), "must have one table [[class]] for each class")
    found: list[RequestClass] = []
    acceptance: dict[str, dict[str, Any]] = {}
    for table in tables:
        for key in table:
            one_of(f"key of a class in {Path(path).name}", key, CLASS_KEYS)
        for key in ("name", "input_len", "output_len"):
            if key not in table:
                raise fail("classes", str(path), f"must give {key} of every class")
        name = str(table["name"])
        if name in [one.name for one in found]:
            raise fail("class", name, "must occur once")
        prompt, answer = (Lengths.parse(key, table[key]) for key in ("input_len", "output_len"))
        share, hit = (number(key, table.get(key, value), 0) for key, value in (("share", 1.0), ("prefix_hit", 0.0)))
        found.append(RequestClass(name, prompt, answer, share, hit))
        acceptance[name] = {key: table[key] for key in ACCEPTANCE_KEYS if key in table}
    return found, {name: options for name, options in acceptance.items() if options}
