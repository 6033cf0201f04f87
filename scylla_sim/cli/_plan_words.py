"""Words and tables of ``scylla-sim plan --rate``: the answer, the rows, and what the plan assumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from scylla_sim.cli._plan_candidates import named
from scylla_sim.cli._plan_traffic import Planned
from scylla_sim.planning.traffic_rows import SIMULATION, TrafficPoint, latencies
from scylla_sim.prediction.footer import interval_coverage
from scylla_sim.prediction.verdict import UNDECIDED
from scylla_sim.serving.limits import METRICS
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.text import digits
from scylla_sim.text.tables import Column
from scylla_sim.units import GIGA

TABLE_COLUMNS = (
    Column("gpus", "GPUs [90 %]", ends=("gpus_lower", "gpus_upper"), decimals=0, right=True),
    Column("where", "each"),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("lengths", "K", fold=True, right=True),
    Column("load", "load %", scale=100.0, decimals=0),
    Column("tpot_mean_s", "TPOT ms", scale=1e3),
    Column("tpot_p95_s", "p95", scale=1e3),
    Column("ttft_p95_s", "TTFT p95", scale=1e3),
    Column("cost_per_million_tokens", "per M", fold=True),
    Column("gain", "gain [90 %]", ends=("gain_lower", "gain_upper"), decimals=2, fold=True),
    Column("binds_short", "binds", fold=True),
    Column("method", "by", fold=True),
    Column("evidence", fold=True),
)
"""Columns of the table; ``gain`` is the rate over that of the same GPUs without speculation."""
LITTLE_ROOM = 0.5
"""Share of saturation, allowed by a limit on a latency, from which down the answer names the limit."""


def row_of(point: TrafficPoint) -> dict[str, Any]:
    """Return a point as a row of a table, with its latencies as columns."""
    found = asdict(point)
    found |= {name: round(seconds, 9) for name, seconds in found.pop("latency_s").items()}
    found["schedule"] = " ".join(f"{start}:{length}" for start, length in point.schedule)
    found["doubts"] = ", ".join(point.doubts)
    for name in ("replicas_lower", "replicas_upper", "gpus_lower", "gpus_upper", "tpot_mean_upper_s"):
        found[name] = found[name] if np.isfinite(found[name]) else None
    return found


def shown(point: TrafficPoint) -> dict[str, Any]:
    """Return a row with the texts of the printed table."""
    found = row_of(point)
    found["where"] = f"{point.tp}x {point.hardware}"
    found["lengths"] = lengths_in_words(point)
    found["binds_short"] = point.binds.partition(" <=")[0]
    found["gpus_upper"] = "no limit" if found["gpus_upper"] is None else int(found["gpus_upper"])
    found["gpus_lower"] = int(point.gpus_lower)
    if point.draft == "none":
        found["gain"] = found["gain_lower"] = found["gain_upper"] = None
    return found


def lengths_in_words(point: TrafficPoint) -> str:
    """Return the draft length, or those of a schedule from the first batch on."""
    if point.draft == "none":
        return "-"
    lengths = dict.fromkeys(length for _, length in point.schedule)
    return "/".join(str(length) for length in lengths) if point.schedule else str(point.draft_len)


def answer(done: Planned) -> str:
    """Return the best row in words."""
    if not done.rows:
        return f"No candidate meets the limits: {closest(done)}."
    best = done.rows[0]
    draft = "plain decoding" if best.draft == "none" else f"{best.draft} with K = {lengths_in_words(best)}"
    most = "no limit" if not np.isfinite(best.gpus_upper) else f"{best.gpus_upper:.0f}"
    first = "Cheapest" if done.prices else "Fewest GPUs"
    cost = best.cost_per_million_tokens
    price = "" if cost is None else f" {digits.number(cost)} per million output tokens."
    ms = {name: digits.number(1e3 * seconds) for name, seconds in best.latency_s.items()}
    each = f"{best.replicas} x ({best.tp}x {best.hardware})"
    times = (
        f"{name} {ms[f'{name.lower()}_mean_s']} ms, p95 {ms[f'{name.lower()}_p95_s']}" for name in ("TPOT", "TTFT")
    )
    lines = [
        f"{first}: {best.gpus} GPU{'s' * (best.gpus > 1)} [{best.gpus_lower:.0f}-{most}], {each}, {draft}, "
        f"at {100 * best.load:.0f} % of saturation.{price}",
        f"{'; '.join(times)}. {digits.number(best.running)} requests decode in a replica.",
        f"They hold {100 * best.kv_use:.0f} % of its KV pool; weights take "
        f"{digits.number(best.weights_bytes / GIGA)} GB of each GPU. A step 1 % slower makes TPOT "
        f"{best.amplification:.1f} % longer.",
    ]
    if best.doubts and best.method != SIMULATION:
        lines.append(
            f"These are estimates by formula, which does not hold here ({', '.join(best.doubts)}): simulate them, "
            "with --finalists 1."
        )
    if best.verdict == UNDECIDED:
        lines.append("Speculation is undecided here: its gain over plain decoding is below the error.")
    elif best.draft != "none" and np.isfinite(best.gain):
        gain = digits.interval(best.gain, best.gain_lower, best.gain_upper, decimals=2)
        how = "in simulation" if best.gain_method == SIMULATION else "by formula"
        lines.append(f"Speculation serves {gain} times the rate of plain decoding on the same GPUs, {how}.")
    elif best.draft != "none":
        lines.append("Plain decoding on the same GPUs meets the limits at no rate.")
    lines += [*_without_draft(done, best), *_little_room(best)]
    return "\n".join(lines)


def _little_room(best: TrafficPoint) -> list[str]:
    """Return a line where a limit on a latency keeps replicas far below their saturation; otherwise none."""
    metric, share = best.binds.partition(" ")[0], best.max_rate_per_s / best.saturation_per_s
    if metric.lower() not in METRICS or share > LITTLE_ROOM:
        return []
    return [
        f"The limit on {best.binds} allows {100 * share:.0f} % of saturation only; "
        f"--what-if {metric.lower()}=... shows what a looser one saves."
    ]


def _without_draft(done: Planned, best: TrafficPoint) -> list[str]:
    """Return a line on plain decoding at the asked rate, on the deployment of the answer; none if it cannot."""
    where = (best.hardware, best.tp, best.precision, best.kv_precision)
    for option in done.plan.feasible if best.draft != "none" else ():
        hardware, tp, dtype, kv_dtype = option.key
        plain = option.plain
        if (hardware, tp, precision_name(dtype), precision_name(kv_dtype)) == where and plain.rate_per_s > 0.0:
            replicas = int(plain.replicas(done.traffic))
            found = latencies(plain, done.traffic.rate_per_s / replicas)
            mean, p95 = (digits.number(1e3 * found[f"tpot_{name}_s"]) for name in ("mean", "p95"))
            load = f"Without a draft the same load takes {replicas * tp} of these GPUs"
            return [f"{load}; TPOT {mean} ms, p95 {p95}, by formula."]
    return []


def assumptions(done: Planned) -> list[str]:
    """Return what a plan assumes, for the footer."""
    traffic, load = done.traffic, done.traffic.load
    limited = {limit.metric for limit in traffic.limits}
    engine = done.gathered.groups[0].deployment.engine
    missing = [name.upper() for name in ("ttft", "tpot") if name not in limited]
    cached = f", {load.prefix_hit:.0%} of each prompt cached" if load.cached_tokens else ""
    kv = ", ".join(dict.fromkeys(precision_name(each.deployment.kv_dtype) for each in done.gathered.groups))
    prompt, output = (one.describe() for one in traffic.lengths)
    arrivals = "Poisson" if traffic.burstiness == 1.0 else f"gamma, burstiness {traffic.burstiness:g}"
    limits = [*map(str, traffic.limits), f"load <= {100 * traffic.max_load:g} % of saturation"]
    found = [
        f"{done.model.name}, {traffic.rate_per_s:g} requests/s ({arrivals}, the same rate to every replica), "
        f"{prompt} in, {output} out{cached}; engine {engine.name}, KV cache {kv}, "
        f"{_scheduler(done)}. No spare replicas.",
        f"Limits: {'; '.join(limits)}." + (f" No limit on {' and '.join(missing)}." if missing else ""),
    ]
    lengths = {config.draft_len for each in done.gathered.groups for config in each.configs} - {0}
    if len(lengths) == 1:
        found.append(f"Only draft length {lengths.pop()} was considered; --draft-len 1,2,3,5 compares others.")
    if any(one.kind == "lognormal" for one in traffic.lengths):
        found.append("Lengths that a thousandth exceed are cut to those.")
    speculates = any(row.draft != "none" for row in done.rows)
    if any(row.method == SIMULATION for row in done.rows):
        what = "latencies and gains" if speculates else "latencies"
        found.append(f"Rows by simulation have {what} of simulated runs; rows by formula are estimates.")
    unclear = [f"{row.tp}x {row.hardware} {row.draft}" for row in done.rows if row.verdict == UNDECIDED]
    if unclear:
        found.append(f"Undecided whether speculation raises the rate: {', '.join(dict.fromkeys(unclear))}.")
    doubtful = [row for row in done.rows if row.doubts and row.method != SIMULATION]
    if doubtful:
        reasons = ", ".join(dict.fromkeys(reason for row in doubtful for reason in row.doubts))
        found.append(f"The formula does not hold in {len(doubtful)} rows ({reasons}): simulate them (--finalists).")
    configs = [config for each in done.gathered.groups for config in each.configs]
    drafting = [config for config in configs if config.draft.kind != "none"]
    uncertain = any(config.tau_lower < config.tau_upper for config in drafting)
    tp = max(each.deployment.tp for each in done.gathered.groups)
    covered = interval_coverage(engine, tp=tp, acceptance=uncertain if drafting else None, load=True)
    found.append(f"{covered.rstrip('.')}. Rates and lengths are taken as exact.")
    hidden = len(done.plan.feasible) - len(done.rows)
    if hidden:
        found.append(f"Best of each GPU and TP (--all: {hidden} more).")
    return found


def next_steps(commands: Mapping[str, str]) -> list[str]:
    """Return the commands that follow a plan, with a line above each."""
    titles = {"simulate": "Simulate one replica of it:", "settings": "Print its engine settings:"}
    return [line for name, command in commands.items() for line in (titles[name], *command.splitlines())]


def _scheduler(done: Planned) -> str:
    """Return the limits of the schedulers in words, and whose defaults they are."""
    where = [each.deployment for each in done.gathered.groups]
    limits = [done.traffic.limits_on(one) for one in where]
    given = (done.traffic.max_num_seqs, done.traffic.max_num_batched_tokens)
    names = ("max_num_seqs", "max_num_batched_tokens")
    texts = []
    for name, values, own in zip(names, zip(*limits), given):
        low, high = min(values), max(values)
        default = f" (default of {where[0].engine.name}{'' if low == high else ' by GPU'})" if own is None else ""
        texts.append(f"{name} {low if low == high else f'{low}-{high}'}{default}")
    return f"{' or what memory holds, '.join(texts)}"


def left_out(done: Planned) -> dict[str, list[str]]:
    """Return the candidates that have no row, by reason."""
    refuted = [f"{one.tp}x {one.hardware} {one.precision} {one.draft}" for one in done.decision.refuted]
    found = {
        "do not fit in memory": list(done.plan.left_out),
        "miss a limit without any load": done.plan.too_slow,
        "miss a limit in simulation, not by formula": refuted,
    }
    return {reason: names for reason, names in found.items() if names}


def summary(done: Planned, *, every: bool = False) -> list[str]:
    """Return how many candidates were considered, and which others are left out and why, for stderr.

    Parameters
    ----------
    every
        Whether to name all that are left out instead of a line of them.
    """
    plan = done.plan
    total = len(plan.options) + len(plan.left_out)
    lines = [
        f"{total} configurations: {len(plan.feasible)} feasible, {len(plan.left_out)} do not fit in memory, "
        f"{len(plan.too_slow)} miss a limit without any load",
        *(f"{reason}: {named(names, every=every)}" for reason, names in left_out(done).items()),
        *done.gathered.skipped_lines(),
    ]
    if not plan.feasible and plan.options:
        lines.append(closest(done))
    return lines


def closest(done: Planned) -> str:
    """Return the lowest unloaded latencies of all candidates, or that none fits in memory."""
    if not done.plan.options:
        return "none fits in memory"
    at = [option.served.curve.at_rate([0.0]) for option in done.plan.options]
    tpot, ttft = min(float(one.tpot_s[0]) for one in at), min(float(one.ttft_s[0]) for one in at)
    asked = "; ".join(map(str, done.traffic.limits))
    return (
        f"without load, the fastest take {digits.number(1e3 * tpot)} ms per token and "
        f"{digits.number(1e3 * ttft)} ms to the first ({asked})"
    )
