"""Training and measuring a plan in worker processes: what is done is kept, an interrupted run goes on from there.

A worker is a process of one thread, which for models of this size is faster than one process of several; on a GPU
one process does it all. All state lies in a folder named after what the result depends on, so another plan, text or
version of torch never takes up files that are not its own.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gpu_validate.models.decoder import Decoder
from gpu_validate.training.acceptance import Anchors, measure, place_anchors
from gpu_validate.training.corpus import DOMAINS, Corpus, prepare
from gpu_validate.training.deadline import Deadline, clock
from gpu_validate.training.files import load, make_folder, read_corpus, save, write_corpus
from gpu_validate.training.plans import Plan, Task
from gpu_validate.training.trainer import DraftRun, train_target
from gpu_validate.training.unroll import target_features
from scylla_sim.checks import fail

_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
}
"""For worker processes: without them the C library returns every activation to the system and asks for it again."""
_ANCHOR_SEED = 0
_POLL_S = 0.5
_NEVER = Deadline()

Say = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """Folder of a plan's intermediate files, and the file of its text where that was prepared before."""

    folder: Path
    plan: Plan
    device: str
    text: Path | None = None

    @staticmethod
    def of(folder: Path, plan: Plan, device: str, text: Path | None = None) -> Work:
        """The work of a plan within an output folder."""
        said = repr((plan, device, torch.__version__, sys.version_info[:3]))
        if text is not None:
            said += read_corpus(text, plan.sources).sha256
        name = hashlib.sha256(said.encode()).hexdigest()[:12]
        return Work(folder / "work" / f"{plan.scale}-{name}", plan, device, text)

    def path(self, name: str) -> Path:
        """One file."""
        return self.folder / name

    def target_path(self, name: str) -> Path:
        """File of a trained target."""
        return self.path(f"target-{name}.pt")

    def task_path(self, task: Task) -> Path:
        """File of the drafts of a task."""
        return self.path(f"task-{task.name}.pt")


def corpus_of(work: Work) -> Corpus:
    """The text of ``work.text``, or text that is prepared once and kept; text that was edited is refused."""
    path = work.text or work.path("corpus.pt")
    if work.text is None and not path.exists():
        write_corpus(path, prepare(work.plan.sources), work.plan.sources)
    return read_corpus(path, work.plan.sources)


def load_target(work: Work, name: str) -> Decoder:
    """A trained target."""
    spec = next(target.spec for target in work.plan.targets if target.name == name)
    model = Decoder(spec, device=work.device)
    model.load_state_dict(load(work.target_path(name), work.device)["weights"])
    return model


def _anchors(work: Work, target: Decoder, name: str, split: str) -> Anchors:
    """Cycles of a target on a split, written by the first worker that needs them, if others will need them."""
    path = work.path(f"anchors-{name}-{split}.pt")
    plan = work.plan
    if not path.exists():
        windows, domains = corpus_of(work).windows(split)
        made = place_anchors(
            target, windows, domains, count=plan.anchors, draft_len=plan.draft_len, seed=_ANCHOR_SEED
        )
        if [(task.target, task.split) for task in plan.tasks].count((name, split)) == 1:
            return made  # hundreds of MB for a large vocabulary
        save(path, {**vars(made), "domains": torch.from_numpy(made.domains)})
    content = load(path, work.device)
    return Anchors(**{**content, "domains": content["domains"].cpu().numpy()})


_progress: Any = None


def _worker(progress: Any) -> None:
    """What every worker process does first."""
    global _progress
    torch.set_num_threads(1)
    _progress = progress


def _advance(index: int, share: float) -> None:
    if _progress is not None:
        _progress[index] = share


def run_target(work: Work, index: int, slot: int, deadline: Deadline = _NEVER) -> None:
    """Train one target, unless it is there.

    Raises
    ------
    InputError
        When it cannot be trained before the deadline.
    """
    target = work.plan.targets[index]
    path = work.target_path(target.name)
    if path.exists():
        return
    begin = time.process_time()
    corpus = corpus_of(work)
    training = train_target(target.spec, corpus, target.training, seed=target.seed, device=work.device)
    model: Decoder
    pace = deadline.pace(target.training.tokens)
    for tokens, trained in training:
        _advance(slot, tokens / target.training.tokens)
        model = trained
        if tokens < target.training.tokens and pace.late(tokens):
            rule = "is not trained before the deadline"
            raise fail("target", target.name, rule, f"at this speed {pace.over_s(tokens):.0f} s more are needed")
    quality = _quality(model, corpus)
    save(path, {"weights": model.state_dict(), "cpu_s": time.process_time() - begin, "nats_per_token": quality})


@torch.inference_mode()
def _quality(target: Decoder, corpus: Corpus) -> dict[str, float]:
    """Held-out cross-entropy of a target by domain, in nats per token."""
    windows, domains = corpus.windows("test")
    text = torch.as_tensor(windows, device=target.norm.device)
    features, _ = target_features(target, text[:, :-1])
    logits = functional.linear(features, target.head.weight)
    each = functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten(), reduction="none")
    means = each.view(len(text), -1).mean(1).cpu().numpy()
    return {name: float(means[domains == index].mean()) for index, name in enumerate(DOMAINS)}


def run_task(work: Work, index: int, slot: int, deadline: Deadline = _NEVER) -> None:
    """Train the drafts of a task and measure them at every point of its grid, going on from what is there.

    Points that cannot be reached before the deadline are left out.
    """
    task = work.plan.tasks[index]
    path = work.task_path(task)
    target = load_target(work, task.target)
    run = DraftRun(target, corpus_of(work), task.training, [arm.draft for arm in task.arms], seed=task.seed)
    done: dict[str, Any] = {"outcomes": {}, "cpu_s": 0.0}
    if path.exists():
        done = load(path, work.device)
        run.load(done["run"])
    anchors = _anchors(work, target, task.target, task.split)
    measuring_s = 0.0
    for tokens in task.grid:
        if str(tokens) in done["outcomes"]:
            continue
        begin = time.process_time()
        pace = deadline.pace(tokens, after_s=measuring_s)
        while run.tokens < tokens:
            if pace.late(run.tokens):
                return
            run.advance()
            _advance(slot, run.tokens / task.grid[-1])
        reached_s = clock()
        done["outcomes"][str(tokens)] = _measured(run, anchors)
        done["cpu_s"] += time.process_time() - begin
        done["run"] = run.state()
        save(path, done)
        measuring_s = clock() - reached_s
    _advance(slot, 1.0)


def _measured(run: DraftRun, anchors: Anchors) -> list[dict[str, torch.Tensor]]:
    """Outcome of every draft with its averaged weights."""
    found = []
    for draft, flat in zip(run.drafts, run.flats):
        flat.swap()
        outcome = measure(draft, anchors)
        flat.swap()
        if not np.isfinite(outcome.passed).all():  # its ranks would all be the best
            raise fail("draft", draft.spec.name, "has diverged", "it needs a lower learning rate")
        found.append(
            {
                "greedy": torch.from_numpy(outcome.ranks[0]),
                "sampled": torch.from_numpy(outcome.ranks[1]),
                "passed": torch.from_numpy(outcome.passed),
            }
        )
    return found


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that processes started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile leave an interrupt from the keyboard to this one, which ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_plan(work: Work, jobs: int, say: Say, deadline: Deadline = _NEVER) -> None:
    """Train the targets and drafts of a plan in ``jobs`` processes; ``say`` is told the progress.

    A task starts when its target is there, the longest first. On a GPU one job is this process itself: another one
    would import torch once more.
    """
    make_folder(work.folder)
    say("reading and splitting the text")
    corpus_of(work)
    if work.device == "cuda" and jobs == 1:
        run_here(work, say, deadline)
    else:
        _run_in_pool(work, jobs, say, deadline)


def _costs(plan: Plan) -> list[float]:
    """Relative work of targets and tasks."""
    costs = [2.0 * target.training.tokens * target.spec.num_layers for target in plan.targets]
    return [*costs, *(task.cost for task in plan.tasks)]


def _longest_first(plan: Plan) -> list[int]:
    return sorted(range(len(plan.tasks)), key=lambda index: -plan.tasks[index].cost)


class _Told:
    """Progress of this process: told whenever a share is set."""

    def __init__(self, costs: Sequence[float], say: Say) -> None:
        self.costs, self.say = costs, say
        self.shares = [0.0] * len(costs)
        self.begin_s = clock()
        self.first: float | None = None

    def __setitem__(self, slot: int, share: float) -> None:
        self.shares[slot] = share
        done = float(np.dot(self.shares, self.costs) / sum(self.costs))
        self.first = done if self.first is None else self.first
        self.say(_said(done, self.first, clock() - self.begin_s))


def run_here(work: Work, say: Say, deadline: Deadline = _NEVER) -> None:
    """Train the targets and drafts of a plan in this process, one after the other."""
    global _progress
    plan = work.plan
    _progress = _Told(_costs(plan), say)
    try:
        for index in range(len(plan.targets)):
            run_target(work, index, index, deadline)
        for index in _longest_first(plan):
            run_task(work, index, len(plan.targets) + index, deadline)
    finally:
        _progress = None


def _run_in_pool(work: Work, jobs: int, say: Say, deadline: Deadline) -> None:
    """Train the targets and drafts of a plan in processes of one thread each."""
    plan = work.plan
    costs = _costs(plan)
    context = get_context("spawn")
    progress = context.Array("d", len(costs), lock=False)
    begin = time.monotonic()
    first = None
    with _environment(_ALLOCATOR), ProcessPoolExecutor(jobs, context, _worker, (progress,)) as pool:
        waiting = _longest_first(plan)
        running: dict[Future[None], str] = {}
        try:
            with _deaf():  # a call may start a process
                for index, target in enumerate(plan.targets):
                    running[pool.submit(run_target, work, index, index, deadline)] = target.name
            while running:
                finished, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    future.result()
                    for index in [index for index in waiting if plan.tasks[index].target == name]:
                        waiting.remove(index)
                        slot = len(plan.targets) + index
                        with _deaf():
                            running[pool.submit(run_task, work, index, slot, deadline)] = ""
                share = float(np.dot(progress, costs) / sum(costs))
                first = share if first is None else first
                say(_said(share, first, time.monotonic() - begin))
        except BaseException:
            processes = list((pool._processes or {}).values())  # shutdown forgets them
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            raise


def _said(share: float, first: float, spent: float) -> str:
    """Progress with the time left, from the rate of this run."""
    rate = (share - first) / spent if spent > 0 else 0.0
    left = f", about {max(1 - share, 0) / rate:.0f} s left" if rate > 0 and share < 1 else ""
    return f"trained {share:.0%}{left}"
