"""``scylla-sim blind``: predict the rows of a measurement before it is made, with hashes of the predictions."""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError, fail
from scylla_sim.cli import cycles, kernels, steps
from scylla_sim.console import Parser, note
from scylla_sim.records import (
    SUMS,
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
VERBS = {"kernels": kernels, "step": steps, "specdecode": cycles, "decode": cycles}
"""Suite of a measurement -> the verb that predicts its rows."""
FACTS = "provenance.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    files = ", ".join(f"{suite}.csv" for suite in VERBS)
    parser.add_argument("--shapes", required=True, metavar="DIR", help=f"folder with one or more of {files}")
    parser.add_argument(
        "--hardware", required=True, metavar="NAME,...", help="GPUs of the catalog; all get the same shapes"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder that gets one subfolder per GPU")


def _predict(suite: str, shapes: Path, device: str) -> str:
    """Return the predictions for a file of shapes as CSV text, as if they ran on ``device``."""
    columns = read_columns(shapes)
    size = len(next(iter(columns.values())))
    verb, parser, text = VERBS[suite], Parser(), io.StringIO()
    verb.add_arguments(parser)
    options = [] if verb is kernels else ["--engine", "ideal"]  # a record holds no work of an engine
    with tempfile.TemporaryDirectory() as folder:
        renamed = Path(folder) / f"{suite}.csv"
        write_text(renamed, format_columns({**columns, "device": [device] * size}))
        try:
            with redirect_stdout(text):
                verb.execute(parser.parse_args(["--shapes", str(renamed), "--format", "csv", *options]))
        except InputError as error:
            raise InputError(str(error).replace(str(renamed), str(shapes))) from None
    return text.getvalue()


def _files(shapes: Mapping[str, Path], device: str) -> dict[str, str]:
    """Return the files of one GPU by name: its predictions and their provenance."""
    facts = provenance(
        inputs=shapes.values(),
        utc=datetime.now(UTC).isoformat(timespec="seconds"),
        calibration={
            "evidence": device_calibration.shipped(device).evidence,
            "sha256": device_calibration.shipped_hash(device),
        },
    )
    return {
        **{f"{suite}.csv": _predict(suite, path, device) for suite, path in shapes.items()},
        FACTS: dump_json({"schema": SCHEMA, "hardware": device, "provenance": facts}),
    }


def execute(args: argparse.Namespace) -> int:
    """Write the predictions of every GPU, or no file at all if an input is bad."""
    shapes = {suite: Path(args.shapes) / f"{suite}.csv" for suite in VERBS}
    shapes = {suite: path for suite, path in shapes.items() if path.is_file()}
    if not shapes:
        names = ", ".join(f"{suite}.csv" for suite in VERBS)
        raise fail("shapes", args.shapes, f"must be a folder with at least one of {names}")
    devices = [catalog.hardware(name).name for name in args.hardware.split(",")]
    for device in devices:
        if (Path(args.out).resolve().parent / device).is_dir():
            rule = "has been measured: predictions made after it are not blind"
            raise fail("hardware", device, rule, f"its records are in the folder of {args.out}")
    found = {Path(args.out) / device: _files(shapes, device) for device in devices}
    for folder, files in found.items():
        for name, text in files.items():
            write_text(folder / name, text)
        write_sums(folder, files)
        note(f"{SUMS} of {folder.name}: {sha256_of(folder / SUMS)}")
    return 0
