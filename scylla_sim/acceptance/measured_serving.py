"""Times and throughput of a served run, as an engine or a benchmark client measured them.

`scylla_sim.engines` reads them beside the acceptance. ``scylla-sim ingest`` writes them to ``acceptance.json``
under the key ``served``, with the names of the fields of `MeasuredServing`. Fields that the file does not have are
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scylla_sim.checks import fail, number


@dataclass(frozen=True)
class MeasuredServing:
    """Measured times and throughput of a served run. Every field is ``None`` if it was not measured.

    Attributes
    ----------
    tpot_s, tpot_median_s
        Mean and median over requests of the time per output token, without the first token.
    itl_s, itl_median_s
        Mean and median of the time between two pieces of a streamed answer. With speculation this is the time of a
        cycle, not of a token.
    ttft_s, ttft_median_s
        Mean and median of the time to the first token.
    output_tokens_per_s
        Output tokens per second of all requests together.
    concurrency
        Mean number of requests in flight.
    max_concurrency
        Largest number of requests in flight that the client allowed.
    request_rate_per_s
        Offered requests per second; absent if all were sent at once.
    input_len, output_len
        Mean tokens of a prompt and of an answer.
    requests
        Number of completed requests.
    duration_s
        Duration of the run.

    Examples
    --------
    >>> run = MeasuredServing(tpot_s=0.0125, concurrency=4.0)
    >>> run.as_dict()
    {'tpot_s': 0.0125, 'concurrency': 4.0}
    >>> MeasuredServing.of({"tpot_s": 0.0125, "concurrency": 4.0}) == run
    True
    """

    tpot_s: float | None = None
    tpot_median_s: float | None = None
    itl_s: float | None = None
    itl_median_s: float | None = None
    ttft_s: float | None = None
    ttft_median_s: float | None = None
    output_tokens_per_s: float | None = None
    concurrency: float | None = None
    max_concurrency: float | None = None
    request_rate_per_s: float | None = None
    input_len: float | None = None
    output_len: float | None = None
    requests: float | None = None
    duration_s: float | None = None

    def as_dict(self) -> dict[str, float]:
        """Return the measured fields by name."""
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: float(value) for name, value in values if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MeasuredServing:
        """Return the fields of a mapping such as ``served`` of ``acceptance.json``; other keys are ignored.

        Raises
        ------
        InputError
            For a value that is not a number of at least 0.
        """
        if not isinstance(values, Mapping):
            raise fail("served", values, "must be an object of numbers")
        known = [item.name for item in fields(cls) if values.get(item.name) is not None]
        return cls(**{name: number(f"served.{name}", values[name], 0) for name in known})
