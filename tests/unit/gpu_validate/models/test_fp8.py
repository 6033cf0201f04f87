"""8-bit GEMMs and steps, computed on a CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.device.facts import Device, catalog_device
from gpu_validate.device.timer import Plan
from gpu_validate.models import fp8
from gpu_validate.models.decoder import Decoder, KVCache, placement_after
from gpu_validate.records.rows import export
from gpu_validate.suites import kernels, steps
from gpu_validate.suites.case import Case
from gpu_validate.suites.measurement import run_case
from scylla_sim.checks import InputError
from scylla_sim.specs.model import Model

SPEC = Model("tiny", 2, 64, 96, 4, 2, 16, 48)
PLAN = Plan(min_samples=2, time_limit_s=0.02, min_sample_s=0.0)
HERE = Device(
    *("cpu", "a CPU with 8-bit units", "h100-sxm", 2.0**34, 2.0**16, 1),
    {"python": "3.11", "torch": torch.__version__, "numpy": "2.0"},
    {"fp8": True},
    "bfloat16",
)


def test_fp8_gemm_equals_the_exact_gemm_within_rounding() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(5, 64), torch.randn(32, 64)
    found = fp8.gemm(fp8.quantize(x), fp8.quantize(weight), torch.bfloat16).float()
    exact = x @ weight.T
    # three bits of mantissa: each factor is off by 1/16 at most, and errors of 64 terms mostly cancel
    assert float((found - exact).abs().max()) < 0.1 * float(exact.abs().max())
    assert float((found - exact).norm() / exact.norm()) < 0.06


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_the_scale_follows_what_the_tensor_holds(scale: float) -> None:
    x = scale * torch.linspace(-1.0, 1.0, 33)
    stored, unit = fp8.quantize(x)
    assert float(stored.float().abs().max()) == torch.finfo(fp8.DTYPE).max
    torch.testing.assert_close(stored.float() * unit, x, rtol=0.07, atol=1e-3 * scale)


def test_zeros_stay_zeros() -> None:
    stored, unit = fp8.quantize(torch.zeros(4))
    assert float((stored.float() * unit).abs().max()) == 0.0


def test_a_decoder_in_8_bits_keeps_a_byte_a_weight_and_nearly_its_logits() -> None:
    model = Decoder(SPEC, dtype=torch.bfloat16)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(5.0)
    tokens, place = torch.arange(12).view(2, 6), placement_after(0, 6, SPEC, model.norm, batch=2)
    before = model(tokens, KVCache.empty(SPEC, 2, 6, model.norm), place).float()
    fp8.quantize_layers(model.layers)
    after = model(tokens, KVCache.empty(SPEC, 2, 6, model.norm), place).float()
    stored = [weight for name, weight in model.layers.named_parameters() if name.endswith(".weight")]
    assert sum(weight.numel() for weight in stored) == SPEC.num_layers * SPEC.layer_parameters
    assert {weight.element_size() for weight in stored} == {1}
    assert 0 < float((after - before).norm() / before.norm()) < 0.2


def test_sides_that_the_units_do_not_take_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        fp8.QuantizedProjection(torch.zeros(24, 16))


def eight_bit(case: Case) -> bool:
    return case.shape["dtype"] == "fp8" or case.shape["op"] == "quantise"


def test_eight_bits_are_listed_where_the_device_has_them_and_nowhere_else() -> None:
    for suite in (kernels, steps):
        assert any(map(eight_bit, suite.cases(catalog_device("h100-sxm"), "small")))
        for name in ("a100-sxm", "rtx-3090"):
            assert not any(map(eight_bit, suite.cases(catalog_device(name), "small")))
        assert not any(map(eight_bit, suite.cases(catalog_device("h100-sxm", dtype="float32"), "small")))
        assert not any(map(eight_bit, suite.cases(replace(HERE, details={}), "ci")))


def test_quantizing_is_a_row_of_its_own_and_calibrates_nothing() -> None:
    product, quantizing = kernels.fp8_case(HERE, 4, 32, 64), kernels.quantize_case(HERE, 4, 64)
    measured = [run_case(HERE, case, PLAN)[0] for case in (product, quantizing)]
    assert [row["op"] for row in measured] == ["gemm", "quantise"]
    assert (measured[0]["dtype"], measured[0]["kernel_source"]) == ("fp8", "torch_scaled_mm")
    assert measured[0]["peak_fraction"] > 0, "the datasheet of the device knows its 8-bit peak"
    record = {"suite": "kernels", "evidence": "live", "values": measured}
    assert [row["op"] for row in export(record, "all")] == ["gemm", "elementwise"]
    assert [row["op"] for row in export(record, "test")] == ["gemm"]


def test_an_8_bit_step_runs_and_declares_what_it_does() -> None:
    case, plain = (steps.step_case(HERE, SPEC, (8, 16, 3), graph=False, fp8=flag) for flag in (True, False))
    row, _ = run_case(HERE, case, PLAN)
    assert (row["dtype"], row["role"]) == ("fp8", "verify")
    inputs = 24 * (2 * SPEC.hidden_size + SPEC.num_heads * SPEC.head_dim + SPEC.intermediate_size)
    saved = SPEC.num_layers * (SPEC.layer_parameters + inputs)
    assert plain.bytes - case.bytes == saved, "a byte less for each weight and each GEMM input"
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        case.build()[0]()
    assert counter.get_total_flops() == case.flop
