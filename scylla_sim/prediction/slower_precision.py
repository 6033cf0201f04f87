"""A note for precisions that are slower than 16 bits: which operations take longer, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.step_time import Step
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs.dtypes import DTYPES, precision_name
from scylla_sim.specs.model import Model
from scylla_sim.specs.quantization import HALF

_MIN_RATIO = 1.03
"""Least ratio to the time in 16 bits that is worth a note; smaller ones are within the error of the kernels."""
_MIN_SHARE = 0.1
"""Least share of the additional time that an operation must have to be named."""

_REASONS = {
    "expert_gemm": "grouped GEMMs of this type have large tiles and quantize their input, and few rows fill them",
    "gemm": "GEMMs of this type quantize their input first and choose among fewer tiles",
    "weights": "GEMMs of this type unpack the weights again for every tile of rows",
}


def slower_note(
    model: Model, deployment: Deployment, *, batch: FloatArray, context: FloatArray, tokens: int
) -> list[str]:
    """Return one note if the target's precision makes a step slower than 16 bits, otherwise an empty list.

    Parameters
    ----------
    batch, context
        Batches and contexts of the prediction. The smallest and the largest batch are compared.
    tokens
        Most tokens that one sequence verifies.
    """
    hardware = deployment.calibration.hardware
    lower = DTYPES[deployment.dtype].stored_bytes < DTYPES[HALF].stored_bytes
    if not lower or DTYPES[HALF].peak not in hardware.peak_flop_per_s:
        return []
    sizes = np.array([batch.min(), batch.max()], dtype=np.float64)
    scored = np.array([1.0, float(tokens)])
    at = {"batch": sizes, "context": context.min(), "tokens": scored}
    given = target_step(model, deployment, **at)
    half = target_step(model, replace(deployment, dtype=HALF, op_dtypes={}), **at)
    ratio = given.seconds / half.seconds
    worst = int(np.argmax(ratio))
    if ratio[worst] < _MIN_RATIO:
        return []
    names, reason = _slowest(given, half, worst, deployment)
    precision, rows = precision_name(deployment.dtype), int(sizes[worst] * scored[worst])
    step = f"a step of {rows} token{'s' * (rows != 1)}"
    return [
        f"{precision} is slower than bf16 here: {step} takes {ratio[worst]:.2f} times as long "
        f"({', '.join(names)}); {reason}"
    ]


def _slowest(given: Step, half: Step, at: int, deployment: Deployment) -> tuple[list[str], str]:
    """Return the operations that add most of the time, and the reason for the first of them."""
    added = {
        (one.name, one.kind): float(np.broadcast_to(one.seconds - other.seconds, (2,))[at])
        for one, other in zip(given.parts, half.parts)
    }
    least = min(_MIN_SHARE * sum(value for value in added.values() if value > 0.0), max(added.values()))
    ranked = sorted((key for key in added if added[key] >= least), key=lambda key: -added[key])
    kind = ranked[0][1]
    quantizes = DTYPES[deployment.op_dtypes.get(ranked[0][0], deployment.dtype)].quantizes_input
    reason = _REASONS.get(kind if quantizes else "weights", _REASONS["gemm"])
    return [name for name, _ in ranked], reason
