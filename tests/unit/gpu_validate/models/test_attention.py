"""Attention in two parts against attention under one mask."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_validate.decoding.tree_layout import TreeTables
from gpu_validate.models import attention
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.specs.model import Model

SPEC = Model("t", 2, 32, 48, 4, 2, 8, 23)


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    """Chains and trees in which siblings have ranks of their own."""
    parents: list[int] = []
    ranks: list[int] = []
    for node in range(draw(st.integers(1, 9))):
        parent = draw(st.integers(-1, node - 1))
        ranks.append(sum(other == parent for other in parents))
        parents.append(parent)
    depths: list[int] = []
    for parent in parents:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    order = sorted(range(len(parents)), key=lambda node: depths[node])
    place = {-1: -1, **{node: index for index, node in enumerate(order)}}
    return DraftTree(
        parents=tuple(place[parents[node]] for node in order), ranks=tuple(ranks[node] for node in order)
    )


@given(tree=trees(), context=st.integers(1, 40), group=st.sampled_from([1, 2, 4]), half=st.booleans())
@settings(max_examples=25, deadline=None)
def test_two_parts_joined_by_their_log_sums_are_masked_attention(
    tree: DraftTree, context: int, group: int, half: bool
) -> None:
    """Chains and trees of any shape; in bf16 within its rounding."""
    dtype = torch.bfloat16 if half else torch.float32
    tables = TreeTables.of(tree)
    n = tree.verify_tokens
    generator = torch.Generator().manual_seed(context)
    q = torch.randn(2, 2 * group, n, 16, generator=generator).to(dtype)
    k, v = (torch.randn(2, 2, context + n, 16, generator=generator).to(dtype) for _ in "kv")
    lengths = torch.full((2,), context)
    mask = attention.packed_mask(attention.visible_slots(lengths, tables.visible, context + n), group)
    exact = attention.masked_attention(q.double(), k.double(), v.double(), mask)
    got = attention.merged_attention(q, k, v, context, tables.visible).double()
    tolerance = 2e-2 if half else 1e-5
    torch.testing.assert_close(got, exact, rtol=tolerance, atol=tolerance)


def test_query_sees_its_context_and_its_tail() -> None:
    visible = torch.tensor([[True, False], [True, True]])
    seen = attention.visible_slots(torch.tensor([1, 2]), visible, 4).int().tolist()
    assert seen == [[[1, 1, 0, 0], [1, 1, 1, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]]]


def test_a_token_attends_to_itself_and_to_those_before_it() -> None:
    assert attention.causal_visibility(3, torch.device("cpu")).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_cached_tokens_are_visible_and_scratch_slots_are_not() -> None:
    """One cached token, then the root and a node that does not see its sibling."""
    visible = torch.tensor([[True, False, False], [True, True, False], [True, False, True]])
    found = attention.visible_slots(torch.tensor([1, 2]), visible, 5).int().tolist()
    assert found[0] == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]]
    assert found[1] == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 0, 1]]
    hidden = torch.zeros(1, 1, dtype=torch.bool)
    assert attention.visible_slots(torch.tensor([1]), hidden, 3).int().tolist() == [[[1, 0, 0]]]
