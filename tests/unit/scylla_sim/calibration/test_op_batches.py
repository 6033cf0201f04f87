"""Operations that are estimated in one array have the seconds that they have one by one."""

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, op_batches
from scylla_sim.calibration.op_batches import Asked, batch_seconds
from scylla_sim.calibration.op_time import op_seconds
from scylla_sim.ops.decoder import Pass, decoder_layers
from scylla_sim.specs import catalog

H100 = device_calibration.shipped("h100-sxm")


def asked(model: str, tokens: float, *, dtype: str = "bfloat16", graph: bool = True) -> list[Asked]:
    batch, context = np.broadcast_arrays(np.array([[1.0], [64.0]]), np.array([[512.0, 8192.0, 65536.0]]))
    each = np.full_like(batch, tokens)
    layers = decoder_layers(catalog.model(model), Pass(batch * tokens, batch, context, each, 2, 2.0))
    return [Asked(op, dtype, graph) for op in layers]


def one_by_one(some: list[Asked], framework: str):
    return [
        op_seconds(one.op, H100, dtype=one.dtype, kv_dtype="bfloat16", graph=one.graph, framework=framework)
        for one in some
    ]


def assert_same(together, apart):
    assert len(together) == len(apart)
    for a, b in zip(together, apart):
        for end in ("value", "lower", "upper"):
            np.testing.assert_array_equal(getattr(a.seconds, end), getattr(b.seconds, end))
        assert (a.evidence, a.backend, list(a.sources)) == (b.evidence, b.backend, list(b.sources))
        for name, source in a.sources.items():
            np.testing.assert_array_equal(source.up, b.sources[name].up)


@pytest.mark.parametrize("framework", ["vllm", "sglang", ""])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b"])
def test_seconds_are_those_of_each_operation_alone(model, framework):
    mixed = [
        *asked(model, 1.0),
        *asked(model, 4.0),
        *asked(model, 4.0, dtype="fp8"),
        *asked(model, 1.0, graph=False),
    ]
    together = batch_seconds(mixed, H100, kv_dtype="bfloat16", framework=framework)
    assert_same(together, one_by_one(mixed, framework))


def test_head_sizes_keep_their_own_kernels():
    mixed = [one for name in ("llama-3.1-8b", "gpt-oss-120b") for one in asked(name, 1.0)]
    sizes = {float(one.op.columns["head_dim"]) for one in mixed if "head_dim" in one.op.columns}
    assert len(sizes) == 2
    assert_same(batch_seconds(mixed, H100, kv_dtype="bfloat16", framework="vllm"), one_by_one(mixed, "vllm"))


def test_large_grids_are_evaluated_in_parts_of_bounded_size(monkeypatch):
    evaluated = []
    kernel = op_batches.op_seconds
    monkeypatch.setattr(op_batches, "BLOCK", 12)
    monkeypatch.setattr(
        op_batches, "op_seconds", lambda op, *a, **k: evaluated.append(op_batches._shape(op)) or kernel(op, *a, **k)
    )
    some = asked("llama-3.1-8b", 4.0)
    assert_same(batch_seconds(some, H100, kv_dtype="bfloat16"), one_by_one(some, ""))
    assert max(int(np.prod(shape)) for shape in evaluated) == 12


def test_operations_of_one_kind_need_one_evaluation(monkeypatch):
    evaluated = []
    kernel = op_batches.op_seconds
    monkeypatch.setattr(
        op_batches, "op_seconds", lambda op, *a, **k: evaluated.append(op.kind) or kernel(op, *a, **k)
    )
    batch_seconds(asked("llama-3.1-8b", 4.0), H100, kv_dtype="bfloat16")
    assert evaluated.count("gemm") == evaluated.count("elementwise") == 1
