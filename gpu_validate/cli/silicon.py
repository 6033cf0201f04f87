"""The verb ``silicon``: published kernel timings of real GPUs, split by shape and sampled."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_validate.silicon import serving_runs
from gpu_validate.silicon.sampling import PARTS, export
from gpu_validate.silicon.tables import DEVICES, TABLES, systems
from scylla_sim import console
from scylla_sim.checks import fail, one_of
from scylla_sim.records import write_text

EPILOG = """example:
  gpu-validate silicon --device h100-sxm --op gemm --part train --rows 256 --out train.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument(
        "--device",
        required=True,
        help=f"one of {', '.join(DEVICES)}; serving runs: also {serving_runs.ALL_DEVICES}",
    )
    ops = ", ".join((*TABLES, f"{serving_runs.OP} (serving runs)"))
    parser.add_argument("--op", required=True, help=f"one of {ops}")
    parser.add_argument("--framework", help="vllm, sglang or trtllm; default: see docs/add-a-gpu.md")
    parser.add_argument("--part", default="all", choices=PARTS, help="part of the split by shape; default: all")
    parser.add_argument("--rows", type=int, help="maximum rows of each kind of kernel; default: all")
    parser.add_argument("--dtype", default="", help="kernel dtypes, separated by commas; default: all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling with --rows; default: 0")
    parser.add_argument(
        "--excluded", metavar="FILE", help="CSV file of the serving runs that are left out, with their reasons"
    )
    parser.add_argument("--out", metavar="FILE", help="CSV file; default: stdout")


def execute(args: argparse.Namespace) -> int:
    """Run the verb."""
    dtypes = console.name_list(args.dtype)
    if args.op == serving_runs.OP:
        if args.part != "all" or args.rows is not None:
            raise fail("op", args.op, "does not go with --part or --rows", "serving runs are not split")
        every = args.device == serving_runs.ALL_DEVICES
        devices = DEVICES if every else {args.device: DEVICES[one_of("device", args.device, DEVICES)]}
        frame, left_out = serving_runs.export(systems().parent, devices, framework=args.framework, dtypes=dtypes)
        what = "serving runs"
        for reason, runs in left_out.groupby("excluded"):
            console.note(f"left out: {len(runs)} runs: {reason}")
        if args.excluded:
            write_text(args.excluded, left_out.to_csv(index=False, lineterminator="\n"))
    else:
        if args.excluded:
            raise fail("excluded", args.excluded, "goes with serving runs only", f"--op {serving_runs.OP}")
        frame = export(
            args.device,
            args.op,
            framework=args.framework,
            part=args.part,
            rows=args.rows,
            seed=args.seed,
            dtypes=dtypes,
        )
        tables = frame[["framework", "version"]].drop_duplicates().to_numpy().tolist()
        what = f"rows, {', '.join(' '.join(table) for table in tables)}"
    text: Any = frame.to_csv(index=False, lineterminator="\n")
    if args.out:
        write_text(args.out, text)
        console.note(f"wrote {args.out}: {len(frame)} {what}")
    else:
        print(text, end="")
    return 0
