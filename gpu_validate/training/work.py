"""Folder of a plan's intermediate files, from which an interrupted run resumes.

The folder is named after everything that a result depends on. Another plan, text or version of torch therefore uses
another folder.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu_validate.models.decoder import Decoder
from gpu_validate.training.acceptance import Anchors, place_anchors
from gpu_validate.training.corpus import Corpus, prepare
from gpu_validate.training.files import load, read_corpus, save, write_corpus
from gpu_validate.training.plans import Plan, Task

_FORMAT = 2
"""Version of the intermediate files."""
_ANCHOR_SEED = 0


@dataclass(frozen=True)
class Work:
    """Folder of a plan's intermediate files.

    Attributes
    ----------
    folder
        Folder of the files.
    plan
        Targets and drafts to train.
    device
        ``cpu`` or ``cuda``.
    text
        File of prepared text; ``None`` to prepare the text in the folder.
    """

    folder: Path
    plan: Plan
    device: str
    text: Path | None = None

    @staticmethod
    def of(folder: Path, plan: Plan, device: str, text: Path | None = None) -> Work:
        """Return the work of a plan inside an output folder."""
        identity = repr((_FORMAT, plan, device, torch.__version__, sys.version_info[:3]))
        if text is not None:
            identity += read_corpus(text, plan.sources).sha256
        name = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return Work(folder / "work" / f"{plan.scale}-{name}", plan, device, text)

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / name

    def target_path(self, name: str) -> Path:
        """Return the path of a trained target."""
        return self.path(f"target-{name}.pt")

    def task_path(self, task: Task) -> Path:
        """Return the path of the drafts of a task."""
        return self.path(f"task-{task.name}.pt")


def corpus_of(work: Work) -> Corpus:
    """Return the text of a plan; prepare it first if neither ``work.text`` nor the folder holds it.

    Raises
    ------
    InputError
        If the file of the text was edited.
    """
    path = work.text or work.path("corpus.pt")
    if work.text is None and not path.exists():
        write_corpus(path, prepare(work.plan.sources), work.plan.sources)
    return read_corpus(path, work.plan.sources)


def load_target(work: Work, name: str) -> Decoder:
    """Load a trained target."""
    spec = next(target.spec for target in work.plan.targets if target.name == name)
    model = Decoder(spec, device=work.device)
    model.load_state_dict(load(work.target_path(name), work.device)["weights"])
    return model


def anchors_of(work: Work, target: Decoder, name: str, split: str) -> Anchors:
    """Return the cycles of a target on a split.

    The first task that needs the cycles computes them. They are saved only if another task needs them too, because
    they take hundreds of MB for a large vocabulary.
    """
    path = work.path(f"anchors-{name}-{split}.pt")
    plan = work.plan
    if not path.exists():
        windows, domains = corpus_of(work).windows(split)
        made = place_anchors(
            target, windows, domains, count=plan.anchors, draft_len=plan.draft_len, seed=_ANCHOR_SEED
        )
        if [(task.target, task.split) for task in plan.tasks].count((name, split)) == 1:
            return made
        save(path, {**vars(made), "domains": torch.from_numpy(made.domains)})
    content = load(path, work.device)
    return Anchors(**{**content, "domains": content["domains"].cpu().numpy()})
