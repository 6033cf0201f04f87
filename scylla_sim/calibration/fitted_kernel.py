"""One fitted kernel: a kernel model, its parameters, and the spread of measurements around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, fail, in_range, one_of, positive
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.model import KernelModel, evaluate, values_of
from scylla_sim.kernels.registry import kernel_models
from scylla_sim.ops.op import Columns
from scylla_sim.records import EVIDENCE
from scylla_sim.stats.estimate import Estimate

PRIOR_RATIO = 1.5
"""Factor from the value to each end of the interval of a kernel that was never fitted."""

FAMILY_WIDENING, TRANSFER_WIDENING = 1.25, 2.0
"""Factors by which error bands widen (in logs) when a fit is transferred within, or across, GPU families."""

SOURCE_WEIGHT = 0.25
"""Weight of the source's parameters (in logs) when a fit is transferred to another family.

The prior of the kernel model has the rest of the weight. Some fitted parameters belong to one device alone. In
GEMMs, H100 reaches 0.88 of its bandwidth, while B300, GB200, GB300, RTX PRO 6000 and H200 reach 0.83-0.88. One
device cannot tell which parameters these are. The source device therefore has the same weight as each of the four
devices that the prior is fitted to.
"""

NO_TIME = 1e15
"""Ratio of a quantizer that takes no time."""
MIN_LAUNCH = 0.1
"""Minimum fraction of a fitted launch latency that remains after the benchmark's own graph launch is subtracted."""

BLEND = 2.0
"""Factor below and above ``split_s`` within which the bands of short and long executions are blended.

Both bands are measured on all executions of their side, so neither describes the ones close to ``split_s`` alone.
"""
TINY_S = 1e-12
"""Seconds below which all executions are alike."""


@dataclass(frozen=True)
class Band:
    """Spread of measured over predicted seconds, from the 5 % to the 95 % quantile."""

    lower_ratio: float = 1.0 / PRIOR_RATIO
    upper_ratio: float = PRIOR_RATIO

    def __post_init__(self) -> None:
        """Check the fields."""
        in_range("lower_ratio", self.lower_ratio, 0, 1, above=True)
        in_range("upper_ratio", self.upper_ratio, 1)

    def powered(self, power: float) -> Band:
        """Return the band with log residuals ``power`` times as wide."""
        return Band(self.lower_ratio**power, self.upper_ratio**power)

    def widened(self, ratio: float) -> Band:
        """Return the band with both ends moved outwards by a factor."""
        return Band(self.lower_ratio / ratio, self.upper_ratio * ratio)


LEVELS = (*EVIDENCE, "transferred")
"""Evidence levels of a calibration: those of `scylla_sim.records`, and that of a fit moved to another device."""


@dataclass(frozen=True)
class FittedKernel:
    """A kernel model with fitted parameters and their error bands.

    Attributes
    ----------
    model
        Kernel model.
    parameters
        Parameter dataclass of the model, all values positive.
    band
        Spread of executions that take longer than ``split_s``.
    short_band
        Spread of shorter executions, because launches scatter differently from long streams.
    split_s
        Seconds that separate the two bands; `FittedKernel.interval` blends them.
    evidence
        Evidence level of the parameters.
    graph_share_s
        Part of each measured execution that is the launch of the benchmark's own CUDA graph.
    """

    model: KernelModel
    parameters: Any
    band: Band = field(default_factory=Band)
    short_band: Band = field(default_factory=Band)
    split_s: float = 0.0
    evidence: str = "theory"
    graph_share_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.parameters, type(self.model.prior)):
            raise fail("parameters", self.parameters, f"must be those of {self.model.name}")
        positive("parameters", values_of(self.parameters))
        in_range("split_s", self.split_s, 0)
        in_range("graph_share_s", self.graph_share_s, 0)

    def seconds(self, columns: Columns, r: Rates) -> FloatArray:
        """Return the predicted seconds of shapes on a device with these rates."""
        return evaluate(self.model, self.parameters, columns, r)

    def interval(self, seconds: FloatArray) -> Estimate:
        """Return predicted seconds with their 90 % interval.

        Around ``split_s`` the interval changes from one band to the other without a jump: `BLEND` times below and
        above it is all of one band, and the log ratios are interpolated over the log seconds between.
        """
        share = 1.0
        if self.split_s > 0.0 and self.band != self.short_band:
            above = np.log(np.maximum(seconds, TINY_S) / self.split_s) / np.log(BLEND)
            share = np.clip(0.5 + 0.5 * above, 0.0, 1.0)
        lower, upper = (
            short * (long / short) ** share
            for short, long in (
                (self.short_band.lower_ratio, self.band.lower_ratio),
                (self.short_band.upper_ratio, self.band.upper_ratio),
            )
        )
        return Estimate(seconds, seconds * lower, seconds * upper)

    def widened(self) -> FittedKernel:
        """Return the kernel as a fallback for another kind of kernel: a wider interval, and evidence ``theory``."""
        band, short = self.band.widened(PRIOR_RATIO), self.short_band.widened(PRIOR_RATIO)
        return replace(self, band=band, short_band=short, evidence="theory")

    @cached_property
    def without_l2_reuse(self) -> FittedKernel:
        """The kernel as it runs in serving, where gigabytes of weights pass through L2 between two steps.

        A benchmark that repeats one small shape finds its weights or KV in L2, and is several times as fast on
        L40S. A fitted ratio below 1 describes another effect, which slows small shapes; it is kept.
        """
        if "l2_ratio" not in self.model.parameter_names:
            return self
        return replace(self, parameters=replace(self.parameters, l2_ratio=min(self.parameters.l2_ratio, 1.0)))

    @cached_property
    def without_quantizer(self) -> FittedKernel:
        """The kernel of a GEMM whose input arrives quantized; other kernels unchanged."""
        if "quantiser_ratio" not in self.model.parameter_names:
            return self
        return replace(self, parameters=replace(self.parameters, quantiser_ratio=NO_TIME, row_s=1.0 / NO_TIME))

    @cached_property
    def in_cuda_graph(self) -> FittedKernel:
        """The kernel as one of many in the CUDA graph of a step, without a graph launch of its own.

        At least `MIN_LAUNCH` of its fitted launch latency remains.
        """
        if self.graph_share_s == 0.0 or "launch_s" not in self.model.parameter_names:
            return self
        fitted_s = self.parameters.launch_s
        launch_s = max(fitted_s - self.graph_share_s, MIN_LAUNCH * fitted_s)
        return replace(self, parameters=replace(self.parameters, launch_s=launch_s))

    def transferred(self, *, same_family: bool) -> FittedKernel:
        """Return the kernel on another device, with wider error bands.

        Within a GPU family the parameters do not change. Across families they are pooled with the prior.
        """
        parameters, widening = self.parameters, FAMILY_WIDENING
        if not same_family:
            widening = TRANSFER_WIDENING
            prior = np.log(values_of(self.model.prior))
            mixed = SOURCE_WEIGHT * np.log(values_of(parameters)) + (1.0 - SOURCE_WEIGHT) * prior
            parameters = self.model.with_values(np.exp(mixed).tolist())
        band, short = self.band.powered(widening), self.short_band.powered(widening)
        return replace(self, parameters=parameters, band=band, short_band=short, evidence="transferred")


def prior_kernel(model: KernelModel) -> FittedKernel:
    """Return a kernel model at its prior, with evidence ``theory``."""
    return FittedKernel(model, model.prior)


def to_json(kernel: FittedKernel) -> dict[str, Any]:
    """Return the parts of a calibration file that `from_json` reads back."""
    return {
        "form": kernel.model.name,
        "parameters": dict(zip(kernel.model.parameter_names, values_of(kernel.parameters))),
        "lower_ratio": kernel.band.lower_ratio,
        "upper_ratio": kernel.band.upper_ratio,
        "split_s": kernel.split_s,
        "short_lower_ratio": kernel.short_band.lower_ratio,
        "short_upper_ratio": kernel.short_band.upper_ratio,
        "evidence": kernel.evidence,
        "graph_share_s": kernel.graph_share_s,
    }


def from_json(entry: Mapping[str, Any]) -> FittedKernel:
    """Return a kernel of a calibration file.

    Raises
    ------
    KeyError, ValueError
        The entry is damaged.
    """
    known = kernel_models()
    model = known[one_of("form", str(entry["form"]), known)]
    given = entry["parameters"]
    return FittedKernel(
        model=model,
        parameters=model.with_values(float(given[name]) for name in model.parameter_names),
        band=Band(float(entry["lower_ratio"]), float(entry["upper_ratio"])),
        short_band=Band(float(entry["short_lower_ratio"]), float(entry["short_upper_ratio"])),
        split_s=float(entry["split_s"]),
        evidence=one_of("evidence", str(entry["evidence"]), LEVELS),
        graph_share_s=float(entry.get("graph_share_s", 0.0)),
    )
