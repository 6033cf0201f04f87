"""``scylla-sim cycles``: whole draft-verify cycles of given configurations, CSV in and out."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from scylla_sim import catalog, kernels
from scylla_sim.checks import fail
from scylla_sim.cli.steps import number_columns
from scylla_sim.console import add_output, emit
from scylla_sim.records import read_columns
from scylla_sim.steps import Setting
from scylla_sim.throughput import Drafting, predict

EPILOG = """example:
  printf 'device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\\n' > c.csv
  printf 'h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\\n' >> c.csv
  scylla-sim cycles --shapes c.csv --format csv
"""

LABELS = ("device", "dtype", "model", "draft")
COUNTS = ("draft_len", "top_k", "verify_tokens")
NUMBERS = (*COUNTS, "tokens_per_cycle", "batch_size", "context_len")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", required=True, metavar="FILE", help=f"CSV with the columns {','.join(LABELS)},..."
    )
    parser.add_argument("--calibration", metavar="FILE", help="default: each device's shipped one")
    parser.add_argument("--engine", default="ideal", help="its launch and host work are added; default ideal")
    add_output(parser, default="csv")


def execute(args: argparse.Namespace) -> int:
    columns = read_columns(args.shapes, needed=(*LABELS, *NUMBERS))
    numbers = number_columns(args.shapes, columns, NUMBERS)
    if not numbers["batch_size"].size:
        raise fail("file", args.shapes, "holds no rows")
    given = kernels.read(args.calibration) if args.calibration else None
    engine = catalog.engine(args.engine)
    rows: list[dict[str, Any]] = []
    for index in range(numbers["batch_size"].size):
        label = {name: columns[name][index].strip() for name in LABELS}
        dtype = kernels.known_dtype(label["dtype"])
        kv_dtype = "float32" if dtype == "float32" else "bfloat16"
        setting = Setting(given or kernels.shipped(label["device"]), engine, dtype, kv_dtype)
        tau = float(numbers["tokens_per_cycle"][index])
        length, width, verified = (int(numbers[name][index]) for name in COUNTS)
        drafting = Drafting(catalog.draft(label["draft"]), length, width, verified, tau, tau, tau)
        batch, context = numbers["batch_size"][index], numbers["context_len"][index]
        out = predict(catalog.model(label["model"]), drafting, setting, batch=batch, context=context)
        arrays = {
            "draft_s": out.draft.seconds,
            "verify_s": out.verify.seconds,
            "overhead_s": out.overhead_s,
            "cycle_s": out.cycle_s,
            "plain_step_s": out.plain.seconds,
            "tokens_per_s": out.tokens_per_s,
            "speedup": out.speedup,
            "speedup_lower": out.speedup_lower,
            "speedup_upper": out.speedup_upper,
        }
        shape = {name: int(numbers[name][index]) for name in ("batch_size", "context_len", *COUNTS)}
        values = {name: float(np.asarray(value)) for name, value in arrays.items()}
        rows.append({**label, **shape, "tokens_per_cycle": tau, **values, "evidence": out.verify.evidence()})
    emit(args, "cycles", rows, inputs=[args.shapes, *([args.calibration] if args.calibration else [])])
    return 0
