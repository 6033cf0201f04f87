"""What nvidia-smi says of a GPU: driver, clocks, power limit, temperature, ECC, MIG, and why it is throttled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

FIELDS = (
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.limit",
    "temperature.gpu",
    "ecc.mode.current",
    "mig.mode.current",
    "clocks_throttle_reasons.active",
)

_THROTTLING = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "power brake",
}
"""Bits of ``clocks_throttle_reasons.active`` that make measurements slower than the device is. Source: NVML,
nvmlClocksThrottleReasons."""


def parse(text: str) -> dict[str, str]:
    """Values of one line of ``nvidia-smi --query-gpu`` in the order of the fields asked for."""
    values = [value.strip() for value in text.strip().split(",")]
    if len(values) != len(FIELDS):
        return {}
    return {name: value for name, value in zip(FIELDS, values) if value not in ("[N/A]", "[Not Supported]", "")}


def query(name: str) -> dict[str, str]:
    """What nvidia-smi says of the GPU of this index or UUID; nothing where it is not installed or refuses."""
    if shutil.which("nvidia-smi") is None:
        return {}
    call = ["nvidia-smi", f"--id={name}", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse(done.stdout)


def reasons_of(bits: int) -> list[str]:
    """Why a GPU runs below its clocks, from the bits of NVML's clocks event reasons.

    Examples
    --------
    >>> reasons_of(0x44)
    ['power limit', 'hardware thermal limit']
    """
    return [reason for bit, reason in _THROTTLING.items() if bits & bit]


def throttling(facts: Mapping[str, str]) -> list[str]:
    """Why a GPU runs below its clocks, from the fields of nvidia-smi; nothing when idle or undisturbed.

    Examples
    --------
    >>> throttling({"clocks_throttle_reasons.active": "0x0000000000000044"})
    ['power limit', 'hardware thermal limit']
    """
    try:
        return reasons_of(int(facts.get("clocks_throttle_reasons.active", "0"), 16))
    except ValueError:
        return []
