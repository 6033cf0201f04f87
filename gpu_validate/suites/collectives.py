"""All-reduce among several GPUs of this machine, a part of the suite ``kernels``.

The parent process starts one process for each GPU. The processes share every clock reading. They therefore agree on
when to stop, and no process waits for a call that another does not make. GPUs use NCCL and CUDA events. CPUs use
gloo and the monotonic clock, so tests run the same code with two processes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from gpu_validate.device.clocks import Call, Clock, EventClock, HostClock, capture_graph
from gpu_validate.device.facts import Device, release_memory, torch_dtype
from gpu_validate.device.timer import Plan, Summary, measure
from gpu_validate.suites.case import Case
from gpu_validate.suites.costs import operation
from gpu_validate.suites.measurement import case_row
from scylla_sim.units import KIBI, MEBI

SIZES = {
    "ci": tuple(KIBI * 4**i for i in range(0, 8)),
    "small": tuple(KIBI * 4**i for i in range(0, 9)),
    "full": tuple(KIBI * 2**i for i in range(0, 19)),
}
"""Bytes of the message by scale: from the hidden state of one token to a prefill."""

_ROTATED_BYTES, _MAX_BUFFERS = 256 * MEBI, 16
_PATIENCE = timedelta(minutes=2)
"""Time that a process waits for another before all give up."""


@dataclass(frozen=True)
class GroupClock:
    """Clock that all processes of a group read together.

    Attributes
    ----------
    base
        Clock of this process.
    slowest
        Function that returns the largest value over all processes.
    first
        Function that returns the value of process 0 in all processes.
    """

    base: Clock
    slowest: Callable[[float], float]
    first: Callable[[float], float]

    @property
    def name(self) -> str:
        """Name of the clock of this process."""
        return self.base.name

    def now(self) -> float:
        """Return the time of process 0 in seconds."""
        return self.first(self.base.now())

    def elapsed(self, calls: Sequence[Call]) -> float:
        """Return the seconds of the slowest process.

        An untimed call before the measurement synchronizes the processes.
        """
        calls[0]()
        return self.slowest(self.base.elapsed(calls))


def _messages(kind: str, dtype: torch.dtype, size: float) -> Sequence[Call]:
    """Return calls that add a message over the group, on separate buffers. Sums of zeros stay zero."""
    from torch import distributed

    count = int(min(max(_ROTATED_BYTES // size, 1), _MAX_BUFFERS))
    elements = max(1, int(size / torch.empty(0, dtype=dtype).element_size()))
    buffers = [torch.zeros(elements, dtype=dtype, device=kind) for _ in range(count)]
    return [partial(distributed.all_reduce, buffer) for buffer in buffers]


def all_reduce_case(device: Device, gpus: int, size: float, *, graph: bool) -> Case:
    """Return the case of an all-reduce of ``size`` bytes over ``gpus`` devices."""
    return Case(
        id=f"all-reduce-{gpus}x-{int(size)}B-{'graph' if graph else 'eager'}",
        shape={
            "op": "all_reduce",
            "device": device.hardware,
            "dtype": device.dtype,
            "num_gpus": gpus,
            "graph": int(graph),
            "framework": "torch",
            "version": device.versions["torch"],
            "kernel_source": "torch_nccl" if device.kind == "cuda" else "torch_gloo",
        },
        flop=float(operation("all_reduce", num_gpus=gpus, bytes=size).flops()),
        bytes=size,
        memory_bytes=max(_ROTATED_BYTES, size),
        build=partial(_messages, device.kind, torch_dtype(device), size),
        graph=graph,
        gpus=gpus,
    )


def all_reduce_cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield the cases of messages among 2, 4, 8, ... devices of this machine. A single device has no case."""
    gpus = 2
    while gpus <= device.gpus:
        for size in SIZES[scale]:
            for graph in (True, False) if device.kind == "cuda" else (False,):
                yield all_reduce_case(device, gpus, size, graph=graph)
        gpus *= 2


def measure_group_cases(
    device: Device, cases: Sequence[Case], plan: Plan
) -> Iterator[tuple[Case, tuple[dict[str, Any], Summary]]]:
    """Measure cases of several devices. One set of processes measures all cases of a group size."""
    from torch.multiprocessing.spawn import spawn

    release_memory(device)
    for gpus, some in groupby(cases, key=lambda case: case.gpus):
        group = list(some)
        with tempfile.TemporaryDirectory() as folder:
            spawn(_process, (gpus, folder, device, group, plan), nprocs=gpus)  # type: ignore[no-untyped-call]
            lines = (Path(folder) / "summaries.jsonl").read_text(encoding="utf-8").splitlines()
        for case, line in zip(group, lines, strict=True):
            summary = Summary(**json.loads(line))
            yield case, (case_row(device, case, summary, cpu_share=1.0), summary)


def _process(rank: int, world: int, folder: str, device: Device, cases: Sequence[Case], plan: Plan) -> None:
    """Measure every case together with the other processes. Process 0 writes the summaries."""
    from torch import distributed

    cuda = device.kind == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=world,
        timeout=_PATIENCE,
    )
    clock = _group_clock(EventClock(torch.cuda) if cuda else HostClock())
    summaries = []
    with torch.inference_mode():
        for case in cases:
            calls, work = case.build(), 1
            if case.graph:
                # other threads of the library use the device during the capture
                calls, work = [capture_graph(torch.cuda, calls, capture_error_mode="thread_local")], len(calls)
            summaries.append(measure(clock, calls, plan, work_per_call=work))
            del calls
    if rank == 0:
        text = "".join(json.dumps(asdict(summary)) + "\n" for summary in summaries)
        (Path(folder) / "summaries.jsonl").write_text(text, encoding="utf-8")
    distributed.destroy_process_group()


def _group_clock(base: Clock) -> GroupClock:
    """Return the group clock of this process. It uses a channel that does not touch the devices."""
    from torch import distributed

    control = distributed.new_group(backend="gloo")

    def slowest(seconds: float) -> float:
        number = torch.tensor([seconds], dtype=torch.float64)
        distributed.all_reduce(number, op=distributed.ReduceOp.MAX, group=control)
        return float(number[0])

    def first(seconds: float) -> float:
        number = torch.tensor([seconds], dtype=torch.float64)
        distributed.broadcast(number, src=0, group=control)
        return float(number[0])

    return GroupClock(base, slowest, first)
