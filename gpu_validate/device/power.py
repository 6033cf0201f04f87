"""Clocks, power, energy and throttling of a GPU while it is measured, by NVML in a thread.

Read before and after a campaign, a GPU shows its idle clocks. The thread reads them under load. Energy is the
difference of NVML's own counter over the samples of a case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_validate.device.gpu_state import throttle_reasons
from scylla_sim.units import MILLI

PERIOD_S = 0.02
"""Time between two readings of the thread."""
_MIN_WINDOW_S = 0.1
"""Energy over less time than this is not reported: NVML renews its counter every 20 to 100 ms."""


@dataclass(frozen=True)
class Reading:
    """One look at a GPU.

    Attributes
    ----------
    at_s
        Time of the host's monotonic clock.
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
    """What a GPU did between two times."""

    begin_s: float = 0.0
    end_s: float = 0.0
    energy_j: float | None = None
    readings: list[Reading] = field(default_factory=list)

    def facts(self, seconds_per_call: float) -> dict[str, float]:
        """Columns of a row: mean power, energy of a call at this power, median SM clock; nothing when not read."""
        found: dict[str, float] = {}
        if self.readings:
            found["sm_mhz"] = float(np.median([reading.sm_mhz for reading in self.readings]))
        if self.energy_j is not None and self.end_s - self.begin_s >= _MIN_WINDOW_S and self.energy_j > 0:
            found["power_w"] = self.energy_j / (self.end_s - self.begin_s)
            found["energy_j"] = found["power_w"] * seconds_per_call
        return found


class Monitor:
    """A monitor that reads nothing: of a CPU, or of a GPU without NVML."""

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Readings and energy of what happens inside."""
        yield Window()

    def summary(self) -> dict[str, Any]:
        """All readings in brief, for provenance."""
        return {}

    def close(self) -> None:
        """Stop reading."""


class NvmlMonitor(Monitor):
    """Reads one GPU every `PERIOD_S` seconds in a thread; ``nvml`` is the module ``pynvml``, or a fake one."""

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
        found = Window(begin_s=time.monotonic())
        first, before = len(self.readings), self._energy_j()
        yield found
        after = self._energy_j()
        found.end_s, found.readings = time.monotonic(), self.readings[first:]
        if before is not None and after is not None:
            found.energy_j = after - before

    def summary(self) -> dict[str, Any]:
        every = self.readings
        if not every:
            return {}
        found: dict[str, Any] = {"readings": len(every), "seconds": every[-1].at_s - every[0].at_s}
        for name in ("sm_mhz", "memory_mhz", "power_w", "celsius"):
            low, middle, high = np.quantile([getattr(reading, name) for reading in every], [0.05, 0.5, 0.95])
            found[name] = {"p5": float(low), "median": float(middle), "p95": float(high)}
        named = [throttle_reasons(reading.reasons) for reading in every]
        found["throttled_share"] = {
            reason: sum(reason in one for one in named) / len(named) for reason in sorted(set().union(*named))
        }
        return found

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)


def monitor_of(kind: str, uuid: str) -> tuple[Monitor, str]:
    """The monitor of a device, and what keeps it from reading, if anything."""
    if kind != "cuda":
        return Monitor(), ""
    try:
        import pynvml
    except ImportError:
        return Monitor(), "no clocks, power and energy: the package nvidia-ml-py is not installed"
    try:
        return NvmlMonitor(pynvml, uuid), ""
    except pynvml.NVMLError as error:
        return Monitor(), f"no clocks, power and energy: NVML says {error}"
