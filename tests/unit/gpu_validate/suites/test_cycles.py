"""The suite of whole cycles: FLOPs of its parts, acceptance, and rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpu_validate.device.facts import Device
from gpu_validate.device.timer import Plan
from gpu_validate.models.decoder import Decoder
from gpu_validate.records import rows
from gpu_validate.suites import cycles, loops_at_rates, random_models
from gpu_validate.suites.measurement import run_case
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

TARGET = Model("target", 2, 16, 24, 4, 2, 4, 13)
DRAFT = Model("draft", 1, 8, 12, 2, 2, 4, 13)
DEVICE = Device(
    "cpu", "a CPU", "local", 2.0**34, 2.0**20, 1, {"python": "3.11", "torch": torch.__version__, "numpy": "2.0"}
)
PLAN = Plan(min_samples=3, max_samples=400, relative_error=1e-9, time_limit_s=0.2, min_sample_s=0.0)
TREES = {"chain": chain(3), "tree": full_tree([2, 2])}


def make() -> tuple[Decoder, Decoder]:
    return Decoder(TARGET), Decoder(DRAFT)


def part(name: str, tree: DraftTree, batch: int = 2) -> cycles.Case:
    return cycles.part_case(DEVICE, (TARGET, DRAFT), make, (batch, 9), tree, name)


@pytest.mark.parametrize("name", TREES)
def test_declared_flop_of_drafting_and_verifying_is_what_torch_counts_and_masks_apart(name: str) -> None:
    """The cache is read to the end of its tree by every pass, so attention counts a little more than is useful.

    Four sequences: fewer rows than four are filled up on a CPU.
    """
    tree = TREES[name]
    for which in ("draft", "verify"):
        case = part(which, tree, batch=4)
        call = case.build()[0]
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            call()
        assert case.flop <= counter.get_total_flops() <= 1.1 * case.flop


def test_a_cycle_costs_its_parts() -> None:
    cycle, draft, verify = (part(name, TREES["tree"]) for name in ("cycle", "draft", "verify"))
    assert cycle.flop == draft.flop + verify.flop
    assert cycle.bytes == draft.bytes + verify.bytes


@pytest.mark.parametrize("name", TREES)
def test_timed_cycles_accept_at_the_given_rates(name: str) -> None:
    row, _ = run_case(DEVICE, part("cycle", TREES[name], batch=64), PLAN)
    assert row["tokens_per_cycle_seen"] == pytest.approx(row["tokens_per_cycle"], rel=0.05)


def test_a_configuration_needs_a_cycle_and_a_plain_step_and_shows_the_parts_it_has() -> None:
    """What did not fit into the memory, or was not reached, is missing from a record."""
    values = [run_case(DEVICE, cycles.plain_case(DEVICE, (TARGET, DRAFT), make, 2, 9), PLAN)[0]]
    values += [run_case(DEVICE, part(name, TREES["chain"]), PLAN)[0] for name in cycles.PARTS]
    assert len(rows.cycle_rows(values)) == 1
    for index, row in enumerate(values):
        found = rows.cycle_rows(values[:index] + values[index + 1 :])
        if row["op"] in ("plain", "cycle"):
            assert found == []
        else:
            assert found[0][f"{row['op']}_s"] == "" and found[0]["speedup"] > 0


def test_drafts_of_two_sizes_at_one_shape_are_two_rows() -> None:
    values = [run_case(DEVICE, cycles.plain_case(DEVICE, (TARGET, DRAFT), make, 2, 9), PLAN)[0]]
    for name in cycles.PARTS:
        row, _ = run_case(DEVICE, part(name, TREES["chain"]), PLAN)
        values += [row, {**row, "draft": "another"}]
    assert [line["draft"] for line in rows.cycle_rows(values)] == ["draft", "another"]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("scale", ["ci", "small", "full"])
def test_every_grid_covers_batch_draft_length_tree_and_draft_size(kind: str, scale: str) -> None:
    shapes = [case.shape for case in cycles.cases(replace(DEVICE, kind=kind), scale) if case.shape["op"] == "cycle"]
    for column in ("batch", "draft_len", "top_k", "draft"):
        assert len({shape[column] for shape in shapes}) > 1, column
    for grid in cycles.GRIDS[kind, scale]:
        assert catalog.model(grid.target).vocab_size == catalog.model(grid.draft).vocab_size


def test_expected_tokens_of_a_tree_are_one_plus_the_probability_of_each_node() -> None:
    assert loops_at_rates.expected_tokens(full_tree([2, 2]), [0.6, 0.3]) == pytest.approx(1 + 0.9 + 0.9 * 0.9)
    assert loops_at_rates.expected_tokens(chain(3), [0.5]) == pytest.approx(1.875)


def test_rows_hold_one_line_per_drafting_with_the_speedup_over_the_plain_step() -> None:
    values = [run_case(DEVICE, cycles.plain_case(DEVICE, (TARGET, DRAFT), make, 2, 9), PLAN)[0]]
    values += [run_case(DEVICE, part(name, tree), PLAN)[0] for tree in TREES.values() for name in cycles.PARTS]
    lines = rows.cycle_rows(values)
    assert [(line["draft_len"], line["top_k"], line["verify_tokens"]) for line in lines] == [(3, 1, 4), (2, 2, 7)]
    first = lines[0]
    assert first["plain_step_s"] == pytest.approx(1e-3 * values[0]["latency_ms"])
    assert first["speedup"] == pytest.approx(first["tokens_per_cycle"] * first["plain_step_s"] / first["cycle_s"])
    assert first["tokens_per_s"] == pytest.approx(2 * first["tokens_per_cycle"] / first["cycle_s"])


def test_clear_releases_the_memory_of_a_suite() -> None:
    """Models and caches of one suite are tens of GB, and the next one needs the room."""
    run_case(DEVICE, cycles.plain_case(DEVICE, (TARGET, DRAFT), make, 2, 9), PLAN)
    random_models.random_model(DRAFT, "cpu", torch.float32)
    assert random_models.numbers.flat is not None
    random_models.clear()
    assert random_models.numbers.flat is None and not random_models.random_model.last
