"""``scylla-sim ingest``: convert engine logs, metrics or counts to the rates file of ``predict --acceptance``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.acceptance import generation, positions, profiles
from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.checks import fail, in_range, whole
from scylla_sim.console import add_output, emit_text, note
from scylla_sim.engines import logs, prometheus
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.sglang_log import Lengths
from scylla_sim.records import EVIDENCE, Row, dump_json, format_csv, table
from scylla_sim.stats.estimate import Estimate
from scylla_sim.text.tables import text_table

EPILOG = """examples (the content of the file decides its kind):
  printf 'position,accepted,drafted\\n1,760,1000\\n2,562,760\\n3,433,562\\n' > counts.csv
  scylla-sim ingest counts.csv --format table --generation 512
  scylla-sim ingest vllm.log --out acceptance.json          vLLM's SpecDecoding metrics lines
  scylla-sim ingest after.txt --before before.txt           two pages of vLLM's /metrics
  scylla-sim ingest sglang.log --draft-len 3                SGLang's Decode batch lines
"""

DEFAULT_DRAFT = "eagle3"
"""Method of a log that does not name it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="log, metrics page, or CSV position,accepted,drafted")
    parser.add_argument("--before", metavar="FILE", help="earlier metrics page, which is subtracted")
    parser.add_argument(
        "--draft-len", type=int, metavar="N", help="draft length of an SGLang log, which does not contain it"
    )
    parser.add_argument(
        "--draft",
        metavar="METHOD",
        help=f"method whose position law gives the rates of an SGLang log; default {DEFAULT_DRAFT}",
    )
    parser.add_argument("--level", type=float, default=0.9, help="coverage of the intervals; default 0.9")
    parser.add_argument("--generation", type=int, metavar="N", help="also show the cycles of N tokens, p50 and p99")
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the file, kept in the result")
    add_output(parser, default="json")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail("file", path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _counted(found: Counts, level: float) -> tuple[Row, list[Row]]:
    """Return the summary of counts, and one row per position."""
    rate = found.rates(level)
    tau = found.tokens_per_cycle(level)
    rows = [
        {
            "position": i + 1,
            "reached": int(found.reached[i]),
            "accepted": found.accepted[i],
            "acceptance_rate": float(rate.value[i]),
            "lower": float(rate.lower[i]),
            "upper": float(rate.upper[i]),
            "cumulative_rate": found.accepted[i] / found.cycles,
        }
        for i in range(len(found.accepted))
    ]
    facts: Row = {"cycles": found.cycles, "windows": found.windows} | _tau(tau)
    if not found.whole_drafts:
        note("note: some drafts were shorter than the others; their number is calculated from rounded rates")
    return facts, rows


def _tau(tau: Estimate) -> Row:
    """Return tau and its ends under the keys of the JSON file."""
    ends = {"": tau.value, "_lower": tau.lower, "_upper": tau.upper}
    return {f"tokens_per_cycle{end}": float(value) for end, value in ends.items()}


def _from_lengths(found: Lengths, draft_len: int | None, level: float, law: PositionLaw) -> tuple[Row, list[Row]]:
    """Return tau of an SGLang log, and the rates of the position law for it, one row per position."""
    if draft_len is None:
        raise fail("draft_len", None, "is needed for an SGLang log", "give --draft-len (speculative_num_steps)")
    length = int(whole("draft_len", draft_len, 1))
    tau = found.tokens_per_cycle(level)
    mean = float(tau.value)
    if mean >= length + 1:
        raise fail("tokens_per_cycle", round(mean, 3), f"must be below draft_len + 1 = {length + 1}")
    note(f"note: SGLang logs tokens per cycle only; the rates over positions follow {law.describe()}; see --draft")
    note("note: for topk above 1, use predict --tokens-per-cycle instead of these rates")
    rates = law.profile(law.first_rate(mean, length) if mean > 1 else 0.0, length)
    rows = [
        {"position": i + 1, "acceptance_rate": float(rate), "cumulative_rate": float(reached)}
        for i, (rate, reached) in enumerate(zip(rates, np.cumprod(rates)))
    ]
    return {"windows": int(found.accept_len.size), "position_law": law.method} | _tau(tau), rows


def execute(args: argparse.Namespace) -> None:
    """Print the rates and their summary."""
    level = float(in_range("level", args.level, 0.5, 0.999))
    text = _text(args.file)
    inputs = [args.file]
    if args.before:
        found: Counts | Lengths = prometheus.read_vllm_metrics(text, _text(args.before))
        inputs.append(args.before)
    else:
        found = logs.read(text, args.file)
    if isinstance(found, Counts):
        if args.draft_len is not None and args.draft_len != len(found.accepted):
            raise fail("draft_len", args.draft_len, f"must be {len(found.accepted)}, the positions in {args.file}")
        if args.draft is not None:
            note("note: draft is not used: the file has the acceptance of every position")
        facts, rows = _counted(found, level)
    else:
        facts, rows = _from_lengths(found, args.draft_len, level, positions.law_of(args.draft or DEFAULT_DRAFT))
    rates = [row["acceptance_rate"] for row in rows]
    facts |= {f"tokens_per_cycle_p{q}": float(profiles.cycle_quantile(rates, q / 100)) for q in (50, 99)}
    if args.generation is not None:
        facts |= generation.summary(rates, int(whole("generation", args.generation, 1, generation.MAX_TOKENS)))
    _emit(args, facts | {"level": level, "evidence": args.evidence}, rows, inputs)


def _emit(args: argparse.Namespace, facts: Row, rows: list[Row], inputs: list[str]) -> None:
    if args.format == "csv":
        emit_text(args, format_csv(rows))
        return
    if args.format == "table":
        emit_text(args, text_table(rows) + "".join(f"{line}\n" for line in _words(facts)))
        return
    content: dict[str, Any] = table("scylla-sim/acceptance/1", rows, inputs=inputs)
    rates = [row["acceptance_rate"] for row in rows]
    emit_text(
        args,
        dump_json(
            {"schema": content.pop("schema"), "kind": "conditional"} | {"acceptance_rate": rates} | facts | content
        ),
    )


def _words(facts: Row) -> list[str]:
    """Return the summary lines under the table of positions."""
    tau, low, high = (facts[f"tokens_per_cycle{end}"] for end in ("", "_lower", "_upper"))
    lines = [
        f"tokens per cycle {tau:.3f} [{low:.3f}, {high:.3f}], bonus token included; median "
        f"{facts['tokens_per_cycle_p50']:g}, p99 {facts['tokens_per_cycle_p99']:g}"
    ]
    if "generation_tokens" in facts:
        lines.append(
            f"{facts['generation_tokens']} tokens take {facts['generation_cycles_p50']} cycles (median), "
            f"{facts['generation_cycles_p99']} (p99): {facts['generation_tokens_per_cycle']:.3f} tokens per cycle"
        )
    return [*lines, f"rates are conditional; [ ] is the {facts['level']:.0%} interval for independent cycles"]
