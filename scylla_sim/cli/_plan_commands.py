"""Commands that follow a plan: simulate its answer, and print its engine settings."""

from __future__ import annotations

import argparse
import shlex

from scylla_sim.cli._plan_traffic import Planned
from scylla_sim.planning.traffic_rows import TrafficPoint
from scylla_sim.prediction.scenario import DEFAULT_ENGINE

WIDTH = 96
"""Columns of a command, before the sign that continues it."""
SHARED = ("kv_precision", "engine", "calibration", "expert_overlap", "prefix_hit")
"""Options that all three verbs have."""
OF_DRAFTS = (
    *("draft_precision", "draft_tp", "acceptance_kind", "tokens_per_cycle", "measured_draft_len"),
    *("position_exponent", "task"),
)
"""Options of drafts that all three verbs have."""
DEFAULTS = {"engine": DEFAULT_ENGINE, "acceptance_kind": "conditional"}
"""Values that need no option."""
OF_LOAD = ("burstiness", "max_num_batched_tokens", "ttft", "tpot")
"""Options that only a simulation has, beside the verb itself."""


def commands(args: argparse.Namespace, done: Planned) -> dict[str, str]:
    """Return commands for the answer of a plan: ``simulate``, and with a draft ``settings``; empty without one."""
    if not done.rows:
        return {}
    best = done.rows[0]
    shared = _where(args, done, best) + _given(args, (*SHARED, *(OF_DRAFTS if best.draft != "none" else ())))
    lengths = ["--input-len", args.input_len, "--output-len", args.output_len]
    seats = _given(args, ("max_num_seqs",)) + (["--allow-long-context"] if args.allow_long_context else [])
    drafting = _draft(done, best)
    rate = ["--rate", f"{best.rate_per_s:.4g}/s"]
    one_length = [] if best.schedule else ["--draft-len", str(best.draft_len)]
    by_batch = ",".join(f"{start}:{length}" for start, length in best.schedule)
    schedule = ["--schedule", by_batch] if best.schedule else one_length
    simulated = shared + (drafting + schedule if drafting else []) + rate + lengths + seats + _given(args, OF_LOAD)
    found = {"simulate": _line("serve-sim", simulated)}
    if drafting:
        means = [f"{done.traffic.load.input_len:g}", f"{done.traffic.load.output_len:g}"]
        lengths = ["--input-len", means[0], "--output-len", means[1]]
        found["settings"] = _line("schedule", shared + drafting + one_length + lengths + seats)
    return found


def _where(args: argparse.Namespace, done: Planned, best: TrafficPoint) -> list[str]:
    """Return the options of the deployment."""
    name = done.gathered.texts.get(best.hardware, best.hardware)
    return [
        *("--model", args.model, "--hardware", name, "--tp", str(best.tp)),
        *("--precision", best.precision),
    ]


def _draft(done: Planned, best: TrafficPoint) -> list[str]:
    """Return the options of the draft; empty for plain decoding."""
    if best.draft == "none":
        return []
    text = done.gathered.texts.get(best.draft, best.draft)
    rates = done.gathered.acceptance.get(text)
    return ["--draft", text] + ([] if rates is None else ["--acceptance", rates])


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Return the options that were given, with their values."""
    values = {name: getattr(args, name, None) for name in names}
    return [
        part
        for name, value in values.items()
        if value is not None and value != DEFAULTS.get(name)
        for part in (f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value))
    ]


def _line(verb: str, options: list[str]) -> str:
    r"""Return a command, continued by a backslash where it is longer than a line.

    Examples
    --------
    >>> _line("serve-sim", ["--model", "llama-3.1-8b", "--classes", "my file.toml"])
    "scylla-sim serve-sim --model llama-3.1-8b --classes 'my file.toml'"
    """
    words = [shlex.quote(word) for word in options]
    pairs: list[str] = []
    lines, line = [], f"scylla-sim {verb}"
    for word in words:
        if word.startswith("--") or not pairs:
            pairs.append(word)
        else:
            pairs[-1] += f" {word}"
    for pair in pairs:
        if len(line) + 1 + len(pair) > WIDTH:
            lines.append(f"{line} \\")
            line = f"    {pair}"
        else:
            line += f" {pair}"
    return "\n".join([*lines, line])
