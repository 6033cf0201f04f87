"""Laws of predictions: steps, speed-ups and intervals of one deployment."""

from __future__ import annotations

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.prediction.verdict import FASTER_BELOW
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model
from scylla_sim.testing.requirement import never_below, require

_BATCH = np.array([1.0, 7.0, 64.0, 256.0])[:, None]
_CONTEXT = np.array([1.0, 2048.0, 32768.0])


def check_deployment(model: Model, deployment: Deployment) -> None:
    """Check the steps of a model on a deployment: more work never takes less time.

    Examples
    --------
    >>> from scylla_sim.calibration.device_calibration import shipped
    >>> from scylla_sim.specs import catalog
    >>> check_deployment(catalog.model("llama-3.2-1b"), Deployment(shipped("l40s"), catalog.engine("vllm")))
    """
    where = deployment.calibration.hardware.name
    name = f"{model.name} on {where} with {deployment.tp} ranks under {deployment.engine.name}"
    grid = {"batch": _BATCH, "context": _CONTEXT}
    step = target_step(model, deployment, **grid)
    require(name, "a step takes time", np.isfinite(step.seconds) & (step.seconds > 0.0), **grid)
    inside = (
        (step.time.lower > 0.0)
        & never_below(step.seconds, step.time.lower)
        & never_below(step.time.upper, step.seconds)
    )
    require(name, "the interval of a step contains it", inside, **grid)
    parts = sum((part.seconds for part in step.parts), np.zeros_like(step.seconds))
    require(name, "a step is the sum of its operations", np.isclose(parts, step.seconds, rtol=1e-12), **grid)
    longer = {"batch": _BATCH, "context": _CONTEXT[1:]}
    require(
        name,
        "a longer context never takes less time",
        never_below(step.seconds[:, 1:], step.seconds[:, :-1]),
        **longer,
    )
    if deployment.tp == 1:  # some kernels of all-reduce are faster with more tokens
        larger = {"batch": _BATCH[1:], "context": _CONTEXT}
        require(
            name, "a larger batch never takes less time", never_below(step.seconds[1:], step.seconds[:-1]), **larger
        )
        for tokens in (2.0, 16.0):
            verify = target_step(model, deployment, **grid, tokens=tokens)
            law = f"verifying {tokens:g} tokens never takes less time than decoding"
            require(name, law, never_below(verify.seconds, step.seconds), **grid)


def check_speculation(
    model: Model, config: SpeculativeConfig, deployment: Deployment, *, draft_deployment: Deployment | None = None
) -> None:
    """Check the speed-up of a speculative configuration and its interval.

    Examples
    --------
    >>> from scylla_sim.calibration.device_calibration import shipped
    >>> from scylla_sim.specs import catalog
    >>> config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
    >>> where = Deployment(shipped("h100-sxm"), catalog.engine("vllm"))
    >>> check_speculation(catalog.model("llama-3.1-8b"), config, where)
    """
    grid = {"batch": _BATCH, "context": _CONTEXT}
    out = predict(model, config, deployment, batch=_BATCH, context=_CONTEXT, draft_deployment=draft_deployment)
    where = f"{deployment.calibration.hardware.name} under {deployment.engine.name}"
    name = f"{config.draft.name} x{config.draft_len} of {model.name} on {where}"
    most = config.tokens_per_cycle * (1 + 1e-9)
    require(name, "a speed-up never exceeds the tokens per cycle", out.speedup <= most, **grid)
    found = out.speedup_estimate
    highest = max(config.tau_upper, config.tokens_per_cycle) * (1 + 1e-9)
    inside = never_below(out.speedup, found.lower) & never_below(found.upper, out.speedup)
    require(name, "the interval of a speed-up contains it", inside & (found.lower > 0.0), **grid)
    require(name, "no upper end exceeds the tokens per cycle", found.upper <= highest, **grid)
    law = "the speed-up is the ratio of the rates"
    require(name, law, np.isclose(out.speedup, out.tokens_per_s / out.plain_tokens_per_s, rtol=1e-12), **grid)
    require(name, "P(slower) is a probability", (out.p_slower >= 0.0) & (out.p_slower <= 1.0), **grid)
    undecided = np.isclose(out.p_slower, 0.5) | (out.p_slower == FASTER_BELOW)
    sides = (out.p_slower > 0.5) == (out.speedup < 1.0)
    require(name, "P(slower) is above a half where the speed-up is below 1", sides | undecided, **grid)
    require(
        name,
        "a cycle takes no less time than a plain step",
        never_below(out.cycle_s, out.plain_cycle.decoding.seconds),
        **grid,
    )


def without_overheads(engine: Engine) -> Engine:
    """Return an engine without overheads, with the CUDA graphs, kernels and memory of another one.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> without_overheads(catalog.engine("vllm")).host_s
    0.0
    """
    return Engine(
        name=f"{engine.name} without overheads",
        framework=engine.framework,
        eager=engine.eager,
        max_graph_tokens=engine.max_graph_tokens,
        max_graph_batch=engine.max_graph_batch,
        memory=engine.memory,
    )
