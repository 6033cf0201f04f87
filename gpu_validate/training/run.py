"""Training and measurement of a plan in worker processes; an interrupted run resumes from its files.

A worker is a process of one thread. For models of this size this is faster than several threads. On a GPU, one
process trains everything.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gpu_validate.models.decoder import Decoder
from gpu_validate.training.acceptance import Anchors, measure
from gpu_validate.training.corpus import DOMAINS, Corpus
from gpu_validate.training.deadline import Deadline, clock
from gpu_validate.training.files import load, make_folder, save
from gpu_validate.training.plans import Plan
from gpu_validate.training.trainer import DraftRun, train_target
from gpu_validate.training.unroll import target_features
from gpu_validate.training.work import Work, anchors_of, corpus_of, load_target
from scylla_sim.checks import fail

_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
}
"""Environment of worker processes.

With the defaults, the C library returns the memory of every activation to the system and requests it again.
"""
_POLL_S = 0.5
_NEVER = Deadline()

Show = Callable[[str], None]
"""Function that shows a line of progress."""


_progress: Any = None


def _worker(progress: Any) -> None:
    """Initialize a worker process."""
    global _progress
    torch.set_num_threads(1)
    _progress = progress


def _advance(index: int, share: float) -> None:
    """Set the finished share of a target or task."""
    if _progress is not None:
        _progress[index] = share


def run_target(work: Work, index: int, slot: int, deadline: Deadline = _NEVER) -> None:
    """Train one target, unless its file exists.

    Parameters
    ----------
    work
        Folder and plan.
    index
        Index of the target in the plan.
    slot
        Index of its progress.
    deadline
        Time at which it must be trained.

    Raises
    ------
    InputError
        If it cannot be trained before the deadline.
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
            rule = "cannot be trained before the deadline"
            raise fail("target", target.name, rule, f"it needs {pace.over_s(tokens):.0f} s more at this speed")
    quality = _quality(model, corpus)
    save(path, {"weights": model.state_dict(), "cpu_s": time.process_time() - begin, "nats_per_token": quality})


@torch.inference_mode()
def _quality(target: Decoder, corpus: Corpus) -> dict[str, float]:
    """Return the held-out cross-entropy of a target by domain, in nats per token."""
    windows, domains = corpus.windows("test")
    text = torch.as_tensor(windows, device=target.norm.device)
    features, _ = target_features(target, text[:, :-1])
    logits = functional.linear(features, target.head.weight)
    each = functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten(), reduction="none")
    means = each.view(len(text), -1).mean(1).cpu().numpy()
    return {name: float(means[domains == index].mean()) for index, name in enumerate(DOMAINS)}


def run_task(work: Work, index: int, slot: int, deadline: Deadline = _NEVER) -> None:
    """Train the drafts of a task and measure them at every point of its grid, resuming from the task's file.

    Points that cannot be reached before the deadline are left out.

    Parameters
    ----------
    work
        Folder and plan.
    index
        Index of the task in the plan.
    slot
        Index of its progress.
    deadline
        Time at which the last point must be measured.
    """
    task = work.plan.tasks[index]
    path = work.task_path(task)
    target = load_target(work, task.target)
    run = DraftRun(target, corpus_of(work), task.training, [arm.draft for arm in task.arms], seed=task.seed)
    done: dict[str, Any] = {"outcomes": {}, "cpu_s": 0.0}
    if path.exists():
        done = load(path, work.device)
        run.load(done["run"])
    anchors = anchors_of(work, target, task.target, task.split)
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
    """Return the outcome of every draft, with its averaged weights.

    Raises
    ------
    InputError
        If a draft has diverged.
    """
    found = []
    for draft, flat in zip(run.drafts, run.flats):
        flat.swap()
        outcome = measure(draft, anchors)
        flat.swap()
        if not np.isfinite(outcome.passed).all():  # no logit exceeds NaN, so all ranks would be 0
            raise fail("draft", draft.spec.name, "has diverged", "use a lower learning rate")
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
    """Set environment variables for the processes that start inside the context."""
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
def _interrupts_blocked() -> Iterator[None]:
    """Block keyboard interrupts in processes that start inside the context; this process ends them instead."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_plan(work: Work, jobs: int, show: Show, deadline: Deadline = _NEVER) -> None:
    """Train the targets and drafts of a plan.

    A task starts when its target is trained, the longest task first. On a GPU one job runs in this process, which
    has imported torch already.

    Parameters
    ----------
    work
        Folder and plan.
    jobs
        Number of processes.
    show
        Function that shows a line of progress.
    deadline
        Time at which everything must be measured.
    """
    make_folder(work.folder)
    show("reading and splitting the text")
    corpus_of(work)
    if work.device == "cuda" and jobs == 1:
        run_here(work, show, deadline)
    else:
        _run_in_pool(work, jobs, show, deadline)


def _costs(plan: Plan) -> list[float]:
    """Return the relative costs of targets and tasks."""
    costs = [2.0 * target.training.tokens * target.spec.num_layers for target in plan.targets]
    return [*costs, *(task.cost for task in plan.tasks)]


def _longest_first(plan: Plan) -> list[int]:
    """Return the indices of the tasks by falling cost."""
    return sorted(range(len(plan.tasks)), key=lambda index: -plan.tasks[index].cost)


class _LocalProgress:
    """Progress of training in this process; setting a share shows a line."""

    def __init__(self, costs: Sequence[float], show: Show) -> None:
        self.costs, self.show = costs, show
        self.shares = [0.0] * len(costs)
        self.begin_s = clock()
        self.first: float | None = None

    def __setitem__(self, slot: int, share: float) -> None:
        self.shares[slot] = share
        done = float(np.dot(self.shares, self.costs) / sum(self.costs))
        self.first = done if self.first is None else self.first
        self.show(_progress_line(done, self.first, clock() - self.begin_s))


def run_here(work: Work, show: Show, deadline: Deadline = _NEVER) -> None:
    """Train the targets and drafts of a plan in this process, one after the other; see `run_plan`."""
    global _progress
    plan = work.plan
    _progress = _LocalProgress(_costs(plan), show)
    try:
        for index in range(len(plan.targets)):
            run_target(work, index, index, deadline)
        for index in _longest_first(plan):
            run_task(work, index, len(plan.targets) + index, deadline)
    finally:
        _progress = None


def _run_in_pool(work: Work, jobs: int, show: Show, deadline: Deadline) -> None:
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
            with _interrupts_blocked():  # submit may start a process
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
                        with _interrupts_blocked():
                            running[pool.submit(run_task, work, index, slot, deadline)] = ""
                share = float(np.dot(progress, costs) / sum(costs))
                first = share if first is None else first
                show(_progress_line(share, first, time.monotonic() - begin))
        except BaseException:
            processes = list((pool._processes or {}).values())  # shutdown clears the list
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            raise


def _progress_line(share: float, first: float, spent: float) -> str:
    """Return the finished share and the time left at the rate of this run."""
    rate = (share - first) / spent if spent > 0 else 0.0
    left = f", about {max(1 - share, 0) / rate:.0f} s left" if rate > 0 and share < 1 else ""
    return f"trained {share:.0%}{left}"
