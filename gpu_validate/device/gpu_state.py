"""State of a GPU as its driver reports it: clocks, power limit, temperature, ECC, MIG and throttling.

NVML answers through the package ``nvidia-ml-py``. Where the package is not installed, ``nvidia-smi`` is called.
Both give the same fields in the same form.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from scylla_sim.units import MILLI

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
"""Fields of a query, named as ``nvidia-smi --help-query-gpu`` names them."""

THROTTLE_REASONS = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "power brake",
}
"""Bits of ``clocks_throttle_reasons.active`` that slow a GPU down. Source: NVML, nvmlClocksThrottleReasons."""

_TIMEOUT_S = 20


def query(name: str) -> dict[str, str]:
    """Return the state of one GPU by field.

    Parameters
    ----------
    name
        Index or UUID of the GPU.

    Returns
    -------
    dict of str to str
        Values of `FIELDS`. Fields that the GPU lacks are absent. The result is empty where no driver answers.
    """
    try:
        import pynvml
    except ImportError:
        return query_nvidia_smi(name)
    return query_nvml(pynvml, name)


def query_nvml(nvml: Any, name: str) -> dict[str, str]:
    """Return the state of one GPU from NVML.

    Parameters
    ----------
    nvml
        The module ``pynvml``, or a fake one in tests.
    name
        Index or UUID of the GPU.
    """
    try:
        nvml.nvmlInit()
        gpu = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
    except nvml.NVMLError:
        return {}

    def mode(values: Any) -> str:
        return "Enabled" if values[0] == nvml.NVML_FEATURE_ENABLED else "Disabled"

    read: tuple[Callable[[], str], ...] = (
        lambda: str(nvml.nvmlSystemGetDriverVersion()),
        lambda: f"{nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)} MHz",
        lambda: f"{nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)} MHz",
        lambda: f"{nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)} MHz",
        lambda: f"{MILLI * nvml.nvmlDeviceGetPowerManagementLimit(gpu):.2f} W",
        lambda: str(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
        lambda: mode(nvml.nvmlDeviceGetEccMode(gpu)),
        lambda: mode(nvml.nvmlDeviceGetMigMode(gpu)),
        lambda: f"0x{nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu):016x}",
    )
    found = {}
    for field, value in zip(FIELDS, read, strict=True):
        try:
            found[field] = value()
        except nvml.NVMLError:
            continue  # the GPU does not have this field
    return found


def query_nvidia_smi(name: str) -> dict[str, str]:
    """Return the state of one GPU from ``nvidia-smi``; empty where the program is missing or fails."""
    if shutil.which("nvidia-smi") is None:
        return {}
    call = ["nvidia-smi", f"--id={name}", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_nvidia_smi(done.stdout)


def parse_nvidia_smi(text: str) -> dict[str, str]:
    """Parse one line of ``nvidia-smi --query-gpu`` that asks for `FIELDS`; empty for any other line."""
    values = [value.strip() for value in text.strip().split(",")]
    if len(values) != len(FIELDS):
        return {}
    return {name: value for name, value in zip(FIELDS, values) if value not in ("[N/A]", "[Not Supported]", "")}


def throttle_reasons(bits: int) -> list[str]:
    """Name the reasons in the bits of NVML's clocks event reasons that slow a GPU down.

    Examples
    --------
    >>> throttle_reasons(0x44)
    ['power limit', 'hardware thermal limit']
    """
    return [reason for bit, reason in THROTTLE_REASONS.items() if bits & bit]


def active_throttle_reasons(state: Mapping[str, str]) -> list[str]:
    """Name the reasons that slow a GPU down in the state that `query` returns; empty for an idle GPU.

    Examples
    --------
    >>> active_throttle_reasons({"clocks_throttle_reasons.active": "0x0000000000000044"})
    ['power limit', 'hardware thermal limit']
    """
    try:
        return throttle_reasons(int(state.get("clocks_throttle_reasons.active", "0"), 16))
    except ValueError:
        return []
