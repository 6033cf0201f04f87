"""Prefills of a served load: the seconds that they add to each output token.

With ``batch`` requests in flight, each of them is prefilled once, and a prefill stops the decoding of all others.
Prefills therefore add ``batch * prefill / output_len`` seconds to every output token, with and without speculation.
A draft with a KV cache of its own reads each prompt too, which takes some per cent of the target's time.

Source: 64 requests of 256 tokens on an A100 (``paper/published/served_runs.csv``). The time of a run beyond its
decoding steps is the same per request at every concurrency from 1 to 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.prediction.prefill import draft_prompt_step, prompt_step
from scylla_sim.prediction.step_time import EMPTY, Step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate, with_deviations

PREFILL_RANGE = (0.4, 1.7)
"""Lower and upper end of the prefill seconds of a request, relative to the predicted ones.

Source: two public series whose time beyond decoding steps is known. SpecBundle's slowest steps above those of other
tasks are 1.06, 1.5 and 3.2 times as long as predicted, and 45 to 71 ms a request on A100 are 0.6 to 1.7 times. Part
of this is unknown prompt lengths, so the range is wider than errors of the kernels alone.
"""

CONTINUOUS, STATIC = "continuous", "static"
BATCH_MODES = (CONTINUOUS, STATIC)
"""How a batch is filled: ended sequences are replaced at once, or all start together and none is replaced."""


@dataclass(frozen=True)
class ServedLoad:
    """Lengths of the requests that a deployment serves.

    Attributes
    ----------
    input_len, output_len
        Tokens of each prompt and of each answer.
    prefix_hit
        Share of each prompt that is already in the KV cache, in [0, 1].

    Examples
    --------
    >>> load = ServedLoad(1000, 200, 0.6)
    >>> load.new_tokens, load.cached_tokens, load.context
    (400, 600, 1100)
    """

    input_len: int
    output_len: int
    prefix_hit: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        whole("input_len", self.input_len, 1)
        whole("output_len", self.output_len, 1)
        in_range("prefix_hit", self.prefix_hit, 0, 1)

    @property
    def new_tokens(self) -> int:
        """Tokens of a prompt to prefill; at least one, because the last token is never cached."""
        return max(round(self.input_len * (1.0 - self.prefix_hit)), 1)

    @property
    def cached_tokens(self) -> int:
        """Tokens of a prompt that are in the KV cache."""
        return self.input_len - self.new_tokens

    @property
    def context(self) -> int:
        """Mean context while decoding: the prompt and half of the answer."""
        return max(round(self.input_len + 0.5 * self.output_len), 1)


DEFAULT_CONTEXT = 1024
"""Context where neither it nor the lengths of requests are given."""


def default_context(load: ServedLoad | None) -> int:
    """Return the mean context of a load, or `DEFAULT_CONTEXT` for decoding only."""
    return DEFAULT_CONTEXT if load is None else load.context


def longest_of(load: ServedLoad | None) -> list[int]:
    """Return the tokens of a prompt and its whole answer; empty without a load."""
    return [] if load is None else [load.input_len + load.output_len]


def notes_of(load: ServedLoad | None, context: int | Sequence[int] | None, *, mode: str) -> list[str]:
    """Return what is assumed about a load.

    Parameters
    ----------
    context
        Context that the user states, or ``None``.
    mode
        One of `BATCH_MODES`.
    """
    if load is None:
        return []
    found = ["prefills stop decoding, with and without a draft; arrivals, queues and ragged ends are left out"]
    if mode == STATIC:
        found = ["all prompts of a batch are read before its first cycle, with and without a draft"]
    if context is None:
        found.append(f"context {load.context}: the input and half of the output")
    else:
        shortest, longest = load.input_len, load.input_len + load.output_len
        beyond = [f"{n:g}" for n in np.atleast_1d(context).tolist() if not shortest <= n <= longest]
        if beyond:
            found.append(
                f"context {', '.join(beyond)} is outside that of the requests, {shortest} to {longest} tokens"
            )
    if load.cached_tokens:
        found.append("attention to a cached prefix was never measured: evidence theory, with a wide interval")
    return found


def load_of(input_len: int | None, output_len: int | None, prefix_hit: float | None) -> ServedLoad | None:
    """Return the load of three options, or ``None`` if none is given.

    Raises
    ------
    InputError
        If an option is given without those that it needs.
    """
    given = {"input_len": input_len, "output_len": output_len}
    missing = [name for name, value in given.items() if value is None]
    if input_len is None or output_len is None:
        for name, value in (*given.items(), ("prefix_hit", prefix_hit)):
            if value is not None:
                raise fail(name, value, f"needs {' and '.join(missing)}", "give all or none")
        return None
    return ServedLoad(
        int(whole("input_len", input_len, 1)), int(whole("output_len", output_len, 1)), float(prefix_hit or 0.0)
    )


def prompt_of(model: Model, deployment: Deployment, load: ServedLoad) -> Step:
    """Return the prefill of one request of a load."""
    return prompt_step(model, deployment, tokens=load.new_tokens, cached=load.cached_tokens)


def draft_prompt_of(draft: Draft, target: Model, deployment: Deployment, load: ServedLoad | None) -> Step:
    """Return the pass in which a draft reads the prompt of one request of a load; empty without a load."""
    if load is None:
        return EMPTY
    return draft_prompt_step(draft, target, deployment, tokens=load.new_tokens, cached=load.cached_tokens)


def prefill_per_token(prompt: Step, load: ServedLoad, *, batch: FloatArray) -> Estimate:
    """Return the prefill seconds per output token of each sequence, with their 90 % interval.

    Parameters
    ----------
    prompt
        Prefill of one request.
    batch
        Sequences in flight.

    Examples
    --------
    >>> from scylla_sim.prediction.step_time import EMPTY
    >>> from dataclasses import replace
    >>> from scylla_sim.stats.estimate import exact
    >>> prompt = replace(EMPTY, time=exact(0.05))
    >>> found = prefill_per_token(prompt, ServedLoad(600, 250), batch=np.array([1.0, 64.0]))
    >>> found.value.tolist(), [round(float(end), 5) for end in found.upper]
    ([0.0002, 0.0128], [0.00034, 0.02176])
    """
    count = batch / load.output_len
    seconds = count * prompt.seconds
    down, up = (np.abs(end - 1.0) * seconds for end in PREFILL_RANGE)
    return with_deviations(seconds, [down, count * prompt.time.down], [up, count * prompt.time.up])
