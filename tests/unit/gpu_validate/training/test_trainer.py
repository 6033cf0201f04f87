"""Training of small drafts: repeatable, resumable, and of each draft as if it were alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import GRID, SOURCES, arm, plan

from gpu_validate.models.decoder import Decoder
from gpu_validate.training import AXES, SCALES, files, trainer
from gpu_validate.training import run as runner
from gpu_validate.training.corpus import Corpus, prepare
from gpu_validate.training.files import load, save
from gpu_validate.training.outcomes import snapshots
from gpu_validate.training.plans import MAIN, Task, plan_of
from gpu_validate.training.run import run_target, run_task
from gpu_validate.training.sizes import model
from gpu_validate.training.trainer import DraftRun, FlatWeights, Training, gemm_precision, train_target
from gpu_validate.training.work import Work, corpus_of
from scylla_sim.checks import InputError

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


def test_a_draft_is_what_it_would_be_without_its_siblings(corpus: Corpus, target: Decoder) -> None:
    together, alone = trained(corpus, target, (1, 2, 3)), trained(corpus, target, (2,))
    assert torch.equal(together.flats[1].weights, alone.flats[0].weights)


def test_a_run_that_goes_on_from_its_state_ends_where_an_uninterrupted_one_does(
    corpus: Corpus, target: Decoder
) -> None:
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


def test_a_task_cut_off_between_two_points_is_completed_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second point fails once; the run after it trains from the first and ends as if nothing had been."""
    work = Work.of(tmp_path / "a", plan(), "cpu")
    clean = Work.of(tmp_path / "b", plan(), "cpu")
    for each in (work, clean):
        corpus_of(each)
        run_target(each, 0, 0)
    honest, calls = runner._measured, []

    def failing(run: DraftRun, anchors: object) -> object:
        calls.append(run.tokens)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return honest(run, anchors)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "_measured", failing)
    with pytest.raises(KeyboardInterrupt):
        run_task(work, 0, 0)
    for each in (work, clean):
        for index in range(len(plan().tasks)):
            run_task(each, index, 0)
    assert calls[:4] == [GRID[0], GRID[1], GRID[1], GRID[0]]
    for ours, theirs in zip(snapshots(work), snapshots(clean)):
        assert all((a == b).all() for a, b in zip(ours.outcome.ranks, theirs.outcome.ranks))
        assert (ours.outcome.passed == theirs.outcome.passed).all()


def test_prepared_text_that_was_edited_is_refused(tmp_path: Path) -> None:
    work = Work.of(tmp_path, plan(), "cpu")
    corpus_of(work)
    content = load(work.path("corpus.pt"))
    content["arrays"]["prose"][7] ^= 1
    save(work.path("corpus.pt"), content)
    with pytest.raises(InputError, match="does not match its hash"):
        corpus_of(work)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("axis", AXES)
def test_plans_name_every_task_once_and_cover_what_the_axis_asks(scale: str, axis: str) -> None:
    made = plan_of(scale, axis)
    names = [task.name for task in made.tasks]
    assert len(set(names)) == len(names)
    assert {task.target for task in made.tasks} <= {target.name for target in made.targets}
    main = [task for task in made.tasks if all(a.name == MAIN for a in task.arms)]
    depths = {a.layers for task in main for a in task.arms}
    assert {"tokens": len(depths) == 2, "layers": len(depths) >= 4, "all": len(depths) >= 4, "rates": not main}[
        axis
    ]
    assert all(_doubles(task) for task in main)
    if axis == "rates":
        assert {task.split for task in made.tasks} == {"tune"}
    else:
        assert {task.split for task in made.tasks} == {"test"}


def _doubles(task: Task) -> bool:
    return all(later == 2 * earlier for earlier, later in zip(task.grid, task.grid[1:]))


def test_scale_small_covers_a_decade_and_a_half_with_three_seeds() -> None:
    made = plan_of("small")
    main = [task for task in made.tasks if task.arms[0].name == MAIN]
    assert all(np.log10(task.grid[-1] / task.grid[0]) >= 1.5 for task in main)
    assert {task.seed for task in main} == {0, 1, 2}
    width = made.targets[0].spec.hidden_size
    assert all(a.draft.spec.hidden_size < width for task in main for a in task.arms)


def test_a_seed_of_one_s_own_replaces_those_of_the_plan() -> None:
    made = plan_of("small").with_seed(7)
    assert {task.seed for task in made.tasks} == {7} and {target.seed for target in made.targets} == {7}


def test_products_are_rounded_while_a_plan_says_so_and_at_no_other_time(
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


def test_text_is_read_by_another_version_and_from_another_folder(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_portable(tmp_path / "a" / "text.pt", corpus, SOURCES)
    (tmp_path / "a" / "text.pt").rename(tmp_path / "carried.pt")
    before = Work.of(tmp_path, plan(), "cpu", tmp_path / "carried.pt")
    monkeypatch.setattr(torch, "__version__", "9.9")
    monkeypatch.setattr("gpu_validate.training.work.prepare", lambda sources: pytest.fail("the text is there"))
    work = Work.of(tmp_path, plan(), "cpu", tmp_path / "carried.pt")
    assert work.folder != before.folder, "what is trained is not taken over from another version"
    assert corpus_of(work).sha256 == corpus.sha256
    assert corpus_of(work).facts == corpus.facts
    assert not work.folder.exists()


def test_what_is_trained_on_other_text_is_not_taken_up(tmp_path: Path, corpus: Corpus) -> None:
    other = Corpus({**corpus.train, "prose": corpus.train["prose"][1:]}, corpus.held_out, corpus.facts)
    for name, text in (("one", corpus), ("two", other)):
        files.write_portable(tmp_path / name, text, SOURCES)
    folders = [Work.of(tmp_path, plan(), "cpu", tmp_path / name).folder for name in ("one", "two")]
    assert folders[0] != folders[1]


def test_text_of_a_larger_vocabulary_comes_back_as_it_was(tmp_path: Path) -> None:
    sources = replace(SOURCES, vocab_size=300, window=16)
    pairs = prepare(sources)
    size = files.write_portable(tmp_path / "text.pt", pairs, sources)
    found = files.read_corpus(tmp_path / "text.pt", sources)
    assert found.sha256 == pairs.sha256 and found.train["code"].dtype == np.uint16
    assert size == (tmp_path / "text.pt").stat().st_size
    with pytest.raises(InputError, match="was prepared for another scale"):
        files.read_corpus(tmp_path / "text.pt", SOURCES)


def test_anchors_that_one_task_needs_are_not_written(tmp_path: Path) -> None:
    """They are hundreds of MB for a large vocabulary; those of several tasks are written once."""
    shared = plan()
    alone = replace(shared, tasks=shared.tasks[:1])
    for name, made in (("shared", shared), ("alone", alone)):
        work = Work.of(tmp_path / name, made, "cpu")
        corpus_of(work)
        run_target(work, 0, 0)
        run_task(work, 0, 0)
        assert work.path("anchors-main-test.pt").exists() == (name == "shared")


def test_a_draft_that_diverged_is_refused_not_taken_for_a_perfect_one(tmp_path: Path) -> None:
    """No logit is above one that is not a number: every rank would be the best."""
    made = plan()
    task = replace(made.tasks[0], arms=(replace(arm(1), draft=replace(arm(1).draft, lr=float("inf"))),))
    work = Work.of(tmp_path, replace(made, tasks=(task,)), "cpu")
    corpus_of(work)
    run_target(work, 0, 0)
    with pytest.raises(InputError, match="draft='d1' has diverged; use a lower learning rate"):
        run_task(work, 0, 0)
