"""Acceptance rules: chi-square tests on small vocabularies, given rates, and counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from gpu_validate.decoding import acceptance_rules
from gpu_validate.decoding.decode import decode_plain, decode_speculatively, start_loop
from gpu_validate.decoding.sequences import SamplingPolicy
from gpu_validate.decoding.tree_layout import TreeTables, causal_placement, tree_placement
from gpu_validate.models.attention import causal_mask
from gpu_validate.models.decoder import Decoder, KVCache
from scylla_sim.acceptance.trees import DraftTree, chain, from_paths, full_tree
from scylla_sim.checks import InputError
from scylla_sim.specs.model import Model

VOCAB = 4
SPEC = Model("t", 1, 8, 12, 2, 1, 4, VOCAB)


def models(seed: int = 0) -> tuple[Decoder, Decoder]:
    target, draft = Decoder(SPEC, seed=seed, dtype=torch.float64), Decoder(SPEC, seed=seed + 1, dtype=torch.float64)
    with torch.no_grad():
        for model in (target, draft):
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.mul_(30.0)
    return target, draft


def exact(target: Decoder, prompt: list[int], length: int, temperature: float) -> np.ndarray:
    """Probability of every continuation of ``length`` tokens, by the target's own chain rule."""
    continuations = list(itertools.product(range(VOCAB), repeat=length))
    tokens = torch.tensor([[*prompt, *continuation] for continuation in continuations])
    cache = KVCache.empty(SPEC, len(tokens), tokens.shape[1], target.norm)
    starts = torch.zeros(len(tokens), dtype=torch.int64)
    logits = target(tokens, cache, causal_placement(starts, tokens.shape[1], SPEC)) / temperature
    log_p = torch.log_softmax(logits, -1)[:, len(prompt) - 1 : -1]
    return log_p.gather(2, tokens[:, len(prompt) :, None]).sum((1, 2)).exp().numpy()


def p_value(drawn: torch.Tensor, probability: np.ndarray) -> float:
    """Chi-square test of drawn continuations, cells with small expectations taken together."""
    index = (drawn * VOCAB ** torch.arange(drawn.shape[1] - 1, -1, -1)).sum(1)
    counts = np.bincount(index.numpy(), minlength=probability.size)
    expected = probability * len(drawn)
    small = expected < 8
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] == 0:
        counts, expected = counts[:-1], expected[:-1]
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


TREES = {
    "chain": chain(2),
    "wide": full_tree([3]),
    "tree": full_tree([2, 2]),
    "skipped": from_paths([(1,), (3,), (1, 2)]),
}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", TREES)
def test_sampled_output_is_distributed_as_the_target_s(name: str, temperature: float) -> None:
    target, draft = models()
    prompts = torch.tensor([[1, 2]]).repeat(6000, 1)
    drawn, tally = decode_speculatively(
        target, draft, TREES[name], prompts, 3, policy=SamplingPolicy(temperature=temperature), seed=7
    )
    assert p_value(drawn, exact(target, [1, 2], 3, temperature)) > 1e-3
    assert 0.05 < tally.accepted.sum() / tally.attempts[0] < TREES[name].draft_len, "some were kept, some not"


@pytest.mark.parametrize("name", TREES)
def test_sampled_output_keeps_its_distribution_when_the_draft_proposes_its_best_choices(name: str) -> None:
    target, draft = models()
    prompts = torch.tensor([[1, 2]]).repeat(6000, 1)
    policy = SamplingPolicy(temperature=1.0, sampled_drafts=False)
    drawn, tally = decode_speculatively(target, draft, TREES[name], prompts, 3, policy=policy, seed=7)
    assert p_value(drawn, exact(target, [1, 2], 3, 1.0)) > 1e-3
    assert 0.05 < tally.accepted.sum() / tally.attempts[0] < TREES[name].draft_len, "some were kept, some not"


def test_plain_sampling_passes_the_same_test() -> None:
    target, _ = models()
    prompts = torch.tensor([[1, 2]]).repeat(6000, 1)
    generator = torch.Generator().manual_seed(3)
    drawn = decode_plain(target, prompts, 3, policy=SamplingPolicy(temperature=1.0), generator=generator)
    assert p_value(drawn, exact(target, [1, 2], 3, 1.0)) > 1e-3


@pytest.mark.parametrize("mistake", ["keeps what it rejects", "samples anew from the whole target"])
def test_the_chi_square_test_finds_a_wrong_rule(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, draft = models()
    if mistake.startswith("keeps"):
        monkeypatch.setattr(torch, "rand", lambda *size, dtype, **_: torch.zeros(*size, dtype=dtype))
    else:
        monkeypatch.setattr(acceptance_rules, "_normalize", lambda weights, otherwise: otherwise)
    prompts = torch.tensor([[1, 2]]).repeat(6000, 1)
    drawn, _ = decode_speculatively(
        target, draft, chain(2), prompts, 3, policy=SamplingPolicy(temperature=1.0), seed=7
    )
    assert p_value(drawn, exact(target, [1, 2], 3, 1.0)) < 1e-6


def test_the_acceptance_of_a_sampled_chain_is_the_overlap_of_the_distributions() -> None:
    """Leviathan et al., Theorem 3.5: one minus the total variation distance."""
    torch.manual_seed(0)
    p, q = torch.rand(VOCAB, dtype=torch.float64), torch.rand(VOCAB, dtype=torch.float64)
    p, q = p / p.sum(), q / q.sum()
    size, generator = 20000, torch.Generator().manual_seed(1)
    tokens = torch.multinomial(q, size, replacement=True, generator=generator)[:, None]
    both = [x.expand(size, 2, VOCAB).contiguous() for x in (p, q)]
    outcome = acceptance_rules.accept_sampled(TreeTables.of(chain(1)), tokens, *both, generator)
    rate = float(torch.minimum(p, q).sum())
    assert float(outcome.count.double().mean()) == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / size))


def test_acceptance_follows_given_rates() -> None:
    tree = full_tree([2, 2])
    rates = torch.tensor([[0.6, 0.2], [0.3, 0.5]], dtype=torch.float64)
    outcome = acceptance_rules.accept_at_rates(
        TreeTables.of(tree), rates, torch.zeros(40000, 7, VOCAB), torch.Generator().manual_seed(2)
    )
    first = [float((outcome.path[:, 0] == node).double().mean()) for node in (0, 1)]
    assert first == pytest.approx([0.6, 0.2], abs=0.01)
    reached = outcome.path[:, 0] == 0
    second = [float((outcome.path[reached, 1] == node).double().mean()) for node in (2, 3)]
    assert second == pytest.approx([0.3, 0.5], abs=0.015)


def test_the_loop_at_given_rates_emits_the_closed_form_of_tokens_per_cycle() -> None:
    target, draft = models()
    rates = torch.full((3, 1), 0.7, dtype=torch.float64)
    prompts = torch.zeros((64, 2), dtype=torch.int64)
    _, tally = decode_speculatively(
        target, draft, chain(3), prompts, 100, policy=SamplingPolicy(rates=rates), seed=5
    )
    expected = (1 - 0.7**4) / 0.3
    assert tally.tokens_per_cycle == pytest.approx(expected, rel=0.03)
    assert (tally.accepted[:, 0] / tally.attempts).tolist() == pytest.approx([0.7] * 3, abs=0.04)


def test_tally_counts_are_consistent() -> None:
    target, draft = models()
    prompts = torch.zeros((5, 3), dtype=torch.int64)
    _, tally = decode_speculatively(target, draft, full_tree([2, 1]), prompts, 20)
    assert tally.attempts[0] == tally.cycles
    assert tally.attempts[1] == tally.accepted[0].sum()
    assert tally.emitted == tally.cycles + tally.accepted.sum()


def test_node_sees_committed_tokens_and_its_path() -> None:
    tree = DraftTree(parents=(-1, -1, 0), ranks=(0, 1, 0))
    place = tree_placement(torch.tensor([2, 4]), torch.arange(4), TreeTables.of(tree), SPEC)
    assert place.positions.tolist() == [[2, 3, 3, 4], [4, 5, 5, 6]]
    assert isinstance(place.slots, torch.Tensor)
    assert place.slots.tolist() == [[2, 3, 4, 5], [4, 5, 6, 7]]
    assert place.mask is not None
    first = place.mask[0, 0, :4].int().tolist()
    assert first == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 1, 0, 0],
    ]


def test_a_ragged_causal_mask_is_the_plain_one_for_equal_lengths() -> None:
    place = causal_placement(torch.tensor([3, 3]), 2, SPEC)
    plain = causal_mask(2, 5, 2, torch.device("cpu"))
    assert place.mask is not None and plain is not None
    assert torch.equal(place.mask[0, 0], plain)


def test_invalid_arguments_are_refused_in_one_line() -> None:
    target, draft = models()
    prompts = torch.zeros((1, 1), dtype=torch.int64)
    with pytest.raises(InputError, match="ranks=9 must be below vocab_size=4"):
        start_loop(target, draft, from_paths([(9,)]), prompts, room=1)
    other = Decoder(Model("o", 1, 8, 12, 2, 1, 4, VOCAB + 1))
    with pytest.raises(InputError, match="vocab_size=5"):
        start_loop(target, other, chain(1), prompts, room=1)
    with pytest.raises(InputError, match="lengths"):
        decode_plain(target, prompts, 1, lengths=torch.tensor([2]))
    with pytest.raises(InputError, match="temperature=1"):
        SamplingPolicy(temperature=1.0, rates=torch.ones(1, 1))
    with pytest.raises(InputError, match="add up to at most 1"):
        acceptance_rules.check_rates(TreeTables.of(chain(1)), torch.tensor([[1.5]]))
