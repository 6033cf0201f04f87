"""Latency and throughput of a closed loop: a fixed number of requests in flight, as benchmarks run them.

A request that ends is replaced at once. `loop_costs` takes the seconds of iterations from an `IterationModel`, and
`closed_loop` turns them into TPOT, TTFT, E2E and requests per second. Symbols: ``n`` requests that run together,
``K`` iterations of a request after its first token, ``D`` seconds of an iteration without prompts,
``P`` seconds that a prompt adds, ``a`` requests per second.

Notes
-----
==============  ============================================================================================
Quantity        Formula
==============  ============================================================================================
TPOT            ``(K D + (n - 1) (1 - start_share / 2) P share) / (O - 1)``; ``share``: those within the decoding
TTFT            ``(1 - start_share) steady + start_share wave + queue + c0``
steady          rest of the running iterations, and one iteration with the own prompt
wave            mean over the requests that all start together: prompts in order, as many as the budget allows
queue           ``(concurrency - n) / a``: requests beyond the seats and the KV pool
requests/s      ``concurrency / E2E`` (Little's law)
==============  ============================================================================================

The rest of the running iterations is that of a gated queue: an arrival waits for the end of a period of
``poll_iterations``, and the prompts that arrive in a period are read together in the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.serving.closed_load import ClosedLoad
from scylla_sim.serving.iteration import IterationModel

_ROUNDS = 40
"""Steps of the fixed point between rate and latency; the last one changes less than a millionth."""
MAX_SHARE = 0.98
"""Largest share of the time that other prompts take in the formula of the wait."""


@dataclass(frozen=True)
class LoopCosts:
    """Seconds of the parts of a closed loop; arrays of one shape.

    Attributes
    ----------
    seats
        Requests that run together, by concurrency, ``max_num_seqs`` and the KV pool; 0 if the pool holds none, and
        the seconds are then those without a limit by the pool.
    running
        The same, but at least 1.
    decode_s, half_decode_s
        Seconds of an iteration with all seats decoding, and with half of them.
    prompt_s
        Seconds that one prompt adds to the iterations of others.
    wave_prompt_s, together
        The same where prompts fill the budget, and how many fit into one iteration (below 1 for long prompts).
    alone_s
        Seconds to the first token in an idle engine.
    chunks
        Iterations that read one prompt.
    cycles
        Iterations of a request after its first token.
    """

    seats: FloatArray
    running: FloatArray
    decode_s: FloatArray
    half_decode_s: FloatArray
    prompt_s: FloatArray
    wave_prompt_s: FloatArray
    together: FloatArray
    alone_s: FloatArray
    chunks: FloatArray
    cycles: FloatArray


@dataclass(frozen=True)
class LoopTimes:
    """Means of a closed loop; arrays of one shape.

    Attributes
    ----------
    tpot_s, ttft_s, e2e_s
        Seconds per output token after the first, to the first token, and of a whole request.
    requests_per_s
        Requests that end per second.
    """

    tpot_s: FloatArray
    ttft_s: FloatArray
    e2e_s: FloatArray
    requests_per_s: FloatArray


def seats_of(model: IterationModel, load: ClosedLoad) -> FloatArray:
    """Return the requests that run together; a request holds its prompt and half of its answer in the KV pool."""
    pool: FloatArray = np.floor(model.kv_tokens.value / load.context)
    return np.minimum(_wanted(model, load), pool)


def _wanted(model: IterationModel, load: ClosedLoad) -> FloatArray:
    """Return the requests that would run together in an unlimited KV pool."""
    return np.minimum(np.minimum(load.concurrency, load.max_num_seqs), model.max_num_seqs)


def loop_costs(model: IterationModel, load: ClosedLoad) -> LoopCosts:
    """Return the seconds of the parts of closed loops from the model of their iterations.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.prediction.steps import Deployment
    >>> from scylla_sim.serving.closed_load import closed_load
    >>> from scylla_sim.serving.iteration import iteration_model
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> one = iteration_model(catalog.model("llama-3.1-8b"), None, deployment, max_context=1280, max_num_seqs=16)
    >>> costs = loop_costs(one, closed_load([1, 16], 1024, 256))
    >>> costs.seats.tolist(), costs.cycles.tolist(), bool((costs.prompt_s < costs.alone_s).all())
    ([1.0, 16.0], [255.0, 255.0], True)
    """
    tokens, context, first = np.maximum(np.rint(load.new_len), 1.0), load.context, load.prefill_first
    seats = seats_of(model, load)
    running = np.where(seats >= 1.0, seats, _wanted(model, load))
    half = np.maximum(0.5 * running, 1.0)
    decode, half_decode = model.decode_s(running, context), model.decode_s(half, context)
    index = np.rint(running).astype(np.intp)
    verified = model.decoding.verify_tokens[index]
    room = np.maximum(model.max_num_batched_tokens - np.where(first, 0.0, verified * running), 1.0)
    none = np.zeros_like(running)
    beside = np.where(first, none, running)
    prompt = _chunked(model, load, room, batch=beside)
    together = model.max_num_batched_tokens / tokens
    count = np.clip(np.floor(together), 1.0, running)
    filled = np.minimum(count * tokens, model.max_num_batched_tokens).astype(np.intp)
    one = np.minimum(tokens, model.max_num_batched_tokens).astype(np.intp)
    own = count * model.attention_s(one, load.cached_len)
    wave = model.seconds(np.where(first, none, half), context, tokens=filled, attention_s=own, sampled=count)
    wave = (wave - np.where(first, 0.0, half_decode)) / count
    return LoopCosts(
        seats=seats,
        running=running,
        decode_s=decode,
        half_decode_s=half_decode,
        prompt_s=prompt,
        wave_prompt_s=np.where(together < 1.0, prompt, wave),
        together=np.minimum(together, running),
        alone_s=_chunked(model, load, np.full_like(room, model.max_num_batched_tokens), batch=none),
        chunks=np.ceil(tokens / room),
        cycles=(load.output_len - 1.0) / model.decoding.tokens_per_cycle[index],
    )


def _chunked(model: IterationModel, load: ClosedLoad, room: FloatArray, *, batch: FloatArray) -> FloatArray:
    """Return the seconds that a prompt adds to iterations of ``batch`` decodes, in chunks of ``room`` tokens."""
    total, done = np.zeros_like(batch), np.zeros_like(batch)
    tokens, context = np.maximum(np.rint(load.new_len), 1.0), load.context
    decode = model.decode_s(batch, context)
    while (left := tokens - done).max() > 0:
        chunk = np.clip(left, 0.0, room).astype(np.intp)
        attention = model.attention_s(chunk, load.cached_len + done)
        with_prompt = model.seconds(
            batch, context, tokens=chunk, attention_s=attention, sampled=(chunk >= left).astype(np.intp)
        )
        total = total + np.where(chunk > 0, with_prompt - decode, 0.0)
        done = done + np.maximum(chunk, 1)
    return total


def closed_loop(
    costs: LoopCosts,
    load: ClosedLoad,
    *,
    host_s: ArrayLike = 0.0,
    slow: ArrayLike = 0.0,
    first_token_s: ArrayLike = 0.0,
) -> LoopTimes:
    """Return the means of closed loops.

    Parameters
    ----------
    costs, load
        Seconds of the parts, and the load that they were made for.
    host_s
        More seconds in every iteration, at least 0.
    slow
        Share by which prompts take longer, above -1.
    first_token_s
        Seconds between client and scheduler, once a request.

    Examples
    --------
    >>> from scylla_sim.serving.closed_load import closed_load
    >>> n, one = np.array([1.0, 10.0]), np.ones(2)
    >>> costs = LoopCosts(n, n, 0.01 * one, 0.01 * one, 0.1 * one, 0.1 * one, one, 0.1 * one, one, 100 * one)
    >>> found = closed_loop(costs, closed_load(n, 1000, 101))
    >>> found.ttft_s.round(3).tolist(), found.tpot_s.round(4).tolist(), found.requests_per_s.round(2).tolist()
    ([0.1, 0.181], [0.01, 0.0182], [0.91, 5.0])
    """
    n, alone = costs.running, costs.running <= 1.0
    host, longer, constant = (np.asarray(value, dtype=np.float64) for value in (host_s, slow, first_token_s))
    decode, half = costs.decode_s + host, costs.half_decode_s + host
    prompt = costs.prompt_s * (1.0 + longer)
    work = costs.cycles * decode
    others = (n - 1.0) * (1.0 - 0.5 * load.start_share) * prompt  # in the last round, only later prompts interrupt
    decoding = work + others
    steady = wait = costs.alone_s * (1.0 + longer) + host
    iteration = decode
    for _ in range(_ROUNDS):
        rate = n / (wait + decoding)
        share = np.minimum(rate * (n - 1.0) / n * prompt, MAX_SHARE)
        active = np.clip(rate * decoding, 0.5 * n, n)
        iteration = np.where(alone, decode, half + (decode - half) * (2.0 * active / n - 1.0))
        decoding = costs.cycles * iteration + others * decoding / (wait + decoding)
        busy = _steady(costs, load, iteration=iteration, prompt=prompt, share=share, rate=rate)
        wait = np.where(alone, steady, np.sqrt(wait * busy))  # without a mean, long prompts alternate for ever
    wave = _wave(costs, load, half=half, slow=longer)
    queue = np.maximum(load.concurrency - n, 0.0) * (wait + decoding) / n
    first = wait + np.where(alone, 0.0, load.start_share * (wave - wait)) + queue + constant
    total = first + decoding
    return LoopTimes(
        tpot_s=decoding / (load.output_len - 1.0),
        ttft_s=first,
        e2e_s=total,
        requests_per_s=load.concurrency / total,
    )


def _steady(
    costs: LoopCosts,
    load: ClosedLoad,
    *,
    iteration: FloatArray,
    prompt: FloatArray,
    share: FloatArray,
    rate: FloatArray,
) -> FloatArray:
    """Return the seconds to the first token of a request that arrives while others run.

    Parameters
    ----------
    iteration, prompt
        Seconds of an iteration without prompts, and those that a prompt adds.
    share, rate
        Share of the time that others' prompts take, and requests per second.
    """
    period = load.poll_iterations * iteration
    mean = period / (1.0 - share)
    square = (period**2 + 2.0 * period * share * mean + prompt * share * mean) / (1.0 - share**2)
    rest = (0.5 + share) * square / mean
    held = load.hold_iterations * iteration / (1.0 - share)
    held = np.minimum(held, load.hold_tokens / (load.new_len * rate))
    held = held * (1.0 + 0.5 * rate * held) / (1.0 + rate * held)
    own = prompt + np.where(load.prefill_first, 0.0, costs.chunks * iteration)
    return np.asarray(rest + held + own)


def _wave(costs: LoopCosts, load: ClosedLoad, *, half: FloatArray, slow: FloatArray) -> FloatArray:
    """Return the mean seconds to the first token of ``n`` requests that start together."""
    n = costs.running
    prompts = costs.wave_prompt_s * (1.0 + slow) * 0.5 * (n + np.maximum(costs.together, 1.0))
    iterations = np.where(load.prefill_first, 0.0, 0.5 * (n / costs.together + 1.0))
    found: NDArray[np.float64] = prompts + iterations * half
    return found
