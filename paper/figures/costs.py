"""Figures of costs: kernels against silicon, Table 5, and where speculation stops paying."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from paper.render.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    PURPLE,
    RED,
    Canvas,
    canvas,
    label_line,
    powers_of_two,
)
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.tables.steps import METHODS, table5_rows
from scylla_sim.checks import FloatArray, InputError, fail

METHOD_COLOURS = {"plain": GREY, "eagle2": ORANGE, "scylla": BLUE}

_MAKE_KERNELS = (
    "scylla-sim kernels --shapes results/silicon/DEVICE/OP-test.csv --out results/predicted/DEVICE/OP.csv"
)
MIN_KERNELS = 5
"""Fewer kernels than this in a bin have no quantiles worth drawing."""


def _floats(cells: list[str], name: str, path: str) -> FloatArray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        raise fail("column", name, f"must hold numbers in {path}") from None


def _ratios(results: Results, path: str, along: tuple[str, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """x (product of ``along``), predicted and naive over measured of bf16 rows, no GEMMs of large batches."""
    names = ("dtype", "regime", "latency_ms", "predicted_s", "naive_s", *along)
    columns = results.columns(path, _MAKE_KERNELS, names)
    chosen = [
        i
        for i, (dtype, regime) in enumerate(zip(columns["dtype"], columns["regime"]))
        if dtype == "bfloat16" and regime != "large"
    ]
    picked = {name: _floats([columns[name][i] for i in chosen], name, path) for name in names[2:]}
    measured_s = 1e-3 * picked["latency_ms"]
    x = np.prod([picked[name] for name in along], axis=0)
    return x, picked["predicted_s"] / measured_s, picked["naive_s"] / measured_s


def binary(count: int) -> str:
    """A power of two for an axis.

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
    """Groups of equal x while they are few, of octaves otherwise, as masks."""
    octave = np.round(np.log2(x))
    return [mask for at in np.unique(octave) if (mask := octave == at).sum() >= MIN_KERNELS]


def _bands(axes: Any, x: FloatArray, ratios: tuple[FloatArray, FloatArray]) -> None:
    """Median and 10-90 % range against x, ours and the naive roofline's."""
    groups = _bins(x)
    centres = [2 ** float(np.mean(np.log2(x[mask]))) for mask in groups]
    for ratio, colour in ((ratios[1], ORANGE), (ratios[0], BLUE)):
        low, middle, high = np.array([np.quantile(ratio[mask], [0.1, 0.5, 0.9]) for mask in groups]).T
        axes.fill_between(centres, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(centres, middle, color=colour)
    axes.axhline(1, color=INK, linewidth=0.9)


def kernels(results: Results) -> Canvas:
    """Predicted over measured seconds against the size of the kernel, one column a device."""
    kinds = {
        "gemm": (("m",), "rows m of the product", [1, 8, 64, 512]),
        "decode_attention": (("batch", "kv_len"), "cached tokens of the batch", [2**4, 2**10, 2**16, 2**22]),
    }
    devices = [PurePosixPath(path).parent.name for path in results.matching("predicted/*/gemm.csv")]
    devices = [name for name in devices if name != "local"]
    if not devices:
        raise InputError(f"file={str(results.root / 'predicted/*/gemm.csv')!r} is missing; make it with: snakemake")
    drawing = canvas(
        "kernels",
        "Predicted over measured seconds on GPUs: calibrated kernels and the naive datasheet roofline",
        "Kernels on shapes that the calibration never saw; line: median, band: 10 to 90 % of the kernels, numbers: "
        "median error. Above: bf16 matrix products (n ≥ 1024, 1024 ≤ k ≤ 16384, n k ≥ 4e6, m ≤ 512). Below: decode "
        "attention with bf16 and fp8 KV caches, no sliding window. Measured: aiconfigurator-core (evidence "
        "silicon). Naive: the larger of FLOPs / peak and bytes / bandwidth.",
        size=(2.15 * len(devices) + 0.6, 5.2),
        rows=2,
        columns=len(devices),
        share_y=True,
        share_x="row",
    )
    for i, (op, (along, label, ticks)) in enumerate(kinds.items()):
        for j, device in enumerate(devices):
            axes = drawing.axes[i * len(devices) + j]
            x, ours, naive = _ratios(results, f"predicted/{device}/{op}.csv", along)
            if x.size < MIN_KERNELS:
                axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", color=GREY)
                continue
            _bands(axes, x, (ours, naive))
            errors = [100 * float(np.median(np.abs(ratio - 1))) for ratio in (ours, naive)]
            for height, error, colour in ((0.95, errors[0], BLUE), (0.85, errors[1], ORANGE)):
                axes.text(
                    0.97, height, f"{error:.1f} %", transform=axes.transAxes, color=colour, ha="right", va="top"
                )
            powers_of_two(axes, ticks)
            axes.set_xticks(ticks, [binary(tick) for tick in ticks])
            axes.set(
                ylim=(0, 1.65),
                yticks=[0, 0.25, 0.5, 0.75, 1, 1.25, 1.5],
                xlabel=label if j == len(devices) // 2 else "",
            )
            if i == 0:
                axes.set_title(device)
    for axes in (drawing.axes[0], drawing.axes[len(devices)]):
        axes.set_ylabel("predicted / measured")
    first = drawing.axes[0]
    first.text(0.03, 0.95, "ours", transform=first.transAxes, color=BLUE, va="top")
    first.text(0.03, 0.85, "naive", transform=first.transAxes, color=ORANGE, va="top")
    return drawing


def table5(results: Results) -> Canvas:
    """Table 5 as lines: reported solid, predicted dashed with the range of the tokens per cycle."""
    tables, rows = table5_rows(results)
    drawing = canvas(
        "table5",
        "Table 5: reported and predicted throughput of Qwen2.5-72B on 4x H800",
        "Solid with dots: arXiv 2505.07858, Table 5 (evidence published, secondary). Dashed: predicted, nothing "
        f"fitted to the table (evidence {', '.join(tables['plain'].levels())}); band: range of tokens per cycle. "
        f"Commit {commits(tables.values())}.",
        size=(8.6, 4.2),
        columns=3,
        share_y=True,
    )
    batches = [row["batch_size"] for row in rows]
    top = 1.05 * max(row[f"{method}_{key}"] for row in rows for method in METHODS for key in ("reported", "upper"))
    for axes, (method, name) in zip(drawing.axes, METHODS.items()):
        colour = METHOD_COLOURS[method]
        series = {
            key: [row[f"{method}_{key}"] for row in rows] for key in ("reported", "predicted", "lower", "upper")
        }
        axes.fill_between(batches, series["lower"], series["upper"], color=colour, alpha=0.16, linewidth=0)
        axes.plot(batches, series["reported"], "o-", color=colour, markersize=4.5)
        axes.plot(batches, series["predicted"], linestyle=(0, (4, 2)), color=colour)
        if method != "plain":
            plain = [row["plain_reported"] for row in rows]
            axes.plot(batches, plain, color=LIGHT, linewidth=1.4, zorder=0)
            label_line(axes, batches[-1], plain[-1], "plain", "#a0a8b0", dx=4)
        error = float(np.mean([abs(row[f"{method}_error"]) for row in rows]))
        axes.set_title(f"{name}: mean error {100 * error:.1f} %")
        powers_of_two(axes, [1, 2, 4, 8, 16, 32, 64])
        axes.set(xlabel="batch", ylim=(0, top))
    drawing.axes[0].set_ylabel("throughput (tokens/s)")
    middle = rows[len(rows) // 2]
    label_line(drawing.axes[1], middle["batch_size"], middle["eagle2_reported"], "reported", ORANGE, dx=-8, dy=9)
    label_line(drawing.axes[1], middle["batch_size"], middle["eagle2_predicted"], "predicted", ORANGE, dx=4, dy=-10)
    return drawing


def crossover(batches: list[float], speedups: list[float]) -> float | None:
    """First batch at which the speed-up falls below 1, between the points on a logarithmic axis.

    Examples
    --------
    >>> crossover([1, 4, 16], [2.0, 1.5, 0.5])
    8.0
    >>> crossover([1, 4], [2.0, 1.5]) is None
    True
    """
    points = list(zip(batches, speedups))
    for (b0, s0), (b1, s1) in pairwise(points):
        if s0 >= 1 > s1:
            return float(b0 * (b1 / b0) ** ((s0 - 1) / (s0 - s1)))
    return None


def speedup(results: Results) -> Canvas:
    """Speed-up against the batch by context, up to the memory: where speculation stops paying."""
    path = "steps/readme.json"
    table = results.table(path, how_to_make(path))
    first = table.rows[0]
    drawing = canvas(
        "speedup",
        f"Where speculation stops paying: {first['model']} on {first['hardware']}",
        f"Predicted speed-up over plain decoding by tokens of context: draft {first['draft']}, "
        f"{first['draft_len']} drafted and {first['tokens_per_cycle']:.2f} emitted tokens per cycle (given), "
        f"engine {first['engine']}, {first['precision']}. Band: 90 % interval. Curves end where memory is full. "
        f"Evidence: kernels {', '.join(table.levels())}. Commit {commits([table])}.",
        size=(7.2, 4.3),
    )
    axes = drawing.axes[0]
    largest = 1.0
    for context, colour in zip(sorted(set(table.column("context_len"))), (BLUE, GREEN, PURPLE, RED, ORANGE)):
        rows = [row for row in table.rows if row["context_len"] == context and value(row, "fits_memory", path)]
        if not rows:
            continue
        batches = [float(value(row, "batch_size", path)) for row in rows]
        gain = [float(value(row, "speedup", path)) for row in rows]
        bounds = [[float(value(row, f"speedup_{end}", path)) for row in rows] for end in ("lower", "upper")]
        axes.fill_between(batches, *bounds, color=colour, alpha=0.10, linewidth=0)
        axes.plot(batches, gain, color=colour)
        largest = max(largest, batches[-1])
        at = crossover(batches, gain)
        if at is not None:
            axes.plot([at], [1], "o", color=colour, markersize=6, zorder=6)
            label_line(axes, at, 1, f"batch {at:.0f}", colour, dx=-5, dy=-10)
        label_line(axes, batches[-1], gain[-1], f"{context:,} tokens", colour)
    if not axes.lines:
        raise fail("fits_memory", False, f"in every row of {path}", how_to_make(path))
    axes.axhline(1, color=INK, linewidth=1.0)
    powers_of_two(axes, [2**i for i in range(int(math.log2(largest)) + 1)])
    low, high = axes.get_ylim()
    axes.set(
        xlabel="batch (sequences decoded together)", ylabel="speed-up over plain decoding", xlim=(0.93, largest)
    )
    axes.set_ylim(min(low, 0.7), max(high, 1.3))
    axes.text(1, 0.985, "plain decoding is faster below this line", fontsize=8, color=GREY, va="top")
    return drawing
