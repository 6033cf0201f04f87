"""Figure ``figure-kernels``: predicted over measured times of kernels by their size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from paper.render.drawing import BLUE, GREY, INK, ORANGE, Canvas, canvas, powers_of_two
from paper.sources.results import Results
from scylla_sim.checks import FloatArray

MIN_KERNELS = 5
"""Smallest number of kernels in a bin for which quantiles are drawn."""

KINDS = {
    "gemm": (("m",), "bf16 GEMM", "rows m of the GEMM", [1, 8, 64, 512]),
    "decode_attention": (
        ("batch", "kv_len"),
        "decode attention",
        "cached tokens of the batch",
        [2**4, 2**10, 2**16, 2**22],
    ),
}
"""Operation -> columns whose product is x, its name, label of x, and ticks of x."""

ORDER = ("h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm", "l40s")
"""Devices from left to right; others follow by name."""


BAND_ALPHA = {BLUE: 0.22, ORANGE: 0.12}
"""Opacity of the bands; that of the roofline is fainter where both overlap."""


def _ratios(results: Results, path: str, along: tuple[str, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return x, and the predicted and the roofline time over the measured time, of bf16 rows.

    x is the product of the columns ``along``. GEMMs of large batches are left out.
    """
    words = results.columns(path, ("dtype", "regime"))
    chosen = [
        i
        for i, (dtype, regime) in enumerate(zip(words["dtype"], words["regime"]))
        if dtype == "bfloat16" and regime not in ("large", "wide")
    ]
    names = ("latency_ms", "predicted_s", "naive_s", *along)
    picked = {name: np.array(cells) for name, cells in results.numbers(path, names, rows=chosen).items()}
    measured_s = 1e-3 * picked["latency_ms"]
    x = np.prod([picked[name] for name in along], axis=0)
    return x, picked["predicted_s"] / measured_s, picked["naive_s"] / measured_s


def binary(count: int) -> str:
    """Return a count with a binary prefix.

    Examples
    --------
    >>> binary(512), binary(65536), binary(4194304)
    ('512', '64Ki', '4Mi')
    """
    for factor, suffix in ((2**20, "Mi"), (2**10, "Ki")):
        if count >= factor:
            return f"{count // factor}{suffix}"
    return f"{count}"


def _bins(x: FloatArray) -> list[FloatArray]:
    """Return masks of the octaves of x that hold at least `MIN_KERNELS` kernels."""
    octave = np.round(np.log2(x))
    return [mask for at in np.unique(octave) if (mask := octave == at).sum() >= MIN_KERNELS]


def _bands(axes: Any, x: FloatArray, ratios: tuple[FloatArray, FloatArray]) -> None:
    """Draw the median and the 10 to 90 % range by x, for the prediction and the roofline baseline."""
    groups = _bins(x)
    centres = [2 ** float(np.mean(np.log2(x[mask]))) for mask in groups]
    for ratio, colour in ((ratios[1], ORANGE), (ratios[0], BLUE)):
        low, middle, high = np.array([np.quantile(ratio[mask], [0.1, 0.5, 0.9]) for mask in groups]).T
        axes.fill_between(centres, low, high, color=colour, alpha=BAND_ALPHA[colour], linewidth=0)
        axes.plot(centres, middle, color=colour)
    axes.axhline(1, color=INK, linewidth=0.9)


def _panel(axes: Any, ratios: tuple[FloatArray, FloatArray, FloatArray], ticks: list[int]) -> None:
    """Draw one operation on one device with its median errors."""
    x, calibrated, roofline = ratios
    if x.size < MIN_KERNELS:
        axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", color=GREY)
        return
    _bands(axes, x, (calibrated, roofline))
    errors = [100 * float(np.median(np.abs(ratio - 1))) for ratio in (calibrated, roofline)]
    for height, error, colour in ((0.95, errors[0], BLUE), (0.85, errors[1], ORANGE)):
        axes.text(
            *(0.97, height, f"{error:.1f} %"),
            transform=axes.transAxes,
            color=colour,
            ha="right",
            va="top",
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.5},
        )
    powers_of_two(axes, ticks)
    axes.set_xticks(ticks, [binary(tick) for tick in ticks])
    axes.set(ylim=(0, 1.65), yticks=[0, 0.25, 0.5, 0.75, 1, 1.25, 1.5])


def _legend(axes: Any) -> None:
    """Name both colours in the upper left corner of a panel."""
    axes.text(0.03, 0.95, "calibrated", transform=axes.transAxes, color=BLUE, va="top")
    axes.text(0.03, 0.85, "roofline", transform=axes.transAxes, color=ORANGE, va="top")


def _small(results: Results, device: str) -> Canvas:
    """Draw both operations on one device, for the thumbnail."""
    drawing = canvas("kernels", "", "", size=(6.2, 2.9), columns=len(KINDS), share_y=True)
    for axes, (op, (along, name, label, ticks)) in zip(drawing.axes, KINDS.items()):
        _panel(axes, _ratios(results, f"predicted/{device}/{op}.csv", along), ticks)
        axes.set(title=f"{name}, {device}", xlabel=label)
    drawing.axes[0].set_ylabel("predicted / measured")
    _legend(drawing.axes[0])
    return drawing


def kernels(results: Results) -> Canvas:
    """Draw the predicted over the measured time by kernel size, one column per device.

    Raises
    ------
    InputError
        If no device has predicted GEMMs.
    """
    devices = [PurePosixPath(path).parent.name for path in results.require("predicted/*/gemm.csv")]
    rank = {name: place for place, name in enumerate(ORDER)}
    devices = sorted((name for name in devices if name != "local"), key=lambda name: (rank.get(name, 99), name))
    drawing = canvas(
        "kernels",
        "Predicted over measured time on GPUs: calibrated kernels and the roofline baseline",
        "Kernels with shapes that the calibration did not use. Line: median; band: 10 to 90 % of the kernels; "
        "numbers: median error. GEMM (n ≥ 1024, 1024 ≤ k ≤ 16384, n k ≥ 4e6, m ≤ 512); decode "
        "attention with bf16 and fp8 KV caches, no sliding window. Measured: aiconfigurator-core (evidence "
        "silicon). Roofline baseline: the larger of FLOPs / datasheet peak and bytes / datasheet bandwidth.",
        size=(2.15 * len(devices) + 0.6, 5.2),
        rows=2,
        columns=len(devices),
        share_y=True,
        share_x="row",
    )
    for i, (op, (along, name, label, ticks)) in enumerate(KINDS.items()):
        drawing.axes[i * len(devices)].set_ylabel(f"{name}\npredicted / measured")
        for j, device in enumerate(devices):
            axes = drawing.axes[i * len(devices) + j]
            _panel(axes, _ratios(results, f"predicted/{device}/{op}.csv", along), ticks)
            axes.set_xlabel(label if j == len(devices) // 2 else "")
            if i == 0:
                axes.set_title(device)
    _legend(drawing.axes[0])
    return replace(drawing, small=_small(results, devices[0]))
