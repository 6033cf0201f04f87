"""Facts about the device that is measured: what a reader needs to believe, or repeat, a number."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scylla_sim.checks import InputError, one_of
from scylla_sim.records import dump_json, write_text
from scylla_sim.units import KIBI, MEBI

if TYPE_CHECKING:
    import torch

EPILOG = """example:
  gpu-validate device --device auto
"""

KINDS = ("auto", "cuda", "cpu")
LOCAL = "local"
"""Name of a device that the hardware catalog does not know."""

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

_SMI_FIELDS = (
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
_DEFAULT_CACHE_BYTES = 32 * MEBI


@dataclass(frozen=True)
class Device:
    """One device and the software around it.

    Attributes
    ----------
    kind
        ``cuda`` or ``cpu``, as torch says it.
    hardware
        Name in the hardware catalog, or ``local``.
    cache_bytes
        Last-level cache (L2 of a GPU, L3 of a CPU): buffers rotate over more than this.
    details
        Everything else: clocks, power, driver, load; read when the device was looked at.
    """

    kind: str
    name: str
    hardware: str
    memory_bytes: float
    cache_bytes: float
    threads: int
    versions: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """Precision that suites use here, in the words of the kernels CSV."""
        return "bfloat16" if self.kind == "cuda" else "float32"

    def row(self) -> dict[str, Any]:
        """The facts as a plain dictionary."""
        return asdict(self)


def catalog_name(name: str) -> str:
    """Hardware catalog name of a GPU's product name; ``local`` for what the catalog does not hold.

    Examples
    --------
    >>> catalog_name("NVIDIA H100 80GB HBM3"), catalog_name("NVIDIA L40S"), catalog_name("NVIDIA GeForce GTX 1080")
    ('h100-sxm', 'l40s', 'local')
    """
    if re.search(r"\bMIG\b", name):
        return LOCAL
    return next((known for pattern, known in _CATALOG_NAMES if re.search(pattern, name)), LOCAL)


def parse_smi(text: str) -> dict[str, str]:
    """Values of one line of ``nvidia-smi --query-gpu`` in the order of the fields asked for."""
    values = [value.strip() for value in text.strip().split(",")]
    if len(values) != len(_SMI_FIELDS):
        return {}
    return {
        name: value for name, value in zip(_SMI_FIELDS, values) if value not in ("[N/A]", "[Not Supported]", "")
    }


def _smi(index: int) -> dict[str, str]:
    """What nvidia-smi says; nothing where it is not installed or refuses."""
    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(_SMI_FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_smi(done.stdout)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError("measuring needs torch; install it from pytorch.org for this machine") from None
    return torch


def versions() -> dict[str, str]:
    """Versions of what decides a timing."""
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
    """Size of the largest cache level; a common size where the system does not say."""
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
    index = torch.cuda.current_device()
    facts = torch.cuda.get_device_properties(index)
    return Device(
        kind="cuda",
        name=str(facts.name),
        hardware=catalog_name(str(facts.name)),
        memory_bytes=float(facts.total_memory),
        cache_bytes=float(getattr(facts, "L2_cache_size", 0)) or 64 * MEBI,
        threads=threads,
        versions=versions(),
        details={
            "compute_capability": f"{facts.major}.{facts.minor}",
            "sm_count": int(facts.multi_processor_count),
            "gpus": torch.cuda.device_count(),
            "cpu": _cpu_name(),
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "system": platform.platform(),
            "nvidia_smi": _smi(index),
        },
    )


def look(kind: str = "auto", *, threads: int = 1) -> Device:
    """Look at the device that would be measured.

    Raises
    ------
    InputError
        When CUDA is asked for and torch sees no GPU.
    """
    one_of("device", kind, KINDS)
    present = bool(_torch().cuda.is_available())
    if kind == "cuda" and not present:
        raise InputError("device='cuda' is not here: torch sees no GPU; use --device cpu, or install a CUDA build")
    return _gpu(threads) if present and kind != "cpu" else _cpu(threads)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def synchronize(device: Device) -> None:
    """Wait until the device has done everything that was queued."""
    if device.kind == "cuda":
        _torch().cuda.synchronize()


def torch_dtype(device: Device) -> torch.dtype:
    """The device's dtype as torch names it."""
    found: torch.dtype = getattr(_torch(), device.dtype)
    return found


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """The two arguments that choose a device."""
    parser.add_argument("--device", choices=KINDS, default="auto", help="default: auto, a GPU where torch sees one")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of torch, default 1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="write there instead of stdout")


def execute(args: argparse.Namespace) -> None:
    most = os.cpu_count() or 1
    if not 1 <= args.threads <= most:
        raise InputError(f"threads={args.threads} must lie in [1, {most}], the cores of this machine")
    text = dump_json({"schema": "gpu-validate/device/1", **look(args.device, threads=args.threads).row()})
    if args.out:
        write_text(args.out, text)
    else:
        sys.stdout.write(text)
