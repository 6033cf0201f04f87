"""Predictions of published serving runs.

A run is a row of a CSV file: a deployment, a draft, a load and the tokens per cycle. `scenario` is the only place
that turns the columns of a run into arguments of a prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance import positions
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import STATIC
from scylla_sim.prediction.uncertainty import seconds_interval
from scylla_sim.specs import catalog
from scylla_sim.stats.estimate import Estimate

FIT_STEPS = 4
"""Steps of `fitted_tokens_per_cycle`; one is exact where the speed-up is proportional to the tokens per cycle."""

RAGGED = "fixed, no refill"
"""Kind of batch that is read together and whose ended sequences are not replaced."""

Columns = dict[str, float | str]
"""Predicted columns of one run."""


@dataclass(frozen=True)
class ServedRun:
    """Settings of one serving run.

    Attributes
    ----------
    engine, hardware, model, precision, kv_precision, draft
        Names as in `Scenario`; an empty precision stands for its default.
    tp
        Tensor-parallel GPUs.
    draft_len
        Drafted tokens of a path; 0 means that the run drafted nothing.
    top_k, verify_tokens
        Candidates per depth, and tokens that the target verifies per sequence and cycle, root included.
    batch, context
        Sequences decoded together, and tokens in the KV cache of each.
    input_len, output_len
        Tokens of a prompt and of an answer; 0 where unknown.
    running
        Mean number of sequences that decode together, where it differs from ``batch``: the ramp and the drain of a
        run, or a KV cache that is full. 0 where unknown; ``batch`` then stands for it.
    batch_kind
        How the batch is filled. `RAGGED` batches wait for their slowest sequence if the answers' length is known.
    """

    engine: str
    hardware: str
    model: str
    precision: str
    kv_precision: str
    draft: str
    tp: int
    draft_len: int
    top_k: int
    verify_tokens: int
    batch: int
    context: int
    input_len: int
    output_len: int
    running: int = 0
    batch_kind: str = ""

    @property
    def ragged(self) -> bool:
        """Whether sequences that end early leave a batch that nothing refills."""
        return self.batch_kind == RAGGED and self.drafts and self.output_len > 0

    @property
    def drafts(self) -> bool:
        """Whether the run drafted tokens."""
        return self.draft != "none" and self.draft_len > 0


def scenario(run: ServedRun, tokens_per_cycle: float) -> Scenario:
    """Return the scenario of a run; one that drafted nothing has its draft loaded, if it has one."""
    base = Scenario(
        run.model,
        hardware=run.hardware,
        engine=run.engine,
        tp=run.tp,
        precision=run.precision or None,
        kv_precision=run.kv_precision or None,
        batch=run.running or run.batch,
        context=run.context,
        input_len=run.input_len or None if run.output_len else None,
        output_len=run.output_len or None if run.input_len else None,
        allow_long_context=True,
    )
    if run.draft == "none":
        return base
    if not run.drafts:
        return replace(base, draft=run.draft, draft_len=0)
    if run.ragged:
        base = replace(base, batch_mode=STATIC, output_len=run.output_len)
    return replace(
        base,
        draft=run.draft,
        draft_len=run.draft_len,
        top_k=run.top_k,
        verify_tokens=run.verify_tokens,
        tokens_per_cycle=tokens_per_cycle,
    )


def predict_run(run: ServedRun, tokens_per_cycle: float) -> Columns:
    """Return the predicted columns of one run; see `predicted_columns`.

    Parameters
    ----------
    tokens_per_cycle
        Mean tokens per cycle; not used by a run that drafted nothing.
    """
    return predicted_columns(scenario(run, tokens_per_cycle))


def predicted_columns(served: Scenario) -> Columns:
    """Return the predicted columns of the scenario of one run.

    Parameters
    ----------
    served
        Scenario of the run, whose engine and model may be others.

    Returns
    -------
    dict
        ``speedup``, ``cycle_s``, ``plain_step_s``, ``tokens_per_s`` and ``plain_tokens_per_s``, each with the ends
        ``_lower`` and ``_upper`` of its 90 % interval. The seconds are those of decoding alone. Speed-up and
        throughput include prefills where both lengths are known, and the wait for the slowest sequence of a
        `RAGGED` batch. ``p_slower`` is NaN where the package does not predict it. Columns that start with
        ``naive_`` are the roofline baseline.
        ``target`` is ``dense`` or ``moe``.
    """
    result = served.predict()
    (out,), (row,) = result.predictions, result.rows()
    draft, verify, plain = (float(np.sum(step.datasheet_s)) for step in (out.draft, out.verify, out.plain))
    cycle_s = seconds_interval(out.cycle.decoding, out.engine)
    step_s = seconds_interval(out.plain_cycle.decoding, out.engine)
    rates = {
        name: Estimate.of(row[name], row[f"{name}_lower"], row[f"{name}_upper"])
        for name in ("speedup", "tokens_per_s", "plain_tokens_per_s")
    }
    numbers = {**rates, "cycle_s": cycle_s, "plain_step_s": step_s}
    return {
        **{key: number for name, value in numbers.items() for key, number in _ends(name, value).items()},
        "p_slower": float(row.get("p_slower", np.nan)),
        "naive_speedup": out.config.tokens_per_cycle * plain / (draft + verify),
        "naive_cycle_s": draft + verify,
        "naive_plain_step_s": plain,
        "target": "dense" if result.model.moe is None else "moe",
        "verdict": str(row["verdict"]),
        "evidence": str(row["evidence"]),
    }


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    """Return the value and the ends of an estimate by column."""
    ends = {name: estimate.value, f"{name}_lower": estimate.lower, f"{name}_upper": estimate.upper}
    return {key: np.asarray(value).item() for key, value in ends.items()}


def fitted_scale(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Return the factor on some predictions that makes the mean of their log errors zero.

    Examples
    --------
    >>> round(fitted_scale([1.0, 2.0], [2.0, 4.0]), 6)
    2.0
    """
    return float(np.exp(np.mean(np.log(measured) - np.log(predicted))))


def fitted_tokens_per_cycle(
    speedups: Callable[[float], Sequence[float]], measured: ArrayLike, *, draft_len: int
) -> float:
    """Return the tokens per cycle of a series that make the mean log error of its speed-ups zero.

    Parameters
    ----------
    speedups
        Function from tokens per cycle to the predicted speed-ups of the series.
    measured
        Measured speed-ups of the series.
    draft_len
        Longest draft of the series; the result lies in [1, draft_len + 1].

    Examples
    --------
    >>> round(fitted_tokens_per_cycle(lambda tau: [0.5 * tau, 0.4 * tau], [1.0, 0.8], draft_len=3), 6)
    2.0
    """
    tau = 1.0
    for _ in range(FIT_STEPS):
        tau = float(np.clip(tau * fitted_scale(speedups(tau), measured), 1.0, draft_len + 1.0))
    return tau


def from_one_length(
    draft: str, draft_lens: Sequence[int], tokens_per_cycle: FloatArray, *, known: int
) -> FloatArray:
    """Return tokens per cycle of a ladder of draft lengths, from the length nearest to ``known``.

    The law over positions of the draft's method gives the other lengths.

    Examples
    --------
    >>> from_one_length("eagle3", [1, 3, 5], np.array([1.6, 2.0, 2.5]), known=3).round(1).tolist()
    [1.6, 2.0, 2.1]
    """
    lengths = np.asarray(draft_lens)
    at = int(np.argmin(np.abs(lengths - known)))
    law, tau = positions.law_of(catalog.draft(draft).method_name), float(tokens_per_cycle[at])
    found = [float(law.tokens_per_cycle(tau, int(lengths[at]), length)) for length in lengths.tolist()]
    return np.where(lengths == lengths[at], tokens_per_cycle, found)


def mean_of_other_sources(values: FloatArray, sources: Sequence[str]) -> FloatArray:
    """Return for each value the mean of the means of all other sources; NaN values are left out.

    Examples
    --------
    >>> mean_of_other_sources(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"]).tolist()
    [5.0, 5.0, 2.0]
    """
    names = np.array(sources)
    means = {}
    for name in dict.fromkeys(sources):
        known = values[(names == name) & np.isfinite(values)]
        if known.size:
            means[name] = float(known.mean())
    others = {name: [mean for other, mean in means.items() if other != name] for name in dict.fromkeys(sources)}
    return np.array([np.mean(others[name]) if others[name] else np.nan for name in sources])
