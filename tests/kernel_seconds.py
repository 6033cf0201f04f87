"""Seconds of one shape by the prior of a kernel model, for the tests of `scylla_sim.kernels`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import KernelModel, evaluate
from scylla_sim.specs.hardware import Hardware


def prior_seconds(
    model: KernelModel,
    hardware: Hardware,
    changed: Mapping[str, float] | None = None,
    dtype: str = "bfloat16",
    **columns: float,
) -> float:
    """Return the seconds of one shape by the prior of a model, with some parameters changed."""
    arrays = {column: np.asarray(float(columns[column])) for column in model.columns}
    return float(evaluate(model, replace(model.prior, **(changed or {})), arrays, rates(hardware, dtype, dtype)))
