"""Operations that a note on a slower precision names."""

from types import SimpleNamespace

import numpy as np

from scylla_sim.prediction.slower_precision import _slowest


def step(**seconds):
    """A step whose operations take some seconds at the smallest and at the largest batch."""
    return SimpleNamespace(
        parts=[
            SimpleNamespace(name=name, kind="gemm", seconds=np.array([0.0, value]))
            for name, value in seconds.items()
        ]
    )


DEPLOYMENT = SimpleNamespace(op_dtypes={}, dtype="fp8")


def names(given, half):
    return _slowest(given, half, 1, DEPLOYMENT)[0]


def test_an_operation_is_named_from_a_tenth_of_the_added_time():
    half = step(qkv_proj=1.0, gate_up_proj=1.0, down_proj=1.0, lm_head=1.0)
    given = step(qkv_proj=1.125, gate_up_proj=2.0, down_proj=1.0625, lm_head=1.0625)  # 1.25 more in all
    assert names(given, half) == ["gate_up_proj", "qkv_proj"]
    just = step(qkv_proj=1.125, gate_up_proj=2.0 + 2**-6, down_proj=1.0625, lm_head=1.0625)
    assert names(just, half) == ["gate_up_proj"]


def test_operations_that_gain_do_not_raise_the_threshold():
    half = step(qkv_proj=1.0, gate_up_proj=9.0, down_proj=1.0)
    given = step(qkv_proj=1.875, gate_up_proj=1.0, down_proj=1.125)
    assert names(given, half) == ["qkv_proj", "down_proj"]
