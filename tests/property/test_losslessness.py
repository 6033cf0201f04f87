"""Speculative decoding does not change the output, for random models, batches, trees and seeds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_validate.decoding import acceptance_rules, loop, tree_layout
from gpu_validate.decoding.acceptance_rules import Accepted
from gpu_validate.decoding.decode import decode_plain, decode_speculatively
from gpu_validate.decoding.sequences import SamplingPolicy
from gpu_validate.decoding.tree_layout import TreeTables
from gpu_validate.models.decoder import Decoder, KVCache
from gpu_validate.models.eagle import EagleDraft
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.specs.model import Model
from scylla_sim.testing import strategies

VOCAB = 11
NEW_TOKENS = 14


def _models(
    heads: tuple[int, int], layers: int, seed: int, distance: float, dtype: torch.dtype = torch.float64
) -> tuple[Decoder, Decoder]:
    """A target with decided opinions, and a draft that is the target with some noise on its weights."""
    spec = Model(
        name="random",
        num_layers=layers,
        hidden_size=16,
        intermediate_size=24,
        num_heads=heads[0],
        num_kv_heads=heads[1],
        head_dim=4,
        vocab_size=VOCAB,
    )
    target, draft = (Decoder(spec, seed=seed, dtype=dtype) for _ in "td")
    noise = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for ours, theirs in zip(target.parameters(), draft.parameters()):
            if ours.dim() > 1:
                ours.mul_(10.0)
                theirs.copy_(ours + distance * torch.randn(ours.shape, generator=noise, dtype=dtype))
    return target, draft


def trees() -> st.SearchStrategy[DraftTree]:
    """Chains, full trees, and any tree of up to ten nodes with ranks that may be skipped."""
    full = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(full_tree)
    return st.one_of(st.integers(1, 6).map(chain), full, strategies.trees(depth=6, ranks=5, max_nodes=10))


@settings(max_examples=60, deadline=None)
@given(
    tree=trees(),
    heads=st.sampled_from(((2, 2), (4, 2), (4, 1))),
    layers=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    distance=st.sampled_from((0.0, 0.03, 0.1, 1.0)),
    seed=st.integers(0, 10**6),
)
def test_greedy_output_is_plain_decoding_token_for_token(
    tree: DraftTree, heads: tuple[int, int], layers: int, lengths: list[int], distance: float, seed: int
) -> None:
    target, draft = _models(heads, layers, seed, distance)
    prompts = torch.randint(VOCAB, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    given_lengths = torch.tensor(lengths)
    plain = decode_plain(target, prompts, NEW_TOKENS, lengths=given_lengths)
    fast, tally = decode_speculatively(target, draft, tree, prompts, NEW_TOKENS, lengths=given_lengths)
    assert torch.equal(fast, plain)
    assert 1 <= tally.tokens_per_cycle <= tree.draft_len + 1
    assert tally.emitted >= NEW_TOKENS * len(lengths)


def _eagle(target: Decoder, layers: int, seed: int, *, fed: bool = True) -> EagleDraft:
    """A random draft that is narrower than its target, with opinions as decided."""
    spec = Model("head", layers, 8, 12, 2, 2, 4, VOCAB)
    draft = EagleDraft(spec, target, fed=fed, seed=seed)
    with torch.no_grad():
        draft.widen.weight.mul_(3.0)
    return draft.requires_grad_(False)


@settings(max_examples=40, deadline=None)
@given(
    tree=trees(),
    layers=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    fed=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_a_draft_that_is_fed_features_loses_nothing_either(
    tree: DraftTree, layers: int, lengths: list[int], fed: bool, seed: int
) -> None:
    target, _ = _models((4, 2), 2, seed, 0.0)
    prompts = torch.randint(VOCAB, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    plain = decode_plain(target, prompts, NEW_TOKENS, lengths=torch.tensor(lengths))
    draft = _eagle(target, layers, seed, fed=fed)
    fast, tally = decode_speculatively(target, draft, tree, prompts, NEW_TOKENS, lengths=torch.tensor(lengths))
    assert torch.equal(fast, plain)
    assert 1 <= tally.tokens_per_cycle <= tree.draft_len + 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tree", [chain(4), full_tree([3, 2, 1])], ids=["chain", "tree"])
def test_greedy_output_is_exact_in_single_precision(tree: DraftTree, seed: int) -> None:
    target, draft = _models((4, 2), 2, seed, 0.05, torch.float32)
    prompts = torch.randint(VOCAB, (3, 5), generator=torch.Generator().manual_seed(seed))
    fast, _ = decode_speculatively(target, draft, tree, prompts, 40)
    assert torch.equal(fast, decode_plain(target, prompts, 40))


@settings(max_examples=20, deadline=None)
@given(tree=trees(), seed=st.integers(0, 10**6))
def test_a_perfect_draft_accepts_its_first_choices_to_the_end(tree: DraftTree, seed: int) -> None:
    target, _ = _models((4, 2), 1, seed, 0.0)
    prompts = torch.randint(VOCAB, (2, 4), generator=torch.Generator().manual_seed(seed))
    _, tally = decode_speculatively(target, target, tree, prompts, NEW_TOKENS)
    first_choices = 0
    while (0,) * (first_choices + 1) in tree.paths():
        first_choices += 1
    assert tally.tokens_per_cycle == first_choices + 1
    assert tally.accepted[:, 1:].sum() == 0


def _mismatches(tree: DraftTree) -> int:
    """Seeds, of ten, for which speculative and plain greedy decoding differ."""
    count = 0
    for seed in range(10):
        target, draft = _models((4, 2), 1, seed, 0.1)
        prompts = torch.randint(VOCAB, (2, 4), generator=torch.Generator().manual_seed(seed))
        fast, _ = decode_speculatively(target, draft, tree, prompts, NEW_TOKENS)
        count += not torch.equal(fast, decode_plain(target, prompts, NEW_TOKENS))
    return count


def test_keeping_a_rejected_token_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deliberate mistake: after the walk, the first child is kept although the target wanted another token."""
    honest = acceptance_rules.accept_greedy

    def sloppy(tables: TreeTables, tokens: torch.Tensor, logits: torch.Tensor) -> Accepted:
        outcome = honest(tables, tokens, logits)
        child = tables.children[outcome.last, 0]
        path = outcome.path.clone()
        rows = torch.arange(len(path))[child >= 0]
        path[rows, outcome.count[rows]] = child[rows]
        last = torch.where(child >= 0, child + 1, outcome.last)
        return Accepted(path, last, logits.argmax(-1)[torch.arange(len(path)), last])

    assert _mismatches(chain(3)) == 0
    monkeypatch.setattr(acceptance_rules, "accept_greedy", sloppy)
    assert _mismatches(chain(3)) >= 8


def test_a_cache_that_is_not_rolled_back_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = full_tree([3, 2])
    assert _mismatches(tree) == 0

    def forget(cache: KVCache, lengths: torch.Tensor, path: torch.Tensor) -> None:
        return None

    monkeypatch.setattr(loop, "keep_path", forget)
    assert _mismatches(tree) >= 5


def test_a_mask_that_shows_siblings_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TreeTables.of

    def leaky(tree: DraftTree, device: str = "cpu") -> TreeTables:
        tables = honest(tree, device)
        tables.visible.fill_(True)
        return tables

    monkeypatch.setattr(tree_layout.TreeTables, "of", staticmethod(leaky))
    assert _mismatches(full_tree([3, 2])) >= 5


def test_the_same_seed_samples_the_same_tokens() -> None:
    target, draft = _models((2, 2), 1, 0, 0.1)
    prompts = torch.zeros((2, 1), dtype=torch.int64)
    policy = SamplingPolicy(temperature=1.0)
    runs = [decode_speculatively(target, draft, chain(2), prompts, 8, policy=policy, seed=s)[0] for s in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
