"""Predictions of batches that all start together and that nothing refills.

An offline run, or a benchmark of fixed batches, sends its requests at once and waits for the last one. Answers are
equally long, so autoregressive decoding ends them together. With speculation, the batch waits for its slowest
sequence (`scylla_sim.prediction.ragged_batch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import fail, one_of, positive, whole
from scylla_sim.prediction import ragged_batch, served_load, throughput
from scylla_sim.prediction.served_load import BATCH_MODES, CONTINUOUS, STATIC, ServedLoad
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.digits import number


def output_len_of(batch_mode: str, output_len: int | None) -> int | None:
    """Return the tokens of every answer of a static batch; ``None`` for a continuous one.

    Raises
    ------
    InputError
        If the mode is not known, or a static batch has no length, or a too long one.

    Examples
    --------
    >>> output_len_of("static", 128), output_len_of("continuous", 128)
    (128, None)
    """
    if one_of("batch_mode", batch_mode, BATCH_MODES) == CONTINUOUS:
        return None
    if output_len is None:
        raise fail("batch_mode", STATIC, "needs output_len", "the wait for the slowest sequence depends on it")
    found = int(whole("output_len", output_len, 1))
    if found > ragged_batch.MAX_OUTPUT_LEN:
        rule = f"must be at most {ragged_batch.MAX_OUTPUT_LEN} with batch_mode={STATIC}"
        raise fail("output_len", found, rule, "longer answers wait less, so the longest one is an upper limit")
    return found


def load_of(
    batch_mode: str, input_len: int | None, output_len: int | None, prefix_hit: float | None
) -> ServedLoad | None:
    """Return the load of some options; ``None`` for decoding only, as with answers of a static batch alone.

    Examples
    --------
    >>> load_of("static", None, 128, None) is None, load_of("static", 512, 128, None)
    (True, ServedLoad(input_len=512, output_len=128, prefix_hit=0.0))
    """
    static = output_len_of(batch_mode, output_len) is not None
    if static and input_len is None and prefix_hit is None:
        return None
    return served_load.load_of(input_len, output_len, prefix_hit)


def predict_each(
    target: Model,
    configs: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    output_len: int | None,
    batch: ArrayLike,
    context: ArrayLike,
    draft_deployment: Deployment | None = None,
    measured_plain_s: ArrayLike | None = None,
    load: ServedLoad | None = None,
) -> Iterator[Prediction]:
    """Yield the predictions of several configurations over one grid, in their order.

    Parameters
    ----------
    output_len
        Tokens of every answer of a static batch; ``None`` predicts continuous batches. The other parameters are
        those of `scylla_sim.prediction.throughput.predict_each`.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> where = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.0, 2.0, 2.0)
    >>> grid = {"batch": [8], "context": 512}
    >>> (refilled,), (static,) = (
    ...     predict_each(catalog.model("llama-3.1-8b"), [config], where, output_len=n, **grid) for n in (None, 64)
    ... )
    >>> bool(1.1 < refilled.speedup[0] / static.speedup[0] < 1.2)
    True
    """
    configs = list(configs)
    found = throughput.predict_each(
        *(target, configs, deployment),
        batch=batch,
        context=context,
        draft_deployment=draft_deployment,
        measured_plain_s=measured_plain_s,
        load=load,
    )
    if output_len is None:
        yield from found
        return
    sizes = ragged_batch.sizes_up_to(float(np.max(positive("batch", batch))))
    contexts = np.unique(positive("context", context))
    curves = throughput.predict_each(
        *(target, configs, deployment),
        batch=sizes[:, None],
        context=contexts[None, :],
        draft_deployment=draft_deployment,
    )
    for out, curve in zip(found, curves):
        yield replace(out, wait=_wait(out, curve, output_len))


def _wait(out: Prediction, curve: Prediction, output_len: int) -> Estimate:
    """Return the wait at every point of the grid of a prediction.

    ``curve`` has the same configuration, at sizes by contexts.
    """
    ends = np.ones((3, *out.batch.shape))
    for at, context in enumerate(curve.context[0].tolist()):
        here = out.context == context
        found = ragged_batch.wait(
            out.config,
            output_len=output_len,
            batch=out.batch[here],
            sizes=curve.batch[:, at],
            cycle_s=np.broadcast_to(curve.cycle_s, curve.batch.shape)[:, at],
        )
        ends[:, here] = (found.value, found.lower, found.upper)
    return Estimate(*ends)


def notes_of(batch_mode: str, found: Iterable[Estimate | None]) -> list[str]:
    """Return what a static batch assumes, and how long the batches of drafting configurations wait.

    Examples
    --------
    >>> notes_of("continuous", [])
    []
    """
    if batch_mode == CONTINUOUS:
        return []
    waits = [each for each in found if each is not None]
    if not waits:
        return ["batch_mode=static has no effect without drafted tokens: answers of equal length end together"]
    least, most = min(float(np.min(each.value)) for each in waits), max(float(np.max(each.value)) for each in waits)
    upper = max(float(np.max(each.upper)) for each in waits)
    factor = " to ".join(dict.fromkeys(number(end, decimals=2) for end in (least, most)))
    differ = f", up to {number(upper, decimals=2)} if prompts differ" if upper > most else ""
    return [
        "static batch: all sequences start together and have equally long answers; until the slowest one ends, a "
        f"batch takes {factor} times its mean number of cycles{differ}"
    ]
