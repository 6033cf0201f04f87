"""Each check of `scylla_sim.testing` finds a planted mistake, and names the law and an example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim import testing
from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.kernels.elementwise import ELEMENTWISE, ELEMENTWISE_COPY
from scylla_sim.laws.forms import FORMS
from scylla_sim.serving.loop_state import Replica
from scylla_sim.specs import catalog
from scylla_sim.testing.requirement import require

H100 = catalog.hardware("h100-sxm")
LLAMA = catalog.model("llama-3.1-8b")


def _replica(cycle_s: np.ndarray) -> Replica:
    rows, flat = np.arange(1.0, 65.0), np.full(64, 0.02)
    one = {"output_len": np.array(200.0), "max_rows": np.array(64.0), "cycles_cv": np.array(0.0)}
    return Replica(rows, cycle_s, np.full(64, 199.0), flat, flat, np.array(0.02), **one)


def _slow_fp8() -> None:
    testing.check_hardware(replace(H100, peak_flop_per_s={**H100.peak_flop_per_s, "fp8": 1e12}))


def _kernel_that_shrinks() -> None:
    falling = replace(ELEMENTWISE_COPY, seconds=lambda p, c, r: p.launch_s + 1e-3 / c["bytes"])
    testing.check_kernel_model(falling, ELEMENTWISE, H100)


def _kernel_without_time() -> None:
    testing.check_kernel_model(
        replace(ELEMENTWISE_COPY, seconds=lambda p, c, r: 0.0 * c["bytes"]), ELEMENTWISE, H100
    )


def _kernel_that_mixes_rows() -> None:
    mean = replace(
        ELEMENTWISE_COPY, seconds=lambda p, c, r: p.launch_s + 1e-12 * np.mean(c["bytes"]) + 0 * c["bytes"]
    )
    testing.check_kernel_model(mean, ELEMENTWISE, H100, growing=())


def _kernel_that_branches() -> None:
    some = replace(ELEMENTWISE_COPY, seconds=lambda p, c, r: np.max(p.launch_s) + 1e-12 * c["bytes"])
    testing.check_kernel_model(some, ELEMENTWISE, H100)


def _overhead_without_source() -> None:
    vllm = catalog.engine("vllm")
    testing.check_engine(replace(vllm, sources={**vllm.sources, "host_s": ""}))


def _law_that_bends() -> None:
    testing.check_law("bent", replace(FORMS["linear"], basis=lambda x: x[:, None] * np.ones(3)))


def _replica_faster_with_load() -> None:
    testing.check_replica(_replica(0.05 / np.arange(1.0, 65.0)))


PLANTED: dict[str, Callable[[], None]] = {
    "fp8 is never slower than bf16; broken at fp8=1e": _slow_fp8,
    "twice the bytes never takes less time; broken at bytes=": _kernel_that_shrinks,
    "seconds are positive and finite; broken at bytes=": _kernel_without_time,
    "arrays and single shapes agree": _kernel_that_mixes_rows,
    "each row may have its own parameters": _kernel_that_branches,
    "host_s has a source": _overhead_without_source,
    "the design has a column for each coefficient": _law_that_bends,
    "a higher rate never lowers": _replica_faster_with_load,
}


@pytest.mark.parametrize("law", PLANTED)
def test_a_planted_mistake_is_named(law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        PLANTED[law]()


def test_more_active_than_all_weights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(LLAMA), "active_parameters", property(lambda self: 2 * self.parameters))
    with pytest.raises(AssertionError, match=r"model llama-3.1-8b: a token uses at most all weights"):
        testing.check_model(LLAMA)


def test_a_law_over_positions_that_moves_backwards_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PositionLaw, "moved", lambda self, by: replace(self, exponent=self.exponent + by * self.spread)
    )
    with pytest.raises(AssertionError, match="more deviations accept more; broken at first_rate="):
        testing.check_position_law(PositionLaw("drawn", 0.5, 0.3))


def test_ranks_that_exchange_too_little_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from scylla_sim.testing import models

    whole = models.forward_ops
    fewer = lambda *args, tp=1, **more: [op for op in whole(*args, tp=tp, **more) if op.name != "all_reduce"]  # noqa: E731
    monkeypatch.setattr(models, "forward_ops", fewer)
    with pytest.raises(AssertionError, match=r"2 ranks exchange the sum of each attention and each MLP"):
        testing.check_model(LLAMA)


def test_a_transferred_fit_that_is_surer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from scylla_sim.calibration import fitted_kernel

    monkeypatch.setattr(fitted_kernel, "FAMILY_WIDENING", 0.5)
    with pytest.raises(AssertionError, match=r"calibration l40s, .*: a transferred fit is less sure"):
        testing.check_calibration(shipped("l40s"))


def test_only_the_first_broken_example_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"^x: y; broken at a=2, b=7$"):
        require("x", "y", [[True, False], [False, True]], a=[1.0, 2.0], b=7)
    require("x", "y", np.array([], dtype=bool))
    with pytest.raises(AssertionError, match=r"^x: y$"):
        require("x", "y", False)
