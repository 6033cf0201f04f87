"""Draw the figures of the theory pages: ``python workflow/theory_figures.py FOLDER``.

`make docs` writes them to ``docs/theory``. Curves come from the functions of the package, and points from the
measurements that each page names. Points that a calibration was fitted to are not drawn.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scylla_sim
from gpu_validate.records import record_file
from gpu_validate.records.rows import export as recorded_rows
from gpu_validate.silicon.sampling import export as silicon_rows
from paper.render.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    PURPLE,
    RED,
    STYLE,
    label_ends,
    label_line,
    powers_of_two,
)
from scylla_sim.acceptance import position_fit
from scylla_sim.calibration import device_calibration, kernel_table
from scylla_sim.calibration.benchmark import benchmark_seconds
from scylla_sim.checks import FloatArray
from scylla_sim.ops.expert_routing import distinct_experts
from scylla_sim.planning.crossover import crossover_batch
from scylla_sim.prediction.served_runs import ServedRun, predict_run
from scylla_sim.records import Row, read_columns, write_bytes
from scylla_sim.specs.layers import MoE
from scylla_sim.stats.split import TEST

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "paper/published"
RECORDED = ROOT / "gpu_validate/recorded/h100-sxm"
GPU = "h100-sxm"
THREE = (BLUE, GREEN, PURPLE)
"""Colours of three curves of one panel."""


def _seconds(rows: Sequence[Mapping[str, Any]]) -> dict[str, FloatArray]:
    """Return the predicted seconds of measured kernels, with the shipped calibration of the H100."""
    columns = {name: [str(row.get(name, "")) for row in rows] for name in rows[0]}
    table = kernel_table.from_columns(columns, "rows", device=GPU)
    return benchmark_seconds(table, {GPU: device_calibration.shipped(GPU)})


def _curve(axes: Any, rows: pd.DataFrame, x: str, colour: str, *, label: str = "", roofline: bool = True) -> None:
    """Draw measured kernels as points, their prediction with its interval, and the roofline."""
    rows = rows.sort_values(x)
    at, found = rows[x].to_numpy(float), _seconds(rows.fillna("").to_dict("records"))
    axes.fill_between(at, 1e6 * found["lower_s"], 1e6 * found["upper_s"], color=colour, alpha=0.16, linewidth=0)
    axes.plot(at, 1e6 * found["predicted_s"], color=colour)
    if roofline:
        axes.plot(at, 1e6 * found["naive_s"], color=colour, linestyle=":", linewidth=1.2)
    axes.plot(at, 1e3 * rows["latency_ms"], "o", color=colour, markersize=3, markeredgecolor="white", mew=0.4)
    if label:
        label_line(axes, at[-1], 1e6 * found["predicted_s"][-1], label, colour)


def _log_time(axes: Any, x: str, ticks: Sequence[float], *, y: str = "µs") -> None:
    """Label a panel of times by size, both axes logarithmic."""
    axes.set_yscale("log")
    powers_of_two(axes, ticks)
    axes.set(xlabel=x, ylabel=y)


def _legend(axes: Any, line: int, text: str, colour: str) -> None:
    """Write a line into the upper left corner of a panel."""
    axes.text(0.04, 0.93 - 0.075 * line, text, transform=axes.transAxes, color=colour)


def _where(rows: pd.DataFrame, /, **values: Any) -> pd.DataFrame:
    """Return the rows with the given values."""
    return rows[np.logical_and.reduce([rows[name] == value for name, value in values.items()])]


def gemm(panels: Sequence[Any]) -> None:
    """Draw the time of two held-out weights by rows, in bf16 and fp8."""
    rows = silicon_rows(GPU, "gemm", part=TEST)
    for axes, dtype, colour in zip(panels, ("bfloat16", "fp8"), (BLUE, ORANGE)):
        _curve(axes, _where(rows, dtype=dtype, n=5120, k=10240), "m", colour)
        _log_time(axes, "rows m", [1, 8, 64, 512, 4096])
        axes.set_title(f"{dtype}, weights 5120 x 10240")
    for i, text in enumerate(("points: measured", "line: predicted, with its 90 % interval", "dotted: roofline")):
        _legend(panels[0], i, text, BLUE)


def attention(panels: Sequence[Any]) -> None:
    """Draw decode attention by context, and the time of several query tokens over that of one."""
    rows = silicon_rows(GPU, "decode_attention", part=TEST)
    heads = {"num_heads": 64, "num_kv_heads": 8, "head_dim": 128, "kv_dtype": "bfloat16", "window": 0}
    for batch, colour in zip((1, 16, 256), THREE):
        _curve(panels[0], _where(rows, batch=batch, **heads), "kv_len", colour, label=f"batch {batch}")
    _log_time(panels[0], "context", [16, 256, 4096, 32768])
    panels[0].set_ylim(1, 700)
    panels[0].set_title("decode, 64 heads, 8 KV heads")
    record = record_file.read(RECORDED / "kernels.json")
    verify = recorded_rows(record, "all", sources=("triton_split_kv",))
    verify = [row for row in verify if row["op"] == "decode_attention"]
    predicted = _seconds(verify)["predicted_s"]
    for i, ((batch, context), colour) in enumerate(zip(((1, 32768), (8, 8192), (64, 2048)), THREE)):
        chosen = [k for k, row in enumerate(verify) if (row["batch"], row["kv_len"]) == (batch, context)]
        chosen.sort(key=lambda k: verify[k]["q_len"])
        q, measured = ([verify[k][name] for k in chosen] for name in ("q_len", "latency_ms"))
        panels[1].plot(q, np.array(measured) / measured[0], "o", color=colour, markersize=3)
        panels[1].plot(q, predicted[chosen] / predicted[chosen[0]], color=colour)
        _legend(panels[1], i, f"{batch} x {context}", colour)
    powers_of_two(panels[1], [1, 4, 16, 64])
    panels[1].set(xlabel="query tokens", ylabel="time over that of one token", ylim=(0, None))
    panels[1].set_title("verification, batch x context")


def experts(panels: Sequence[Any]) -> None:
    """Draw the share of experts that are read, and the time of MoE layers, by tokens."""
    tokens = 2.0 ** np.arange(0, 13.01, 0.25)
    for row, ((count, chosen), colour) in enumerate(zip(((8, 2), (128, 8), (256, 8)), THREE)):
        routing = MoE(num_experts=count, experts_per_token=chosen, intermediate_size=2048)
        panels[0].plot(tokens, 100 * distinct_experts(routing, tokens) / count, color=colour)
        panels[0].text(700, 40 - 10 * row, f"{count} experts, top {chosen}", color=colour, ha="center")
    powers_of_two(panels[0], [1, 8, 64, 512, 4096])
    panels[0].set(xlabel="tokens of a pass", ylabel="experts that are read, %", ylim=(0, 103))
    panels[0].set_title("active experts")
    rows = _where(silicon_rows(GPU, "experts", part=TEST), dtype="bfloat16", distribution="balanced")
    shapes = ((8, 6144, 4096, BLUE, "8 of 6144 x 4096"), (256, 4096, 512, PURPLE, "256 of 4096 x 512"))
    for count, hidden, inner, colour, label in shapes:
        layer = _where(rows, num_experts=count, hidden_size=hidden, inter_size=inner)
        _curve(panels[1], layer, "num_tokens", colour)
        last = 1e3 * layer.sort_values("num_tokens")["latency_ms"].iloc[-1]
        label_line(panels[1], layer["num_tokens"].max(), last, label, colour)
    _log_time(panels[1], "tokens of a pass", [1, 8, 64, 512, 4096])
    panels[1].set_title("MoE layer, bf16")


def communication(panels: Sequence[Any]) -> None:
    """Draw all-reduce by message size, and a small kernel by its bytes."""
    rows = _where(silicon_rows(GPU, "all_reduce", part=TEST), graph=1)
    for gpus, colour in zip((2, 4, 8), THREE):
        _curve(panels[0], _where(rows, num_gpus=gpus), "bytes", colour, roofline=gpus == 8)
    for i, (gpus, colour) in enumerate(zip((2, 4, 8), THREE)):
        _legend(panels[0], i, f"{gpus} GPUs", colour)
    _log_time(panels[0], "bytes", [2**13, 2**18, 2**23, 2**28])
    panels[0].set_xticks([2**13, 2**18, 2**23, 2**28], ["8Ki", "256Ki", "8Mi", "256Mi"])
    panels[0].set_ylim(1, None)
    panels[0].set_title("all-reduce in a CUDA graph")
    rows = silicon_rows(GPU, "elementwise", part=TEST)
    for count, colour in zip((1, 16, 512), THREE):
        _curve(panels[1], _where(rows, rows=count), "bytes", colour, roofline=count == 512)
        _legend(panels[1], (1, 16, 512).index(count), f"{count} row{'s' * (count > 1)}", colour)
    _log_time(panels[1], "bytes", [2**10, 2**15, 2**20, 2**25])
    panels[1].set_xticks([2**10, 2**15, 2**20, 2**25], ["1Ki", "32Ki", "1Mi", "32Mi"])
    panels[1].set_ylim(0.5, None)
    panels[1].set_title("conversion to 8 bits")


def _served(series: str, draft_len: int) -> list[dict[str, str]]:
    """Return published served runs with a speed-up, by batch."""
    columns = read_columns(PUBLISHED / "served_runs.csv")
    rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
    chosen = [row for row in rows if row["series"] == series and row["draft_len"] == str(draft_len)]
    return sorted((row for row in chosen if row["speedup"]), key=lambda row: int(row["batch"]))


SPEEDUP = ("speedup_lower", "speedup", "speedup_upper")
"""Columns of a predicted speed-up."""
WORDS = {"engine", "hardware", "model", "precision", "kv_precision", "draft", "batch_kind"}
"""Columns of a served run that hold words."""


def _run(row: Mapping[str, str], engine: str) -> ServedRun:
    """Return the settings of a published run, on another engine."""
    fields = {name: row[name] if name in WORDS else int(row[name] or 0) for name in ServedRun.__dataclass_fields__}
    files = {name: str(PUBLISHED / row[name]) for name in ("model", "draft") if row[name].endswith(".json")}
    fields |= {"engine": engine, **files}
    return ServedRun(**fields)  # type: ignore[arg-type]


def engine_overhead(panels: Sequence[Any]) -> None:
    """Draw the share of the engine in a cycle, and a published series with and without the overhead."""
    batches = [2**i for i in range(9)]
    ends: list[tuple[float, str, str]] = []
    presets = (("vllm-2026", BLUE), ("sglang-2026", GREEN), ("vllm-2025", ORANGE), ("sglang-2025", RED))
    for name, colour in presets:
        result = scylla_sim.predict(
            "llama-3.1-8b",
            hardware=GPU,
            draft="eagle3",
            draft_len=3,
            acceptance=0.62,
            batch=batches,
            context=1024,
            engine=name,
        )
        share = [100 * row["overhead_s"] / row["cycle_s"] for row in result.rows()]
        panels[0].plot(batches, share, color=colour)
        ends.append((share[-1], name, colour))
    label_ends(panels[0], batches[-1], ends, 2.5)
    powers_of_two(panels[0], [1, 4, 16, 64, 256])
    panels[0].set(xlabel="batch", ylabel="engine overhead, % of a cycle", ylim=(0, None))
    panels[0].set_title("Llama-3.1-8B, EAGLE-3, K = 3")
    rows = _served("8B, DSpark, chat", 3)
    at = [int(row["batch"]) for row in rows]
    for engine, colour in (("vllm-2026", BLUE), ("ideal", ORANGE)):
        found = [predict_run(_run(row, engine), float(row["tokens_per_cycle"])) for row in rows]
        low, middle, high = (np.array([one[key] for one in found], float) for key in SPEEDUP)
        panels[1].fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
        panels[1].plot(at, middle, color=colour)
        label_line(panels[1], at[-1], middle[-1], engine, colour, dy=6 if engine == "ideal" else -6)
    panels[1].plot(at, [float(row["speedup"]) for row in rows], "o", color=INK, markersize=4)
    panels[1].axhline(1, color=INK, linewidth=0.9)
    powers_of_two(panels[1], [1, 4, 16, 64, 256])
    panels[1].set(xlabel="batch", ylabel="speed-up")
    panels[1].set_title("Apertus 8B, DSpark, K = 3, GH200")


CHAINS = ("tau_vs_draft_len.csv", "tau_vs_draft_len_specbundle.csv", "tau_vs_draft_len_traces.csv")
"""Published tokens per cycle by draft length."""


def _longer_chains(name: str) -> list[Row]:
    """Return published chains of 5 and more, each predicted from all known lengths up to 3 of its series."""
    columns = read_columns(PUBLISHED / name)
    series: dict[str, tuple[list[int], list[float]]] = {}
    for key, length, tau in zip(columns["series"], columns["draft_len"], columns["tokens_per_cycle"]):
        lengths, taus = series.setdefault(key, ([], []))
        lengths.append(int(length))
        taus.append(float(tau))
    pairs: dict[tuple[str, int], Row] = {}
    for row in sorted(position_fit.held_out(series), key=lambda row: len(row["known"])):
        pairs[row["series"], row["draft_len"]] = row
    return list(pairs.values())


def acceptance(panels: Sequence[Any]) -> None:
    """Draw tokens per cycle of long chains, predicted from short ones, by the decay and by one rate."""
    pairs = [row for name in CHAINS for row in _longer_chains(name)]
    measured = np.array([row["measured"] for row in pairs])
    titles = (("error", "odds decay with the position", BLUE), ("iid_error", "the same rate everywhere", ORANGE))
    for axes, (key, title, colour) in zip(panels, titles):
        errors = np.array([row[key] for row in pairs])
        axes.plot(measured, 100 * errors, "o", color=colour, markersize=3, alpha=0.7, mew=0)
        axes.axhline(0, color=INK, linewidth=0.9)
        _legend(axes, 0, f"mean error {100 * np.mean(np.abs(errors)):.1f} %", colour)
        axes.set(xlabel="tokens per cycle, published", ylabel="error, %", ylim=(-20, 35))
        axes.set_title(title)


def intervals(panels: Sequence[Any]) -> None:
    """Draw the speed-up of two draft lengths by batch, and P(slower), with the crossovers."""
    batches = list(range(1, 368))
    for length, colour in ((1, BLUE), (5, ORANGE)):
        result = scylla_sim.predict(
            "llama-3.1-8b",
            hardware=GPU,
            draft="eagle3",
            draft_len=length,
            acceptance=0.62,
            batch=batches,
            context=1024,
            engine="vllm-2026",
        )
        rows = result.rows()
        low, middle, high, slower = (np.array([row[name] for row in rows]) for name in (*SPEEDUP, "p_slower"))
        panels[0].fill_between(batches, low, high, color=colour, alpha=0.16, linewidth=0)
        panels[0].plot(batches, middle, color=colour)
        label_line(panels[0], batches[-1], middle[-1], f"K = {length}", colour)
        panels[1].plot(batches, slower, color=colour)
        label_line(panels[1], batches[-1], slower[-1], f"K = {length}", colour)
        ends = [crossover_batch(value) for value in (low, middle, high)]
        for axes, height in ((panels[0], 1.0), (panels[1], 0.5)):
            if ends[1] is not None:
                axes.plot([ends[1]], [height], "o", color=colour, markersize=5, zorder=5)
        first, last = ends[0] or batches[-1], ends[2] or batches[-1]
        panels[0].plot([first, last], [1, 1], color=colour, linewidth=4, alpha=0.6, solid_capstyle="butt")
    panels[0].axhline(1, color=INK, linewidth=0.9)
    panels[1].axhspan(0.3, 0.7, color=LIGHT, alpha=0.5, linewidth=0)
    panels[1].text(120, 0.62, "undecided", color=GREY)
    panels[0].set(xlabel="batch", ylabel="speed-up")
    panels[0].set_title("90 % interval and crossover")
    panels[1].set(xlabel="batch", ylabel="P(slower)", ylim=(0, 1))
    panels[1].set_title("probability of a loss")


FIGURES: dict[str, Callable[[Sequence[Any]], None]] = {
    "acceptance": acceptance,
    "attention": attention,
    "communication": communication,
    "engine-overhead": engine_overhead,
    "experts": experts,
    "gemm": gemm,
    "intervals": intervals,
}
"""Theory page -> function that draws its two panels."""


def svg(name: str) -> bytes:
    """Return the figure of a theory page as SVG, the same bytes for the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(7.6, 3.1), layout="constrained")
        FIGURES[name](list(figure.subplots(1, 2)))
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, transparent=False)
    return drawn.getvalue()


def main() -> None:
    """Write all figures, or the named ones, into a folder."""
    folder, *names = sys.argv[1:]
    for name in names or FIGURES:
        write_bytes(Path(folder) / f"figure-{name}.svg", svg(name))


if __name__ == "__main__":
    main()
