"""Iteration models with round numbers, for simulations whose results a hand computation gives."""

from __future__ import annotations

import numpy as np

from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.iteration_parts import Decoding, Prompts
from scylla_sim.serving.workload import Requests
from scylla_sim.stats.estimate import Estimate, exact


def flat_model(
    *,
    decode_s: float = 0.01,
    decode_row_s: float = 0.0,
    prompt_token_s: float = 1e-4,
    host_s: float = 0.0,
    seats: int = 16,
    budget: int = 1000,
    pool: float = 1e9,
    contexts: int = 3,
    context: float = 10_000.0,
) -> IterationModel:
    """Decodes take ``decode_s + batch decode_row_s``, each prompt token adds ``prompt_token_s``."""
    batch = np.arange(seats + 1, dtype=np.float64)
    seconds = np.where(batch > 0, decode_s + decode_row_s * batch, 0.0)[:, None] * np.ones(contexts)
    tokens = np.arange(budget + seats + 1, dtype=np.float64)
    one = np.ones(seats + 1)
    return IterationModel(
        decoding=Decoding(exact(seconds), 0.0 * seconds, 0.0 * batch, one, one, 0.0 * batch, exact(seconds)),
        contexts=np.linspace(0.0, context, contexts),
        prompts=Prompts(
            rows_s=prompt_token_s * tokens,
            head_s=np.zeros(2 * seats + 2),
            attention_s=np.zeros((2, tokens.size)),
            offsets=np.array([0.0, context]),
            least_s=0.0 * tokens,
            lower=1.0,
            upper=1.0,
        ),
        host_s=host_s,
        max_num_seqs=seats,
        max_num_batched_tokens=budget,
        kv_tokens=Estimate.of(pool, pool, pool),
    )


def equal_requests(arrival_s: np.ndarray, prompt: int, answer: int) -> Requests:
    """Requests of one length."""
    one = np.ones(len(arrival_s), dtype=np.int64)
    return Requests(np.asarray(arrival_s, dtype=np.float64), prompt * one, 0 * one, answer * one, 0 * one)
