"""Training and measuring a plan in worker processes: what is done is kept, an interrupted run goes on from there.

A worker is a process of one thread, which for models of this size is faster than one process of several; on a GPU
there is one worker. All state lies in a folder named after what the result depends on, so another plan, text or
version of torch never takes up files that are not its own.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gpu_validate.blocks import Decoder
from gpu_validate.smallscale.acceptance import (
    PROFILE_WIDTH,
    Anchors,
    Outcome,
    measure,
    place_anchors,
    rank_profile,
)
from gpu_validate.smallscale.corpus import DOMAINS, SPLITS, Corpus, prepare
from gpu_validate.smallscale.plans import MAIN, Plan, Target, Task
from gpu_validate.smallscale.training import DraftRun, train_target
from gpu_validate.smallscale.unroll import target_features
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

Say = Callable[[str], None]


@dataclass(frozen=True)
class Snapshot:
    """One draft after so many training tokens."""

    task: Task
    arm: int
    tokens: int
    parameters: int
    outcome: Outcome


@dataclass(frozen=True)
class Work:
    """Folder of a plan's intermediate files."""

    folder: Path
    plan: Plan
    device: str

    @staticmethod
    def of(folder: Path, plan: Plan, device: str) -> Work:
        """The work of a plan within an output folder."""
        said = repr((plan, device, torch.__version__, sys.version_info[:3]))
        name = hashlib.sha256(said.encode()).hexdigest()[:12]
        return Work(folder / "work" / f"{plan.scale}-{name}", plan, device)

    def path(self, name: str) -> Path:
        """One file."""
        return self.folder / name


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail("out", str(folder), f"cannot be made ({error.strerror})") from None


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors whole or not at all."""
    _make(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, beside)
        beside.replace(path)
    except OSError as error:
        raise fail("out", str(path), f"cannot be written ({error.strerror})") from None


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; refuse what is missing, cut off or something else with one line."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise fail("file", str(path), f"cannot be read ({error.strerror})") from None
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError):
        raise fail("file", str(path), "is cut off, or no file of train", "delete it and train again") from None
    if not isinstance(content, dict):
        raise fail("file", str(path), "is no file of train")
    return content


def corpus_of(work: Work) -> Corpus:
    """The prepared text, made once and kept; refused when the file is not what was written."""
    path = work.path("corpus.pt")
    if not path.exists():
        corpus = prepare(work.plan.sources)
        arrays: dict[str, Any] = {name: torch.from_numpy(text.copy()) for name, text in corpus.train.items()}
        for split, parts in corpus.held_out.items():
            arrays |= {f"{split}/{name}": torch.from_numpy(part.copy()) for name, part in parts.items()}
        save(path, {"arrays": arrays, "facts": dict(corpus.facts), "sha256": corpus.sha256})
    content = load(path)
    arrays = {name: part.numpy() for name, part in content["arrays"].items()}
    held_out = {split: {name: arrays[f"{split}/{name}"] for name in DOMAINS} for split in SPLITS[1:]}
    corpus = Corpus({name: arrays[name] for name in DOMAINS}, held_out, content["facts"])
    if corpus.sha256 != content["sha256"]:
        raise fail("corpus", str(path), "does not match its hash", "delete it and train again")
    return corpus


def _target_name(target: Target) -> str:
    return f"target-{target.name}.pt"


def load_target(work: Work, name: str) -> Decoder:
    """A trained target."""
    spec = next(target.spec for target in work.plan.targets if target.name == name)
    model = Decoder(spec, device=work.device)
    model.load_state_dict(load(work.path(f"target-{name}.pt"), work.device)["weights"])
    return model


def _anchors(work: Work, target: Decoder, name: str, split: str) -> Anchors:
    """Cycles of a target on a split, written by the first worker that needs them."""
    path = work.path(f"anchors-{name}-{split}.pt")
    if not path.exists():
        windows, domains = corpus_of(work).windows(split)
        plan = work.plan
        made = place_anchors(
            target, windows, domains, count=plan.anchors, draft_len=plan.draft_len, seed=_ANCHOR_SEED
        )
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


def run_target(work: Work, index: int, slot: int) -> None:
    """Train one target, unless it is there."""
    target = work.plan.targets[index]
    path = work.path(_target_name(target))
    if path.exists():
        return
    begin = time.process_time()
    corpus = corpus_of(work)
    training = train_target(target.spec, corpus, target.training, seed=target.seed, device=work.device)
    model: Decoder
    for tokens, trained in training:
        _advance(slot, tokens / target.training.tokens)
        model = trained
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


def target_facts(work: Work) -> list[dict[str, Any]]:
    """What was trained as targets, and how good they are."""
    facts = []
    for target in work.plan.targets:
        found = {"name": target.name, "model": asdict(target.spec), "training": asdict(target.training)}
        facts.append({**found, "nats_per_token": load(work.path(_target_name(target)))["nats_per_token"]})
    return facts


def keep_weights(work: Work, folder: Path) -> None:
    """The main target and its drafts of the first seed, averaged, as trained to the last point of their curves."""
    target = next(target for target in work.plan.targets if target.name == MAIN)
    weights = load(work.path(_target_name(target)))["weights"]
    prompts = _mixed(*corpus_of(work).windows("tune"))
    save(folder / "target.pt", {"spec": asdict(target.spec), "weights": weights, "prompts": prompts})
    seeds = [task.seed for task in work.plan.tasks]
    for task in work.plan.tasks:
        done = load(work.path(f"task-{task.name}.pt"))
        last = done["outcomes"][str(task.grid[-1])]
        for arm, flat, outcome in zip(task.arms, done["run"]["flats"], last):
            if arm.name == MAIN and task.seed == min(seeds):
                content = {"spec": asdict(arm.draft.spec), "fed": arm.draft.fed, "weights": flat["average"]}
                ranks = torch.from_numpy(rank_profile(outcome["greedy"].numpy(), PROFILE_WIDTH))
                save(folder / f"draft-{arm.layers}l.pt", {**content, "ranks": ranks})


def _mixed(windows: NDArray[np.int64], domains: NDArray[np.int64]) -> torch.Tensor:
    """Windows in an order in which the domains take turns."""
    place = np.concatenate([np.arange((domains == domain).sum()) for domain in np.unique(domains)])
    return torch.from_numpy(windows[np.lexsort((domains, place))])


def run_task(work: Work, index: int, slot: int) -> None:
    """Train the drafts of a task and measure them at every point of its grid, going on from what is there."""
    task = work.plan.tasks[index]
    path = work.path(f"task-{task.name}.pt")
    target = load_target(work, task.target)
    run = DraftRun(target, corpus_of(work), task.training, [arm.draft for arm in task.arms], seed=task.seed)
    done: dict[str, Any] = {"outcomes": {}, "cpu_s": 0.0}
    if path.exists():
        done = load(path, work.device)
        run.load(done["run"])
    anchors = _anchors(work, target, task.target, task.split)
    for tokens in task.grid:
        if str(tokens) in done["outcomes"]:
            continue
        begin = time.process_time()
        while run.tokens < tokens:
            run.advance()
            _advance(slot, run.tokens / task.grid[-1])
        done["outcomes"][str(tokens)] = _measured(run, anchors)
        done["cpu_s"] += time.process_time() - begin
        done["run"] = run.state()
        save(path, done)
    _advance(slot, 1.0)


def _measured(run: DraftRun, anchors: Anchors) -> list[dict[str, torch.Tensor]]:
    """Outcome of every draft with its averaged weights."""
    found = []
    for draft, flat in zip(run.drafts, run.flats):
        flat.swap()
        outcome = measure(draft, anchors)
        flat.swap()
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


def run_plan(work: Work, jobs: int, say: Say) -> None:
    """Train all targets and drafts of a plan in ``jobs`` processes; ``say`` is told the progress.

    A task starts when its target is there, the longest first.
    """
    _make(work.folder)
    say("reading and splitting the text")
    corpus_of(work)
    plan = work.plan
    costs = [2.0 * target.training.tokens * target.spec.num_layers for target in plan.targets]
    costs += [task.cost for task in plan.tasks]
    context = get_context("spawn")
    progress = context.Array("d", len(costs), lock=False)
    begin = time.monotonic()
    first = None
    with _environment(_ALLOCATOR), ProcessPoolExecutor(jobs, context, _worker, (progress,)) as pool:
        waiting = sorted(range(len(plan.tasks)), key=lambda index: -plan.tasks[index].cost)
        running: dict[Future[None], str] = {}
        try:
            with _deaf():  # a call may start a process
                for index, target in enumerate(plan.targets):
                    running[pool.submit(run_target, work, index, index)] = target.name
            while running:
                finished, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    future.result()
                    for index in [index for index in waiting if plan.tasks[index].target == name]:
                        waiting.remove(index)
                        slot = len(plan.targets) + index
                        with _deaf():
                            running[pool.submit(run_task, work, index, slot)] = ""
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


def snapshots(work: Work) -> Iterator[Snapshot]:
    """All measured drafts of a finished plan, task by task."""
    for task in work.plan.tasks:
        done = load(work.path(f"task-{task.name}.pt"))
        sizes = [flat["weights"].numel() for flat in done["run"]["flats"]]
        for tokens in task.grid:
            for arm, parts in enumerate(done["outcomes"][str(tokens)]):
                ranks = (parts["greedy"].numpy(), parts["sampled"].numpy())
                yield Snapshot(task, arm, tokens, sizes[arm], Outcome(ranks, parts["passed"].numpy()))


def cpu_seconds(work: Work) -> dict[str, float]:
    """CPU seconds of every target and task."""
    names: Sequence[str] = [_target_name(target) for target in work.plan.targets]
    names = [*names, *(f"task-{task.name}.pt" for task in work.plan.tasks)]
    return {name.removesuffix(".pt"): float(load(work.path(name))["cpu_s"]) for name in names}
