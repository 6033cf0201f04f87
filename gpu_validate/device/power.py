"""Clocks, power, energy and throttling of a GPU during a measurement.

Before and after a campaign, a GPU shows its idle clocks. A thread therefore reads NVML under load. Energy is the
difference of NVML's energy counter over the samples of a case. NVML needs the package ``nvidia-ml-py``. There is no
fallback to ``nvidia-smi``, because it has no energy counter and starting it every 20 ms would disturb the
measurement.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from gpu_validate.device.gpu_state import throttle_reasons
from scylla_sim.units import MILLI

PERIOD_S = 0.02
"""Seconds between two readings."""
_MIN_WINDOW_S = 0.1
"""Shortest window whose energy is reported: NVML updates its counter every 20 to 100 ms."""


@dataclass(frozen=True)
class Reading:
    """One reading of a GPU.

    Attributes
    ----------
    at_s
        Time of the host's monotonic clock.
    sm_mhz, memory_mhz
        Clocks of the SMs and of the memory.
    power_w
        Power draw.
    celsius
        Temperature of the chip.
    reasons
        Bits of NVML's clocks event reasons.
    """

    at_s: float
    sm_mhz: float
    memory_mhz: float
    power_w: float
    celsius: float
    reasons: int


@dataclass
class Window:
    """Readings and energy of a GPU between two times.

    Attributes
    ----------
    begin_s, end_s
        Times of the host's monotonic clock.
    energy_j
        Energy over the window; ``None`` where it was not read.
    readings
        Readings inside the window.
    """

    begin_s: float = 0.0
    end_s: float = 0.0
    energy_j: float | None = None
    readings: list[Reading] = field(default_factory=list)

    def facts(self, seconds_per_call: float) -> dict[str, float]:
        """Return the columns of a measured row: mean power, energy of one call and median SM clock.

        Columns that were not read are absent.
        """
        found: dict[str, float] = {}
        if self.readings:
            found["sm_mhz"] = float(np.median([reading.sm_mhz for reading in self.readings]))
        if self.energy_j is not None and self.end_s - self.begin_s >= _MIN_WINDOW_S and self.energy_j > 0:
            found["power_w"] = self.energy_j / (self.end_s - self.begin_s)
            found["energy_j"] = found["power_w"] * seconds_per_call
        return found


class Monitor(Protocol):
    """Reader of a device's clocks, power and energy."""

    def window(self) -> AbstractContextManager[Window]:
        """Record the readings and the energy of the code inside the context."""

    def summary(self) -> dict[str, Any]:
        """Return a summary of all readings for the provenance."""

    def close(self) -> None:
        """Stop reading."""


class NullMonitor:
    """Monitor that reads nothing, for a CPU or a GPU without NVML."""

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Yield an empty window."""
        yield Window()

    def summary(self) -> dict[str, Any]:
        """Return an empty summary."""
        return {}

    def close(self) -> None:
        """Do nothing."""


class NvmlMonitor:
    """Monitor that reads one GPU every `PERIOD_S` seconds in a thread.

    Parameters
    ----------
    nvml
        The module ``pynvml``, or a fake one in tests.
    uuid
        UUID of the GPU.
    """

    def __init__(self, nvml: Any, uuid: str) -> None:
        self.nvml = nvml
        nvml.nvmlInit()
        self.handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        self.readings: list[Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        self._read()
        self._thread.start()

    def _read(self) -> None:
        nvml, handle = self.nvml, self.handle
        self.readings.append(
            Reading(
                time.monotonic(),
                float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
                float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
                MILLI * float(nvml.nvmlDeviceGetPowerUsage(handle)),
                float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
                int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
            )
        )

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                self._read()
            except self.nvml.NVMLError:
                continue

    def _energy_j(self) -> float | None:
        try:
            return MILLI * float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self.nvml.NVMLError:
            return None

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Record the readings and the energy of the code inside the context."""
        found = Window(begin_s=time.monotonic())
        first, before = len(self.readings), self._energy_j()
        yield found
        after = self._energy_j()
        found.end_s, found.readings = time.monotonic(), self.readings[first:]
        if before is not None and after is not None:
            found.energy_j = after - before

    def summary(self) -> dict[str, Any]:
        """Return quantiles of all readings and the share of each throttle reason, for the provenance."""
        readings = self.readings
        if not readings:
            return {}
        found: dict[str, Any] = {"readings": len(readings), "seconds": readings[-1].at_s - readings[0].at_s}
        for name in ("sm_mhz", "memory_mhz", "power_w", "celsius"):
            low, middle, high = np.quantile([getattr(reading, name) for reading in readings], [0.05, 0.5, 0.95])
            found[name] = {"p5": float(low), "median": float(middle), "p95": float(high)}
        named = [throttle_reasons(reading.reasons) for reading in readings]
        found["throttled_share"] = {
            reason: sum(reason in one for one in named) / len(named) for reason in sorted(set().union(*named))
        }
        return found

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(timeout=1.0)


def open_monitor(kind: str, uuid: str) -> tuple[Monitor, str]:
    """Return the monitor of a device, and a message where it cannot read.

    Parameters
    ----------
    kind
        ``cuda`` or ``cpu``.
    uuid
        UUID of the GPU.

    Returns
    -------
    monitor
        `NvmlMonitor` on a GPU, `NullMonitor` elsewhere.
    message
        Reason why a GPU is not read; empty otherwise.
    """
    if kind != "cuda":
        return NullMonitor(), ""
    try:
        import pynvml
    except ImportError:
        return NullMonitor(), "clocks, power and energy are not read: the package nvidia-ml-py is not installed"
    try:
        return NvmlMonitor(pynvml, uuid), ""
    except pynvml.NVMLError as error:
        return NullMonitor(), f"clocks, power and energy are not read: NVML reports {error}"
