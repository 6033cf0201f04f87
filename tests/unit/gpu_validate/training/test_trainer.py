"""Training of small drafts: repeatable, resumable, and each draft as if it were alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import SOURCES, arm

from gpu_validate.models.decoder import Decoder
from gpu_validate.training import run as runner
from gpu_validate.training import trainer
from gpu_validate.training.corpus import Corpus, prepare
from gpu_validate.training.sizes import model
from gpu_validate.training.trainer import DraftRun, FlatWeights, Training, gemm_precision, train_target

HOW = Training(per_domain=1, length=32, tokens=2048, lr=4e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return prepare(SOURCES)


@pytest.fixture(scope="module")
def target(corpus: Corpus) -> Decoder:
    return list(train_target(model("t", 2, 16, head_dim=8), corpus, HOW, seed=0))[-1][1]


def trained(corpus: Corpus, target: Decoder, layers: tuple[int, ...], seed: int = 0, steps: int = 6) -> DraftRun:
    run = DraftRun(target, corpus, HOW, [arm(depth).draft for depth in layers], seed=seed)
    for _ in range(steps):
        run.advance()
    return run


def test_the_same_seed_gives_the_same_weights_and_another_does_not(corpus: Corpus, target: Decoder) -> None:
    first, again, other = (trained(corpus, target, (1,), seed) for seed in (0, 0, 1))
    assert torch.equal(first.flats[0].weights, again.flats[0].weights)
    assert not torch.equal(first.flats[0].weights, other.flats[0].weights)


def test_draft_does_not_depend_on_drafts_trained_with_it(corpus: Corpus, target: Decoder) -> None:
    together, alone = trained(corpus, target, (1, 2, 3)), trained(corpus, target, (2,))
    assert torch.equal(together.flats[1].weights, alone.flats[0].weights)


def test_resumed_run_ends_where_an_uninterrupted_one_does(corpus: Corpus, target: Decoder) -> None:
    whole = trained(corpus, target, (1, 2), steps=8)
    half = trained(corpus, target, (1, 2), steps=3)
    resumed = DraftRun(target, corpus, HOW, half.arms, seed=0)
    resumed.load(half.state())
    for _ in range(5):
        resumed.advance()
    for ours, theirs in zip(resumed.flats, whole.flats):
        assert torch.equal(ours.weights, theirs.weights)
        assert torch.equal(ours.average, theirs.average)


def test_training_lowers_the_target_s_loss_below_the_alphabet_s(corpus: Corpus) -> None:
    how = Training(per_domain=2, length=64, tokens=40_000, lr=4e-3)
    model_ = list(train_target(model("t", 1, 32), corpus, how, seed=0))[-1][1]
    assert np.mean(list(runner._quality(model_, corpus).values())) < 0.8 * np.log(128)


def test_the_average_is_the_power_function_one() -> None:
    """By hand: w_3 = sum t^9 w_t / sum t^9 to first order; exactly, the recursion with (1 - 1/t)^10."""
    module = torch.nn.Linear(1, 1, bias=False)
    flat = FlatWeights(module, lr=0.1)
    seen = []
    for _ in range(3):
        assert module.weight.grad is not None
        module.weight.grad.fill_(1.0)
        flat.update()
        seen.append(float(flat.weights.detach()))
    by_hand = seen[0]
    for step, value in enumerate(seen[1:], 2):
        beta = (1 - 1 / step) ** 10
        by_hand = beta * by_hand + (1 - beta) * value
    assert float(flat.average) == pytest.approx(by_hand, rel=1e-6)
    before = float(module.weight.detach())
    flat.swap()
    assert float(module.weight.detach()) == pytest.approx(by_hand)
    flat.swap()
    assert float(module.weight.detach()) == before


def test_gemms_use_tf32_only_inside_training_that_allows_it(
    corpus: Corpus, target: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither between steps, nor after an error, nor where the plan does not say so; a CPU ignores it."""
    products, seen = torch.backends.cuda.matmul, []
    honest = trainer.target_features

    def watched(*args: object) -> object:
        seen.append(products.allow_tf32)
        return honest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "target_features", watched)
    weights = {}
    for tf32 in (False, True):
        how = replace(HOW, tf32=tf32)
        seen.clear()
        for _, model_ in train_target(target.spec, corpus, how, seed=0):
            assert products.allow_tf32 is False
            weights[tf32] = model_.head.weight.detach().clone()
        run = DraftRun(target, corpus, how, [arm(1).draft], seed=0)
        run.advance()
        assert products.allow_tf32 is False
        assert set(seen) == {tf32}
    assert torch.equal(weights[False], weights[True])
    with pytest.raises(KeyboardInterrupt), gemm_precision(tf32=True):
        raise KeyboardInterrupt
    assert products.allow_tf32 is False
