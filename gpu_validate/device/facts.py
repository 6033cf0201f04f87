"""Facts about the device under test that a reader needs to trust or repeat a measurement."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_validate.device import gpu_state
from scylla_sim.checks import InputError, one_of
from scylla_sim.specs import catalog
from scylla_sim.units import KIBI, MEBI

if TYPE_CHECKING:
    import torch

KINDS = ("auto", "cuda", "cpu")
"""Values of the option ``--device``."""
LOCAL = "local"
"""Hardware name of a device that the hardware catalog does not contain."""

_CATALOG_NAMES = (
    (r"\bGB300\b", "gb300"),
    (r"\bGB200\b", "gb200"),
    (r"\bB300\b", "b300-sxm"),
    (r"\bB200\b", "b200-sxm"),
    (r"\bH800\b(?!.*PCIe)", "h800-sxm"),
    (r"\bH200\b(?!.*NVL)", "h200-sxm"),
    (r"\bH100\b.*PCIe", "h100-pcie"),
    (r"\bH100\b(?!.*(?:NVL|PCIe|64GB|96GB))", "h100-sxm"),
    (r"\bA100\b.*SXM.*40GB", "a100-sxm-40gb"),
    (r"\bA100\b.*SXM.*80GB", "a100-sxm"),
    (r"\bA100\b.*80GB.*PCIe|\bA100\b.*PCIe.*80GB", "a100-pcie"),
    (r"\bL40S\b", "l40s"),
    (r"\bL4\b", "l4"),
    (r"\bRTX 3090\b(?! Ti)", "rtx-3090"),
    (r"\bRTX 4090\b(?! (?:D|Laptop))", "rtx-4090"),
    (r"\bRTX PRO 6000\b(?!.*Max-Q)", "rtx-pro-6000"),
    (r"\bMI300X\b", "mi300x"),
)

_DEFAULT_CACHE_BYTES = 32 * MEBI
DTYPES = ("float32", "bfloat16")
"""Dtypes that a campaign can run in. Cases in 8 bits are added where the device supports them."""
_FP8_CAPABILITY = (8, 9)
"""First compute capability with 8-bit floating-point GEMMs (Ada). Source: CUDA C++ Programming Guide, table of
tensor core types by compute capability.
"""


@dataclass(frozen=True)
class Device:
    """One device and the software around it.

    Attributes
    ----------
    kind
        ``cuda`` or ``cpu``.
    name
        Product name.
    hardware
        Name in the hardware catalog, or ``local``.
    memory_bytes
        Size of the memory.
    cache_bytes
        Size of the last-level cache: L2 of a GPU, L3 of a CPU. Rotating buffers are larger than this.
    threads
        CPU threads of torch.
    versions
        Versions of Python, torch, numpy and CUDA.
    details
        Further facts, such as clocks, power, driver and load, read when the device was detected.
    precision
        Requested dtype; empty for the default of the kind.
    """

    kind: str
    name: str
    hardware: str
    memory_bytes: float
    cache_bytes: float
    threads: int
    versions: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)
    precision: str = ""

    @property
    def dtype(self) -> str:
        """Dtype that suites use on this device, as named in the kernels CSV."""
        return self.precision or ("bfloat16" if self.kind == "cuda" else "float32")

    @property
    def gpus(self) -> int:
        """Number of GPUs that torch finds; 1 on a CPU."""
        return int(self.details.get("gpus", 1))

    @property
    def has_fp8(self) -> bool:
        """Whether GEMMs in 8-bit floating point are faster than in 16 bits."""
        return bool(self.details.get("fp8", False))

    @property
    def uuid(self) -> str:
        """UUID of the GPU as ``nvidia-smi`` prints it; empty on a CPU."""
        name = str(self.details.get("smi_id", ""))
        return name if name.startswith("GPU-") else ""

    def row(self) -> dict[str, Any]:
        """Return the facts as a plain dictionary."""
        return asdict(self)


def catalog_name(name: str) -> str:
    """Return the hardware catalog name of a GPU's product name, or ``local`` for a GPU outside the catalog.

    Examples
    --------
    >>> catalog_name("NVIDIA H100 80GB HBM3"), catalog_name("NVIDIA L40S"), catalog_name("NVIDIA GeForce GTX 1080")
    ('h100-sxm', 'l40s', 'local')
    """
    if re.search(r"\bMIG\b", name):
        return LOCAL
    return next((known for pattern, known in _CATALOG_NAMES if re.search(pattern, name)), LOCAL)


def device_state(device: Device) -> dict[str, Any]:
    """Return facts that change during a measurement: clocks, temperature and throttling of a GPU, load of a CPU."""
    if device.kind == "cuda":
        facts = gpu_state.query(str(device.details.get("smi_id", 0)))
        return {"nvidia_smi": facts, "throttling": gpu_state.active_throttle_reasons(facts)}
    return {"load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None, "throttling": []}


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError("measuring needs torch; install it from pytorch.org") from None
    return torch


def versions() -> dict[str, str]:
    """Return the versions of the software that determines a timing."""
    torch = _torch()
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": str(np.__version__)}
    if torch.version.cuda:
        found["cuda"] = str(torch.version.cuda)
    if getattr(torch.version, "hip", None):
        found["hip"] = str(torch.version.hip)
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _cpu_cache_bytes() -> float:
    """Return the size of the largest cache level, or a common size where the system does not report one."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"(\d+)([KM])", path.read_text().strip())
        if match:
            sizes.append(float(match[1]) * {"K": KIBI, "M": MEBI}[match[2]])
    return max(sizes, default=_DEFAULT_CACHE_BYTES)


def _cpu_memory_bytes() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 8 * 1024 * MEBI


def _cpu(threads: int) -> Device:
    torch = _torch()
    torch.set_num_threads(threads)
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return Device(
        kind="cpu",
        name=_cpu_name(),
        hardware=LOCAL,
        memory_bytes=_cpu_memory_bytes(),
        cache_bytes=_cpu_cache_bytes(),
        threads=threads,
        versions=versions(),
        details={
            "cores": os.cpu_count(),
            "load_average": list(load) if load else None,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "system": platform.platform(),
        },
    )


def _gpu(threads: int) -> Device:
    torch = _torch()
    torch.set_num_threads(threads)
    # torch chooses cuDNN for some masks and flash attention for others, but records name the kernel
    torch.backends.cuda.enable_cudnn_sdp(False)
    index = torch.cuda.current_device()
    facts = torch.cuda.get_device_properties(index)
    # indices of the driver count all GPUs, those of torch the visible ones; only the UUID is unambiguous
    name = f"GPU-{facts.uuid}" if getattr(facts, "uuid", None) else str(index)
    return Device(
        kind="cuda",
        name=str(facts.name),
        hardware=catalog_name(str(facts.name)),
        memory_bytes=float(facts.total_memory),
        cache_bytes=float(getattr(facts, "L2_cache_size", 0)) or 64 * MEBI,
        threads=threads,
        versions=versions(),
        details={
            "smi_id": name,
            "compute_capability": f"{facts.major}.{facts.minor}",
            "fp8": bool(torch.version.cuda)
            and (facts.major, facts.minor) >= _FP8_CAPABILITY
            and hasattr(torch, "_scaled_mm"),
            "sm_count": int(facts.multi_processor_count),
            "gpus": torch.cuda.device_count(),
            "cpu": _cpu_name(),
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "system": platform.platform(),
            "nvidia_smi": gpu_state.query(name),
        },
    )


def detect_device(kind: str = "auto", *, threads: int = 1, dtype: str = "") -> Device:
    """Detect the device that would be measured.

    Parameters
    ----------
    kind
        ``cuda``, ``cpu``, or ``auto`` for a GPU where torch finds one.
    threads
        CPU threads that torch may use. The setting takes effect at once.
    dtype
        One of `DTYPES`; empty for the default of the device.

    Raises
    ------
    InputError
        When CUDA is requested and torch finds no GPU, or torch is not installed.
    """
    one_of("device", kind, KINDS)
    if dtype:
        one_of("dtype", dtype, DTYPES)
    present = bool(_torch().cuda.is_available())
    if kind == "cuda" and not present:
        raise InputError(
            "device='cuda' is not available: torch finds no GPU; use --device cpu or install a CUDA build"
        )
    return replace(_gpu(threads) if present and kind != "cpu" else _cpu(threads), precision=dtype)


def catalog_device(name: str, *, gpus: int = 1, dtype: str = "") -> Device:
    """Describe a GPU of the hardware catalog that is not in this machine.

    The description is sufficient to list the cases that would be measured.
    """
    hardware = catalog.hardware(name)
    return Device(
        kind="cuda",
        name=f"{name}, from the catalog",
        hardware=hardware.name,
        memory_bytes=hardware.memory_bytes,
        cache_bytes=hardware.l2_bytes or _DEFAULT_CACHE_BYTES,
        threads=1,
        versions=versions(),
        details={"sm_count": hardware.sm_count, "gpus": gpus, "fp8": "fp8" in hardware.peak_flop_per_s},
        precision=dtype,
    )


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def synchronize(device: Device) -> None:
    """Wait until the device has finished all queued work."""
    if device.kind == "cuda":
        _torch().cuda.synchronize()


_WARM_UP_S = 1.0
"""Seconds of warm-up before the first measurement."""
_WARM_UP_SIDE = 8192
"""Rows and columns of the matrices of the warm-up."""


def warm_up(device: Device, seconds: float = _WARM_UP_S) -> None:
    """Multiply matrices until a GPU has reached its clocks; an idle GPU runs at a fraction of them."""
    if device.kind != "cuda":
        return
    torch = _torch()
    x = torch.randn(_WARM_UP_SIDE, _WARM_UP_SIDE, device=device.kind, dtype=torch.bfloat16)
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        x @ x
        torch.cuda.synchronize()


def release_memory(device: Device) -> None:
    """Collect garbage and return cached memory to the device."""
    gc.collect()
    if device.kind == "cuda":
        _torch().cuda.empty_cache()


def torch_dtype(device: Device) -> torch.dtype:
    """Return the dtype of the device as a torch dtype."""
    found: torch.dtype = getattr(_torch(), device.dtype)
    return found


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--device`` and ``--threads``."""
    parser.add_argument("--device", choices=KINDS, default="auto", help="default: auto, a GPU if torch finds one")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of torch, default 1")
