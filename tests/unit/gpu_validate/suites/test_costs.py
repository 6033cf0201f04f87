"""The FLOPs and bytes that suites declare are those of the simulator's operation lists."""

from __future__ import annotations

import pytest
import torch

from gpu_validate.device.facts import catalog_device
from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.suites import cycles, decode, kernels, steps
from gpu_validate.suites.case import roofline_seconds
from gpu_validate.suites.collectives import all_reduce_case
from gpu_validate.suites.costs import Cost, cycle_cost, draft_widths, head_ops, operations_cost, pass_cost
from gpu_validate.suites.random_models import random_pair
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.forward import forward_ops, prefill_ops
from scylla_sim.ops.op import Op
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model

H100 = catalog_device("h100-sxm", gpus=2)
LLAMA = catalog.model("llama-3.1-8b")
SMALL_LLAMA = catalog.model("llama-3.2-1b")


def total(ops: list[Op]) -> tuple[float, float]:
    """FLOPs and bytes that the simulator states for a list of operations in bfloat16."""
    flop = sum(float(op.flops()) for op in ops)
    return flop, sum(float(op.memory_bytes("bfloat16", "bfloat16")) for op in ops)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3"])
@pytest.mark.parametrize(("batch", "context", "tokens"), [(1, 512, 1), (64, 2048, 64)])
def test_pass_cost_equals_the_operation_list(name: str, batch: int, context: int, tokens: int) -> None:
    model = catalog.model(name)
    found = pass_cost(model, batch, context, tokens, "bfloat16")
    expected = total(forward_ops(model, batch=batch, context=context + tokens, tokens=tokens))
    assert (found.flop, found.bytes) == pytest.approx(expected, rel=1e-12)


def test_step_and_plain_cases_declare_the_operation_list() -> None:
    expected = total(forward_ops(LLAMA, batch=8, context=513, tokens=1))
    step = steps.step_case(H100, LLAMA, (8, 512, 1), graph=True)
    plain = cycles.plain_case(H100, (LLAMA, SMALL_LLAMA), pair, 8, 512)
    for case in (step, plain):
        assert (case.flop, case.bytes) == pytest.approx(expected, rel=1e-12), case.id


def test_a_prefill_declares_the_work_of_prompts() -> None:
    """Only the last token of each prompt is scored, and its tokens see half of each other."""
    case = steps.prefill_case(H100, LLAMA, (2, 512, 1024), graph=True)
    expected = total(prefill_ops(LLAMA, tokens=1024, cached=512, sequences=2))
    assert (case.flop, case.bytes) == pytest.approx(expected, rel=1e-12)
    layers = 2 * 2 * 1024 * (LLAMA.parameters - 2 * 128256 * 4096)
    head = 2 * 2 * 128256 * 4096
    pairs = 2 * (1024 * 512 + 1024 * 1025 / 2)
    assert case.flop == pytest.approx(layers + head + 4 * pairs * 32 * 4096, rel=2e-3)


def pair() -> tuple[Decoder, Decoder]:
    return random_pair((LLAMA, SMALL_LLAMA), "cpu", torch.float32)


@pytest.mark.parametrize("tree", [chain(3), full_tree((2, 2))])
def test_a_cycle_is_one_pass_of_the_target_and_one_pass_of_the_draft_for_each_level(tree: DraftTree) -> None:
    parts = {
        part: cycles.part_case(H100, (LLAMA, SMALL_LLAMA), pair, (4, 1024), tree, part) for part in cycles.PARTS
    }
    nodes = tree.verify_tokens
    verify = total(forward_ops(LLAMA, batch=4, context=1024 + nodes, tokens=nodes))
    widths = [1, 1, 1] if tree == chain(3) else [1, 2]
    assert draft_widths(tree) == widths
    draft = [total(forward_ops(SMALL_LLAMA, batch=4, context=1024 + n, tokens=n)) for n in widths]
    for index, field in enumerate(("flop", "bytes")):
        assert getattr(parts["verify"], field) == pytest.approx(verify[index], rel=1e-12)
        assert getattr(parts["draft"], field) == pytest.approx(sum(one[index] for one in draft), rel=1e-12)
        whole = getattr(parts["verify"], field) + getattr(parts["draft"], field)
        assert getattr(parts["cycle"], field) == pytest.approx(whole, rel=1e-12)


def test_decoding_declares_one_cycle_at_the_middle_of_the_text() -> None:
    grid = decode.Grid("llama-3.1-8b", "llama-3.2-1b", ((2, 3),), 512, 64)
    case = decode.decode_case(H100, (LLAMA, SMALL_LLAMA), pair, grid, 2, 3)
    assert Cost(case.flop, case.bytes) == cycle_cost((LLAMA, SMALL_LLAMA), chain(3), (2, 544), "bfloat16")


def test_quantized_layers_save_one_byte_of_each_layer_weight() -> None:
    wide, narrow = (steps.step_case(H100, LLAMA, (1, 512, 1), graph=True, fp8=fp8) for fp8 in (False, True))
    weights = LLAMA.num_layers * LLAMA.layer_parameters
    rows = LLAMA.num_layers * (2 * LLAMA.hidden_size + 32 * 128 + LLAMA.intermediate_size)
    assert wide.bytes - narrow.bytes == weights + rows, "weights and GEMM inputs take one byte less"
    assert wide.flop == narrow.flop


def test_an_eagle_pass_is_the_simulators_head_with_one_projection_more() -> None:
    target = Model("target", 2, 32, 48, 4, 2, 8, 19)
    spec = Model("draft", 1, 32, 48, 4, 2, 8, 19)
    found = operations_cost(head_ops(spec, target, 3, 20, 2, fed=True), "float32")
    head = draft_ops(Draft("eagle", "head", num_layers=1), target, batch=3, context=22, width=2, dtype="float32")
    expected = operations_cost(head, "float32")
    rows, width = 6, 32
    assert found.flop - expected.flop == 2.0 * rows * width * width
    assert found.bytes - expected.bytes == 4.0 * (width * width + 2 * rows * width)


def test_weights_of_an_eagle_pass_are_those_of_the_module() -> None:
    target = Model("target", 2, 32, 48, 4, 2, 8, 19)
    spec = Model("draft", 3, 16, 24, 2, 2, 8, 19)
    for fed in (True, False):
        draft = EagleDraft(spec, Decoder(target), fed=fed)
        matrices = sum(weight.numel() for weight in draft.parameters() if weight.dim() > 1) + 19 * 32
        ops = [op for op in head_ops(spec, target, 1, 10, 1, fed=fed) if op.kind == "gemm"]
        assert sum(op.count * float(op.columns["n"] * op.columns["k"]) for op in ops) == matrices


def test_a_gemm_case_has_its_hand_computed_work() -> None:
    case = kernels.gemm_case(H100, 2, 8, 4)
    assert case.flop == 2 * 2 * 8 * 4
    assert case.bytes == 2 * (2 * 4 + 8 * 4 + 2 * 8)
    quantized = kernels.fp8_case(H100, 16, 32, 64)
    assert quantized.bytes == 16 * 64 + 32 * 64 + 2 * 16 * 32


def test_an_attention_case_has_its_hand_computed_work() -> None:
    case = kernels.attention_case(H100, 2, 100, 3, (8, 2, 64))
    assert case.flop == 4 * 2 * 8 * 3 * 100 * 64
    assert case.bytes == 2 * (2 * 2 * 2 * 100 * 64 + 2 * 2 * 8 * 3 * 64)


def test_an_all_reduce_case_keeps_its_message_as_bytes_and_states_no_flop() -> None:
    case = all_reduce_case(H100, 2, 4096.0, graph=True)
    assert (case.flop, case.bytes) == (0.0, 4096.0)
    link = catalog.hardware("h100-sxm").link_bytes_per_s
    assert link is not None
    assert roofline_seconds(H100, case) == pytest.approx(4096.0 / link), (
        "2 (n - 1) / n of the message over one link"
    )
