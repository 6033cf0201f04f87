"""``scylla-sim blind``: predict the rows of a measurement before it is made, with hashes that hold them fixed."""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import fail
from scylla_sim.cli import cycles, steps
from scylla_sim.cli import kernels as kernel_rows
from scylla_sim.console import Parser, note
from scylla_sim.records import (
    dump_json,
    format_columns,
    provenance,
    read_columns,
    sha256_of,
    write_sums,
    write_text,
)
from scylla_sim.specs import catalog

EPILOG = """example:
  gpu-validate campaign --dry-run --hardware h100-sxm --shapes shapes
  scylla-sim blind --shapes shapes --hardware h100-sxm,h200-sxm --out gpu_validate/recorded/blind
"""

SCHEMA = "scylla-sim/blind/1"
VERBS = {"kernels": kernel_rows, "step": steps, "specdecode": cycles, "decode": cycles}
"""Suite of a measurement -> the verb that predicts its rows."""
FACTS = "provenance.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", required=True, metavar="DIR", help=f"CSV files of shapes: {', '.join(VERBS)}; one may be absent"
    )
    parser.add_argument(
        "--hardware", required=True, metavar="NAME,...", help="GPUs of the catalog, predicted for the same shapes"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="one folder a GPU is written there")


def _predict(suite: str, shapes: Path, device: str, out: Path) -> None:
    """Predict the shapes of a file as if they ran on ``device``, with its shipped calibration."""
    columns = read_columns(shapes)
    size = len(next(iter(columns.values())))
    with tempfile.TemporaryDirectory() as folder:
        renamed = Path(folder) / f"{suite}.csv"
        write_text(renamed, format_columns({**columns, "device": [device] * size}))
        parser = Parser()
        VERBS[suite].add_arguments(parser)
        VERBS[suite].execute(
            parser.parse_args(["--shapes", str(renamed), "--format", "csv", "--out", str(out / f"{suite}.csv")])
        )


def execute(args: argparse.Namespace) -> int:
    shapes = {suite: Path(args.shapes) / f"{suite}.csv" for suite in VERBS}
    shapes = {suite: path for suite, path in shapes.items() if path.is_file()}
    if not shapes:
        raise fail("shapes", args.shapes, "holds none of the files", ", ".join(f"{suite}.csv" for suite in VERBS))
    devices = [catalog.hardware(name).name for name in args.hardware.split(",")]
    for device in devices:
        if (Path(args.out).resolve().parent / device).is_dir():
            rule = "has been measured: predictions made after it are not blind"
            raise fail("hardware", device, rule, f"its records lie beside {args.out}")
    for device in devices:
        out = Path(args.out) / device
        for suite, path in shapes.items():
            _predict(suite, path, device, out)
        facts = provenance(
            inputs=shapes.values(),
            utc=datetime.now(UTC).isoformat(timespec="seconds"),
            calibration={
                "evidence": device_calibration.shipped(device).evidence,
                "sha256": device_calibration.shipped_hash(device),
            },
        )
        write_text(out / FACTS, dump_json({"schema": SCHEMA, "hardware": device, "provenance": facts}))
        write_sums(out, [FACTS, *(f"{suite}.csv" for suite in shapes)])
        note(f"SHA256SUMS of {device}: {sha256_of(out / 'SHA256SUMS')}")
    return 0
