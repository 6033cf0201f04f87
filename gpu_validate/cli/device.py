"""The verb ``device``: print facts about the device that ``measure`` would use, as JSON."""

from __future__ import annotations

import argparse
import os
import sys

from gpu_validate.device.facts import add_device_arguments, detect_device
from scylla_sim.checks import InputError
from scylla_sim.records import dump_json, write_text

EPILOG = """example:
  gpu-validate device --device auto
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    add_device_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="write to FILE instead of stdout")


def execute(args: argparse.Namespace) -> None:
    """Print the facts, or write them to a file."""
    most = os.cpu_count() or 1
    if not 1 <= args.threads <= most:
        raise InputError(f"threads={args.threads} must lie in [1, {most}], the cores of this machine")
    text = dump_json({"schema": "gpu-validate/device/1", **detect_device(args.device, threads=args.threads).row()})
    if args.out:
        write_text(args.out, text)
    else:
        sys.stdout.write(text)
