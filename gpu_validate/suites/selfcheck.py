"""Check of the kernels that run on the device, and of the kernels of a step.

A library may run another kernel than the requested one. The profiler reports the names of what ran. It slows down
later measurements of its process, so a campaign runs this module in a separate process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from gpu_validate.device.facts import Device, detect_device, torch_dtype
from gpu_validate.models import attention
from gpu_validate.models.attention import (
    CAUSAL,
    CUDNN,
    CUDNN_PROMPT,
    JOINED,
    MASKED,
    PACKED,
    PROMPT,
    TRITON,
)
from gpu_validate.models.decoder import Decoder, placement_after
from gpu_validate.suites.random_models import random_caches
from scylla_sim.specs.model import Model

EXPECTED: dict[str, tuple[str, ...]] = {
    TRITON: ("_attend",),
    PACKED: ("flash",),
    CAUSAL: ("flash",),
    JOINED: ("flash",),
    CUDNN: ("cudnn",),
    PROMPT: ("flash",),
    CUDNN_PROMPT: ("cudnn",),
    MASKED: ("",),
}
"""Kernel source -> parts of kernel names, one of which must occur."""

_HEADS = (8, 2, 64)
_KV_LEN, _QUERIES, _PROMPT = 260, 4, 256
"""Tokens of a checked call: cached ones, queries of a verify step, and queries of a prompt."""
_TINY = Model("selfcheck", 1, 512, 1024, 8, 2, 64, 1024)


def kernel_names(call: Callable[[], object]) -> list[str]:
    """Return the names of the GPU kernels that a call runs, or of torch's operators on a CPU."""
    from torch.profiler import ProfilerActivity, profile, supported_activities

    call()
    on_gpu = ProfilerActivity.CUDA in supported_activities()  # type: ignore[no-untyped-call]
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with profile(activities=activities) as found:
        call()
        if on_gpu:
            torch.cuda.synchronize()
    events = [event for event in found.events() or [] if str(event.name)]
    names = [str(event.name) for event in events if "CUDA" in str(event.device_type)]
    return names or [str(event.name) for event in events]


def _sources(device: Device) -> tuple[str, ...]:
    """Return the kernel sources to check."""
    if device.kind != "cuda":
        return (MASKED, PACKED)
    return (attention.decoder_kernel(device.kind), PACKED, CAUSAL, CUDNN, PROMPT, CUDNN_PROMPT)


def _of_kernel(device: Device, source: str) -> dict[str, Any]:
    """Report the kernels that ran for a few query tokens, and whether their names match the requested source."""
    queries = {PROMPT: _PROMPT, CUDNN_PROMPT: _KV_LEN}.get(source, _QUERIES)
    num_heads, num_kv_heads, head_dim = _HEADS
    like = {"device": device.kind, "dtype": torch_dtype(device)}
    q = torch.randn(2, num_heads, queries, head_dim, **like)  # type: ignore[call-overload]
    pair = [torch.randn(2, num_kv_heads, _KV_LEN, head_dim, **like) for _ in "kv"]  # type: ignore[call-overload]
    try:
        (call,) = attention.kernel_calls(source, q, [pair])
        names = kernel_names(call)
        mask = attention.causal_mask(queries, _KV_LEN, num_heads // num_kv_heads, q.device)
        exact = attention.masked_attention(q, pair[0], pair[1], mask)
        out = call()
    except Exception as error:  # a library may refuse a shape
        return {"names": [], "as_named": False, "error": str(error)[:300]}
    assert isinstance(out, torch.Tensor)
    off = float((out.float() - exact.float()).norm() / exact.float().norm())
    as_named = any(part in name for part in EXPECTED[source] for name in names)
    return {"names": sorted(set(names)), "as_named": as_named, "from_masked": off}


def _of_step(device: Device) -> dict[str, Any]:
    """Count the kernels of a step of a one-layer decoder, for one and for four tokens."""
    model = Decoder(_TINY, device=device.kind, dtype=torch_dtype(device))
    found = {}
    for n in (1, 4):
        (store,) = random_caches((_TINY,), 2, 256 + n, model.norm)
        place = placement_after(256, n, _TINY, model.norm, batch=2)
        tokens = torch.zeros(2, n, dtype=torch.int64, device=device.kind)
        found[f"n={n}"] = dict(Counter(kernel_names(partial(model, tokens, store, place))))
    return found


@torch.inference_mode()
def check(device: Device) -> dict[str, Any]:
    """Check the kernels of a campaign and of a step. Without a GPU nothing is checked."""
    if device.kind != "cuda":
        return {}
    return {
        "kernels": {source: _of_kernel(device, source) for source in _sources(device)},
        "step": _of_step(device),
    }


_PATIENCE_S = 60.0
"""Seconds to wait for the process."""


class SelfCheckProcess:
    """A run of `check` in a separate process, in parallel with the preparations of this process.

    Parameters
    ----------
    device
        Device of the campaign.
    """

    def __init__(self, device: Device) -> None:
        self.process: subprocess.Popen[str] | None = None
        if device.kind == "cuda":
            call = [sys.executable, "-m", "gpu_validate.suites.selfcheck"]
            self.process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)

    def result(self) -> dict[str, Any]:
        """Return the result of the check, or an error where the process failed or took too long."""
        if self.process is None:
            return {}
        try:
            out, _ = self.process.communicate(timeout=_PATIENCE_S)
            found: dict[str, Any] = json.loads(out.splitlines()[-1])
        except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
            self.process.kill()
            return {"error": f"the self-check gave no result: {type(error).__name__}"}
        return found


if __name__ == "__main__":
    print(json.dumps(check(detect_device("cuda"))))
