"""``scylla-sim ingest``: convert logs, metrics, benchmarks or counts to the file of ``predict --acceptance``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scylla_sim.acceptance import generation
from scylla_sim.checks import in_range, whole
from scylla_sim.cli import _fit_overhead
from scylla_sim.console import add_output, emit_text, note
from scylla_sim.engines import acceptance_json
from scylla_sim.engines.acceptance_json import DEFAULT_METHOD
from scylla_sim.records import EVIDENCE, Row, dump_json, format_csv, table
from scylla_sim.text.tables import text_table

EPILOG = """examples (the content of the file decides its kind):
  printf 'position,accepted,drafted\\n1,760,1000\\n2,562,760\\n3,433,562\\n' > counts.csv
  scylla-sim ingest counts.csv --format table --generation 512
  scylla-sim ingest vllm.log --out acceptance.json          vLLM's SpecDecoding metrics lines
  kubectl logs POD | scylla-sim ingest -                    the same from standard input
  scylla-sim ingest after.txt --before before.txt           two pages of an engine's /metrics
  scylla-sim ingest result.json                             vllm bench serve, SGLang, GuideLLM, SpecForge
  scylla-sim ingest sglang.log --draft-len 3                SGLang's Decode batch lines
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="log, metrics page, benchmark result, or CSV position,accepted,drafted; - is stdin",
    )
    parser.add_argument("--before", metavar="FILE", help="earlier metrics page, which is subtracted")
    parser.add_argument("--series", metavar="NAME", help="model, run or draft length, if the file has several")
    parser.add_argument(
        "--draft-len",
        type=int,
        metavar="N",
        help="draft length, if the file does not contain it",
    )
    parser.add_argument(
        "--draft",
        metavar="METHOD",
        help="method whose position law gives the rates of a file without positions; default: as the file says, "
        f"else {DEFAULT_METHOD}",
    )
    parser.add_argument("--level", type=float, default=0.9, help="coverage of the intervals; default 0.9")
    parser.add_argument("--generation", type=int, metavar="N", help="also show the cycles of N tokens, p50 and p99")
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the file, kept in the result")
    _fit_overhead.add_arguments(parser)
    add_output(parser, default="json")


def execute(args: argparse.Namespace) -> int | None:
    """Print the rates and their summary, or fit the overheads of an engine."""
    if args.fit_overhead is not None:
        return _fit_overhead.execute(args)
    level = float(in_range("level", args.level, 0.5, 0.999))
    found = acceptance_json.read_content(
        args.file,
        before=args.before,
        series=args.series,
        level=level,
        draft_len=args.draft_len,
        method=args.draft,
    )
    facts = found.facts
    if args.generation is not None:
        tokens = int(whole("generation", args.generation, 1, generation.MAX_TOKENS))
        facts |= generation.summary(facts["acceptance_rate"], tokens)
    if args.draft is not None and "position_law" not in facts:
        note("note: draft is not used: the file has the acceptance of every position")
    for text in found.notes:
        note(f"note: {text}")
    _emit(args, facts | {"evidence": args.evidence}, found.rows)
    return 0


def _emit(args: argparse.Namespace, facts: Row, rows: list[Row]) -> None:
    if args.format == "csv":
        emit_text(args, format_csv(rows))
        return
    if args.format == "table":
        emit_text(args, text_table(rows) + "".join(f"{line}\n" for line in _words(facts)))
        return
    inputs = [name for name in (args.file, args.before) if name is not None and Path(name).is_file()]
    content: dict[str, Any] = table(acceptance_json.SCHEMA, rows, inputs=inputs)
    emit_text(args, dump_json(facts | content))


SERVED = {
    "tpot_s": ("TPOT", 1e3, " ms"),
    "itl_s": ("ITL", 1e3, " ms"),
    "ttft_s": ("TTFT", 1e3, " ms"),
    "output_tokens_per_s": ("output", 1.0, " tokens/s"),
    "concurrency": ("concurrency", 1.0, ""),
}
"""Served figures of the text output: name, factor and unit."""


def _source(facts: Row) -> str:
    """Return one line on the source, its cycles, and what was served."""
    text = f"{facts['source']}: {facts['windows']} record{'s' if facts['windows'] != 1 else ''}"
    text += f", {facts['cycles']} cycles" if facts["cycles"] is not None else ""
    text += f", draft length {facts['draft_len']}"
    text += f", method {facts['method']}" if facts["method"] else ""
    served = facts.get("served", {})
    shown = [
        f"{name} {served[key] * scale:.4g}{unit}" for key, (name, scale, unit) in SERVED.items() if key in served
    ]
    return "; ".join([text, *([", ".join(shown)] if shown else [])])


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
    cycles = "for independent cycles" if "position_law" not in facts else "of the mean"
    return [*lines, _source(facts), f"rates are conditional; [ ] is the {facts['level']:.0%} interval {cycles}"]
