"""One fitted kernel: a form, its parameters, and how far measurements lie from it when short and when long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, fail, in_range, one_of, positive
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.registry import FORMS, KernelModel, evaluate

PRIOR_RATIO = 1.5
"""Half-width of the interval of a kernel that was never fitted: a factor either way."""
FAMILY_WIDENING, TRANSFER_WIDENING = 1.25, 2.0
"""A fit carried to another device of its family, and to another family: log-residuals are so many times as wide."""
SOURCE_WEIGHT = 0.25
"""Weight of the source's own parameters (in logs) where a fit is carried to another family; the rest is the form's
prior. Of the fit's parameters some belong to its device alone (H100 reaches 0.88 of its bandwidth in GEMMs, B300,
GB200, GB300, RTX PRO 6000 and H200 0.83-0.88), and one device cannot tell which: it counts as one of the four that
the prior is fitted to."""


MIN_LAUNCH = 0.1
"""Share of a fitted launch that stays when the launch of its benchmark's graph is taken off."""


@dataclass(frozen=True)
class Band:
    """Spread of measured over predicted seconds, 5 % to 95 %."""

    lower_ratio: float = 1.0 / PRIOR_RATIO
    upper_ratio: float = PRIOR_RATIO

    def __post_init__(self) -> None:
        in_range("lower_ratio", self.lower_ratio, 0, 1, above=True)
        in_range("upper_ratio", self.upper_ratio, 1)

    def powered(self, power: float) -> Band:
        """Log-residuals ``power`` times as wide."""
        return Band(self.lower_ratio**power, self.upper_ratio**power)

    def stretched(self, ratio: float) -> Band:
        """A further factor either way."""
        return Band(self.lower_ratio / ratio, self.upper_ratio * ratio)


@dataclass(frozen=True)
class FittedKernel:
    """One form with its parameters and its interval.

    Attributes
    ----------
    band
        Spread of executions that take ``split_s`` or longer.
    short
        Spread of shorter ones: launches scatter otherwise than streams of gigabytes.
    graph_share_s
        What each measured execution holds of the launch of its benchmark's own CUDA graph.
    """

    form: str
    parameters: tuple[float, ...]
    band: Band = Band()
    short: Band = Band()
    split_s: float = 0.0
    evidence: str = "theory"
    graph_share_s: float = 0.0

    def __post_init__(self) -> None:
        form = FORMS[one_of("form", self.form, FORMS)]
        if len(self.parameters) != len(form.parameters):
            raise fail("parameters", len(self.parameters), f"must be {len(form.parameters)} for {self.form}")
        positive("parameters", self.parameters)
        in_range("split_s", self.split_s, 0)
        in_range("graph_share_s", self.graph_share_s, 0)

    def seconds(self, columns: Mapping[str, Any], r: Rates) -> FloatArray:
        """Predicted seconds of shapes on a device of these rates."""
        return evaluate(FORMS[self.form], self.parameters, columns, r)

    def interval(self, seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end of the 90 % interval of predicted seconds."""
        short = seconds < self.split_s
        lower = np.where(short, self.short.lower_ratio, self.band.lower_ratio)
        upper = np.where(short, self.short.upper_ratio, self.band.upper_ratio)
        return seconds * lower, seconds * upper

    def stretched(self) -> FittedKernel:
        """The form lent to a kernel of another kind, never fitted: a wider interval, and evidence theory."""
        band, short = self.band.stretched(PRIOR_RATIO), self.short.stretched(PRIOR_RATIO)
        return replace(self, band=band, short=short, evidence="theory")

    def cold(self) -> FittedKernel:
        """The same kernel in service: between two steps gigabytes of weights pass the L2, so nothing stays in it.

        A benchmark that repeats one small shape finds its weights or KV there and is several times as fast (L40S).
        A fitted ratio below 1 is no cache, but whatever else slows small shapes, and stays.
        """
        names = FORMS[self.form].parameters
        if "l2_ratio" not in names:
            return self
        at = names.index("l2_ratio")
        return replace(
            self, parameters=(*self.parameters[:at], min(self.parameters[at], 1.0), *self.parameters[at + 1 :])
        )

    def in_step(self) -> FittedKernel:
        """The same kernel among the others of a step, which are one graph together and launched once.

        At least `MIN_LAUNCH` of its own launch stays, however small that was fitted.
        """
        names = FORMS[self.form].parameters
        if self.graph_share_s == 0.0 or "launch_s" not in names:
            return self
        at = names.index("launch_s")
        launch_s = max(self.parameters[at] - self.graph_share_s, MIN_LAUNCH * self.parameters[at])
        return replace(self, parameters=(*self.parameters[:at], launch_s, *self.parameters[at + 1 :]))

    def transferred(self, *, same_family: bool) -> FittedKernel:
        """The same kernel on another device: its own parameters in its family, pooled with the prior elsewhere."""
        parameters, widening = self.parameters, FAMILY_WIDENING
        if not same_family:
            widening = TRANSFER_WIDENING
            prior = np.log(FORMS[self.form].prior)
            mixed = SOURCE_WEIGHT * np.log(parameters) + (1.0 - SOURCE_WEIGHT) * prior
            parameters = tuple(np.exp(mixed).tolist())
        band, short = self.band.powered(widening), self.short.powered(widening)
        return replace(self, parameters=parameters, band=band, short=short, evidence="transferred")


def to_json(kernel: FittedKernel) -> dict[str, Any]:
    """Parts of a calibration file that `from_json` reads back."""
    form: KernelModel = FORMS[kernel.form]
    return {
        "form": kernel.form,
        "parameters": dict(zip(form.parameters, kernel.parameters)),
        "lower_ratio": kernel.band.lower_ratio,
        "upper_ratio": kernel.band.upper_ratio,
        "split_s": kernel.split_s,
        "short_lower_ratio": kernel.short.lower_ratio,
        "short_upper_ratio": kernel.short.upper_ratio,
        "evidence": kernel.evidence,
        "graph_share_s": kernel.graph_share_s,
    }


def from_json(entry: Mapping[str, Any]) -> FittedKernel:
    """A kernel of a calibration file; `KeyError` or `ValueError` where it is damaged."""
    names = FORMS[one_of("form", str(entry["form"]), FORMS)].parameters
    given = entry["parameters"]
    return FittedKernel(
        form=entry["form"],
        parameters=tuple(float(given[name]) for name in names),
        band=Band(float(entry["lower_ratio"]), float(entry["upper_ratio"])),
        short=Band(float(entry["short_lower_ratio"]), float(entry["short_upper_ratio"])),
        split_s=float(entry["split_s"]),
        evidence=str(entry["evidence"]),
        graph_share_s=float(entry.get("graph_share_s", 0.0)),
    )
