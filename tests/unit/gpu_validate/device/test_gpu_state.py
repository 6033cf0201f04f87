"""The state of a GPU, read from a fake NVML and from lines of nvidia-smi."""

from __future__ import annotations

import sys

import pytest

from gpu_validate.device import gpu_state
from gpu_validate.device.gpu_state import FIELDS, active_throttle_reasons, parse_nvidia_smi, query_nvml

SMI_LINE = "550.54, 1980 MHz, 1980 MHz, 2619 MHz, 700.00 W, 31, Enabled, [N/A], 0x0000000000000000\n"


class FakeNvml:
    """An H100 at rest that knows no MIG."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_FEATURE_ENABLED = 1, 2, 0, 1

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if not uuid.startswith("GPU-"):
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"GPU-{index}"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54"

    def nvmlDeviceGetClockInfo(self, gpu: str, which: int) -> int:
        return 2619 if which == self.NVML_CLOCK_MEM else 1980

    def nvmlDeviceGetMaxClockInfo(self, gpu: str, which: int) -> int:
        return 1980

    def nvmlDeviceGetPowerManagementLimit(self, gpu: str) -> int:
        return 700_000

    def nvmlDeviceGetTemperature(self, gpu: str, which: int) -> int:
        return 31

    def nvmlDeviceGetEccMode(self, gpu: str) -> list[int]:
        return [1, 1]

    def nvmlDeviceGetMigMode(self, gpu: str) -> list[int]:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: str) -> int:
        return 0


def test_nvml_and_nvidia_smi_give_the_same_fields_in_the_same_form() -> None:
    assert query_nvml(FakeNvml(), "GPU-1") == query_nvml(FakeNvml(), "0") == parse_nvidia_smi(SMI_LINE)


def test_a_gpu_that_nvml_does_not_know_has_no_state() -> None:
    assert query_nvml(FakeNvml(), "MIG-1") == {}


def test_nvidia_smi_is_called_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_state, "query_nvidia_smi", lambda name: {"driver_version": name})
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_state.query("GPU-1") == {"driver_version": "GPU-1"}
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())  # type: ignore[arg-type]
    assert set(gpu_state.query("GPU-1")) == set(FIELDS) - {"mig.mode.current"}


def test_fields_that_a_gpu_lacks_are_left_out() -> None:
    assert parse_nvidia_smi(SMI_LINE)["power.limit"] == "700.00 W"
    assert "mig.mode.current" not in parse_nvidia_smi(SMI_LINE)
    assert parse_nvidia_smi("garbage") == {}


def test_throttle_reasons_are_named() -> None:
    def reasons(active: str) -> list[str]:
        return active_throttle_reasons({"clocks_throttle_reasons.active": active})

    assert reasons("0x0000000000000001") == [], "an idle GPU lowers its clocks"
    assert reasons("0x0000000000000004") == ["power limit"]
    assert reasons("0x0000000000000060") == ["software thermal limit", "hardware thermal limit"]
    assert reasons("[N/A]") == active_throttle_reasons({}) == []
