"""Laws of engine presets: overheads, intervals, sources, memory, and their effect on predictions."""

from __future__ import annotations

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration.device_calibration import Calibration, shipped
from scylla_sim.ops.memory import MemoryPlan, cache_bytes, max_sequences, memory_share
from scylla_sim.prediction.overheads import cycle_overhead_counts, overhead_seconds, step_overhead_counts
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.specs.model import Model
from scylla_sim.testing.predictions import without_overheads
from scylla_sim.testing.requirement import never_below, require

_DRAFTS = ("none", "ngram", "eagle", "eagle3", "mtp", "medusa", "llama-3.2-1b")
_BATCH = np.array([1.0, 8.0, 64.0, 256.0])


def check_engine(engine: Engine, *, calibration: Calibration | None = None, model: Model | None = None) -> None:
    """Check an engine: its overheads and memory, and that no overhead makes a prediction faster.

    Parameters
    ----------
    calibration, model
        Where a prediction runs, and its target; default: the shipped calibration of H100, and Llama-3.1-8B.

    Examples
    --------
    >>> check_engine(catalog.engine("vllm"))
    """
    device = calibration or shipped("h100-sxm")
    target = model or catalog.model("llama-3.1-8b")
    name = f"engine {engine.name}"
    for item in OVERHEADS:
        one = engine.overhead(item)
        ordered = bool(0.0 <= one.lower <= one.value <= one.upper)
        require(name, f"{item} lies in its interval", ordered, value=one.value, lower=one.lower, upper=one.upper)
        if one.lower < one.upper:
            require(name, f"{item} has a source", bool(engine.sources.get(item)))
    require(name, "only known overheads lack a published run", engine.theory <= set(OVERHEADS))
    _check_counts(name, engine)
    _check_memory(name, engine, device, target)
    _check_predictions(name, engine, device, target)


def _check_counts(name: str, engine: Engine) -> None:
    """Check that drafts, tokens and ranks never make the host faster."""
    for draft in (catalog.draft(each) for each in _DRAFTS):
        plain = float(overhead_seconds(engine, step_overhead_counts()))
        seconds = {
            (tp, length): overhead_seconds(
                engine, cycle_overhead_counts(draft, tokens=_BATCH * (length + 1), draft_len=length, tp=tp)
            )
            + 0.0 * _BATCH
            for tp in (1, 2)
            for length in (1, 5)
        }
        law = f"drafting with {draft.name}"
        require(name, f"{law} never takes less host time than plain decoding", never_below(seconds[1, 1], plain))
        require(name, f"{law} takes no less host time for more tokens", never_below(seconds[1, 5], seconds[1, 1]))
        require(name, f"{law} takes no less host time on two ranks", never_below(seconds[2, 5], seconds[1, 5]))


def _check_memory(name: str, engine: Engine, device: Calibration, target: Model) -> None:
    """Check the range of the KV pool, and that a draft and long sequences never enlarge it."""
    hardware, use = device.hardware, engine.memory
    plan = MemoryPlan(target, Draft("none", "none"))
    share, pool = memory_share(plan, hardware, use), cache_bytes(plan, hardware, use)
    require(name, "the share of the memory is a range", 0.0 < share[0] <= share[1] <= 1.0, lower=share[0])
    require(name, "the KV pool is a range within the memory", 0.0 <= pool[0] <= pool[1] < hardware.memory_bytes)
    contexts = np.array([100.0, 1000.0, 10000.0])
    lower, upper = max_sequences(plan, hardware, use, context=contexts)
    require(name, "the number of sequences is a range", never_below(upper, lower), context=contexts)
    require(name, "longer sequences never fit more often", never_below(lower[:-1], lower[1:]))
    with_draft = MemoryPlan(target, catalog.draft("eagle3"), slots=4)
    fewer = max_sequences(with_draft, hardware, use, context=contexts)[0]
    require(name, "a draft never leaves room for more sequences", never_below(lower, fewer), context=contexts)


def _check_predictions(name: str, engine: Engine, device: Calibration, target: Model) -> None:
    """Check predictions with the engine: never faster than without overheads, with ordered intervals."""
    config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
    real, ideal = (
        predict(target, config, Deployment(device, one), batch=_BATCH, context=1000.0)
        for one in (engine, without_overheads(engine))
    )
    slower = never_below(real.plain_tpot_s, ideal.plain_tpot_s) & never_below(real.tpot_s, ideal.tpot_s)
    require(name, "no overhead makes decoding faster", slower, batch=_BATCH)
    for label, one in (("speed-up", real.speedup_estimate), ("rate", real.tokens_per_s_estimate)):
        inside = never_below(one.value, one.lower) & never_below(one.upper, one.value) & (one.lower > 0.0)
        require(name, f"the interval of a {label} contains it", inside, batch=_BATCH)
    require(name, "a speed-up never exceeds the tokens per cycle", real.speedup <= 2.4 * (1 + 1e-9), batch=_BATCH)
