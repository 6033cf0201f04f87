"""Clocks, power and energy under load, read from a fake NVML."""

from __future__ import annotations

import sys
import time

import pytest

from gpu_validate.device.power import NullMonitor, NvmlMonitor, Reading, Window, open_monitor


class FakeNvml:
    """A GPU that draws 500 W and whose clock falls when its power limit bites."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.begin_s = time.monotonic()
        self.throttled = False
        self.counter = True

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if not uuid.startswith("GPU-"):
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetClockInfo(self, handle: str, which: int) -> int:
        return 2619 if which == self.NVML_CLOCK_MEM else 1500 if self.throttled else 1980

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 500_000

    def nvmlDeviceGetTemperature(self, handle: str, which: int) -> int:
        return 50

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 0x04 if self.throttled else 0x00

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.counter:
            raise self.NVMLError("Not Supported")
        return int(500_000 * (time.monotonic() - self.begin_s))


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


def wait_for(monitor: NvmlMonitor, more: int) -> None:
    """Wait until the thread has read so many more times, on a machine that may be busy."""
    least, end_s = len(monitor.readings) + more, time.monotonic() + 30.0
    while len(monitor.readings) < least and time.monotonic() < end_s:
        time.sleep(0.01)


def test_a_window_gives_power_energy_of_a_call_and_the_clock(nvml: FakeNvml) -> None:
    monitor = NvmlMonitor(nvml, "GPU-1")
    with monitor.window() as window:
        time.sleep(0.25)
        wait_for(monitor, 5)
    monitor.close()
    facts = window.facts(2e-3)
    assert facts["power_w"] == pytest.approx(500.0, rel=0.02)
    assert facts["energy_j"] == pytest.approx(1.0, rel=0.02), "500 W for 2 ms"
    assert facts["sm_mhz"] == 1980.0
    assert len(window.readings) >= 5


def test_summary_reports_the_share_of_throttling(nvml: FakeNvml) -> None:
    monitor = NvmlMonitor(nvml, "GPU-1")
    wait_for(monitor, 6)
    nvml.throttled = True
    wait_for(monitor, 6)
    monitor.close()
    summary = monitor.summary()
    assert 0.2 < summary["throttled_share"]["power limit"] < 0.8
    assert summary["sm_mhz"]["p5"] == 1500.0
    assert summary["sm_mhz"]["p95"] == 1980.0


def test_energy_of_a_short_window_is_not_reported() -> None:
    reading = Reading(0.0, 1980.0, 2619.0, 500.0, 50.0, 0)
    short = Window(begin_s=0.0, end_s=0.05, energy_j=25.0, readings=[reading])
    assert short.facts(1e-3) == {"sm_mhz": 1980.0}
    assert Window().facts(1e-3) == {}


def test_a_gpu_without_an_energy_counter_still_tells_its_clock(nvml: FakeNvml) -> None:
    nvml.counter = False
    monitor = NvmlMonitor(nvml, "GPU-1")
    with monitor.window() as window:
        wait_for(monitor, 1)
    monitor.close()
    assert window.facts(1e-3) == {"sm_mhz": 1980.0}


def test_missing_nvml_is_reported(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py is not installed" in open_monitor("cuda", "GPU-1")[1]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert open_monitor("cuda", "")[1] == "clocks, power and energy are not read: NVML reports Not Found"
    monitor, unread = open_monitor("cuda", "GPU-1")
    assert isinstance(monitor, NvmlMonitor) and not unread
    monitor.close()
    monitor, unread = open_monitor("cpu", "")
    assert type(monitor) is NullMonitor and not unread
    with monitor.window() as window:
        pass
    assert window.facts(1.0) == {} and monitor.summary() == {}
