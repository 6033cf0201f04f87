"""A fake CUDA device: torch's calls for the device ``cuda`` run on the CPU under the rules of a real one.

A clock of the host plays events and graphs. Inside a capture, operations that a real capture forbids raise an
error: reading a number from the device, a boolean index, a shape that depends on values. The captured calls run
once, during the capture. A replay only takes time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_validate.models import triton_support

UUID = "11111111-2222-3333-4444-555555555555"
FORBIDDEN = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::is_nonzero",
    "aten::unique_dim",
    "aten::_unique2",
}
"""Operators that a capture forbids."""


def on_cpu(value: Any) -> Any:
    """Replace the GPU by the CPU in an argument."""
    if isinstance(value, str) and value.startswith("cuda"):
        return "cpu"
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return value


HOST_READS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__"}
"""Methods that wait for the device. Torch answers some of them on a CPU without its dispatcher."""


class _ToCpu(TorchFunctionMode):
    """Redirect every call that names the GPU to the CPU."""

    def __init__(self, fake: FakeCuda) -> None:
        super().__init__()
        self.fake = fake

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self.fake.capturing and name in HOST_READS:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({name})")
        return func(*map(on_cpu, args), **{key: on_cpu(value) for key, value in (kwargs or {}).items()})


class _Capturing(TorchDispatchMode):
    """Refuse forbidden operations. With ``memory_after``, memory runs out after that many operations."""

    def __init__(self, memory_after: int | None) -> None:
        super().__init__()
        self.left = memory_after

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split(".")[0]
        indices = args[1] if name in ("aten::index", "aten::index_put_", "aten::index_put") else ()
        if name in FORBIDDEN or any(one is not None and one.dtype == torch.bool for one in indices):
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({name})")
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
        return func(*args, **(kwargs or {}))


class FakeCuda:
    """Fake device. ``memory_after`` lets the next capture run out of memory. ``captures`` counts the captures."""

    def __init__(self) -> None:
        self.captures = 0
        self.capturing = False
        self.memory_after: int | None = None
        self.broken = False
        self.name = "NVIDIA H100 80GB HBM3"
        self.uuid = UUID
        backend = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                self.at_s = 0.0

            def record(self, stream: object = None) -> None:
                self.at_s = time.perf_counter()

            def synchronize(self) -> None:
                backend.synchronize()

            def elapsed_time(self, other: Any) -> float:
                return max(other.at_s - self.at_s, 1e-7) * 1e3

        class Stream:
            def wait_stream(self, other: object) -> None:
                pass

            def synchronize(self) -> None:
                pass

        class CUDAGraph:
            def __init__(self) -> None:
                self.seconds = 0.0
                self.generators: list[Any] = []

            def register_generator_state(self, generator: Any) -> None:
                self.generators.append(generator)

            def replay(self) -> None:
                assert self.seconds > 0, "replay of an empty graph"
                time.sleep(min(self.seconds, 1e-4))

        self.Event, self.Stream, self.CUDAGraph = Event, Stream, CUDAGraph

    def properties(self, *_: object) -> Any:
        return SimpleNamespace(
            name=self.name,
            major=9,
            minor=0,
            total_memory=85_029_158_912,
            multi_processor_count=132,
            L2_cache_size=2**14,
            uuid=self.uuid,
        )

    def synchronize(self, *_: object) -> None:
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    @contextmanager
    def graph(self, graph: Any, **_: object) -> Iterator[None]:
        begin = time.perf_counter()
        memory_after, self.memory_after = self.memory_after, None
        self.capturing = True
        try:
            with _Capturing(memory_after):
                yield
        finally:
            self.capturing = False
        graph.seconds = time.perf_counter() - begin
        self.captures += 1


@contextmanager
def _stream(_: object) -> Iterator[None]:
    yield


@contextmanager
def fake_cuda(patch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """Pretend that torch has one H100."""
    fake = FakeCuda()
    main = fake.Stream()
    replaced: dict[str, Any] = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_device_properties": fake.properties,
        "get_device_capability": lambda *_: (9, 0),
        "Event": fake.Event,
        "Stream": fake.Stream,
        "CUDAGraph": fake.CUDAGraph,
        "current_stream": lambda *_: main,
        "synchronize": fake.synchronize,
        "empty_cache": lambda: None,
        "stream": _stream,
        "graph": fake.graph,
        "_sleep": lambda cycles: None,
    }
    for name, value in replaced.items():
        patch.setattr(torch.cuda, name, value, raising=False)
    real = torch.Generator

    class Generator:
        def __new__(cls, device: Any = "cpu") -> Any:
            return real(device=on_cpu(device))

    patch.setattr(torch, "Generator", Generator)
    patch.setattr(torch.version, "cuda", "13.0")
    patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True))
    patch.setattr(triton_support, "triton", None)
    with _ToCpu(fake):
        yield fake
